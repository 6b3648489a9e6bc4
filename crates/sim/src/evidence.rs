//! What the gateway saw, second by second, and what the real analysis makes of it.

use std::collections::{BTreeMap, BTreeSet};

use bellwether_core::{
    analysis::{self, AgentUsage, Baseline, GateReport, JudgeInput, Looks},
    id::{AgentName, AgentType, ModelName, Side},
    observation::{Calls, Cell, Pushes, Second, Signs, Tasks},
    rollout::{Rollout, Window},
    time::{Millis, Nanos, UnixMillis},
    traffic::{Outcome, Streaks},
};

/// Between two samples of memory and CPU.
const BEAT: u64 = 30;

pub(crate) struct Evidence {
    types: BTreeMap<AgentName, AgentType>,
    /// Only those in which something ended. Number `n` is the second that began `n - 1` seconds after the start.
    seconds: BTreeMap<u64, BTreeMap<(AgentName, Side, Side), Cell>>,
    /// From which second on how many agents had no ready instance.
    away: BTreeMap<u64, u32>,
    /// From which second on who was served by which side.
    serving: BTreeMap<u64, Vec<(AgentName, Side)>>,
    streaks: Streaks,
}

impl Evidence {
    pub(crate) fn new(types: BTreeMap<AgentName, AgentType>) -> Self {
        Self {
            types,
            seconds: BTreeMap::new(),
            away: BTreeMap::new(),
            serving: BTreeMap::new(),
            streaks: Streaks::default(),
        }
    }

    /// The number of the last second that is over.
    pub(crate) fn last_second(now: Nanos) -> u64 {
        now.0 / 1_000_000_000
    }

    pub(crate) fn tasks(&mut self, now: Nanos, agent: &AgentName, drawn: Side, served: Side) -> &mut Tasks {
        &mut self.cell(now, agent, drawn, served).tasks
    }

    /// How a task ended that is counted already; `empty` says that its result carried nothing.
    pub(crate) fn outcome(
        &mut self,
        (now, drawn, served): (Nanos, Side, Side),
        agent: &AgentName,
        outcome: Option<Outcome>,
        empty: bool,
    ) {
        let mut signs = std::mem::take(&mut self.cell(now, agent, drawn, served).signs);
        signs.empty += u64::from(empty);
        if let Some(outcome) = outcome {
            self.streaks.count(agent, served, outcome, &mut signs);
        }
        self.cell(now, agent, drawn, served).signs = signs;
    }

    /// The record of a second as it is closed. `silent` says who has shown nothing for how many milliseconds.
    pub(crate) fn second(
        &self,
        number: u64,
        at: UnixMillis,
        silent: &[(AgentName, Side, u64)],
        model_server_is_down: bool,
    ) -> Second {
        let mut cells = self.seconds.get(&number).cloned().unwrap_or_default();
        for (agent, side, millis) in silent {
            let cell = cells.entry((agent.clone(), *side, *side)).or_insert_with(|| nothing(agent, *side, *side));
            (cell.signs.stalled_ms, cell.signs.quiet_ms) = (*millis, *millis);
        }
        for cell in cells.values_mut() {
            cell.signs.streak = self.streaks.failures(&cell.agent, cell.served);
        }
        let cells = cells.into_values().collect();
        let probes_failed = u32::from(model_server_is_down);
        Second { number, at, cells, probes: 1, probes_failed, ..Second::default() }
    }

    pub(crate) fn call(&mut self, now: Nanos, agent: &AgentName, side: Side, service: Millis) {
        let calls = &mut self.cell(now, agent, side, side).calls;
        calls.succeeded += 1;
        calls.service.record(service.0 * 1000);
    }

    pub(crate) fn without_ready_instance(&mut self, now: Nanos, agents: usize) {
        let agents = u32::try_from(agents).unwrap_or(u32::MAX);
        if self.away.last_key_value().is_none_or(|(_, &last)| last != agents) {
            self.away.insert(Self::last_second(now), agents);
        }
    }

    pub(crate) fn serving(&mut self, now: Nanos, sides: Vec<(AgentName, Side)>) {
        self.serving.insert(Self::last_second(now), sides);
    }

    pub(crate) fn baseline(&self, rollout: &Rollout, until: u64) -> Option<Result<Baseline, analysis::BaselineError>> {
        let until = rollout.baseline_until_second.unwrap_or(until);
        let window = self.window(rollout.baseline_after_second?, until);
        Some(Baseline::new(window, rollout.plan.baseline))
    }

    /// None where there is nothing to judge yet: the question is asked again.
    pub(crate) fn judge(&self, now: Nanos, rollout: &Rollout, window: Window, look: u32) -> Option<GateReport> {
        let until = Self::last_second(now);
        let (record, phases) = match window {
            Window::Baseline => return None,
            Window::Phase(phase) => (rollout.phases.get(phase)?, phase + 1),
            Window::Validation => (rollout.validation.as_ref()?, rollout.plan.phases.len()),
        };
        let gate = &rollout.plan.phases.get(phases - 1)?.gate;
        let baseline = self.baseline(rollout, until)?.ok()?;
        let phase = self.window(record.after_second?, until);
        let green_agents: BTreeSet<AgentName> = rollout.plan.phases[..phases]
            .iter()
            .flat_map(|phase| phase.batches.iter().flat_map(|batch| &batch.agents))
            .map(|planned| planned.agent.clone())
            .collect();
        let looks_max = if rollout.plan.extension > 1.0 { 2 } else { 1 };
        let gates = u32::try_from(rollout.plan.phases.len() + 1).unwrap_or(u32::MAX);
        Some(analysis::judge(&JudgeInput {
            criteria: &rollout.plan.criteria,
            gate,
            baseline: &baseline,
            phase: &phase,
            green_agents: &green_agents,
            looks: Looks { look: look.min(looks_max), looks_max, gates },
        }))
    }

    fn window(&self, after: u64, until: u64) -> analysis::Window {
        let type_of = |name: &AgentName| self.types.get(name).cloned();
        let agents = u32::try_from(self.types.len()).unwrap_or(u32::MAX);
        let mut window = analysis::Window::default();
        for number in after + 1..=until {
            let cells = self.seconds.get(&number).map(|cells| cells.values().cloned().collect()).unwrap_or_default();
            window.second(&Second { number, at: UnixMillis(number * 1000), cells, ..Second::default() }, &type_of);
            let away = self.away.range(..=number).next_back().map_or(0, |(_, &away)| away);
            window.availability(agents, away);
            if number % BEAT == 0
                && let Some((_, sides)) = self.serving.range(..=number).next_back()
            {
                let sample: Vec<AgentUsage> = sides.iter().map(|(agent, side)| usage(agent, *side, number)).collect();
                window.usage(&sample);
            }
        }
        window
    }

    fn cell(&mut self, now: Nanos, agent: &AgentName, drawn: Side, served: Side) -> &mut Cell {
        let cells = self.seconds.entry(Self::last_second(now) + 1).or_default();
        cells.entry((agent.clone(), drawn, served)).or_insert_with(|| nothing(agent, drawn, served))
    }
}

fn nothing(agent: &AgentName, drawn: Side, served: Side) -> Cell {
    Cell {
        signs: Signs::default(),
        agent: agent.clone(),
        model: ModelName::new("any"),
        drawn,
        served,
        tasks: Tasks::default(),
        calls: Calls::default(),
        pushes: Pushes::default(),
    }
}

/// Both bases use the same, with a little noise.
fn usage(agent: &AgentName, side: Side, number: u64) -> AgentUsage {
    let noise = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60;
    AgentUsage { agent: agent.clone(), side, memory_bytes: (20 << 20) + (noise << 12), cpu_cores: 0.002 }
}
