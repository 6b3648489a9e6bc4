//! Freeze windows as moments: what the fleet file says by the week and by the calendar, in its time zone.
//!
//! Core has neither a clock nor a table of zones, and the machine must find the same moments whenever it replays. So
//! they are resolved here, once for each plan, and go into it.

use bellwether_core::{
    diagnostic::Diagnostic,
    plan::{Freeze, Plan},
    spec::{DateTime, RolloutPolicy, WeekTime, When, Zone},
    time::{Millis, UnixMillis},
};
use jiff::{Span, Timestamp, civil, tz};

/// Weekly windows are resolved for so long after a plan could be done: it may wait for a person meanwhile.
const AHEAD: Millis = Millis::from_mins(35 * 24 * 60);

/// Whether this machine knows a time zone of this name; the error is the reason why not.
pub fn knows_zone(name: &str) -> Result<(), String> {
    tz::TimeZone::get(name).map(drop).map_err(|error| error.to_string())
}

/// The plan with the freeze windows of the policy, as seen from `now`.
pub fn among(plan: Plan, policy: &RolloutPolicy, now: UnixMillis) -> Result<Plan, Diagnostic> {
    let ahead = plan.outlook.schedule.at_most() + plan.rollback_window + AHEAD;
    let freezes = freezes(policy, now, ahead)?;
    Ok(plan.among(freezes, now))
}

/// Windows that are not over yet, those of each week for so long ahead.
fn freezes(policy: &RolloutPolicy, now: UnixMillis, ahead: Millis) -> Result<Vec<Freeze>, Diagnostic> {
    let calendar = Calendar::of(&policy.timezone)?;
    let mut freezes = Vec::new();
    for window in &policy.freeze {
        // The year where it may be another one.
        let (spans, form) = match window.when {
            When::Once { from, to } => (vec![(date_time(from)?, date_time(to)?)], "%a %-d %b %Y %H:%M"),
            When::Weekly { from, to } => {
                (weekly(calendar.local(now)?, calendar.local(now + ahead)?, from, to)?, "%a %-d %b %H:%M")
            }
        };
        for (from, to) in spans {
            // What the clocks of the zone show twice or not at all makes a window longer, never shorter.
            let begins = calendar.zone.to_ambiguous_timestamp(from).earlier().map_err(out_of_range)?;
            let ends = calendar.zone.to_ambiguous_timestamp(to).later().map_err(out_of_range)?;
            let (from, until) = (unix(begins), unix(ends));
            if until > now {
                let ends = format!("{} {}", to.strftime(form), policy.timezone);
                freezes.push(Freeze { name: window.name.clone(), from, to: until, ends });
            }
        }
    }
    freezes.sort_by_key(|freeze| (freeze.from, freeze.to));
    Ok(freezes)
}

struct Calendar {
    zone: tz::TimeZone,
}

impl Calendar {
    fn of(zone: &Zone) -> Result<Self, Diagnostic> {
        let zone = match zone {
            Zone::Utc => tz::TimeZone::UTC,
            Zone::Fixed(minutes) => {
                let offset = tz::Offset::from_seconds(i32::from(*minutes) * 60).map_err(out_of_range)?;
                tz::TimeZone::fixed(offset)
            }
            Zone::Named(name) => tz::TimeZone::get(name).map_err(|error| {
                Diagnostic::new("BW0341", format!("the time zone {name:?} is not known")).because(error).help(
                    "install the system's time zones (package tzdata), or write the difference to UTC, such as +01:00",
                )
            })?,
        };
        Ok(Self { zone })
    }

    fn local(&self, at: UnixMillis) -> Result<civil::DateTime, Diagnostic> {
        let millis = i64::try_from(at.0).unwrap_or(i64::MAX);
        let at = Timestamp::from_millisecond(millis).map_err(out_of_range)?;
        Ok(self.zone.to_datetime(at))
    }
}

/// Every week's window that begins in this time, and the one that is open when it begins.
fn weekly(
    first: civil::DateTime,
    last: civil::DateTime,
    from: WeekTime,
    to: WeekTime,
) -> Result<Vec<(civil::DateTime, civil::DateTime)>, Diagnostic> {
    let days = |count: i64| Span::new().days(count);
    let begun = first.date().checked_sub(days(7)).map_err(out_of_range)?;
    let today = i64::from(begun.weekday().to_monday_zero_offset());
    let to_first = (i64::from(from.day) - today).rem_euclid(7);
    let mut date = begun.checked_add(days(to_first)).map_err(out_of_range)?;
    let mut spans = Vec::new();
    while date <= last.date() {
        let begins = date.to_datetime(of_day(from.minute)?);
        // By the calendar and not by the length: a window ends at the time that is written, also when clocks change.
        let until = u32::from(from.minute) + from.minutes_until(to);
        let ends =
            date.checked_add(days(i64::from(until / u32::from(bellwether_core::spec::DAY)))).map_err(out_of_range)?;
        spans.push((begins, ends.to_datetime(of_day(to.minute)?)));
        date = date.checked_add(days(7)).map_err(out_of_range)?;
    }
    Ok(spans)
}

fn date_time(at: DateTime) -> Result<civil::DateTime, Diagnostic> {
    let small = |part: u8| i8::try_from(part).unwrap_or_default();
    let date = civil::Date::new(at.year, small(at.month), small(at.day)).map_err(out_of_range)?;
    Ok(date.to_datetime(of_day(at.minute)?))
}

fn of_day(minute: u16) -> Result<civil::Time, Diagnostic> {
    let part = |part: u16| i8::try_from(part).unwrap_or_default();
    civil::Time::new(part(minute / 60), part(minute % 60), 0, 0).map_err(out_of_range)
}

fn unix(at: Timestamp) -> UnixMillis {
    UnixMillis(u64::try_from(at.as_millisecond()).unwrap_or_default())
}

fn out_of_range(error: jiff::Error) -> Diagnostic {
    Diagnostic::new("BW0340", "a freeze window lies beyond the calendar")
        .because(error)
        .help("check the years of the windows, and the clock of this machine")
}

#[cfg(test)]
mod tests {
    use bellwether_core::spec::{Sources, parse_fleet};

    use super::*;

    fn policy(more: &str) -> RolloutPolicy {
        let text = format!("version: 1\nagents: {{defaults: {{command: [a]}}, list: [a]}}\nrollout:\n{more}");
        let sources = Sources { name: "fleet.yaml", text: &text, read: &|_| Err("there is none".into()) };
        parse_fleet(&sources).expect("it is sound").rollout
    }

    fn at(text: &str) -> UnixMillis {
        unix(text.parse::<Timestamp>().expect("a moment"))
    }

    /// Each with its beginning and its end in UTC.
    fn shown(more: &str, now: &str, days: u64) -> Vec<String> {
        let found = freezes(&policy(more), at(now), Millis::from_mins(days * 24 * 60)).expect("it can be resolved");
        let moment = |at: UnixMillis| Timestamp::from_millisecond(at.0.cast_signed()).expect("a moment").to_string();
        found.iter().map(|one| format!("{} {} {} | {}", one.name, moment(one.from), moment(one.to), one.ends)).collect()
    }

    #[test]
    fn weeks_go_on_as_far_as_is_asked_for_and_the_open_one_is_there() {
        let weekend = "  freeze: [{name: weekend, from: \"Fri 16:00\", to: \"Mon 08:00\"}]\n";
        // A Sunday.
        insta::assert_snapshot!(shown(weekend, "2026-11-29T12:00:00Z", 8).join("\n"), @r"
        weekend 2026-11-27T16:00:00Z 2026-11-30T08:00:00Z | Mon 30 Nov 08:00 UTC
        weekend 2026-12-04T16:00:00Z 2026-12-07T08:00:00Z | Mon 7 Dec 08:00 UTC
        ");
        assert_eq!(shown(weekend, "2026-11-30T08:00:00Z", 3).len(), 0, "its end is outside of it");
    }

    #[test]
    fn a_window_within_a_day_and_one_over_midnight_end_where_they_say() {
        let windows = "  timezone: +05:30\n  freeze:\n    - {name: night, from: \"Tue 22:00\", to: \"Wed 06:00\"}\n    - {name: long, from: \"Wed 10:00\", to: \"Wed 09:00\"}\n";
        insta::assert_snapshot!(shown(windows, "2026-12-01T00:00:00Z", 3).join("\n"), @r"
        long 2026-11-25T04:30:00Z 2026-12-02T03:30:00Z | Wed 2 Dec 09:00 +05:30
        night 2026-12-01T16:30:00Z 2026-12-02T00:30:00Z | Wed 2 Dec 06:00 +05:30
        long 2026-12-02T04:30:00Z 2026-12-09T03:30:00Z | Wed 9 Dec 09:00 +05:30
        ");
    }

    #[test]
    fn a_date_is_there_however_far_it_is_until_it_is_over() {
        let once = "  freeze: [{name: year end, from: 2026-12-23T00:00, to: 2027-01-02T00:00}]\n";
        assert_eq!(shown(once, "2026-02-01T00:00:00Z", 1).len(), 1);
        assert_eq!(shown(once, "2027-01-01T23:59:59Z", 1).len(), 1);
        assert_eq!(shown(once, "2027-01-02T00:00:00Z", 1).len(), 0);
    }

    /// Needs the system's time zones, which the packages of every distribution that this is tested on bring along.
    #[test]
    fn clocks_that_change_make_no_window_shorter() {
        let windows = "  timezone: Europe/Berlin
  freeze:
    - {name: weekend, from: \"Fri 16:00\", to: \"Mon 08:00\"}
    - {name: in the gap, from: 2026-03-29T02:30, to: 2026-03-29T02:45}
    - {name: in the fold, from: 2026-10-25T02:30, to: 2026-10-25T02:45}
";
        insta::assert_snapshot!(shown(windows, "2026-03-27T00:00:00Z", 1).join("\n"), @r"
        weekend 2026-03-27T15:00:00Z 2026-03-30T06:00:00Z | Mon 30 Mar 08:00 Europe/Berlin
        in the gap 2026-03-29T00:30:00Z 2026-03-29T01:45:00Z | Sun 29 Mar 2026 02:45 Europe/Berlin
        in the fold 2026-10-25T00:30:00Z 2026-10-25T01:45:00Z | Sun 25 Oct 2026 02:45 Europe/Berlin
        ");
    }

    #[test]
    fn a_zone_that_is_not_there_is_a_refusal_and_no_panic() {
        assert!(knows_zone("Europe/Berlin").is_ok());
        let why = knows_zone("Europe/Berlim").expect_err("there is none");
        assert!(why.contains("Europe/Berlim"), "{why}");
        let policy =
            policy("  timezone: Europe/Berlim\n  freeze: [{name: a, from: \"Fri 16:00\", to: \"Mon 08:00\"}]\n");
        let refused = freezes(&policy, at("2026-11-29T12:00:00Z"), AHEAD).expect_err("it cannot be resolved");
        assert_eq!(refused.code, "BW0341");
    }
}
