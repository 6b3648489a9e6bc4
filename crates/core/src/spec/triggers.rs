//! The `triggers` section: what ends a rollout at once. Each trigger may be switched off by the word `off`.

use super::{
    OnSharedFault, Progress, Scope, Triggers,
    reader::{Field, Reader},
    yaml::Kind,
};
use crate::diagnostic::Diagnostic;

const KEYS: [&str; 10] = [
    "memory",
    "cpu",
    "errors",
    "latency",
    "model_failures",
    "breaker_trips",
    "health_failures",
    "progress",
    "on_shared_fault",
    "scope",
];

/// A trigger on less than a tenth of the machine would fire on a fleet that does nothing.
const OF_THE_MACHINE: (f64, f64) = (0.1, 1.0);
/// Zero would call the first failure ever a reason to go back.
const SHARE: (f64, f64) = (0.001, 1.0);
const RATIO: (f64, f64) = (1.05, 100.0);
const PER_MINUTE: (f64, f64) = (0.1, 10_000.0);

pub(super) fn read(r: &mut Reader<'_>, section: Option<Field<'_>>, t: &mut Triggers) {
    let Some(f) = section.and_then(|field| r.fields(field.node, "\"triggers\"", &KEYS)) else { return };
    unless_off(r, f.get("memory"), &mut t.memory, |r, field| r.share(field, OF_THE_MACHINE));
    unless_off(r, f.get("errors"), &mut t.errors, |r, field| r.share(field, SHARE));
    unless_off(r, f.get("latency"), &mut t.latency, |r, field| r.share(field, RATIO));
    unless_off(r, f.get("model_failures"), &mut t.model_failures, |r, field| r.share(field, SHARE));
    unless_off(r, f.get("breaker_trips"), &mut t.breaker_trips, |r, field| r.per_minute(field, PER_MINUTE));
    unless_off(r, f.get("health_failures"), &mut t.health_failures, |r, field| r.small(field, 0));
    cpu(r, f.get("cpu"), t);
    t.progress = progress(r, f.get("progress")).unwrap_or(t.progress);
    let shared = [("rollback", OnSharedFault::Rollback), ("hold", OnSharedFault::Hold)];
    t.on_shared_fault = r.choice(f.get("on_shared_fault"), "BW0127", &shared).unwrap_or(t.on_shared_fault);
    let scopes = [("agent", Scope::Agent), ("type", Scope::Type), ("phase", Scope::Phase), ("rollout", Scope::Rollout)];
    t.scope = r.choice(f.get("scope"), "BW0127", &scopes).unwrap_or(t.scope);
}

fn unless_off<T>(
    r: &mut Reader<'_>,
    field: Option<Field<'_>>,
    trigger: &mut Option<T>,
    read: impl FnOnce(&mut Reader<'_>, Option<Field<'_>>) -> Option<T>,
) {
    match field.map(|field| (field, word(field))) {
        None => {}
        Some((_, Some("off"))) => *trigger = None,
        Some((field, Some(meant @ ("no" | "none" | "never" | "false" | "disabled" | "true" | "on" | "auto")))) => {
            not_a_limit(r, field, meant);
        }
        Some((field, _)) => {
            if let Some(figure) = read(r, Some(field)) {
                *trigger = Some(figure);
            }
        }
    }
}

/// `90%`, or `{above: 90%, for: 60s}`.
fn cpu(r: &mut Reader<'_>, field: Option<Field<'_>>, t: &mut Triggers) {
    let Some(field) = field else { return };
    if !matches!(field.node.kind, Kind::Table(_)) {
        return unless_off(r, Some(field), &mut t.cpu, |r, field| r.share(field, OF_THE_MACHINE));
    }
    let Some(f) = r.fields(field.node, "\"cpu\"", &["above", "for"]) else { return };
    if let Some(share) = r.share(f.get("above"), OF_THE_MACHINE) {
        t.cpu = Some(share);
    }
    t.cpu_for = r.some_millis(f.get("for")).unwrap_or(t.cpu_for);
}

fn progress(r: &mut Reader<'_>, field: Option<Field<'_>>) -> Option<Progress> {
    let field = field?;
    match word(field) {
        Some("auto") => Some(Progress::Auto),
        Some("off") => Some(Progress::Off),
        Some(text) if !text.starts_with(|c: char| c.is_ascii_digit()) => {
            let wrong = Diagnostic::new("BW0127", format!("\"progress\" cannot be {}", field.node.describe()));
            r.report(field.node.at, wrong.help("write auto, off, or the longest pause that is borne, such as 90s"));
            None
        }
        _ => r.some_millis(Some(field)).map(Progress::After),
    }
}

/// Someone wanted the trigger gone, or as it is, and the reader must not guess which.
fn not_a_limit(r: &mut Reader<'_>, field: Field<'_>, meant: &str) {
    let name = field.name;
    let help = match meant {
        "true" | "on" | "auto" => format!("write the limit, or leave {name} out: its default is in force"),
        _ => format!("to switch the trigger off, write {name}: off"),
    };
    r.report(
        field.node.at,
        Diagnostic::new("BW0133", format!("{name:?} is a limit, and {meant:?} is none")).help(help),
    );
}

fn word<'n>(field: Field<'n>) -> Option<&'n str> {
    match &field.node.kind {
        Kind::Scalar { text, .. } => Some(text),
        Kind::Table(_) | Kind::List(_) => None,
    }
}
