//! Aligned columns: widths from the widest cell, the last column as long as it is.

/// Rows under headings, written in one go.
#[derive(Debug)]
pub(super) struct Table<const COLUMNS: usize> {
    widths: [usize; COLUMNS],
    cells: Vec<[Cell; COLUMNS]>,
}

/// What is shown, and how many columns of a terminal that takes (colours take none).
#[derive(Debug)]
pub(super) struct Cell {
    text: String,
    width: usize,
}

impl Cell {
    /// Plain text.
    pub(super) fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        Self { width: text.chars().count(), text }
    }

    /// `text`, shown as `painted`.
    pub(super) fn painted(text: &str, painted: String) -> Self {
        Self { width: text.chars().count(), text: painted }
    }
}

impl<const COLUMNS: usize> Table<COLUMNS> {
    pub(super) fn new() -> Self {
        Self { widths: [0; COLUMNS], cells: Vec::new() }
    }

    pub(super) fn row(&mut self, row: [Cell; COLUMNS]) {
        for (width, cell) in self.widths.iter_mut().zip(&row) {
            *width = cell.width.max(*width);
        }
        self.cells.push(row);
    }

    pub(super) fn render(&self) -> String {
        let line = self.widths.iter().sum::<usize>() + 2 * COLUMNS;
        let mut text = String::with_capacity(self.cells.len() * (line + 16));
        for row in &self.cells {
            for (column, cell) in row.iter().enumerate() {
                text.push_str(&cell.text);
                let missing = self.widths[column] - cell.width + 2;
                let is_last = row[column + 1..].iter().all(|after| after.width == 0);
                if is_last {
                    break;
                }
                text.extend(std::iter::repeat_n(' ', missing));
            }
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::{Cell, Table};

    #[test]
    fn columns_align_by_what_is_seen_and_lines_have_no_trailing_space() {
        let mut table = Table::new();
        table.row(["NAME", "STATE", "REASON"].map(Cell::new));
        table.row([
            Cell::new("grün"),
            Cell::painted("ok", "\x1b[32mok\x1b[0m".into()),
            Cell::new(""),
        ]);
        table.row([Cell::new("a"), Cell::new("failed"), Cell::new("exited 1")]);
        assert_eq!(
            table.render(),
            "NAME  STATE   REASON\ngrün  \x1b[32mok\x1b[0m\na     failed  exited 1\n"
        );
    }
}
