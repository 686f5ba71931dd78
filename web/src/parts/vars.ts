/** Sets custom properties of an element. In markup they would be a `style` attribute, which the page's policy does not let through. */
export function vars(node: HTMLElement, given: Record<string, string>) {
    const put = (values: Record<string, string>): void => {
        for (const [name, value] of Object.entries(values)) node.style.setProperty(name, value);
    };
    put(given);
    return { update: put };
}
