//! How figures and paragraphs are set.

use std::fmt::{self, Write};

use crate::time::Millis;

/// Lines are not longer than this, tables apart.
const WIDTH: usize = 110;

pub(super) fn row(f: &mut fmt::Formatter<'_>, at: &mut Millis, what: &str, span: Millis, note: &str) -> fmt::Result {
    let (from, to) = (*at, *at + span);
    *at = to;
    let range = format!("{} – {}", exact(from), exact(to));
    writeln!(f, "  {what:<14} {span:<8} {range:<19} {note}")
}

/// To the second even beyond an hour, where the usual form rounds to minutes: compressed bakes are that short.
pub(super) fn exact(at: Millis) -> String {
    let secs = at.0.div_ceil(1000);
    let (hours, minutes, seconds) = (secs / 3600, secs / 60 % 60, secs % 60);
    match (hours, seconds) {
        (0, _) if at == Millis::ZERO => "0".to_owned(),
        (0, _) | (_, 0) => at.to_string(),
        _ => format!("{hours}h{minutes:02}m{seconds:02}s"),
    }
}

/// A wait of hours or days: `45m`, `2h05m`, `2d03h`.
pub(super) fn days(span: Millis) -> String {
    let hours = (span.0 + 1_800_000) / 3_600_000;
    match (hours / 24, hours % 24) {
        (0, _) => span.to_string(),
        (days, 0) => format!("{days}d"),
        (days, hours) => format!("{days}d{hours:02}h"),
    }
}

/// Names in a few lines that align, and how many there are besides.
pub(super) fn wrapped<'n>(
    f: &mut fmt::Formatter<'_>,
    names: impl Iterator<Item = &'n str>,
    lines_max: usize,
) -> fmt::Result {
    const INDENT: &str = "       ";
    /// For "and 117 more".
    const ROOM: usize = 14;
    let names: Vec<&str> = names.collect();
    let mut lines = 1;
    let mut line = INDENT.to_owned();
    for (i, name) in names.iter().enumerate() {
        let last = i + 1 == names.len();
        let room = if lines == lines_max && !last { ROOM } else { 0 };
        if line.len() > INDENT.len() && line.chars().count() + name.chars().count() + 2 + room > WIDTH {
            if lines == lines_max {
                return writeln!(f, "{} and {} more", line.trim_end().trim_end_matches(','), names.len() - i);
            }
            writeln!(f, "{}", line.trim_end())?;
            line = INDENT.to_owned();
            lines += 1;
        }
        write!(line, "{name}{}", if last { "" } else { ", " })?;
    }
    writeln!(f, "{line}")
}

/// A paragraph, indented like the rest of a section.
pub(super) fn prose(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let mut line = String::from(" ");
    for word in text.split(' ') {
        if line.chars().count() + word.chars().count() >= WIDTH {
            writeln!(f, "{line}")?;
            line = String::from(" ");
        }
        line.push(' ');
        line.push_str(word);
    }
    writeln!(f, "{line}")
}

pub(super) fn after(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast that saturates")]
    let whole = Millis((seconds.ceil() * 1e3) as u64);
    whole.to_string()
}

pub(super) fn percent(share: f64) -> String {
    format!("{} %", trimmed(share * 100.0))
}

/// At most two decimals, none of them idle.
pub(super) fn trimmed(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

pub(super) fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

pub(super) fn yes(flag: bool) -> String {
    if flag { "yes" } else { "no" }.to_owned()
}
