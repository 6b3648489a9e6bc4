//! Times of the week and days of the calendar as people write them. What moment they are in a time zone is for the
//! shell to say: core has no clock and no table of zones.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::unit::BadFigure;

/// Minutes of a day.
pub const DAY: u16 = 24 * 60;
const WEEK: u32 = 7 * DAY as u32;

/// In which the times of freeze windows are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Zone {
    #[default]
    Utc,
    /// So many minutes east of UTC, all the year round.
    Fixed(i16),
    /// A name of the time zone database.
    Named(String),
}

/// A span in which no rollout may begin or go further.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FreezeWindow {
    pub name: String,
    #[serde(flatten)]
    pub when: When,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// Every week, perhaps over its end.
    Weekly {
        from: WeekTime,
        to: WeekTime,
    },
    Once {
        from: DateTime,
        to: DateTime,
    },
}

/// `Fri 16:00`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeekTime {
    /// From 0 for Monday.
    pub day: u8,
    /// Of the day.
    pub minute: u16,
}

/// `2026-12-23T00:00`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DateTime {
    pub year: i16,
    pub month: u8,
    pub day: u8,
    /// Of the day.
    pub minute: u16,
}

const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

impl WeekTime {
    /// Minutes since Monday 00:00.
    fn of_week(self) -> u32 {
        u32::from(self.day) * u32::from(DAY) + u32::from(self.minute)
    }

    /// How long it is from here until the next time that it is `to`; a week from a time to itself.
    pub fn minutes_until(self, to: Self) -> u32 {
        match (to.of_week() + WEEK - self.of_week()) % WEEK {
            0 => WEEK,
            minutes => minutes,
        }
    }
}

/// Whether these windows, taken together, leave no minute of the week.
pub(super) fn leave_nothing<'w>(windows: impl Iterator<Item = &'w When>) -> bool {
    let mut spans: Vec<(u32, u32)> = windows
        .filter_map(|when| match when {
            When::Weekly { from, to } => Some((from.of_week(), from.of_week() + from.minutes_until(*to))),
            When::Once { .. } => None,
        })
        .collect();
    spans.sort_unstable();
    // Twice around, so that what hangs over the end of the week is met by its beginning.
    let again: Vec<_> = spans.iter().map(|(from, to)| (from + WEEK, to + WEEK)).collect();
    let Some(&(first, mut covered)) = spans.first() else { return false };
    for (from, to) in spans.iter().chain(&again) {
        if *from > covered {
            return false;
        }
        covered = covered.max(*to);
    }
    covered >= first + WEEK
}

pub(super) fn zone(text: &str) -> Result<Zone, BadFigure> {
    let help = "write a name such as Europe/Berlin, a fixed difference such as +01:00, or UTC";
    let bad = |cause: String| BadFigure { cause, help: help.to_owned() };
    if text.eq_ignore_ascii_case("utc") {
        return Ok(Zone::Utc);
    }
    if let Some((sign, rest)) = text.strip_prefix('+').map(|rest| (1, rest)).or(text.strip_prefix('-').map(|r| (-1, r)))
    {
        let minutes = of_day(rest).map_err(|_none| bad("it is not a difference in hours and minutes".to_owned()))?;
        let most = 14 * 60;
        return match i16::try_from(minutes) {
            Ok(minutes) if minutes <= most => Ok(Zone::Fixed(sign * minutes)),
            _ => Err(bad("no zone is further than 14 hours from UTC".to_owned())),
        };
    }
    let part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '+'))
    };
    // Without a region it is an abbreviation such as CEST, of which there are several that mean different things.
    if text.contains('/') && text.len() <= 64 && text.split('/').all(part) {
        return Ok(Zone::Named(text.to_owned()));
    }
    Err(bad("it is not the name of a time zone".to_owned()))
}

/// A time of the week, or a day and time of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Time {
    OfWeek(WeekTime),
    OnDate(DateTime),
}

pub(super) fn time(text: &str) -> Result<Time, BadFigure> {
    let text = text.trim();
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        date_time(text).map(Time::OnDate)
    } else {
        week_time(text).map(Time::OfWeek)
    }
}

fn week_time(text: &str) -> Result<WeekTime, BadFigure> {
    let bad = |cause: String| BadFigure { cause, help: "write a day and a time such as \"Fri 16:00\"".to_owned() };
    let (day, time) = text.split_once(' ').ok_or_else(|| bad("it is not a day and a time".to_owned()))?;
    let matches = |known: &str| {
        let long_enough = day.len() >= 3 && day.len() <= known.len();
        long_enough && day.is_char_boundary(3) && known[..day.len()].eq_ignore_ascii_case(day)
    };
    let day = DAYS
        .iter()
        .position(|known| day.is_ascii() && matches(known))
        .ok_or_else(|| bad(format!("{day:?} is not a day of the week")))?;
    let minute = of_day(time.trim()).map_err(|cause| bad(cause.to_owned()))?;
    Ok(WeekTime { day: u8::try_from(day).unwrap_or_default(), minute })
}

fn date_time(text: &str) -> Result<DateTime, BadFigure> {
    let bad = |cause: String| BadFigure { cause, help: "write a date and a time such as 2026-12-23T00:00".to_owned() };
    let (date, time) = text.split_once(['T', ' ']).ok_or_else(|| bad("it has no time of the day".to_owned()))?;
    let parts: Vec<&str> = date.split('-').collect();
    let [year, month, day] = parts[..] else { return Err(bad(format!("{date:?} is not a date"))) };
    let part = |text: &str, digits: usize| {
        (text.len() == digits && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse::<i16>().ok()).flatten()
    };
    let (Some(year), Some(month), Some(day)) = (part(year, 4), part(month, 2), part(day, 2)) else {
        return Err(bad(format!("{date:?} is not a date")));
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return Err(bad(format!("there is no month {month}"))),
    };
    if !(1..=days).contains(&day) || year < 1970 {
        return Err(bad(format!("there is no such day as {date}")));
    }
    let minute = of_day(time.trim()).map_err(|cause| bad(cause.to_owned()))?;
    let small = |part: i16| u8::try_from(part).unwrap_or_default();
    Ok(DateTime { year, month: small(month), day: small(day), minute })
}

/// `16:00`, in minutes.
fn of_day(text: &str) -> Result<u16, &'static str> {
    const BAD: &str = "its time is not written as hours and minutes";
    let (hours, minutes) = text.split_once(':').ok_or(BAD)?;
    let number = |text: &str| {
        let plain = (1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        plain.then(|| text.parse::<u16>().ok()).flatten()
    };
    match (number(hours), number(minutes).filter(|_| minutes.len() == 2)) {
        (Some(24), Some(0)) => Err("a day ends at 23:59; 24:00 is 00:00 of the next day"),
        (Some(hours), Some(minutes)) if hours < 24 && minutes < 60 => Ok(hours * 60 + minutes),
        (Some(_), Some(_)) => Err("there is no such time of the day"),
        _ => Err(BAD),
    }
}

impl fmt::Display for WeekTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let day = DAYS.get(usize::from(self.day)).map_or("?", |day| &day[..3]);
        write!(f, "{day} {:02}:{:02}", self.minute / 60, self.minute % 60)
    }
}

impl fmt::Display for DateTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { year, month, day, minute } = self;
        write!(f, "{year:04}-{month:02}-{day:02}T{:02}:{:02}", minute / 60, minute % 60)
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Utc => f.write_str("UTC"),
            Self::Fixed(minutes) => {
                let sign = if *minutes < 0 { '-' } else { '+' };
                write!(f, "{sign}{:02}:{:02}", minutes.unsigned_abs() / 60, minutes.unsigned_abs() % 60)
            }
            Self::Named(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_week(text: &str) -> WeekTime {
        match time(text) {
            Ok(Time::OfWeek(time)) => time,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn times_and_zones_read_as_people_write_them() {
        for text in ["Fri 16:00", "friday 16:00", "FRI 16:00"] {
            assert_eq!(of_week(text), WeekTime { day: 4, minute: 16 * 60 }, "{text}");
        }
        let date = DateTime { year: 2028, month: 2, day: 29, minute: 61 };
        assert_eq!(time("2028-02-29T01:01"), Ok(Time::OnDate(date)));
        assert_eq!(time("2028-02-29 01:01"), Ok(Time::OnDate(date)));
        assert_eq!(date.to_string(), "2028-02-29T01:01");
        assert_eq!(zone("utc"), Ok(Zone::Utc));
        for (text, minutes) in [("+01:00", 60), ("-03:30", -210), ("+14:00", 840)] {
            assert_eq!(zone(text), Ok(Zone::Fixed(minutes)));
            assert_eq!(Zone::Fixed(minutes).to_string(), text);
        }
        assert_eq!(zone("America/Argentina/Ushuaia"), Ok(Zone::Named("America/Argentina/Ushuaia".to_owned())));
    }

    #[test]
    fn what_is_no_time_is_refused_with_what_is() {
        for text in [
            "Fri",
            "Fry 16:00",
            "F 16:00",
            "Fri 16",
            "Fri 24:00",
            "Fri 16:60",
            "Fri 4pm",
            "Fri 016:00",
            "2026-02-29T00:00",
            "2026-13-01T00:00",
            "2026-1-01T00:00",
            "2026-12-23",
            "1969-12-31T00:00",
            "",
            "Fré 16:00",
            "+5",
        ] {
            assert!(time(text).is_err(), "{text}");
        }
        for text in ["CEST", "+15:00", "+1", "Europe/", "/etc/passwd", "../../etc/x", "Mars/Olympus Mons", ""] {
            assert!(zone(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_week_has_no_end() {
        assert_eq!(of_week("Fri 16:00").minutes_until(of_week("Mon 08:00")), (8 + 48 + 8) * 60);
        assert_eq!(of_week("Sun 23:00").minutes_until(of_week("Mon 01:00")), 120);
        assert_eq!(of_week("Tue 10:00").minutes_until(of_week("Tue 09:00")), WEEK - 60);
    }

    #[test]
    fn windows_that_cover_the_week_together_are_found() {
        let weekly = |from: &str, to: &str| When::Weekly { from: of_week(from), to: of_week(to) };
        let week =
            [weekly("Fri 16:00", "Mon 08:00"), weekly("Mon 07:00", "Wed 00:00"), weekly("Tue 09:00", "Fri 16:00")];
        assert!(leave_nothing(week.iter()));
        assert!(!leave_nothing(week[..2].iter()));
        assert!(!leave_nothing([weekly("Tue 10:00", "Tue 09:59")].iter()));
        assert!(!leave_nothing(std::iter::empty()));
    }
}
