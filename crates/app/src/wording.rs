//! Text for a terminal: broken into lines, numbers with their nouns.

/// Words broken into lines of at most `width` characters; a longer word stands alone. Line breaks of the text stay.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        let mut used = 0;
        for word in paragraph.split_whitespace() {
            let long = word.chars().count();
            if used > 0 && used + 1 + long > width {
                lines.push(std::mem::take(&mut line));
                used = 0;
            }
            if used > 0 {
                line.push(' ');
                used += 1;
            }
            line.push_str(word);
            used += long;
        }
        lines.push(line);
    }
    lines
}

/// `1 agent`, `3 agents`.
pub(crate) fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// At most `max` of the names, and how many more there are.
pub(crate) fn some<'n>(names: impl IntoIterator<Item = &'n str>, max: usize) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    let shown = names.iter().take(max).copied().collect::<Vec<_>>().join(", ");
    if names.len() > max { format!("{shown} and {} more", names.len() - max) } else { shown }
}

/// `1204` as `1,204`.
pub(crate) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// About three digits, none of them idle.
pub(crate) fn figure(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 4,
    };
    let text = format!("{value:.decimals$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words_and_nowhere_else() {
        assert_eq!(wrap("one two three\nfour", 8), ["one two", "three", "four"]);
        assert_eq!(wrap("a-word-that-is-too-long for it", 8), ["a-word-that-is-too-long", "for it"]);
        assert_eq!(wrap("größe ärger", 11), ["größe ärger"]);
    }

    #[test]
    fn numbers_are_as_long_as_they_say_something() {
        assert_eq!(
            [0.0, 0.05, 0.00004, 1.0, 16.03, 29.92, 103.7].map(figure),
            ["0", "0.05", "0", "1", "16", "29.9", "104"]
        );
        assert_eq!([7, 999, 1204, 1_000_000].map(grouped), ["7", "999", "1,204", "1,000,000"]);
    }

    #[test]
    fn long_lists_are_cut_with_their_count() {
        assert_eq!(some(["a", "b"], 2), "a, b");
        assert_eq!(some(["a", "b", "c", "d"], 2), "a, b and 2 more");
        assert_eq!(
            (counted(1, "agent", "agents"), counted(0, "agent", "agents")),
            ("1 agent".into(), "0 agents".into())
        );
    }
}
