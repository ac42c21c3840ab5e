//! Tables for a terminal.

use comfy_table::{Cell, ColumnConstraint, Table, Width};

/// Where words would be broken, makes each column of a table wide enough for its longest one, though the table becomes wider than the terminal then.
pub(super) fn keep_words_whole(table: &mut Table) {
    let lines: Vec<String> = table.lines().collect();
    let is_whole = |word: &str| lines.iter().any(|line| line.split_whitespace().any(|shown| shown == word));
    let rows = || table.header().into_iter().chain(table.row_iter());
    let words = rows().flat_map(comfy_table::Row::cell_iter).map(Cell::content);
    if words.into_iter().all(|text| text.split_whitespace().all(is_whole)) {
        return;
    }
    let mut widths: Vec<usize> = Vec::new();
    for row in rows() {
        let longest =
            |cell: &Cell| cell.content().split_whitespace().map(|word| word.chars().count()).max().unwrap_or(0);
        for (number, width) in row.cell_iter().map(longest).enumerate() {
            widths.resize(widths.len().max(number + 1), 0);
            widths[number] = widths[number].max(width);
        }
    }
    for (column, width) in table.column_iter_mut().zip(widths) {
        let padded = u16::try_from(width + usize::from(column.padding_width())).unwrap_or(u16::MAX);
        column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(padded)));
    }
}

#[cfg(test)]
mod tests {
    use comfy_table::ContentArrangement;

    use super::*;

    #[test]
    fn no_word_is_broken_however_narrow_the_table_is() {
        let mut table = Table::new();
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(12);
        table.set_header(["figure", "before"]).add_row(["p99", "no difference shown"]);
        keep_words_whole(&mut table);
        let text = table.to_string();
        assert!(["figure", "before", "no", "difference", "shown"].iter().all(|word| text.contains(word)), "{text}");
    }
}
