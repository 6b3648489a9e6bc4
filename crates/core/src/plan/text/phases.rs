//! Phases and batches as a table; batches that are alike share a line.

use std::fmt;

use super::layout::{counted, wrapped};
use crate::{
    plan::{Batch, Plan, PlannedPhase, Standby},
    spec::{Approval, unit::Size},
};

/// Names of a phase's agents take so many lines at most, in the first phase and in others; the JSON form has all.
const NAME_LINES: (usize, usize) = (4, 2);

pub(super) fn write(plan: &Plan, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    line(f, "\nPhases, in this order", "memory up to", "way back", "old instances")?;
    let total = plan.agents().count();
    for (i, phase) in plan.phases.iter().enumerate() {
        let count: usize = phase.batches.iter().map(|batch| batch.agents.len()).sum();
        let halves = if phase.second_half.is_some() { ", in two random halves" } else { "" };
        let head = format!(
            "  {}. {}: {} agents, then {} of {total} on green{halves}",
            i + 1,
            phase.name,
            count,
            phase.agents_cumulative
        );
        let groups = groups(phase);
        match groups.as_slice() {
            [only] => row_of(f, &head, only)?,
            several => {
                writeln!(f, "{head}")?;
                for group in several {
                    row_of(f, &format!("     {}", group.head()), group)?;
                }
            }
        }
        match phase.approval {
            Approval::None => {}
            Approval::Required => writeln!(f, "     waits for an approval before it begins")?,
            Approval::Other => writeln!(f, "     waits for the approval of somebody else than who starts the rollout")?,
        }
        let lines_max = if i == 0 { NAME_LINES.0 } else { NAME_LINES.1 };
        let agents = phase.batches.iter().flat_map(|batch| &batch.agents);
        wrapped(f, agents.map(|agent| agent.agent.as_str()), lines_max)?;
    }
    Ok(())
}

/// Batches that follow each other and are alike.
struct Group<'p> {
    first: usize,
    batches: Vec<&'p Batch>,
    half: Option<&'static str>,
}

impl Group<'_> {
    fn head(&self) -> String {
        let half = self.half.unwrap_or_default();
        let agents = self.batches.first().map_or(0, |batch| batch.agents.len());
        let agents = counted(agents, "agent", "agents");
        match self.batches.len() {
            1 => format!("{half}batch {}, {agents}", self.first + 1),
            2 => format!("{half}batches {} and {}, {agents} each", self.first + 1, self.first + 2),
            n => format!("{half}batches {} to {}, {agents} each", self.first + 1, self.first + n),
        }
    }
}

fn groups(phase: &PlannedPhase) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for (i, batch) in phase.batches.iter().enumerate() {
        let half = phase.second_half.map(|second| if i < second { "first half, " } else { "second half, " });
        let alike = |group: &&mut Group<'_>| {
            let last = group.batches[0];
            group.half == half && last.agents.len() == batch.agents.len() && tally(last) == tally(batch)
        };
        match groups.last_mut().filter(alike) {
            Some(group) => group.batches.push(batch),
            None => groups.push(Group { first: i, batches: vec![batch], half }),
        }
    }
    groups
}

/// Warm, frozen, stopped.
fn tally(batch: &Batch) -> (usize, usize, usize) {
    batch.agents.iter().fold((0, 0, 0), |(warm, frozen, stopped), agent| match agent.standby {
        Standby::Warm => (warm + 1, frozen, stopped),
        Standby::Frozen => (warm, frozen + 1, stopped),
        Standby::Stopped => (warm, frozen, stopped + 1),
    })
}

/// `all warm`, or `3 warm, 1 stopped`.
pub(super) fn kept(warm: usize, frozen: usize, stopped: usize) -> String {
    let all = warm + frozen + stopped;
    let kinds = [(warm, "warm"), (frozen, "frozen"), (stopped, "stopped")];
    let some = kinds.iter().filter(|(n, _)| *n > 0);
    let words: Vec<String> =
        some.map(|(n, kind)| if *n == all { format!("all {kind}") } else { format!("{n} {kind}") }).collect();
    words.join(", ")
}

fn row_of(f: &mut fmt::Formatter<'_>, head: &str, group: &Group<'_>) -> fmt::Result {
    let peak = group.batches.iter().map(|batch| batch.memory_peak_bytes).max().unwrap_or(0);
    let undo = group.batches.iter().map(|batch| batch.undo).max().unwrap_or_default();
    let (warm, frozen, stopped) = group.batches.first().map_or((0, 0, 0), |batch| tally(batch));
    line(f, head, &Size(peak).to_string(), &undo.to_string(), &kept(warm, frozen, stopped))
}

fn line(f: &mut fmt::Formatter<'_>, head: &str, memory: &str, undo: &str, standby: &str) -> fmt::Result {
    // A line break before the head takes no column.
    let wide = 64 + usize::from(head.starts_with('\n'));
    writeln!(f, "{head:<wide$} {memory:>12} {undo:>9}  {standby}")
}
