//! Tables and words for people.

use unicode_width::UnicodeWidthStr as _;

/// A table with aligned columns, by the width that a terminal gives to each letter (UAX #11).
pub(super) fn table<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let rows: Vec<[String; N]> = rows.into_iter().collect();
    let mut widths = head.map(|cell| cell.width());
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.width());
        }
    }
    let pad = |(cell, width): (&&str, usize)| format!("{cell}{}", " ".repeat(width.saturating_sub(cell.width())));
    let line = |cells: [&str; N]| {
        let padded: Vec<String> = cells.iter().zip(widths).map(pad).collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut lines = vec![line(head)];
    lines.extend(rows.iter().map(|row| line(row.each_ref().map(String::as_str))));
    lines.join("\n")
}

/// `yes` or `no`.
pub(super) fn yes_no(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = [["ann".to_owned(), "yes".to_owned()], ["bartholomew".to_owned(), "no".to_owned()]];
        assert_eq!(table(["name", "on"], rows), "name         on\nann          yes\nbartholomew  no");
        // Two columns a letter, and a letter of two code points.
        let rows = [["王秀英".to_owned(), "yes".to_owned()], ["zoe\u{301}".to_owned(), "no".to_owned()]];
        assert_eq!(table(["name", "on"], rows), "name    on\n王秀英  yes\nzoe\u{301}     no");
    }
}
