//! The `tasks` section: where tasks come from, and the bounds within which they wait.

use super::{
    TaskMode, TaskPolicy,
    fleet::base_url,
    reader::{Field, Fields, Reader},
};
use crate::{diagnostic::Diagnostic, time::Millis};

const KEYS: [&str; 13] = [
    "mode",
    "backend",
    "lease",
    "attempts",
    "backoff",
    "backoff_max",
    "ageing",
    "takeover",
    "hold",
    "retention",
    "kept",
    "waiting",
    "waiting_bytes",
];

const MODES: [(&str, TaskMode); 3] = [("queue", TaskMode::Queue), ("relay", TaskMode::Relay), ("none", TaskMode::None)];

const ATTEMPTS_MAX: u32 = 100;

/// What is held open for longer looks dead to the clients and proxies in between.
const HOLD_MAX: Millis = Millis::from_secs(60);

pub(super) fn read(r: &mut Reader<'_>, section: Option<Field<'_>>) -> TaskPolicy {
    let mut tasks = TaskPolicy::default();
    let Some(f) = section.and_then(|field| r.fields(field.node, "\"tasks\"", &KEYS)) else { return tasks };
    let mode = r.choice(f.get("mode"), "BW0117", &MODES);
    tasks.backend = backend(r, &f);
    // A mode that was refused says nothing about whether there should be a backend.
    if mode.is_some() || !f.has("mode") {
        tasks.mode = mode.unwrap_or(tasks.mode);
        agree(r, &f, tasks.mode);
    }
    tasks.lease = r.some_millis(f.get("lease")).unwrap_or(tasks.lease);
    tasks.attempts_max = attempts(r, f.get("attempts")).unwrap_or(tasks.attempts_max);
    backoff(r, &f, &mut tasks);
    tasks.ageing = r.some_millis(f.get("ageing")).unwrap_or(tasks.ageing);
    tasks.takeover = r.millis(f.get("takeover")).unwrap_or(tasks.takeover);
    tasks.hold = hold(r, f.get("hold")).unwrap_or(tasks.hold);
    tasks.retention = r.millis(f.get("retention")).unwrap_or(tasks.retention);
    tasks.kept_bytes_max = r.some_bytes(f.get("kept")).unwrap_or(tasks.kept_bytes_max);
    tasks.waiting_max = r.whole(f.get("waiting"), 1).unwrap_or(tasks.waiting_max);
    tasks.waiting_bytes_max = r.some_bytes(f.get("waiting_bytes")).unwrap_or(tasks.waiting_bytes_max);
    tasks
}

fn backend(r: &mut Reader<'_>, f: &Fields<'_>) -> Option<String> {
    let url = r.text(f.get("backend"))?;
    base_url(&url)
        .map_err(|cause| {
            let wrong = Diagnostic::new("BW0134", format!("{url:?} is not the address of a task backend"));
            r.report(
                f.at("backend"),
                wrong.because(cause).help("write http://HOST:PORT, such as http://127.0.0.1:8000"),
            );
        })
        .ok()
}

/// A relay without a backend has nowhere to go, and a backend without a relay would never be asked.
fn agree(r: &mut Reader<'_>, f: &Fields<'_>, mode: TaskMode) {
    match (mode, f.has_or_meant("backend")) {
        (TaskMode::Relay, false) => r.report(
            f.at("mode"),
            Diagnostic::new("BW0135", "tasks are relayed to a backend, and none is named")
                .help("write tasks.backend: http://HOST:PORT, the address that agents have as BACKEND_URL today"),
        ),
        (TaskMode::Queue | TaskMode::None, true) => r.report(
            f.at("backend"),
            Diagnostic::new("BW0135", "a task backend is named, and tasks are not relayed to it")
                .because("only tasks.mode: relay has a backend")
                .help("write mode: relay beside it, or remove it"),
        ),
        (TaskMode::Relay, true) | (TaskMode::Queue | TaskMode::None, false) => {}
    }
}

fn attempts(r: &mut Reader<'_>, field: Option<Field<'_>>) -> Option<u32> {
    let attempts = r.small(field, 1)?;
    if attempts > ATTEMPTS_MAX {
        let wrong = Diagnostic::new("BW0106", format!("{attempts} attempts make no sense here"));
        r.report(field?.node.at, wrong.help(format!("write a number from 1 to {ATTEMPTS_MAX}")));
        return None;
    }
    Some(attempts)
}

fn backoff(r: &mut Reader<'_>, f: &Fields<'_>, tasks: &mut TaskPolicy) {
    let (first, most) = (r.millis(f.get("backoff")), r.millis(f.get("backoff_max")));
    tasks.backoff = first.unwrap_or(tasks.backoff);
    tasks.backoff_max = most.unwrap_or(tasks.backoff_max);
    if (first.is_none() && f.has("backoff")) || (most.is_none() && f.has("backoff_max")) {
        return;
    }
    if tasks.backoff > tasks.backoff_max {
        let wrong = Diagnostic::new("BW0106", "the first back-off is longer than the longest")
            .because(format!("backoff is {}, and backoff_max is {}", tasks.backoff, tasks.backoff_max))
            .help("write both, the one that doubles with each attempt and the one at which it ends");
        r.report(f.at(if first.is_some() { "backoff" } else { "backoff_max" }), wrong);
    }
}

fn hold(r: &mut Reader<'_>, field: Option<Field<'_>>) -> Option<Millis> {
    let hold = r.millis(field)?;
    if hold > HOLD_MAX {
        let wrong = Diagnostic::new("BW0106", format!("a question for a task cannot be held open for {hold}"));
        r.report(
            field?.node.at,
            wrong.help(format!(
                "write at most {HOLD_MAX}, and less than the agents' own patience: 8s suits one that gives up after 10 s"
            )),
        );
        return None;
    }
    Some(hold)
}
