//! The plan for people: what changes, in which order, within which memory and time, judged how.

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
};

use super::{Batch, Margin, Plan, PlannedPhase, Schedule, Standby};
use crate::{
    spec::{GatePolicy, Require, Revision, Spec, ThinEvidence, names, unit::Size},
    time::Millis,
};

const WIDTH: usize = 110;

/// Names of a phase's agents take so many lines at most, in the first phase and in others; the JSON form has all.
const NAME_LINES: (usize, usize) = (4, 2);

/// The whole plan as text, lines of at most about a hundred characters.
pub fn render(plan: &Plan, spec: &Spec) -> String {
    let page = Page { plan, spec };
    page.to_string()
}

struct Page<'p> {
    plan: &'p Plan,
    spec: &'p Spec,
}

impl fmt::Display for Page<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Plan: fleet {}, release {}", self.plan.fleet, self.plan.release)?;
        if self.plan.drill {
            writeln!(f, "A drill: only the first batch moves, and it is taken back at once.")?;
        }
        self.changes(f)?;
        self.phases(f)?;
        self.machine(f)?;
        self.way_back(f)?;
        self.schedule(f)?;
        self.gates(f)
    }
}

impl Page<'_> {
    fn changes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nWhat changes")?;
        let mut groups: BTreeMap<Vec<String>, Vec<&str>> = BTreeMap::new();
        for agent in self.plan.agents() {
            let to = &self.plan.revisions[&agent.to];
            let lines = match self.spec.agent(&agent.agent) {
                Some(blue) => differences(&blue.revision, to),
                None => vec![format!("revision → {}", to.name)],
            };
            groups.entry(lines).or_default().push(agent.agent.as_str());
        }
        let mut groups: Vec<_> = groups.into_iter().collect();
        groups.sort_by_key(|(_, agents)| std::cmp::Reverse(agents.len()));
        let total = self.spec.agents.len();
        for (lines, agents) in &groups {
            let which = if agents.len() == total { "all".to_owned() } else { names::some(agents.iter().copied()) };
            writeln!(f, "  {} of {total} agents ({which}):", agents.len())?;
            for line in lines {
                writeln!(f, "    {line}")?;
            }
        }
        match total - self.plan.agents().count() {
            _ if self.plan.drill => Ok(()),
            0 => Ok(()),
            1 => writeln!(f, "  1 agent is what the release makes of it already, and is left alone."),
            n => writeln!(f, "  {n} agents are what the release makes of them already, and are left alone."),
        }
    }

    fn phases(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        line(f, "\nPhases, in this order", "memory up to", "way back", "old instances")?;
        let total = self.plan.agents().count();
        for (i, phase) in self.plan.phases.iter().enumerate() {
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
            let lines_max = if i == 0 { NAME_LINES.0 } else { NAME_LINES.1 };
            let agents = phase.batches.iter().flat_map(|batch| &batch.agents);
            wrapped(f, agents.map(|agent| agent.agent.as_str()), lines_max)?;
        }
        Ok(())
    }

    fn machine(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let budget = &self.plan.budget;
        let reserve = self.spec.host.reserve_bytes;
        let total = budget.capacity_bytes + reserve;
        let source = if self.spec.host.memory_bytes == Some(total) { "declared" } else { "present" };
        writeln!(f, "\nMemory")?;
        writeln!(
            f,
            "  {} at most, of {} for the fleet ({} {source}, less {} reserve); a plan stays below {}",
            Size(budget.peak_bytes),
            Size(budget.capacity_bytes),
            Size(total),
            Size(reserve),
            Size(budget.ceiling_bytes),
        )?;
        let agents = budget.needs.len();
        let blue = budget.needs.values().filter(|need| need.blue_measured).count();
        let planned = self.plan.agents().filter_map(|agent| budget.needs.get(&agent.agent));
        let (green, greens) = planned.fold((0, 0), |(n, all), need| (n + usize::from(need.green_measured), all + 1));
        writeln!(f, "  rests on blue: {}; green: {}", rests_on(blue, agents), rests_on(green, greens))?;
        if budget.margin == Margin::Close {
            let then = match self.plan.triggers.memory {
                Some(trigger) => {
                    format!("If greens need more, the memory trigger takes them back at {}.", percent(trigger))
                }
                None => "The memory trigger, which would take greens back that need more, is off.".to_owned(),
            };
            prose(
                f,
                &format!(
                    "It fits closely: each instance is given hardly more than its highest so far, and a green that was \
                     never measured what its blue needs. {then}"
                ),
            )?;
        }
        let Some(cpu) = budget.cpu else { return Ok(()) };
        let cores = [cpu.working_cores, cpu.idle_cores, cpu.ceiling_cores].map(trimmed);
        prose(
            f,
            &format!(
                "CPU: {} cores for agents that work and {} for old instances that stay warm; of {} cores a plan uses at \
                 most {}",
                cores[0], cores[1], cpu.cpus, cores[2]
            ),
        )?;
        if cpu.working_cores > cpu.ceiling_cores {
            prose(f, "The agents use more than that already: the CPU trigger may fire on a release that is sound.")?;
        }
        Ok(())
    }

    fn way_back(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outlook = &self.plan.outlook;
        writeln!(f, "\nWay back")?;
        let (mut warm, mut frozen, mut stopped) = (0, 0, 0);
        for agent in self.plan.agents() {
            match agent.standby {
                Standby::Warm => warm += 1,
                Standby::Frozen => frozen += 1,
                Standby::Stopped => stopped += 1,
            }
        }
        writeln!(
            f,
            "  at most {} from any step until all traffic is on blue ({} allowed)",
            outlook.undo_longest, outlook.undo_max,
        )?;
        writeln!(f, "  of {} old instances: {}", warm + frozen + stopped, kept(warm, frozen, stopped))?;
        if stopped > 0 {
            let at_once = self.plan.budget.boots_max;
            let assumed = match outlook.undo_assumed {
                0 => "as measured".to_owned(),
                n if n == stopped => "assumed to take a third of `boot`".to_owned(),
                n => format!("{n} of them assumed to take a third of `boot`"),
            };
            prose(
                f,
                &format!(
                    "Stopped ones boot {at_once} at once, {assumed}. Requests and tasks of these agents wait meanwhile."
                ),
            )?;
        }
        if let Some(unfenced) = &outlook.unfenced {
            prose(f, &format!("Not fenced: {unfenced}"))?;
        }
        Ok(())
    }

    fn schedule(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = self.plan;
        let Schedule { planned, buffer, moving } = plan.outlook.schedule;
        let speed =
            if (plan.speed - 1.0).abs() < f64::EPSILON { String::new() } else { format!(", at speed {}", plan.speed) };
        writeln!(f, "\nSchedule{speed}")?;
        let mut at = Millis::ZERO;
        row(f, &mut at, "baseline", plan.baseline, "measured before anything is touched")?;
        if plan.drill {
            return writeln!(f, "  Then the batch moves, in about {}, and is taken back.", exact(moving));
        }
        for phase in &plan.phases {
            let extended = stretched(phase.bake, plan.extension);
            let half = if phase.second_half.is_some() { "; its second half moves midway" } else { "" };
            let note = format!("bake, up to {extended} while a verdict is open{half}");
            row(f, &mut at, phase.name.as_str(), phase.bake, &note)?;
        }
        row(f, &mut at, "validation", plan.validation, "all agents on green, judged once more")?;
        writeln!(
            f,
            "  {:<14} {}; with a buffer of {} for longer bakes and about {} to move agents {} at most",
            "sum",
            exact(planned),
            exact(buffer),
            exact(moving),
            exact(plan.outlook.schedule.at_most()),
        )?;
        writeln!(f, "  Blue is held for {} after that, and a rollback stays possible.", plan.rollback_window)
    }

    fn gates(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nGates")?;
        for phase in &self.plan.phases {
            let PlannedPhase { name, gate, .. } = phase;
            writeln!(f, "  {:<14} {}", name.as_str(), in_words(gate))?;
        }
        let c = &self.plan.criteria;
        writeln!(
            f,
            "  Limits against the baseline: tasks ≥ {}, p95 ≤ {}, median ≤ {}, errors at most {} points more,\n  \
             memory ≤ {}, CPU ≤ {}; in all: model calls that succeed ≥ {}, availability ≥ {},\n  tasks that \
             complete ≥ {}.",
            percent(c.task_rate_min),
            percent(c.latency_p95_max),
            percent(c.latency_p50_max),
            trimmed(c.error_rise_max * 100.0),
            percent(c.memory_max),
            percent(c.cpu_max),
            percent(c.model_success_min),
            percent(c.availability_min),
            percent(c.completion_min),
        )
    }
}

fn differences(from: &Revision, to: &Revision) -> Vec<String> {
    let mut lines = vec![format!("revision {} → {}", from.name, to.name)];
    let mut differs = |what: &str, from: String, to: String| {
        if from != to {
            lines.push(format!("{what} {from} → {to}"));
        }
    };
    differs("command", from.command.join(" "), to.command.join(" "));
    differs("model", from.model.to_string(), to.model.to_string());
    differs("http", yes(from.http), yes(to.http));
    differs("boot", from.boot.to_string(), to.boot.to_string());
    // Values may be secrets, so only names are shown.
    for key in to.env.keys().filter(|key| from.env.get(*key) != to.env.get(*key)) {
        let what = if from.env.contains_key(key) { "changed" } else { "added" };
        lines.push(format!("env {key} {what}"));
    }
    lines
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
fn kept(warm: usize, frozen: usize, stopped: usize) -> String {
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

fn in_words(gate: &GatePolicy) -> String {
    let passes = match gate.require {
        Require::Guard => format!(
            "guard: errors +{} points or latency × {} must not go unseen",
            trimmed(gate.tolerated_error_rise * 100.0),
            trimmed(gate.tolerated_latency_ratio)
        ),
        Require::Proof => "proof: harm beyond the margins must be ruled out".to_owned(),
    };
    let thin = match gate.thin_evidence {
        ThinEvidence::Accept => "thin evidence is accepted, as declared",
        ThinEvidence::Ask => "on thin evidence a person is asked",
    };
    format!("{passes}; {thin}")
}

fn rests_on(measured: usize, all: usize) -> String {
    match measured {
        _ if measured == all => format!("{all} measured"),
        0 => format!("{all} assumed, none measured yet"),
        _ => format!("{measured} measured, {} assumed", all - measured),
    }
}

fn row(f: &mut fmt::Formatter<'_>, at: &mut Millis, what: &str, span: Millis, note: &str) -> fmt::Result {
    let (from, to) = (*at, *at + span);
    *at = to;
    let range = format!("{} – {}", exact(from), exact(to));
    writeln!(f, "  {what:<14} {span:<8} {range:<19} {note}")
}

/// To the second even beyond an hour, where the usual form rounds to minutes: compressed bakes are that short.
fn exact(at: Millis) -> String {
    let secs = at.0.div_ceil(1000);
    let (hours, minutes, seconds) = (secs / 3600, secs / 60 % 60, secs % 60);
    match (hours, seconds) {
        (0, _) if at == Millis::ZERO => "0".to_owned(),
        (0, _) | (_, 0) => at.to_string(),
        _ => format!("{hours}h{minutes:02}m{seconds:02}s"),
    }
}

/// Names in a few lines that align, and how many there are besides.
fn wrapped<'n>(f: &mut fmt::Formatter<'_>, names: impl Iterator<Item = &'n str>, lines_max: usize) -> fmt::Result {
    const INDENT: &str = "       ";
    /// For "and 117 more".
    const ROOM: usize = 14;
    let names: Vec<&str> = names.collect();
    let mut lines = 1;
    let mut line = INDENT.to_owned();
    for (i, name) in names.iter().enumerate() {
        let last = i + 1 == names.len();
        let room = if lines == lines_max && !last { ROOM } else { 0 };
        if line.len() > INDENT.len() && line.chars().count() + name.chars().count() + 2 + room > WIDTH {
            if lines == lines_max {
                return writeln!(f, "{} and {} more", line.trim_end().trim_end_matches(','), names.len() - i);
            }
            writeln!(f, "{}", line.trim_end())?;
            line = INDENT.to_owned();
            lines += 1;
        }
        write!(line, "{name}{}", if last { "" } else { ", " })?;
    }
    writeln!(f, "{line}")
}

/// A paragraph, indented like the rest of a section.
fn prose(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let mut line = String::from(" ");
    for word in text.split(' ') {
        if line.chars().count() + word.chars().count() >= WIDTH {
            writeln!(f, "{line}")?;
            line = String::from(" ");
        }
        line.push(' ');
        line.push_str(word);
    }
    writeln!(f, "{line}")
}

fn stretched(span: Millis, factor: f64) -> Millis {
    span.compressed(1.0 / factor)
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn yes(flag: bool) -> String {
    if flag { "yes" } else { "no" }.to_owned()
}

fn percent(share: f64) -> String {
    format!("{} %", trimmed(share * 100.0))
}

/// At most two decimals, none of them idle.
fn trimmed(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
