//! When rollouts may go on: `freeze`, `timezone`, `window` and `at_end` of the `rollout` section.

use super::{
    AtEnd, FreezeWindow, RolloutPolicy, When, Zone,
    calendar::{self, Time},
    reader::{Field, Fields, Reader},
    yaml::{Mark, Node},
};
use crate::diagnostic::Diagnostic;

const KEYS: [&str; 3] = ["name", "from", "to"];
/// Beyond it a name would not fit beside what is said of it.
const NAME_MAX: usize = 40;
/// Weekly windows are expanded for each plan.
const WINDOWS_MAX: usize = 100;

/// Whether a zone of this name is known; the error is the reason why not.
pub type KnowsZone<'a> = &'a dyn Fn(&str) -> Result<(), String>;

pub(super) fn read(r: &mut Reader<'_>, f: &Fields<'_>, knows: KnowsZone<'_>, policy: &mut RolloutPolicy) {
    policy.timezone = zone(r, f.get("timezone"), knows).unwrap_or_default();
    policy.freeze = windows(r, f.get("freeze"));
    policy.window = r.some_millis(f.get("window"));
    let ends = [("pause", AtEnd::Pause), ("rollback", AtEnd::Rollback)];
    policy.at_end = r.choice(f.get("at_end"), "BW0127", &ends).unwrap_or_default();
    if f.has("at_end") && !f.has_or_meant("window") {
        r.report(
            f.at("at_end"),
            Diagnostic::new("BW0344", "\"at_end\" says what happens when the window closes, and there is no window")
                .help("write window: and the time within which a rollout must be done, such as window: 6h"),
        );
    }
}

fn zone(r: &mut Reader<'_>, field: Option<Field<'_>>, knows: KnowsZone<'_>) -> Option<Zone> {
    let field = field?;
    let text = r.text(Some(field))?;
    let refused = |cause: String, help: String| {
        Diagnostic::new("BW0341", format!("the time zone {text:?} is not known")).because(cause).help(help)
    };
    match calendar::zone(text.trim()) {
        Ok(Zone::Named(name)) => match knows(&name) {
            Ok(()) => return Some(Zone::Named(name)),
            Err(why) => r.report(
                field.node.at,
                refused(
                    why,
                    "check the name, install the system's time zones (package tzdata), or write the difference to UTC, \
                     such as +01:00"
                        .to_owned(),
                ),
            ),
        },
        Ok(zone) => return Some(zone),
        Err(bad) => r.report(field.node.at, refused(bad.cause, bad.help)),
    }
    None
}

fn windows(r: &mut Reader<'_>, field: Option<Field<'_>>) -> Vec<FreezeWindow> {
    let nodes = r.items(field);
    if let (Some(field), true) = (field, nodes.len() > WINDOWS_MAX) {
        let many = format!("there are {} freeze windows, and at most {WINDOWS_MAX} are read", nodes.len());
        r.report(field.node.at, Diagnostic::new("BW0340", many).help("leave out those that are over"));
        return Vec::new();
    }
    let mut windows: Vec<FreezeWindow> = Vec::new();
    for node in nodes {
        let Some((window, at)) = window(r, node) else { continue };
        if windows.iter().any(|other| other.name == window.name) {
            let twice = format!("two freeze windows are named {:?}", window.name);
            r.report(at, Diagnostic::new("BW0340", twice).help("give each a name of its own, as messages name them"));
        }
        windows.push(window);
    }
    if let Some(field) = field
        && calendar::leave_nothing(windows.iter().map(|window| &window.when))
    {
        r.report(
            field.node.at,
            Diagnostic::new(
                "BW0340",
                "the weekly freeze windows together leave no time of the week in which a rollout could go on",
            )
            .help("shorten one of them; a day is written as from: \"Sat 00:00\", to: \"Sun 00:00\""),
        );
    }
    windows
}

/// With the place of its name.
fn window(r: &mut Reader<'_>, node: &Node) -> Option<(FreezeWindow, Mark)> {
    let f = r.fields(node, "a freeze window", &KEYS)?;
    for key in KEYS {
        if !f.has_or_meant(key) {
            r.report(
                f.at,
                Diagnostic::new("BW0340", format!("a freeze window has no {key:?}"))
                    .help("write - {name: weekend, from: \"Fri 16:00\", to: \"Mon 08:00\"}"),
            );
        }
    }
    let name = name(r, f.get("name"));
    let (from, to) = (time(r, f.get("from")), time(r, f.get("to")));
    let when = match (from?, to?) {
        (Time::OfWeek(from), Time::OfWeek(to)) if from != to => When::Weekly { from, to },
        (Time::OnDate(from), Time::OnDate(to)) if from < to => When::Once { from, to },
        (Time::OfWeek(_), Time::OfWeek(_)) => {
            let same = Diagnostic::new("BW0340", "a freeze window begins and ends at the same time of the week");
            r.report(f.at("to"), same.help("write when it ends"));
            return None;
        }
        (Time::OnDate(from), Time::OnDate(to)) => {
            let wrong = format!("a freeze window ends at {to}, and that is not after its beginning, {from}");
            r.report(f.at("to"), Diagnostic::new("BW0340", wrong).help("exchange the two, or correct the year"));
            return None;
        }
        (Time::OfWeek(_), Time::OnDate(_)) | (Time::OnDate(_), Time::OfWeek(_)) => {
            r.report(
                f.at("to"),
                Diagnostic::new(
                    "BW0340",
                    "a freeze window begins by the week and ends by the calendar, or the other way round",
                )
                .help("write two days of the week for one that comes every week, or two dates for one that comes once"),
            );
            return None;
        }
    };
    Some((FreezeWindow { name: name?, when }, f.at("name")))
}

fn name(r: &mut Reader<'_>, field: Option<Field<'_>>) -> Option<String> {
    let field = field?;
    let text = r.text(Some(field))?;
    let name = text.trim();
    if name.chars().count() <= NAME_MAX && !name.chars().any(|c| c.is_control() || c == '"') {
        return Some(name.to_owned());
    }
    r.report(
        field.node.at,
        Diagnostic::new("BW0340", "this cannot be the name of a freeze window")
            .because(format!("it stands in messages: one line, {NAME_MAX} characters at most, no quotes"))
            .help("write a name such as weekend"),
    );
    None
}

fn time(r: &mut Reader<'_>, field: Option<Field<'_>>) -> Option<Time> {
    let field = field?;
    let text = r.text(Some(field))?;
    calendar::time(&text)
        .map_err(|bad| {
            let message = format!("{:?} is not a time of the week or of the calendar: {text}", field.name);
            r.report(field.node.at, Diagnostic::new("BW0340", message).because(bad.cause).help(bad.help));
        })
        .ok()
}
