//! Figures as people write them: `48GiB`, `30m`, `5%`. Every figure carries its unit, because a bare number is
//! read as seconds by one person and as milliseconds by the next.

use std::fmt;

use crate::time::Millis;

/// Why a figure was not understood; `help` says how to write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadFigure {
    pub cause: String,
    pub help: String,
}

impl fmt::Display for BadFigure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause)
    }
}

impl std::error::Error for BadFigure {}

/// A span such as `250ms`, `2s`, `1.5h` or `1h30m`; `0` needs no unit.
pub fn millis(text: &str) -> Result<Millis, BadFigure> {
    const UNITS: [(&str, f64); 5] = [("ms", 1.0), ("s", 1e3), ("m", 60e3), ("h", 3600e3), ("d", 86_400e3)];
    let total = sum(text, &UNITS).map_err(|cause| BadFigure {
        cause,
        help: match number(text) {
            Some(n) => format!("write the unit: {n}s for seconds, {n}m for minutes, {n}h for hours"),
            None => "write a number and a unit (ms, s, m, h, d), such as 30m, 2s or 1h30m".to_owned(),
        },
    })?;
    whole(total).map(Millis).ok_or_else(|| BadFigure {
        cause: "it is longer than ten years".to_owned(),
        help: "write a span that a rollout can live through".to_owned(),
    })
}

/// A size such as `512MiB`, `1.5GiB` or `48GB`; `0` needs no unit.
pub fn bytes(text: &str) -> Result<u64, BadFigure> {
    const UNITS: [(&str, f64); 9] = [
        ("B", 1.0),
        ("KiB", 1024.0),
        ("MiB", 1_048_576.0),
        ("GiB", 1_073_741_824.0),
        ("TiB", 1_099_511_627_776.0),
        ("kB", 1e3),
        ("MB", 1e6),
        ("GB", 1e9),
        ("TB", 1e12),
    ];
    let total = sum(text, &UNITS).map_err(|cause| BadFigure {
        cause,
        help: match number(text) {
            Some(n) => format!("write the unit: {n}MiB or {n}GiB"),
            None => "write a number and a unit (B, KiB, MiB, GiB, TiB, kB, MB, GB, TB), such as 512MiB".to_owned(),
        },
    })?;
    whole(total).ok_or_else(|| BadFigure {
        cause: "no machine has that much".to_owned(),
        help: "write a size such as 48GiB".to_owned(),
    })
}

/// A share or ratio: `0.05` or `5%`, `1.5` or `150%`.
pub fn share(text: &str) -> Result<f64, BadFigure> {
    let (figure, whole) = match text.strip_suffix('%') {
        Some(percent) => (percent.trim_end(), 100.0),
        None => (text, 1.0),
    };
    // Divided, because 95 × 0.01 is not the number that 0.95 is.
    number(figure).map(|n| n / whole).ok_or_else(|| BadFigure {
        cause: "it is not a number".to_owned(),
        help: "write a share such as 0.05 or 5%, or a ratio such as 1.5 or 150%".to_owned(),
    })
}

/// How often per minute: a plain number, as a share or another unit would be read as something else.
pub fn per_minute(text: &str) -> Result<f64, BadFigure> {
    number(text).ok_or_else(|| BadFigure {
        cause: "it is not a plain number".to_owned(),
        help: "write how many per minute, such as 3".to_owned(),
    })
}

/// A size for people: `6.8 GiB`, `512 MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[expect(clippy::cast_precision_loss, reason = "for display")]
        let bytes = self.0 as f64;
        let (value, unit) = match self.0 {
            0..1024 => return f.pad(&format!("{} B", self.0)),
            1024..1_048_576 => (bytes / 1024.0, "KiB"),
            1_048_576..1_073_741_824 => (bytes / 1_048_576.0, "MiB"),
            _ => (bytes / 1_073_741_824.0, "GiB"),
        };
        let figure = if value < 100.0 { format!("{value:.1}") } else { format!("{value:.0}") };
        f.pad(&format!("{} {unit}", figure.strip_suffix(".0").unwrap_or(&figure)))
    }
}

/// Adds up `1h30m`-like terms. The error is the cause, in words.
fn sum(text: &str, units: &[(&str, f64)]) -> Result<f64, String> {
    let mut rest = text.trim();
    if rest == "0" {
        return Ok(0.0);
    }
    if rest.is_empty() {
        return Err("it is empty".to_owned());
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let value: f64 = rest[..digits].parse().map_err(|_| "it does not start with a number".to_owned())?;
        rest = rest[digits..].trim_start();
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let unit = &rest[..letters];
        let (_, scale) = units.iter().find(|(name, _)| *name == unit).ok_or_else(|| {
            if unit.is_empty() { "it has no unit".to_owned() } else { format!("there is no unit {unit:?} here") }
        })?;
        total += value * scale;
        rest = rest[letters..].trim_start();
    }
    Ok(total)
}

fn number(text: &str) -> Option<f64> {
    let plain = text.starts_with(|c: char| c.is_ascii_digit());
    text.parse().ok().filter(|n: &f64| plain && n.is_finite())
}

/// Rounded; `None` beyond what figures of this product can be.
fn whole(value: f64) -> Option<u64> {
    const MOST: f64 = 4e14;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and MOST")]
    (0.0..MOST).contains(&value).then(|| value.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_sizes_read_as_people_write_them() {
        for (text, ms) in
            [("250ms", 250), ("2s", 2000), ("30m", 1_800_000), ("1h30m", 5_400_000), ("1.5h", 5_400_000), ("0", 0)]
        {
            assert_eq!(millis(text), Ok(Millis(ms)), "{text}");
        }
        for (text, size) in [("48GiB", 48 << 30), ("512 MiB", 512 << 20), ("1.5GiB", 3 << 29), ("2GB", 2_000_000_000)] {
            assert_eq!(bytes(text), Ok(size), "{text}");
        }
        assert_eq!(share("150%"), Ok(1.5));
        assert_eq!(share("0.05"), Ok(0.05));
        assert_eq!(share("95%"), Ok(0.95));
    }

    #[test]
    fn a_bare_number_is_answered_with_its_own_figure_and_a_unit() {
        assert!(millis("30").unwrap_err().help.contains("30m"));
        assert!(bytes("48").unwrap_err().help.contains("48GiB"));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "m", "-5s", "3 fortnights", "1h 2", "1e999h", "99999999999d", "1.2.3s"] {
            assert!(millis(text).is_err(), "{text}");
        }
        for text in ["GiB", "48gib", "nan", "1e30GiB"] {
            assert!(bytes(text).is_err(), "{text}");
        }
        for text in ["inf", "NaN", "-1", "five", "%"] {
            assert!(share(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_shown_short() {
        let shown: Vec<String> = [512, 3 << 20, 1_610_612_736, 48 << 30, 131 << 20].map(|b| Size(b).to_string()).into();
        assert_eq!(shown, ["512 B", "3 MiB", "1.5 GiB", "48 GiB", "131 MiB"]);
    }
}
