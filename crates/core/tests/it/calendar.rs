//! Freeze windows and the window of a rollout: as they are read, and as a plan shows them.

use bellwether_core::{
    plan::{Freeze, FreezeOverride, Plan, drill_of, make, text},
    spec::{AtEnd, DateTime, Spec, WeekTime, When, Zone},
    time::{Millis, UnixMillis},
};
use insta::assert_snapshot;

use crate::support::{fleet, machine, of, planned, shown, v2};

/// Friday 2026-11-27 12:00 UTC.
const FRIDAY: UnixMillis = UnixMillis(1_795_780_800_000);

const WEEKEND: &str = "  freeze: [{name: weekend, from: \"Fri 16:00\", to: \"Mon 08:00\"}]\n";

fn hours(count: u64) -> Millis {
    Millis::from_mins(60 * count)
}

/// From Friday 16:00 until Monday 08:00, with the beginning moved by some minutes.
fn weekend(earlier_mins: u64) -> Freeze {
    let from = UnixMillis(FRIDAY.0 + hours(4).0 - earlier_mins * 60_000);
    let to = FRIDAY + hours(4 + 64);
    Freeze { name: "weekend".into(), from, to, ends: "Mon 30 Nov 08:00 UTC".into() }
}

/// What the page says from the schedule on.
fn schedule(plan: &Plan, spec: &Spec) -> String {
    let page = text::render(plan, spec);
    let begins = page.find("\nSchedule").expect("there is a schedule");
    let ends = page[begins..].find("\nDetection").map_or(page.len(), |at| begins + at);
    page[begins..ends].to_owned()
}

/// Two phases of four agents, with what else is written of the rollout.
fn spec(more: &str) -> Spec {
    fleet(&format!(
        "version: 1\nhost: {{reserve: 0}}\nagents: {{defaults: {{command: [old]}}, list: [a0, a1, a2, a3]}}\nrollout:\n  phases: \
         [{{name: canary, select: {{agents: [a0]}}, bake: 30m}}, {{name: full, bake: 60m}}]\n{more}"
    ))
}

#[test]
fn windows_are_read_as_they_are_written() {
    let policy = spec(
        "  timezone: America/St_Johns
  window: 6h
  at_end: rollback
  freeze:
    - {name: weekend, from: \"Fri 16:00\", to: \"Mon 08:00\"}
    - {name: year end, from: 2026-12-23T00:00, to: 2027-01-02 06:30}
",
    )
    .rollout;
    assert_eq!(policy.timezone, Zone::Named("America/St_Johns".to_owned()));
    assert_eq!((policy.window, policy.at_end), (Some(hours(6)), AtEnd::Rollback));
    let weekly = When::Weekly { from: WeekTime { day: 4, minute: 960 }, to: WeekTime { day: 0, minute: 480 } };
    let once = When::Once {
        from: DateTime { year: 2026, month: 12, day: 23, minute: 0 },
        to: DateTime { year: 2027, month: 1, day: 2, minute: 390 },
    };
    let read: Vec<(&str, When)> = policy.freeze.iter().map(|window| (window.name.as_str(), window.when)).collect();
    assert_eq!(read, [("weekend", weekly), ("year end", once)]);
    let text = serde_json::to_string(&policy).expect("it can be written");
    assert_eq!(serde_json::from_str::<bellwether_core::spec::RolloutPolicy>(&text).expect("and read"), policy);
}

#[test]
fn a_policy_that_was_written_before_there_were_windows_still_reads() {
    let policy = of(1, "").rollout;
    let mut value = serde_json::to_value(&policy).expect("it can be written");
    for field in ["timezone", "freeze", "window", "at_end"] {
        value.as_object_mut().expect("a table").remove(field);
    }
    assert_eq!(serde_json::from_value::<bellwether_core::spec::RolloutPolicy>(value).expect("it reads"), policy);
}

#[test]
fn a_plan_shows_where_a_freeze_would_hold_it_up() {
    let spec = spec(WEEKEND);
    let plan = planned(&spec, &machine(4)).among(vec![weekend(150)], FRIDAY);
    assert_snapshot!(schedule(&plan, &spec));
    // The window begins while the second phase bakes: only what comes after the validation waits.
    let plan = planned(&spec, &machine(4)).among(vec![weekend(60)], FRIDAY);
    assert_snapshot!(schedule(&plan, &spec));
}

#[test]
fn a_plan_in_a_freeze_is_for_a_start_after_it() {
    let spec = spec(WEEKEND);
    let plan = planned(&spec, &machine(4)).among(vec![weekend(0)], FRIDAY + hours(30));
    assert_snapshot!(schedule(&plan, &spec));
    let mut over = planned(&spec, &machine(4));
    over.freeze_override = Some(FreezeOverride { by: "ann".into(), why: "hotfix for the login".into() });
    let over = over.among(vec![weekend(0)], FRIDAY + hours(30));
    assert!(schedule(&over, &spec).contains("Freeze windows do not count, as ann says: hotfix for the login"));
    assert!(over.outlook.timetable.is_some_and(|table| table.start.is_none() && table.waits.is_empty()));
}

#[test]
fn a_plan_that_no_freeze_touches_says_so() {
    let spec = spec(WEEKEND);
    let far = Freeze { from: FRIDAY + hours(50), to: FRIDAY + hours(60), ..weekend(0) };
    let plan = planned(&spec, &machine(4)).among(vec![far], FRIDAY);
    assert!(schedule(&plan, &spec).contains("No freeze window is in the way of a start now."));
    assert_eq!(plan.outlook.timetable.clone().map(|table| table.lasts), Some(plan.outlook.schedule.expected()));
    let drill = drill_of(&plan).among(vec![weekend(0)], FRIDAY);
    assert_eq!(drill.window, None);
    assert_eq!(drill.outlook.timetable.map(|table| table.waits.len()), Some(0), "a drill is over before");
}

#[test]
fn a_plan_shows_its_window_and_the_buffer_in_it() {
    let spec = spec("  window: 4h\n");
    assert_snapshot!(schedule(&planned(&spec, &machine(4)), &spec));
    let tight = self::spec("  window: 3h10s\n  at_end: rollback\n");
    let plan = planned(&tight, &machine(4));
    assert!(Some(plan.outlook.schedule.expected()) > plan.window, "moving the agents takes longer than ten seconds");
    assert_snapshot!(schedule(&plan, &tight));
    let frozen = planned(&spec, &machine(4)).among(vec![weekend(150)], FRIDAY);
    let words = schedule(&frozen, &spec).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("With the freezes below it would take 2d22h, and not be done in its window."), "{words}");
}

#[test]
fn a_plan_that_cannot_be_done_in_its_window_is_refused_with_the_numbers() {
    let found = make(&spec("  window: 2h\n"), &v2(), &machine(4), 1.0).expect_err("it is too short");
    assert_snapshot!(shown(&found));
}
