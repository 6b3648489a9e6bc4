//! Why there is no plan, in words: what stands in the way, the numbers, and what would make it fit. Whatever is
//! advised has been tried first, so that nobody who follows it is refused again for the rest.

use super::{
    cpu,
    fit::{Problem, Stuck, Terms, free},
};
use crate::{
    diagnostic::Diagnostic,
    id::AgentName,
    spec::{AgentSpec, StandbyPolicy, names, unit::Size},
    time::Millis,
};

pub(super) fn refusal(problem: &Problem<'_>, terms: Terms, stuck: &Stuck) -> Diagnostic {
    let advice = Advice { problem, terms };
    match stuck {
        Stuck::Blues { needed_bytes } => Diagnostic::new(
            "BW0203",
            format!(
                "the fleet as it runs now needs {}, and a rollout may use {}",
                Size(*needed_bytes),
                Size(advice.ceiling_bytes())
            ),
        )
        .because(advice.memory_in_words())
        .help(advice.of(&[advice.memory(), advice.measuring()])),
        Stuck::Green { phase, agent, wanted_bytes, free_bytes } => Diagnostic::new(
            "BW0204",
            format!(
                "phase {:?} has no room for green of {:?} beside its blue: it needs {}, and {} are free",
                phase.as_str(),
                agent.as_str(),
                Size(*wanted_bytes),
                Size(*free_bytes)
            ),
        )
        .because(advice.memory_in_words())
        .help(advice.of(&[advice.memory(), advice.no_standby(), advice.measuring()])),
        Stuck::Cpu { cpus, ceiling_cores, working_cores, idle_cores, warm } => {
            let named = names::some(warm.iter().map(AgentName::as_str));
            Diagnostic::new(
                "BW0208",
                format!("{} that must stay warm would use too much CPU", counted(warm.len(), "old instance")),
            )
            .because(format!(
                "{} cores are used by the agents that work and {} by these while they idle; a plan uses at most {} of \
                 {cpus} cores, {} %",
                cores(*working_cores),
                cores(*idle_cores),
                cores(*ceiling_cores),
                (cpu::ceiling(problem.spec) * 100.0).round(),
            ))
            .help(format!("write standby: auto (or frozen) for some of them: {named}"))
        }
        Stuck::Undo { phase, batch, longest, undo_max, stopped, frozen, at_once, boot_longest, boots_assumed } => {
            let rounds = stopped.len().div_ceil(*at_once);
            let assumed = match *boots_assumed {
                0 => String::new(),
                n if n == stopped.len() => ", assumed to be a third of its limit, as none was measured".to_owned(),
                n => format!(", {n} of them assumed to take a third of their limit"),
            };
            let thawed = match frozen {
                0 => String::new(),
                n => format!("; {n} more have to be thawed"),
            };
            Diagnostic::new(
                "BW0209",
                format!(
                    "from phase {:?}, batch {batch}, a way back could take longer than the {undo_max} allowed; from the \
                     worst step {longest}",
                    phase.as_str()
                ),
            )
            .because(format!(
                "{} have to boot again, {at_once} at once in {rounds} rounds, and a boot takes up to {boot_longest}{assumed}{thawed}",
                counted(stopped.len(), "stopped instance"),
            ))
            .help(advice.of(&[advice.memory(), advice.no_standby(), advice.more_time(*longest)]))
        }
    }
}

struct Advice<'p> {
    problem: &'p Problem<'p>,
    terms: Terms,
}

impl Advice<'_> {
    /// The ways out that there are, in one sentence.
    fn of(&self, ways: &[Option<String>]) -> String {
        let ways: Vec<&str> = ways.iter().flatten().map(String::as_str).collect();
        if ways.is_empty() {
            return "no memory would be enough under this policy: change standby or rollout.undo_max".to_owned();
        }
        ways.join("; or ")
    }

    fn memory(&self) -> Option<String> {
        let Self { problem, terms } = self;
        let needed = problem.capacity_that_fits(*terms)?;
        let mut more = shown_up(needed - terms.capacity_bytes);
        // A batch that suddenly fits can make the next one not fit, so what is said is tried as it is said.
        const TRIES_MAX: u32 = 64;
        let mut tries = 0;
        while problem.fit(Terms { capacity_bytes: terms.capacity_bytes + more, ..*terms }).is_err() {
            tries += 1;
            if tries > TRIES_MAX {
                return None;
            }
            more = shown_up(more + 1);
        }
        let spec = problem.spec;
        let memory = terms.capacity_bytes + spec.host.reserve_bytes;
        let declared = spec.host.memory_bytes == Some(memory)
            && problem.measured.present_memory_bytes.is_none_or(|present| present > memory);
        let source = if declared { "raise host.memory" } else { "use a machine with more memory" };
        Some(format!("{} more would do: lower host.reserve or {source}", Size(more)))
    }

    /// What is declared of blues that are to be kept, or not to be kept, left to the plan.
    fn no_standby(&self) -> Option<String> {
        let fitted = self.problem.fit(Terms { policy: free, ..self.terms }).ok()?;
        let chosen = fitted.phases.iter().flat_map(|phase| &phase.batches).flat_map(|batch| &batch.agents);
        let other: Vec<&AgentSpec> =
            chosen.filter(|(agent, _)| agent.standby != StandbyPolicy::Auto).map(|(agent, _)| *agent).collect();
        if other.is_empty() {
            return None;
        }
        let named = names::some(other.iter().map(|agent| agent.name.as_str()));
        Some(format!("write standby: auto for {}: {named}", counted(other.len(), "agent")))
    }

    fn more_time(&self, longest: Millis) -> Option<String> {
        Some(format!("accept it: rollout: {{undo_max: {}s}}", longest.0.div_ceil(1000)))
    }

    fn measuring(&self) -> Option<String> {
        let needs = &self.problem.measured.blue_peak_bytes;
        let assumed = self.problem.spec.agents.iter().any(|agent| !needs.contains_key(&agent.name));
        assumed.then(|| "measure the agents first, as some needs are only assumed".to_owned())
    }

    fn ceiling_bytes(&self) -> u64 {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a size of memory"
        )]
        let ceiling = (self.terms.capacity_bytes as f64 * self.problem.ceiling()) as u64;
        ceiling
    }

    fn memory_in_words(&self) -> String {
        let Self { problem, terms } = self;
        let spec = problem.spec;
        let memory = terms.capacity_bytes + spec.host.reserve_bytes;
        let source = if problem.measured.present_memory_bytes == Some(memory) { "there" } else { "declared" };
        let known =
            spec.agents.iter().filter(|agent| problem.measured.blue_peak_bytes.contains_key(&agent.name)).count();
        format!(
            "{} are {source}, {} are reserved, and a plan stays below {} % of the rest; the needs of {known} of {} agents \
             are measured",
            Size(memory),
            Size(spec.host.reserve_bytes),
            (problem.ceiling() * 100.0).round(),
            spec.agents.len(),
        )
    }
}

/// Rounded up to what is shown of a size, so that whoever follows the advice is not refused again for the rest.
fn shown_up(bytes: u64) -> u64 {
    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;
    match bytes {
        0..GIB => bytes.div_ceil(MIB) * MIB,
        // Tenths.
        GIB..107_374_182_400 => (bytes * 10).div_ceil(GIB) * GIB / 10,
        _ => bytes.div_ceil(GIB) * GIB,
    }
}

fn counted(count: usize, one: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}

fn cores(cores: f64) -> String {
    format!("{cores:.2}")
}
