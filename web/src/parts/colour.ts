/** What canvas understands of a colour of tokens.css, which depends on the theme. */
export function colour(name: string): string {
    const probe = document.createElement('i');
    probe.style.color = `var(${name})`;
    document.body.append(probe);
    const value = getComputedStyle(probe).color;
    probe.remove();
    return value;
}

/** The same colour, through which so much is seen. */
export const faint = (value: string, alpha: number): string => value.replace('rgb(', 'rgba(').replace(')', `, ${alpha})`);
