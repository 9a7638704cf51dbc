//! Lists as tables: columns as wide as their widest text, two spaces between them, nothing cut.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::{Style, cell::Cell};

/// A column: its heading, where its value lies in a row (JSON pointer), and how it is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column(pub(crate) &'static str, pub(crate) &'static str, pub(crate) Style);

/// The bold face, in which headings are set.
const BOLD: &str = "1";

/// Milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}

/// The table with a heading, also when there are no rows.
pub(super) fn render(rows: &[Value], columns: &[Column], has_colour: bool) -> String {
    let now = now_ms();
    let cells: Vec<Vec<Cell>> = rows.iter().map(|row| line(row, columns, now)).collect();
    let widths: Vec<usize> = (0..columns.len()).map(|at| width(columns[at].0, &cells, at)).collect();
    let mut text = String::new();
    let headings = columns.iter().map(|column| (column.0, has_colour.then_some(BOLD)));
    write_line(&mut text, headings, &widths);
    for line in &cells {
        let painted = line.iter().map(|cell| (cell.text.as_str(), cell.tone.colour().filter(|_| has_colour)));
        write_line(&mut text, painted, &widths);
    }
    text
}

fn line(row: &Value, columns: &[Column], now: u64) -> Vec<Cell> {
    columns.iter().map(|Column(_, pointer, style)| style.cell(row.pointer(pointer), row, now)).collect()
}

fn width(heading: &str, cells: &[Vec<Cell>], at: usize) -> usize {
    let texts = cells.iter().map(|line| line[at].text.chars().count());
    texts.chain([heading.len()]).max().unwrap_or_default()
}

fn write_line<'a>(out: &mut String, texts: impl Iterator<Item = (&'a str, Option<&'a str>)>, widths: &[usize]) {
    for (at, (text, colour)) in texts.enumerate() {
        let padding = widths[at].saturating_sub(text.chars().count()) + 2;
        match colour {
            Some(colour) => out.push_str(&format!("\x1b[{colour}m{text}\x1b[0m")),
            None => out.push_str(text),
        }
        if at + 1 < widths.len() {
            out.extend(std::iter::repeat_n(' ', padding));
        }
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const COLUMNS: [Column; 3] = [
        Column("NAME", "/name", Style::Plain),
        Column("STATE", "/status/state", Style::State),
        Column("REASON", "/status/reason", Style::Plain),
    ];

    #[test]
    fn columns_are_as_wide_as_needed_and_nothing_is_cut() {
        let rows = [
            json!({"name": "a-rather-long-name", "status": {"state": "up", "reason": ""}}),
            json!({"name": "b", "status": {"state": "degraded", "reason": "dnsmasq is äway"}}),
            json!({"name": "c", "status": null}),
        ];
        let expected = "\
NAME                STATE     REASON
a-rather-long-name  up        -
b                   degraded  dnsmasq is äway
c                   ?         -
";
        assert_eq!(render(&rows, &COLUMNS, false), expected);
    }

    #[test]
    fn colours_do_not_count_as_width() {
        let rows = [json!({"name": "a", "status": {"state": "up"}})];
        let expected = "\x1b[1mNAME\x1b[0m  \x1b[1mSTATE\x1b[0m  \x1b[1mREASON\x1b[0m\na     \x1b[32mup\x1b[0m     -\n";
        assert_eq!(render(&rows, &COLUMNS, true), expected);
    }

    #[test]
    fn an_empty_list_has_its_heading() {
        assert_eq!(render(&[], &COLUMNS, false), "NAME  STATE  REASON\n");
    }
}
