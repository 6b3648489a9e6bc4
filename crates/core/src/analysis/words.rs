//! Numbers as the sentences of a report write them.

/// `1204` as `1,204`.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A share of 0.002 as `0.2 %`.
pub(crate) fn percent(share: f64) -> String {
    format!("{} %", number(share * 100.0))
}

/// A difference of shares of 0.011 as `1.1 points`.
pub(super) fn points(difference: f64) -> String {
    format!("{} points", number(difference * 100.0))
}

/// About three significant digits, no trailing zeros.
pub(crate) fn number(x: f64) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_a_person_writes_them() {
        assert_eq!([0, 999, 1204, 9_880_000].map(count), ["0", "999", "1,204", "9,880,000"]);
        assert_eq!([0.0, 0.002, 0.0123, 0.3, 1.0].map(percent), ["0 %", "0.2 %", "1.23 %", "30 %", "100 %"]);
        assert_eq!([0.011, 0.0004, -0.000_001].map(points), ["1.1 points", "0.04 points", "0 points"]);
    }
}
