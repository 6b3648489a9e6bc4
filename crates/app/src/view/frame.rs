//! One picture of a rollout as lines of text. Pure, so that tests can read it.

use std::{collections::BTreeSet, fmt::Write};

use bellwether_control::types::{SideLive, Status};
use bellwether_core::{
    id::{AgentName, Side},
    rollout::{AgentView, Is, RolloutView},
    time::Millis,
};

use super::{
    limits::limits,
    words::{mib, stage, trigger},
};

/// What goes into a picture beside the controller's status.
pub(crate) struct Frame<'a> {
    pub(crate) status: &'a Status,
    pub(crate) elapsed: Millis,
    /// Lines of whoever drives the load.
    pub(crate) account: &'a [String],
    pub(crate) width: usize,
    pub(crate) colour: bool,
}

pub(crate) fn frame(frame: &Frame<'_>) -> Vec<String> {
    let Frame { status, elapsed, account, width, .. } = *frame;
    let agents = &status.controller.agents;
    let green = agents.iter().filter(|agent| agent.serving == Some(Side::Green)).count();
    let mut lines = Vec::new();
    let head = match &status.controller.rollout {
        Some(rollout) => format!("{} · release {} · rollout {}", status.fleet, rollout.release, rollout.id),
        None => format!("{} · no rollout", status.fleet),
    };
    lines.push(spread(&head, &elapsed_text(elapsed), width));
    if let Some(rollout) = &status.controller.rollout {
        let left = rollout.stage_left.map(|left| format!("{} left", seconds(left))).unwrap_or_default();
        lines.push(spread(&stage(rollout), &left, width));
    }
    let held_back = held_back(status);
    let legend = "● green  ○ blue  ◐ moving  ✕ down";
    let legend = if held_back.is_empty() { legend.to_owned() } else { format!("{legend}  ◇ held back") };
    lines.push(spread(&format!("{green} of {} agents on green", agents.len()), &legend, width));
    lines.extend(status.controller.rollout.iter().flat_map(limits));
    lines.extend(status.controller.rollout.iter().flat_map(fired));
    lines.extend(edit(status));
    lines.push(String::new());
    lines.extend(grid(frame));
    lines.push(String::new());
    lines.extend(sides(&status.live.blue, &status.live.green));
    let live = &status.live;
    lines.push(format!(
        "slots {}/{} busy · {} calls wait · {} tasks wait · memory {}",
        live.slots_busy,
        live.slots,
        live.calls_waiting,
        live.tasks_queued,
        mib(live.memory_bytes)
    ));
    lines.extend(account.iter().cloned());
    lines.into_iter().map(|line| clip(&line, width)).collect()
}

/// The fleet file is not what runs.
fn edit(status: &Status) -> Option<String> {
    let under_way = status.controller.rollout.as_ref().filter(|rollout| !rollout.state.is_over());
    Some(format!("! {}", status.edit.as_ref()?.sentence(under_way.map(|rollout| rollout.id))))
}

/// What fired, if anything did: the rollback's trigger, or that of the last part that was taken back.
fn fired(rollout: &RolloutView) -> Option<String> {
    let part = rollout.retreats.last().map(|part| &part.record);
    let record = rollout.rollback.as_ref().or(part)?;
    Some(format!("! {}", trigger(&record.trigger)))
}

/// Agents that stay on blue while the rest goes on.
fn held_back(status: &Status) -> BTreeSet<&AgentName> {
    let retreats = status.controller.rollout.iter().flat_map(|rollout| &rollout.retreats);
    retreats.flat_map(|part| &part.agents).collect()
}

/// One row per phase and one mark per agent, so that the fleet is seen at a glance.
fn grid(frame: &Frame<'_>) -> Vec<String> {
    const LABEL: usize = 13;
    let status = frame.status;
    let names: Vec<String> = match &status.controller.rollout {
        Some(rollout) => rollout.phases.iter().map(|phase| phase.name.to_string()).collect(),
        None => Vec::new(),
    };
    let per_row = frame.width.saturating_sub(LABEL).max(10);
    let held_back = held_back(status);
    let mut lines = Vec::new();
    for phase in (0..names.len()).map(Some).chain([None]) {
        let cells: Vec<&AgentView> = status.controller.agents.iter().filter(|agent| agent.phase == phase).collect();
        let label = phase.map_or("", |phase| names[phase].as_str());
        for (row, chunk) in cells.chunks(per_row).enumerate() {
            let mut line = format!("{:<LABEL$}", if row == 0 { label } else { "" });
            for agent in chunk {
                line.push_str(&mark(agent, held_back.contains(&agent.name), frame.colour));
            }
            lines.push(line);
        }
    }
    lines
}

fn mark(agent: &AgentView, held_back: bool, colour: bool) -> String {
    let seat = |side| match side {
        Side::Blue => Some(&agent.blue),
        Side::Green => agent.green.as_ref(),
    };
    let ready = agent.serving.and_then(seat).is_some_and(|seat| matches!(seat.is, Is::Ready { .. }));
    let moving = agent.green.as_ref().is_some_and(|green| {
        matches!(green.is, Is::Enrolling { .. } | Is::Starting { .. } | Is::Proving { .. } | Is::Stopping { .. })
    });
    let (mark, code) = match (agent.serving, ready, moving) {
        (None, ..) | (_, false, _) => ("✕", "31"),
        (Some(_), true, true) => ("◐", "33"),
        (Some(Side::Green), true, false) => ("●", "32"),
        (Some(Side::Blue), true, false) if held_back => ("◇", "33"),
        (Some(Side::Blue), true, false) => ("○", "34"),
    };
    if colour { format!("\x1b[{code}m{mark}\x1b[0m") } else { mark.to_owned() }
}

fn sides(blue: &SideLive, green: &SideLive) -> [String; 5] {
    let millis = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |ms| format!("{ms:.0} ms"));
    let row = |name: &str, blue: String, green: String| format!("{name:<22}{blue:>12}{green:>12}");
    [
        row("last ten seconds", "blue".into(), "green".into()),
        row("  tasks/s", format!("{:.1}", blue.tasks_per_second), format!("{:.1}", green.tasks_per_second)),
        row("  failed", blue.failed.to_string(), green.failed.to_string()),
        row("  response, median", millis(blue.p50_ms), millis(green.p50_ms)),
        row("  response, p95", millis(blue.p95_ms), millis(green.p95_ms)),
    ]
}

fn spread(left: &str, right: &str, width: usize) -> String {
    let used = left.chars().count() + right.chars().count();
    if right.is_empty() || used + 2 > width {
        return if right.is_empty() { left.to_owned() } else { format!("{left}  {right}") };
    }
    let mut line = left.to_owned();
    let _never_fails = write!(line, "{:pad$}{right}", "", pad = width - used);
    line
}

fn elapsed_text(elapsed: Millis) -> String {
    let secs = elapsed.0 / 1000;
    format!("{:02}:{:02}", secs / 60, secs % 60)
}

fn seconds(left: Millis) -> String {
    Millis(left.0.div_ceil(1000) * 1000).to_string()
}

/// Cuts to the width, counting what is seen and not the colour codes.
fn clip(line: &str, width: usize) -> String {
    let (mut out, mut seen, mut escape) = (String::new(), 0, false);
    for c in line.chars() {
        if escape {
            escape = c != 'm';
            out.push(c);
        } else if c == '\x1b' {
            escape = true;
            out.push(c);
        } else if seen < width {
            seen += 1;
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use bellwether_core::spec::Triggers;
    use serde_json::json;

    use super::*;

    fn agent(name: &str, phase: usize, serving: Option<&str>, green: Option<&str>) -> serde_json::Value {
        let seat = |is: &str, instance: u64| json!({"revision": "r", "is": is, "instance": instance, "polled": true, "healthy": true, "failures": 0});
        json!({
            "name": name, "agent_type": "t", "serving": serving, "active": 1, "phase": phase,
            "blue": seat("ready", 1), "green": green.map(|is| seat(is, 2)),
        })
    }

    fn status() -> Status {
        let phase = |name: &str| json!({"name": name, "agents": 2, "agents_cumulative": 2, "bake": 1000, "batches": 1, "record": null});
        serde_json::from_value(json!({
            "fleet": "example", "generation": 4,
            "agents": [
                agent("a", 0, Some("green"), Some("ready")),
                agent("b", 0, Some("blue"), Some("starting")),
                agent("c", 1, Some("blue"), None),
                agent("d", 1, None, None),
            ],
            "rollout": {
                "id": 3, "release": "v2", "by": "me", "state": "progressing", "phase": 0, "step": "baking", "look": 1,
                "paused": null, "refused": null, "started": 0, "ended": null, "stage_left": 11_400, "speed": 1.0,
                "phases": [phase("canary"), phase("full")], "validation": null, "rollback": null, "retreats": [],
                "triggers": Triggers::default(), "drill": false,
            },
            "live": {
                "seconds": 10, "slots": 2, "slots_busy": 2, "calls_waiting": 3, "tasks_queued": 4,
                "memory_bytes": 5 << 20, "memory_peak_bytes": 5 << 20, "last_second": 9,
                "blue": {"tasks_per_second": 1.25, "failed": 0, "p50_ms": 62.4, "p95_ms": 100.0},
                "green": {"tasks_per_second": 0.0, "failed": 2, "p50_ms": null, "p95_ms": null},
            },
        }))
        .unwrap()
    }

    #[test]
    fn a_picture_shows_every_agent_and_both_sides() {
        let status = status();
        let account = ["load line".to_owned()];
        let picture = Frame { status: &status, elapsed: Millis(83_000), account: &account, width: 72, colour: false };
        insta::assert_snapshot!(frame(&picture).join("\n"), @r"
        example · release v2 · rollout 3                                   01:23
        phase 1 of 2, canary: baking                                    12s left
        1 of 4 agents on green                 ● green  ○ blue  ◐ moving  ✕ down

        canary       ●◐
        full         ○✕

        last ten seconds              blue       green
          tasks/s                      1.2         0.0
          failed                         0           2
          response, median           62 ms           –
          response, p95             100 ms           –
        slots 2/2 busy · 3 calls wait · 4 tasks wait · memory 5 MiB
        load line
        ");
    }

    #[test]
    fn what_fired_and_who_is_held_back_is_seen() {
        let mut status = status();
        let record = json!({
            "agents": ["b"], "trigger": {"trigger": "crash_loop", "agent": "b", "exits": 3, "first": 0}, "also": [],
            "harm_began": 0, "began": 0, "shifted": 0, "swapped": 0, "validated": 0, "checked": true, "fault": null,
        });
        for agent in status.controller.agents.iter_mut().filter(|agent| agent.name.as_str() == "b") {
            agent.green = None;
        }
        if let Some(rollout) = &mut status.controller.rollout {
            rollout.retreats = vec![serde_json::from_value(record).unwrap()];
        }
        let picture = Frame { status: &status, elapsed: Millis(0), account: &[], width: 72, colour: false };
        insta::assert_snapshot!(frame(&picture)[..7].join("\n"), @r"
        example · release v2 · rollout 3                                   00:00
        phase 1 of 2, canary: baking                                    12s left
        1 of 4 agents on green    ● green  ○ blue  ◐ moving  ✕ down  ◇ held back
        ! crash loop (R99): green of b ended 3 times by itself

        canary       ●◇
        full         ○✕
        ");
    }

    #[test]
    fn colour_does_not_count_for_the_width() {
        let status = status();
        let picture = |colour| Frame { status: &status, elapsed: Millis(0), account: &[], width: 60, colour };
        let plain: Vec<String> = frame(&picture(true)).iter().map(|line| uncoloured(line)).collect();
        assert_eq!(plain, frame(&picture(false)));
    }

    fn uncoloured(line: &str) -> String {
        let mut parts = line.split("\x1b[");
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |text, part| text + part.split_once('m').map_or(part, |(_, rest)| rest))
    }
}
