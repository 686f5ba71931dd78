//! How much is taken of one upload.

/// The most that is taken of one upload. Reading it takes less than about three times `inflated` of memory, whatever
/// it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes as sent.
    pub sent: usize,
    /// Bytes of a workbook's XML as it is read, and of the texts in its cells: a text that a thousand cells share
    /// counts a thousand times.
    pub inflated: usize,
    /// Rows that are not empty, without the header.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
    /// Bytes of the text in one cell.
    pub cell_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        // A cell may have as many bytes as the longest text that a spreadsheet takes.
        Self { sent: 5 << 20, inflated: 50 << 20, rows: 10_000, columns: 256, cell_bytes: 4 * 32_767 }
    }
}
