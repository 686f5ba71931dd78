/** A sheet that a spreadsheet reads as what it is: text stays text, whatever it begins with. */

const cell = (value: string | number): string => {
    const text = typeof value === 'string' && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};

export const csv = (rows: (string | number)[][]): string => `${rows.map((row) => row.map(cell).join(',')).join('\r\n')}\r\n`;

/** Gives the browser a file to save. */
export function save(text: string, name: string): void {
    const url = URL.createObjectURL(new Blob([text], { type: 'text/csv' }));
    Object.assign(document.createElement('a'), { href: url, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
