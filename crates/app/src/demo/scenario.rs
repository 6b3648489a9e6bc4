//! What a demo plays: the files that it writes, its pace and its model server. Each scenario is made of what any user
//! may write into such files; nothing in the product knows of it.

use std::fmt;

use bellwether_core::{
    diagnostic::Diagnostic,
    id::AgentName,
    spec::{PhaseSpec, Sources, Spec, parse_fleet},
    time::Millis,
};

use super::{files, realistic};
use crate::failure::Failure;

pub(super) const FLEET: &str = include_str!("../../../../examples/sutazai/fleet.yaml");
pub(super) const AGENTS: &str = include_str!("../../../../examples/sutazai/agents.csv");
const RELEASE: &str = include_str!("../../../../examples/sutazai/release-v2.yaml");

/// What is wrong, on purpose, with what is rolled out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Fault {
    /// 30 % of green's tasks fail
    Errors,
    /// Green's tasks take three times as long
    Latency,
    /// Green's memory grows to its limit
    Leak,
    /// Green ends by itself soon after it began to work
    Crash,
    /// Green takes a task and does nothing more, while its heartbeats go on
    Hang,
    /// Green reports every task as completed, with nothing in it
    Swallow,
    /// Green boots well and cannot answer the synthetic task that it is tried out with
    Unfit,
    /// The model server is gone until no green is left
    OllamaDown,
}

/// A fault and when it shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Planted {
    pub(crate) fault: Fault,
    /// Counted from 0: agents of this phase and later ones are faulty.
    pub(crate) phase: usize,
}

/// The limit that leaking agents run into. They jump to two thirds of it, and at 3 MiB/s cross nine tenths some 8 s
/// later. From there to the limit takes about as long as a beat of measurements, so that the trigger mostly comes
/// before the kernel.
const LEAK_LIMIT_MIB: u64 = 96;

/// Three greens in a row have so long each.
const UNFIT_WITHIN: Millis = Millis::from_secs(8);

impl Fault {
    /// What makes the green agent play it, in the words of `bellwether agent --fault`.
    fn of_agent(self) -> Option<&'static str> {
        match self {
            Self::Errors => Some("errors=30%"),
            Self::Latency => Some("latency=3"),
            Self::Leak => Some("leak=3MiB:128MiB:56MiB"),
            Self::Crash => Some("crash=2"),
            Self::Hang => Some("hang"),
            Self::Swallow | Self::Unfit => Some("swallow"),
            Self::OllamaDown => None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Errors => "errors: 30 % of green's tasks fail",
            Self::Latency => "latency: green's tasks take three times as long",
            Self::Leak => "leak: green's memory grows to its limit of 96 MiB",
            Self::Crash => "crash: green ends by itself again and again, 2 s after it began to work",
            Self::Hang => "hang: green takes one task and does nothing more, but its heartbeats go on",
            Self::Swallow => "swallow: green reports every task as completed, with nothing in it",
            Self::Unfit => "unfit: green boots well, and cannot answer the synthetic task that it is tried out with",
            Self::OllamaDown => "ollama-down: the model server is gone until no green is left",
        })
    }
}

/// The texts of a demo's files, and how fast it goes.
pub(super) struct Scenario {
    pub(super) fleet: String,
    pub(super) agents: String,
    pub(super) release: String,
    /// Times of the simulated model server, where they are not those that were measured.
    pub(super) model_times: Option<String>,
    /// What is said of it before it begins.
    pub(super) told: Vec<String>,
    pub(super) speed: f64,
    pub(super) baseline: Millis,
    pub(super) rate: f64,
    /// How long tasks may take that are still under way when the rollout is over.
    pub(super) settle: Millis,
}

impl Scenario {
    /// 131 agents in compressed time.
    pub(super) fn compressed() -> Self {
        Self {
            fleet: FLEET.to_owned(),
            agents: AGENTS.to_owned(),
            release: RELEASE.to_owned(),
            model_times: None,
            told: Vec::new(),
            speed: 100.0,
            baseline: Millis::from_secs(25),
            rate: 30.0,
            settle: Millis::from_secs(30),
        }
    }

    /// Few agents, heavy ones, and a model server that takes 20 s for a call.
    pub(super) fn realistic() -> Result<Self, Failure> {
        realistic::scenario()
    }

    /// The fleet file as it reads.
    pub(super) fn spec(&self) -> Result<Spec, Failure> {
        let beside = |_: &str| Ok(self.agents.clone());
        parse_fleet(&Sources { name: "fleet.yaml", text: &self.fleet, read: &beside }).map_err(Failure::invalid)
    }

    /// The same with a fault in it.
    pub(super) fn with(mut self, planted: Planted) -> Result<Self, Failure> {
        let spec = self.spec()?;
        let phases = &spec.rollout.phases;
        let Some(sound) = phases.get(planted.phase) else { return Err(no_such_phase(planted.phase, phases)) };
        self.told.push(format!("fault from phase {} ({}) on: {}", planted.phase + 1, sound.name, planted.fault));
        if planted.fault == Fault::Leak {
            self.agents = with_memory_limit(&self.agents, LEAK_LIMIT_MIB);
        }
        let when = match planted.fault {
            Fault::Unfit => {
                // What never answers well need not be given the patience that a slow model server wants.
                self.fleet = with_ready(&self.fleet, UNFIT_WITHIN);
                let bad = phases[planted.phase..].iter().flat_map(|phase| &phase.agents).map(AgentName::as_str);
                format!("BELLWETHER_FAULT_AGENTS: '{}'", bad.collect::<Vec<_>>().join(","))
            }
            Fault::Errors
            | Fault::Latency
            | Fault::Leak
            | Fault::Crash
            | Fault::Hang
            | Fault::Swallow
            | Fault::OllamaDown => format!("BELLWETHER_FAULT_FROM: '{}'", files::fault_from().display()),
        };
        if let Some(fault) = planted.fault.of_agent() {
            let release = self.release.trim_end();
            self.release = format!("{release}\n  env: {{BELLWETHER_FAULT: '{fault}', {when}}}\n");
        }
        Ok(self)
    }
}

/// The fleet file with this time for an answer to the synthetic task.
fn with_ready(fleet: &str, within: Millis) -> String {
    fleet.replacen("  defaults:\n", &format!("  defaults:\n    ready: {{within: {within}}}\n"), 1)
}

/// The inventory with this limit for every agent.
fn with_memory_limit(csv: &str, mib: u64) -> String {
    let mut lines = csv.lines();
    let head = lines.next().unwrap_or_default();
    let column = head.split(',').position(|name| name == "memory_limit_mib");
    let rows = lines.map(|line| {
        let limit = mib.to_string();
        let fields = line.split(',').enumerate();
        fields.map(|(at, field)| if Some(at) == column { limit.as_str() } else { field }).collect::<Vec<_>>().join(",")
    });
    std::iter::once(head.to_owned()).chain(rows).map(|line| line + "\n").collect()
}

fn no_such_phase(phase: usize, phases: &[PhaseSpec]) -> Failure {
    let names: Vec<String> = phases.iter().enumerate().map(|(i, phase)| format!("{} {}", i + 1, phase.name)).collect();
    Failure::invalid(vec![
        Diagnostic::new("BW0330", format!("the demo has no phase {}", phase + 1))
            .help(format!("its phases are {}", names.join(", "))),
    ])
}

#[cfg(test)]
mod tests {
    use bellwether_core::spec::{Readiness, parse_release};

    use super::*;

    fn with(fault: Fault, phase: usize) -> Result<Scenario, Failure> {
        Scenario::compressed().with(Planted { fault, phase })
    }

    #[test]
    fn the_revision_turns_bad_when_its_file_is_there() {
        let faulty = with(Fault::Crash, 3).expect("there is such a phase");
        let release = parse_release("release.yaml", &faulty.release).expect("it is sound");
        assert_eq!(release.env["BELLWETHER_FAULT"], "crash=2");
        assert_eq!(release.env["BELLWETHER_FAULT_FROM"], files::fault_from().display().to_string());
    }

    #[test]
    fn each_fault_is_one_that_an_agent_knows() {
        for fault in [Fault::Errors, Fault::Latency, Fault::Leak, Fault::Crash, Fault::Hang, Fault::Swallow] {
            assert!(fault.of_agent().expect("it is the agent's").parse::<bellwether_agent::Fault>().is_ok(), "{fault}");
        }
        let down = with(Fault::OllamaDown, 0).expect("there is such a phase");
        assert_eq!(down.release, RELEASE, "no agent is to blame");
    }

    #[test]
    fn agents_that_are_unfit_are_so_from_their_phase_on_and_have_little_time() {
        let unfit = with(Fault::Unfit, 3).expect("there is such a phase");
        let release = parse_release("release.yaml", &unfit.release).expect("it is sound");
        assert_eq!(release.env["BELLWETHER_FAULT_AGENTS"].split(',').count(), 66);
        assert!(!release.env.contains_key("BELLWETHER_FAULT_FROM"));
        let within = |ready: &Readiness| matches!(ready, Readiness::Task { within, .. } if *within == UNFIT_WITHIN);
        let spec = unfit.spec().expect("it is sound");
        assert!(spec.agents.iter().all(|agent| within(&agent.ready)));
    }

    #[test]
    fn a_leak_has_a_limit_to_run_into() {
        let limited = with(Fault::Leak, 0).and_then(|scenario| scenario.spec()).expect("it is sound");
        assert_eq!(limited.agents.len(), 131);
        assert!(limited.agents.iter().all(|agent| agent.memory_limit_bytes == Some(96 << 20)));
    }

    #[test]
    fn a_phase_that_is_not_there_is_refused_with_those_that_are() {
        let refused = with(Fault::Hang, 4).err().expect("there are four");
        assert_eq!(refused.exit, crate::failure::Exit::Invalid);
        assert!(refused.to_string().contains("1 canary, 2 limited, 3 production, 4 full"), "{refused}");
    }
}
