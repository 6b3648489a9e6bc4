//! The plan for people: what changes, in which order, within which memory and time, judged how.

mod layout;
mod phases;

use std::{collections::BTreeMap, fmt};

use self::{
    layout::{after, days, exact, percent, prose, row, trimmed, yes},
    phases::kept,
};
use super::{FreezeOverride, Margin, Plan, Schedule, Standby, TryOuts, Wait};
use crate::{
    id::AgentName,
    spec::{AtEnd, Delivery, GatePolicy, Require, Revision, Spec, ThinEvidence, names, unit::Size},
    time::Millis,
    watch::FaultClass,
};

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
        phases::write(self.plan, f)?;
        self.machine(f)?;
        self.way_back(f)?;
        self.schedule(f)?;
        self.calendar(f)?;
        self.detection(f)?;
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
            prose(f, &format!("{} of {total} agents ({which}):", agents.len()))?;
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
        writeln!(
            f,
            "  CPU: {} of {} cores for agents that work, {} for old instances kept warm; {} at most",
            cores[0], cpu.cpus, cores[1], cores[2]
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
            "  at most {} from any step until all traffic is on blue ({} allowed); of {} old instances: {}",
            outlook.undo_longest,
            outlook.undo_max,
            warm + frozen + stopped,
            kept(warm, frozen, stopped)
        )?;
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
        let Schedule { planned, buffer, moving, draining } = plan.outlook.schedule;
        let speed =
            if (plan.speed - 1.0).abs() < f64::EPSILON { String::new() } else { format!(", at speed {}", plan.speed) };
        writeln!(f, "\nSchedule{speed}")?;
        let mut at = Millis::ZERO;
        row(f, &mut at, "baseline", plan.baseline, "measured before anything is touched")?;
        if plan.drill {
            writeln!(f, "  Then the batch moves, in about {}, and is taken back.", exact(moving))?;
            return self.readiness(f);
        }
        for phase in &plan.phases {
            let extended = stretched(phase.bake, plan.extension);
            let half = if phase.second_half.is_some() { "; its second half moves midway" } else { "" };
            let note = format!("bake, up to {extended} if undecided{half}");
            row(f, &mut at, phase.name.as_str(), phase.bake, &note)?;
        }
        row(f, &mut at, "validation", plan.validation, "all agents on green, judged once more")?;
        let drains = match draining {
            Millis::ZERO => String::new(),
            longest => format!(", up to {} to drain old ones", exact(longest)),
        };
        writeln!(
            f,
            "  {:<14} {}; buffer {} for longer bakes, about {} to move agents{drains}: {} at most",
            "sum",
            exact(planned),
            exact(buffer),
            exact(moving),
            exact(plan.outlook.schedule.at_most()),
        )?;
        self.readiness(f)?;
        writeln!(f, "  Blue is held for {} after that, and a rollback stays possible.", plan.rollback_window)
    }

    /// The window of the rollout, and the freeze windows in its way.
    fn calendar(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = self.plan;
        if let Some(buffer) = plan.window_buffer() {
            self.window(f, buffer)?;
        }
        if let Some(FreezeOverride { by, why }) = &plan.freeze_override {
            return prose(f, &format!("Freeze windows do not count, as {by} says: {why}"));
        }
        let Some(timetable) = &plan.outlook.timetable else { return Ok(()) };
        if let Some(wait) = &timetable.start {
            prose(
                f,
                &format!(
                    "Now is in the freeze {:?}: the rollout cannot begin before {}, in {}. What follows is for a start then.",
                    wait.freeze,
                    wait.ends,
                    days(wait.span)
                ),
            )?;
        }
        for Wait { freeze, what, span, ends } in &timetable.waits {
            let waits = format!("it would wait until {ends}, {}", days(*span));
            prose(f, &format!("Frozen: {what} would begin in the freeze {freeze:?}; {waits}."))?;
        }
        match timetable.start.is_none() && timetable.waits.is_empty() && !plan.freezes.is_empty() {
            true => writeln!(f, "  No freeze window is in the way of a start now."),
            false => Ok(()),
        }
    }

    fn window(&self, f: &mut fmt::Formatter<'_>, buffer: Millis) -> fmt::Result {
        let plan = self.plan;
        let window = plan.window.unwrap_or_default();
        let then = match plan.at_end {
            AtEnd::Pause => "it pauses for a person",
            AtEnd::Rollback => "it is rolled back",
        };
        let schedule = &plan.outlook.schedule;
        let rest = match buffer {
            Millis::ZERO => format!(
                "that is less than planned steps and moving agents are expected to take, {}",
                exact(schedule.expected())
            ),
            buffer => format!("{} of it are a buffer, which longer bakes, pauses and freezes spend", exact(buffer)),
        };
        prose(
            f,
            &format!("Window: {} from the start; {rest}. If it closes before all is done, {then}.", exact(window)),
        )?;
        let lasts = plan.outlook.timetable.as_ref().map_or(Millis::ZERO, |timetable| timetable.lasts);
        if lasts > window && buffer > Millis::ZERO {
            prose(f, &format!("With the freezes below it would take {}, and not be done in its window.", days(lasts)))?;
        }
        Ok(())
    }

    /// What a green must show before it gets traffic.
    fn readiness(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (plan, outlook) = (self.plan, &self.plan.outlook);
        let (asked, all) = (outlook.try_outs.greens, plan.agents().count());
        let words = if asked == 0 {
            "A green gets traffic when it has begun: no synthetic task is asked of it.".to_owned()
        } else {
            let who =
                if asked == all { "Each green answers".to_owned() } else { format!("{asked} of {all} greens answer") };
            let largest = plan.phases.iter().flat_map(|phase| &phase.batches).map(|b| plan.tried_out(b).count()).max();
            let largest = largest.unwrap_or_default();
            let TryOuts { slots, within, .. } = outlook.try_outs;
            let takes = match outlook.try_outs.of_batch(largest) {
                Some(span) => format!("about {} for a batch of {largest} on {slots} slots", exact(span)),
                None => "how long that takes is not measured yet".to_owned(),
            };
            format!("{who} a synthetic task first, within {within}; {takes}.")
        };
        prose(f, &words)?;
        if outlook.mute.is_empty() {
            return Ok(());
        }
        let named = names::some(outlook.mute.iter().map(AgentName::as_str));
        prose(
            f,
            &format!(
                "Greens that show nothing of themselves (tasks: none, and no http) count as ready when they have run for \
                 their `boot`; a crash is seen, a hang is not: {named}"
            ),
        )
    }

    fn detection(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let detection = &self.plan.outlook.detection;
        let Some(first) = detection.first() else { return Ok(()) };
        writeln!(f, "\nDetection, from the first harm")?;
        let of = |class: FaultClass| {
            let phases = detection.iter();
            phases.filter_map(move |d| Some((d.phase.as_str(), d.faults.iter().find(|reach| reach.class == class)?)))
        };
        let classes: Vec<FaultClass> = first.faults.iter().map(|reach| reach.class).collect();
        let (soon, late): (Vec<FaultClass>, Vec<FaultClass>) =
            classes.iter().partition(|class| of(**class).all(|(_, reach)| reach.reached));
        if !soon.is_empty() {
            let longest = |class: FaultClass| of(class).filter_map(|(_, reach)| reach.seconds).fold(0.0, f64::max);
            let words: Vec<String> =
                soon.iter().map(|class| format!("{} {}", class.name(), after(longest(*class)))).collect();
            prose(f, &format!("within 30 s in every phase: {}", words.join(", ")))?;
        }
        for class in late {
            let seen: Vec<(&str, String)> =
                of(class).map(|(phase, reach)| (phase, reach.seconds.map_or("never".to_owned(), after))).collect();
            let why = of(class).next().map(|(_, reach)| reach.why.as_str()).unwrap_or_default();
            let words = match seen.first() {
                Some((_, time)) if seen.windows(2).all(|pair| pair[0].1 == pair[1].1) => format!("{time} ({why})"),
                _ => seen.iter().map(|(phase, time)| format!("{phase} {time}")).collect::<Vec<_>>().join(", "),
            };
            let assumed = class == FaultClass::Crash && !self.boots_measured();
            let guess = if assumed { "; boots are assumed to take a third of `boot`" } else { "" };
            prose(f, &format!("later: {}: {words}{guess}", class.name()))?;
        }
        if classes.len() < 7 {
            prose(
                f,
                "Errors, slowness, hangs and empty answers are seen in the traffic, of which nothing is measured yet.",
            )?;
        }
        Ok(())
    }

    fn boots_measured(&self) -> bool {
        let needs = &self.plan.budget.needs;
        self.plan.agents().all(|planned| needs.get(&planned.agent).is_some_and(|need| need.boot_measured))
    }

    fn gates(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.plan.drill {
            return Ok(());
        }
        writeln!(f, "\nGates")?;
        let mut alike: Vec<(Vec<&str>, String)> = Vec::new();
        for phase in &self.plan.phases {
            let words = in_words(&phase.gate);
            match alike.last_mut().filter(|(_, last)| *last == words) {
                Some((names, _)) => names.push(phase.name.as_str()),
                None => alike.push((vec![phase.name.as_str()], words)),
            }
        }
        for (names, words) in alike {
            writeln!(f, "  {:<18} {words}", names.join(", "))?;
        }
        let c = &self.plan.criteria;
        let limits = format!(
            "Limits against the baseline: tasks ≥ {}, p95 ≤ {}, median ≤ {}, errors at most {} points more, memory ≤ {}, \
             CPU ≤ {}; in all: model calls that succeed ≥ {}, availability ≥ {}, tasks that complete ≥ {}.",
            percent(c.task_rate_min),
            percent(c.latency_p95_max),
            percent(c.latency_p50_max),
            trimmed(c.error_rise_max * 100.0),
            percent(c.memory_max),
            percent(c.cpu_max),
            percent(c.model_success_min),
            percent(c.availability_min),
            percent(c.completion_min),
        );
        prose(f, &limits)
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
    differs("tasks", delivered(from.delivery), delivered(to.delivery));
    differs("boot", from.boot.to_string(), to.boot.to_string());
    // Values may be secrets, so only names are shown.
    for key in to.env.keys().filter(|key| from.env.get(*key) != to.env.get(*key)) {
        let what = if from.env.contains_key(key) { "changed" } else { "added" };
        lines.push(format!("env {key} {what}"));
    }
    lines
}

fn delivered(delivery: Delivery) -> String {
    match delivery {
        Delivery::Pull => "pull".to_owned(),
        Delivery::Push { places } => format!("push ({places} at once)"),
        Delivery::None => "none".to_owned(),
    }
}

fn in_words(gate: &GatePolicy) -> String {
    let passes = match gate.require {
        Require::Guard => format!(
            "guard; errors +{} points or latency × {} must be seen",
            trimmed(gate.tolerated_error_rise * 100.0),
            trimmed(gate.tolerated_latency_ratio)
        ),
        Require::Proof => "proof; harm beyond the margins must be ruled out".to_owned(),
    };
    let thin = match gate.thin_evidence {
        ThinEvidence::Accept => "thin evidence: accepted, as declared",
        ThinEvidence::Ask => "thin evidence: a person is asked",
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

fn stretched(span: Millis, factor: f64) -> Millis {
    span.compressed(1.0 / factor)
}
