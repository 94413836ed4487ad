//! Lays out text as Heroku's CLI does: headings, columns, names with values.
//!
//! Cells of columns come from servers: control characters in them become blanks, so that no text
//! can move the terminal's cursor.

/// `=== text`, and an empty line.
pub fn heading(text: &str) -> String {
    format!("=== {}\n\n", clean(text))
}

/// One line a row, two blanks between the columns, each as wide as its widest cell.
pub fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let rows: Vec<[String; N]> = rows
        .iter()
        .map(|row| std::array::from_fn(|column| clean(&row[column])))
        .collect();
    let widths: [usize; N] = std::array::from_fn(|column| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or_default()
    });
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(widths).filter(|(_, width)| *width > 0);
        let cells: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// One line a pair, `Name:  value`, the values in one column. Values are shown as they are.
pub fn pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let pairs: Vec<_> = pairs.into_iter().collect();
    let widest = pairs.iter().map(|(name, _)| name.chars().count()).max();
    let width = widest.unwrap_or_default() + 2;
    let line = |(name, value)| {
        let line = format!("{:width$}{value}", format!("{name}:"));
        format!("{}\n", line.trim_end_matches(' '))
    };
    pairs.into_iter().map(line).collect()
}

/// A time of the API, as Heroku's CLI writes it: `2026/01/02 00:00:00 +0000`.
pub fn time(text: &str) -> String {
    match text.parse::<jiff::Timestamp>() {
        Ok(time) => time.strftime("%Y/%m/%d %H:%M:%S +0000").to_string(),
        Err(_) => text.to_owned(),
    }
}

fn clean(text: &str) -> String {
    text.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_end_without_blanks() {
        let rows = [
            ["v12", "Déploy", "", "me"],
            ["v1", "Initial release", "", ""],
        ]
        .map(|row| row.map(str::to_owned));
        insta::assert_snapshot!(columns(&rows), @r"
        v12  Déploy           me
        v1   Initial release
        ");
        assert_eq!(columns::<2>(&[]), "");
    }

    #[test]
    fn names_and_values() {
        let text = heading("hello Config Vars") + &pairs([("A", "1"), ("LONGER", "2 "), ("B", "")]);
        insta::assert_snapshot!(text, @r"
        === hello Config Vars

        A:      1
        LONGER: 2
        B:
        ");
    }

    #[test]
    fn no_cell_moves_the_cursor() {
        let rows = [["a\u{1b}[2Jb\n".to_owned()]];
        assert_eq!(columns(&rows), "a [2Jb\n");
        assert_eq!(heading("a\rb"), "=== a b\n\n");
    }

    #[test]
    fn times_are_heroku_s() {
        assert_eq!(time("2026-01-02T03:04:05.6Z"), "2026/01/02 03:04:05 +0000");
        assert_eq!(time("yesterday"), "yesterday");
    }
}
