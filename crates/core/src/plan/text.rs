//! The plan for people: what changes, in which order, within which memory and time, judged how.

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
};

use super::{Plan, PlannedPhase, Standby};
use crate::{
    spec::{GatePolicy, Require, Revision, Spec, ThinEvidence, names, unit::Size},
    time::Millis,
};

const WIDTH: usize = 100;

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
        self.changes(f)?;
        self.phases(f)?;
        self.memory(f)?;
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
            0 => Ok(()),
            1 => writeln!(f, "  1 agent is what the release makes of it already, and is left alone."),
            n => writeln!(f, "  {n} agents are what the release makes of them already, and are left alone."),
        }
    }

    fn phases(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nPhases, in this order")?;
        let total = self.plan.agents().count();
        for (i, phase) in self.plan.phases.iter().enumerate() {
            let count: usize = phase.batches.iter().map(|batch| batch.agents.len()).sum();
            writeln!(
                f,
                "  {}. {}: {} agents, then {} of {total} on green; {}; {}",
                i + 1,
                phase.name,
                count,
                phase.agents_cumulative,
                counted(phase.batches.len(), "batch", "batches"),
                standby(phase),
            )?;
            for (k, batch) in phase.batches.iter().enumerate() {
                let head = format!("batch {}, memory {}: ", k + 1, Size(batch.memory_peak_bytes));
                let named = batch.agents.iter().map(|agent| match agent.standby {
                    Standby::Warm => agent.agent.to_string(),
                    Standby::Frozen => format!("{} (frozen)", agent.agent),
                    Standby::Stopped => format!("{} (stopped)", agent.agent),
                });
                wrapped(f, &head, named)?;
            }
        }
        Ok(())
    }

    fn memory(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let budget = &self.plan.budget;
        let reserve = self.spec.host.reserve_bytes;
        let total = budget.capacity_bytes + reserve;
        let source = if self.spec.host.memory_bytes == Some(total) { "declared" } else { "present" };
        writeln!(f, "\nMemory")?;
        writeln!(
            f,
            "  for the fleet  {} ({} {source}, less {} reserve)",
            Size(budget.capacity_bytes),
            Size(total),
            Size(reserve)
        )?;
        writeln!(
            f,
            "  ceiling        {} (a plan stays below it; the memory trigger stands higher)",
            Size(budget.ceiling_bytes)
        )?;
        let phase = self
            .plan
            .phases
            .iter()
            .find(|phase| phase.batches.iter().any(|b| b.memory_peak_bytes == budget.peak_bytes));
        let within = phase.map_or_else(String::new, |phase| format!(" (in phase {})", phase.name));
        writeln!(f, "  peak           {}{within}", Size(budget.peak_bytes))?;
        let agents = budget.needs.len();
        let blue = budget.needs.values().filter(|need| need.blue_measured).count();
        let planned = self.plan.agents().filter_map(|agent| budget.needs.get(&agent.agent));
        let (green, greens) = planned.fold((0, 0), |(n, all), need| (n + usize::from(need.green_measured), all + 1));
        writeln!(f, "  rests on       blue: {}; green: {}", rests_on(blue, agents), rests_on(green, greens))
    }

    fn schedule(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = self.plan;
        let speed =
            if (plan.speed - 1.0).abs() < f64::EPSILON { String::new() } else { format!(", at speed {}", plan.speed) };
        writeln!(f, "\nSchedule (waiting times; starting and draining agents comes on top{speed})")?;
        let mut at = Millis::ZERO;
        let mut longest = Millis::ZERO;
        row(f, &mut at, "baseline", plan.baseline, "measured before anything is touched")?;
        for phase in &plan.phases {
            let extended = stretched(phase.bake, plan.extension);
            longest = longest + (extended - phase.bake);
            let note = format!("bake, up to {extended} while a verdict is open");
            row(f, &mut at, phase.name.as_str(), phase.bake, &note)?;
        }
        row(f, &mut at, "validation", plan.validation, "all agents on green, judged once more")?;
        writeln!(f, "  {:<14} {}, at most {} with every bake extended", "sum", exact(at), exact(at + longest))?;
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

fn standby(phase: &PlannedPhase) -> String {
    let all = phase.batches.iter().flat_map(|batch| &batch.agents);
    let (warm, not) = all.fold((0, 0), |(warm, not), agent| match agent.standby {
        Standby::Warm => (warm + 1, not),
        Standby::Frozen | Standby::Stopped => (warm, not + 1),
    });
    match not {
        0 => "blue stays warm".to_owned(),
        _ if warm == 0 => "blue is not kept running: a way back has to start it".to_owned(),
        _ => format!("{warm} blues stay warm, {not} do not and have to be started on a way back"),
    }
}

fn in_words(gate: &GatePolicy) -> String {
    let passes = match gate.require {
        Require::Guard => format!(
            "guard; a rise of errors by {} points or latency × {} must not go unseen",
            trimmed(gate.tolerated_error_rise * 100.0),
            trimmed(gate.tolerated_latency_ratio)
        ),
        Require::Proof => "proof; harm beyond the margins must be ruled out".to_owned(),
    };
    let thin = match gate.thin_evidence {
        ThinEvidence::Accept => "too little evidence: accepted, as declared",
        ThinEvidence::Ask => "too little evidence: a person is asked",
    };
    format!("{passes}\n  {:<14} {thin}", "")
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

/// Names after a head, broken into lines that align below the first.
fn wrapped(f: &mut fmt::Formatter<'_>, head: &str, names: impl Iterator<Item = String>) -> fmt::Result {
    const INDENT: usize = 7;
    let mut line = format!("     {head}");
    let mut names = names.peekable();
    while let Some(name) = names.next() {
        if line.chars().count() + name.chars().count() >= WIDTH {
            writeln!(f, "{}", line.trim_end())?;
            line = " ".repeat(INDENT);
        }
        write!(line, "{name}{}", if names.peek().is_some() { ", " } else { "" })?;
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
