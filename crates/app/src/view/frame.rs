//! One picture of a rollout as lines of text. Pure, so that tests can read it.

use std::fmt::Write;

use bellwether_control::types::{SideLive, Status};
use bellwether_core::{
    id::Side,
    rollout::{AgentView, Is},
    time::Millis,
};

use super::words::{mib, stage};

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
    lines.push(spread(
        &format!("{green} of {} agents on green", agents.len()),
        "● green  ○ blue  ◐ moving  ✕ down",
        width,
    ));
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

/// One row per phase and one mark per agent, so that the fleet is seen at a glance.
fn grid(frame: &Frame<'_>) -> Vec<String> {
    const LABEL: usize = 13;
    let status = frame.status;
    let names: Vec<String> = match &status.controller.rollout {
        Some(rollout) => rollout.phases.iter().map(|phase| phase.name.to_string()).collect(),
        None => Vec::new(),
    };
    let per_row = frame.width.saturating_sub(LABEL).max(10);
    let mut lines = Vec::new();
    for phase in (0..names.len()).map(Some).chain([None]) {
        let cells: Vec<&AgentView> = status.controller.agents.iter().filter(|agent| agent.phase == phase).collect();
        let label = phase.map_or("", |phase| names[phase].as_str());
        for (row, chunk) in cells.chunks(per_row).enumerate() {
            let mut line = format!("{:<LABEL$}", if row == 0 { label } else { "" });
            for agent in chunk {
                line.push_str(&mark(agent, frame.colour));
            }
            lines.push(line);
        }
    }
    lines
}

fn mark(agent: &AgentView, colour: bool) -> String {
    let seat = |side| match side {
        Side::Blue => Some(&agent.blue),
        Side::Green => agent.green.as_ref(),
    };
    let ready = agent.serving.and_then(seat).is_some_and(|seat| matches!(seat.is, Is::Ready { .. }));
    let moving = agent
        .green
        .as_ref()
        .is_some_and(|green| matches!(green.is, Is::Enrolling { .. } | Is::Starting { .. } | Is::Stopping { .. }));
    let (mark, code) = match (agent.serving, ready, moving) {
        (None, ..) | (_, false, _) => ("✕", "31"),
        (Some(_), true, true) => ("◐", "33"),
        (Some(Side::Green), true, false) => ("●", "32"),
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
