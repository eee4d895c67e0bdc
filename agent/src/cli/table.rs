//! Tables: left-aligned columns two spaces apart, as Juju prints them. Owns widths, and which columns go when the
//! terminal is narrow; must not know what is in them.

use std::fmt::Write as _;

use super::out::{clean, coloured};

/// A table that is being filled.
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

struct Column {
    head: &'static str,
    /// Columns with a higher number go first when the terminal is too narrow; 0 never goes.
    spare: u8,
    state: bool,
}

impl Table {
    /// A table with these columns. A head that ends in `*` is of states, which are coloured; one that starts with
    /// digits may be left out, the highest first.
    pub(crate) fn new(heads: &[&'static str]) -> Self {
        let columns = heads.iter().map(|&head| {
            let bare = head.trim_start_matches(|c: char| c.is_ascii_digit());
            Column {
                head: bare.trim_end_matches('*'),
                spare: head[..head.len() - bare.len()].parse().unwrap_or(0),
                state: bare.ends_with('*'),
            }
        });
        Self { columns: columns.collect(), rows: Vec::new() }
    }

    /// Adds a row; its cells are cleaned here.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.iter().map(|cell| clean(cell).into_owned()).collect());
    }

    /// Nothing was added.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The text, at most `width` wide: columns that may go are left out, then the last one is cut.
    pub(crate) fn render(&self, width: usize) -> String {
        let wide: Vec<usize> = (0..self.columns.len()).map(|at| self.width(at)).collect();
        let mut shown: Vec<usize> = (0..self.columns.len()).collect();
        let total = |shown: &[usize]| {
            shown.iter().map(|&at| wide[at]).sum::<usize>() + 2 * shown.len().saturating_sub(1)
        };
        while total(&shown) > width {
            let Some(&worst) = shown
                .iter()
                .filter(|&&at| self.columns[at].spare > 0)
                .max_by_key(|&&at| self.columns[at].spare)
            else {
                break;
            };
            shown.retain(|&at| at != worst);
        }
        let mut text = String::new();
        self.line(&mut text, &shown, &wide, width, None);
        for row in &self.rows {
            self.line(&mut text, &shown, &wide, width, Some(row));
        }
        text
    }

    fn width(&self, at: usize) -> usize {
        let cells = self.rows.iter().map(|row| row.get(at).map_or(0, |cell| cell.chars().count()));
        cells.chain([self.columns[at].head.chars().count()]).max().unwrap_or(0)
    }

    fn line(
        &self,
        text: &mut String,
        shown: &[usize],
        wide: &[usize],
        width: usize,
        row: Option<&Vec<String>>,
    ) {
        let mut used = 0;
        let mut line = String::new();
        for (position, &at) in shown.iter().enumerate() {
            let column = &self.columns[at];
            let cell = row.map_or(column.head, |row| row.get(at).map_or("", String::as_str));
            let last = position + 1 == shown.len();
            let cell = if last { cut(cell, width.saturating_sub(used).max(20)) } else { cell.to_owned() };
            let pad = if last { 0 } else { wide[at] + 2 - cell.chars().count() };
            used += wide[at] + 2;
            let cell = if column.state && row.is_some() { coloured(&cell) } else { cell };
            // Writing to a String cannot fail.
            let _ = write!(line, "{cell}{:pad$}", "");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

/// The text, cut to so many characters with an ellipsis at its end.
pub(crate) fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

/// How wide the terminal is; without one, as wide as it takes.
pub(crate) fn terminal_width() -> usize {
    terminal_size::terminal_size().map_or(usize::MAX, |(width, _)| usize::from(width.0).max(40))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["App", "2Version", "Status*", "1Rev", "Message"]);
        table.row(["web".into(), "1.2".into(), "active".into(), "3".into(), "all is\nwell \x1b[0m".into()]);
        table.row(["longer-name".into(), String::new(), "waiting".into(), "10".into(), "for\tthings".into()]);
        table
    }

    #[test]
    fn columns_are_two_apart_and_cells_are_clean() {
        let plain = anstream::adapter::strip_str(&table().render(usize::MAX)).to_string();
        assert_eq!(
            plain,
            "App          Version  Status   Rev  Message\n\
             web          1.2      active   3    all is well \\u{1b}[0m\n\
             longer-name           waiting  10   for things\n"
        );
    }

    #[test]
    fn a_narrow_terminal_loses_columns_in_their_order_and_never_wraps() {
        let narrow = anstream::adapter::strip_str(&table().render(48)).to_string();
        assert!(!narrow.contains("Version") && narrow.contains("Rev"), "{narrow}");
        let narrow = anstream::adapter::strip_str(&table().render(40)).to_string();
        assert!(!narrow.contains("Rev") && narrow.contains("Message"), "{narrow}");
        assert!(narrow.contains('…') || narrow.lines().all(|line| line.chars().count() <= 42), "{narrow}");
    }
}
