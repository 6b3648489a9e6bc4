//! Numbers, moments and foreign text as the page writes them.

use bellwether_core::time::{Millis, UnixMillis};

/// About three significant digits, no trailing zeros.
pub(super) fn number(x: f64) -> String {
    if !x.is_finite() {
        return "?".to_owned();
    }
    let decimals = match x.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{x:.decimals$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// `57 of 184 (31 %)`; a dash where there was nothing.
pub(super) fn share(part: u64, of: u64) -> String {
    if of == 0 { "–".to_owned() } else { format!("{part} of {of} ({} %)", number(ratio(part, of) * 100.0)) }
}

pub(super) fn ratio(part: u64, of: u64) -> f64 {
    real(part) / real(of.max(1))
}

#[expect(clippy::cast_precision_loss, reason = "counts and bytes fit 53 bits")]
pub(super) fn real(n: u64) -> f64 {
    n as f64
}

pub(super) fn mib(bytes: f64) -> String {
    let mib = bytes / f64::from(1 << 20);
    if mib >= 1024.0 { format!("{} GiB", number(mib / 1024.0)) } else { format!("{mib:.0} MiB") }
}

/// From microseconds.
pub(super) fn span(micros: f64) -> String {
    if micros >= 1e6 { format!("{} s", number(micros / 1e6)) } else { format!("{} ms", number(micros / 1e3)) }
}

pub(super) fn seconds(span: Millis) -> String {
    if (1..1000).contains(&span.0) {
        return format!("{} ms", span.0);
    }
    if span < Millis::from_mins(10) { format!("{} s", number(span.as_secs_f64())) } else { span.to_string() }
}

pub(super) fn plural(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// The first names, and how many more there are.
pub(super) fn names<T: ToString>(names: &[T], shown_max: usize) -> String {
    let shown: Vec<String> = names.iter().take(shown_max).map(ToString::to_string).collect();
    let shown = shown.join(", ");
    if names.len() > shown_max { format!("{shown} and {} more", names.len() - shown_max) } else { shown }
}

/// `2026-11-23 02:14:31`, UTC.
pub(super) fn date(at: UnixMillis) -> String {
    moment(at, "%Y-%m-%d %H:%M:%S")
}

/// `02:14:31.4`, UTC.
pub(super) fn clock(at: UnixMillis) -> String {
    format!("{}.{}", moment(at, "%H:%M:%S"), at.0 % 1000 / 100)
}

fn moment(at: UnixMillis, format: &str) -> String {
    let time = i64::try_from(at.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    time.map_or_else(|| format!("{} ms after 1970", at.0), |time| time.strftime(format).to_string())
}

/// Text of foreign origin without what would steer a terminal or turn the direction of writing; at most `max`
/// characters.
pub(super) fn tame(text: &str, max: usize) -> String {
    let mut tamed = String::with_capacity(text.len().min(4 * max));
    for (index, c) in text.chars().enumerate() {
        if index == max {
            tamed.push('…');
            break;
        }
        match c {
            '\t' => tamed.push(' '),
            c if c.is_control() || turns_writing(c) => tamed.push('\u{fffd}'),
            c => tamed.push(c),
        }
    }
    tamed
}

fn turns_writing(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_moments_read_as_a_person_writes_them() {
        assert_eq!([0.0, 0.31, 2.5, 31.25, 1204.4, f64::NAN].map(number), ["0", "0.31", "2.5", "31.2", "1204", "?"]);
        assert_eq!((share(57, 184), share(0, 0)), ("57 of 184 (31 %)".to_owned(), "–".to_owned()));
        assert_eq!(clock(UnixMillis(1_795_400_071_450)), "02:14:31.4");
        assert_eq!(date(UnixMillis(u64::MAX)), "18446744073709551615 ms after 1970");
        assert_eq!(names(&["a", "b", "c"], 2), "a, b and 1 more");
    }

    #[test]
    fn foreign_text_steers_no_terminal() {
        assert_eq!(tame("\u{1b}[2Jgone\u{202e}evil\r", 40), "\u{fffd}[2Jgone\u{fffd}evil\u{fffd}");
        assert_eq!(tame("abcdef", 3), "abc…");
    }
}
