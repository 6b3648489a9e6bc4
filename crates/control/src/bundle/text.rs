//! The document for a terminal: plain lines without control characters, curves as rows of blocks.

use super::{
    document::{Block, Chart, Charts, Curve, Document, Kind, Log, Section, Table, Values},
    words::tame,
};

const WIDTH: usize = 96;
const TEXT_MAX: usize = 4000;
/// What the last column of a table needs at least, unless it is narrower.
const LAST_MIN: usize = 24;
/// A cell that is not the last of its row is cut to this.
const CELL_MAX: usize = 36;
/// Lines of a log; the folder has more.
const LOG_LINES_MAX: usize = 15;
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

pub(super) fn render(document: &Document) -> String {
    let mut page = String::with_capacity(32 << 10);
    wrap(&mut page, "", &document.title);
    line(&mut page, &"=".repeat(document.title.chars().count().min(WIDTH)));
    line(&mut page, "");
    wrap(&mut page, "", &format!("State: {}", document.state.1));
    for sentence in &document.lead {
        wrap(&mut page, "", sentence);
    }
    heading(&mut page, "What to do now");
    for (index, step) in document.steps.iter().enumerate() {
        item(&mut page, &format!("{}. ", index + 1), step);
    }
    if !document.missing.is_empty() {
        heading(&mut page, "What could not be read");
        for missing in &document.missing {
            item(&mut page, "- ", missing);
        }
    }
    for section in &document.sections {
        write_section(&mut page, section);
    }
    line(&mut page, "");
    wrap(&mut page, "", &document.foot);
    page
}

fn write_section(page: &mut String, section: &Section) {
    heading(page, section.title);
    blocks(page, &section.blocks);
}

fn blocks(page: &mut String, blocks: &[Block]) {
    for (index, block) in blocks.iter().enumerate() {
        if index > 0 {
            line(page, "");
        }
        match block {
            Block::Text(text) => wrap(page, "", text),
            Block::Table(table) => write_table(page, table),
            Block::Charts(charts) => write_charts(page, charts),
            Block::Log(log) => write_log(page, log),
            Block::Fold { title, blocks: inner } => {
                wrap(page, "", title);
                self::blocks(page, inner);
            }
        }
    }
}

fn write_table(page: &mut String, table: &Table) {
    let columns = table.head.len();
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            let cells = table.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.text.chars().count());
            let head = table.head[column].chars().count();
            cells.chain([head]).max().unwrap_or(0).min(CELL_MAX)
        })
        .collect();
    let before: usize = widths.iter().take(columns.saturating_sub(1)).map(|width| width + 2).sum();
    if before + widths.last().copied().unwrap_or(0).min(LAST_MIN) > WIDTH {
        return write_records(page, table);
    }
    let last_width = WIDTH.saturating_sub(before).max(LAST_MIN);
    let numbers: Vec<bool> = (0..columns)
        .map(|column| table.rows.first().and_then(|row| row.get(column)).is_some_and(|cell| cell.number))
        .collect();
    let head: Vec<(String, bool)> = table.head.iter().zip(&numbers).map(|(head, n)| ((*head).to_owned(), *n)).collect();
    write_row(page, &head, &widths, last_width);
    for row in &table.rows {
        let row: Vec<(String, bool)> = row.iter().map(|cell| (tame(&cell.text, TEXT_MAX), cell.number)).collect();
        write_row(page, &row, &widths, last_width);
    }
}

/// One paragraph for each row of a table that is too wide.
fn write_records(page: &mut String, table: &Table) {
    for row in &table.rows {
        let Some((first, rest)) = row.split_first() else { continue };
        line(page, &tame(&first.text, WIDTH));
        let named = table.head.iter().skip(1).zip(rest).map(|(head, cell)| format!("{}: {}", lowered(head), cell.text));
        let named: Vec<String> = named.collect();
        for part in broken(&tame(&named.join("; "), TEXT_MAX), WIDTH - 2) {
            line(page, &format!("  {part}"));
        }
    }
}

/// A head of a column in the middle of a sentence.
fn lowered(head: &str) -> String {
    let mut chars = head.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    }
}

fn write_row(page: &mut String, cells: &[(String, bool)], widths: &[usize], last_width: usize) {
    let Some(((last, last_is_number), first)) = cells.split_last() else { return };
    let mut start = String::new();
    for ((text, number), &width) in first.iter().zip(widths) {
        let text = tame(text, width.saturating_sub(usize::from(text.chars().count() > width)));
        start.push_str(&if *number { format!("{text:>width$}  ") } else { format!("{text:<width$}  ") });
    }
    let indent = start.chars().count();
    let width = widths.last().copied().unwrap_or(0);
    let last = if *last_is_number { format!("{last:>width$}") } else { last.clone() };
    let mut lines = if last.chars().count() <= last_width { vec![last] } else { broken(&last, last_width) }.into_iter();
    line(page, &format!("{start}{}", lines.next().unwrap_or_default()));
    for more in lines {
        line(page, &format!("{:indent$}{more}", ""));
    }
}

fn write_charts(page: &mut String, charts: &Charts) {
    let slots = charts.rows.iter().flat_map(|row| &row.curves).map(|curve| curve.points.len()).max().unwrap_or(0);
    line(page, &format!("{} to {} UTC, one column for {}", charts.from, charts.until, charts.step));
    for chart in &charts.rows {
        write_chart(page, chart);
    }
    if charts.marks.is_empty() || slots == 0 {
        return;
    }
    let mut marks = vec![' '; slots];
    for mark in &charts.marks {
        // The share of a span of at most some hundred columns.
        let column = ((mark.at.clamp(0.0, 1.0) * slots as f64) as usize).min(slots - 1);
        marks[column] = if marks[column] == ' ' { mark.letter } else { '*' };
    }
    line(page, &format!("        {}", marks.into_iter().collect::<String>()));
    let meaning: Vec<String> = charts.marks.iter().map(|mark| format!("{} {}", mark.letter, mark.what)).collect();
    wrap(page, "        ", &format!("{}, * more than one", meaning.join(", ")));
}

fn write_chart(page: &mut String, chart: &Chart) {
    let values = match &chart.values {
        Values::Sides { blue, green } => format!("blue {blue}, green {green}"),
        Values::Shared(value) => value.clone(),
    };
    wrap(page, "", &format!("{}: {values}; highest column {}", chart.name, chart.peak));
    let top = Charts::top(chart);
    for curve in &chart.curves {
        let side = match curve.kind {
            Kind::Blue => "blue",
            Kind::Green => "green",
            Kind::Shared => "both",
        };
        line(page, &format!("  {side:<6}{}", bars(curve, top)));
    }
}

fn bars(curve: &Curve, top: f64) -> String {
    let bar = |value: f64| {
        let height = if top > 0.0 { (value / top * 7.0).round() as usize } else { 0 };
        BARS[height.min(BARS.len() - 1)]
    };
    curve.points.iter().map(|point| point.map_or(' ', bar)).collect()
}

fn write_log(page: &mut String, log: &Log) {
    wrap(page, "", &format!("--- {} ({})", log.title, log.note));
    let left_out = log.lines.len().saturating_sub(LOG_LINES_MAX);
    if left_out > 0 {
        line(page, &format!("    … {left_out} more lines are in index.html"));
    }
    for text in log.lines.iter().skip(left_out) {
        line(page, &format!("    {}", tame(text, 240)));
    }
}

fn heading(page: &mut String, title: &str) {
    line(page, "");
    line(page, title);
    line(page, &"-".repeat(title.chars().count()));
}

fn item(page: &mut String, mark: &str, text: &str) {
    let indent = mark.chars().count();
    for (index, part) in broken(&tame(text, TEXT_MAX), WIDTH - indent).into_iter().enumerate() {
        let start = if index == 0 { mark.to_owned() } else { " ".repeat(indent) };
        line(page, &format!("{start}{part}"));
    }
}

fn wrap(page: &mut String, indent: &str, text: &str) {
    for part in broken(&tame(text, TEXT_MAX), WIDTH - indent.len()) {
        line(page, &format!("{indent}{part}"));
    }
}

fn line(page: &mut String, text: &str) {
    page.push_str(text.trim_end());
    page.push('\n');
}

/// Broken between words; a word that is wider than a line stands on one of its own. A command is one word.
fn broken(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let (mut length, mut in_command) = (0, false);
    let ends = |c: char| {
        in_command ^= c == '`';
        c == ' ' && !in_command
    };
    for word in text.split(ends) {
        let more = word.chars().count();
        if length > 0 && length + 1 + more > width {
            lines.push(String::new());
            length = 0;
        }
        let Some(last) = lines.last_mut() else { continue };
        if length > 0 {
            last.push(' ');
            length += 1;
        }
        last.push_str(word);
        length += more;
    }
    lines
}
