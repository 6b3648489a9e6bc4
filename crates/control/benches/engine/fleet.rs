//! A fleet of any size, and the plan that moves it in five hours.

use std::fmt::Write;

use bellwether_core::{
    plan::{Measured, Plan, make},
    rollout::FleetAgent,
    spec::{Sources, Spec, parse_fleet, parse_release},
};

const RELEASE: &str = "version: 1\nrelease: v2\nset: {command: [bellwether, agent], http: true}\n";
/// Shares of the fleet that are on green after each phase, in percent, as in the example of 131 agents.
const PHASES: [(usize, &str); 4] = [(10, "30m"), (25, "45m"), (50, "60m"), (100, "75m")];
/// Memory is not what is measured here.
const PRESENT_BYTES: u64 = 1 << 50;

pub(crate) struct Fleet {
    pub(crate) declared: Vec<FleetAgent>,
    pub(crate) plan: Plan,
}

impl Fleet {
    pub(crate) fn new(agents: usize) -> Result<Self, String> {
        let text = file(agents);
        let read = |name: &str| Err(format!("{name} is not wanted"));
        let spec = parse_fleet(&Sources { name: "fleet.yaml", text: &text, read: &read }).map_err(first)?;
        let release = parse_release("release.yaml", RELEASE).map_err(first)?;
        let measured = Measured { present_memory_bytes: Some(PRESENT_BYTES), ..Measured::default() };
        let plan = make(&spec, &release, &measured, 1.0).map_err(first)?;
        Ok(Self { declared: declared(&spec), plan })
    }
}

fn file(agents: usize) -> String {
    let mut text = "version: 1\nfleet: engine\nhost: {reserve: 1GiB}\nagents:\n  defaults: {command: [bellwether, \
                    legacy-agent], model: tinyllama, standby: warm}\n  list:\n"
        .to_owned();
    for number in 0..agents {
        let share = number * 100 / agents;
        let phase = PHASES.iter().take_while(|(up_to, _)| *up_to <= share).count() + 1;
        // Nothing fails that is written to a string.
        writeln!(text, "    - {{name: agent-{number:05}, type: kind-{}, phase: {phase}}}", number % 20).ok();
    }
    text += "rollout:\n  baseline: 60m\n  validation: 30m\n  undo_max: 10h\n  phases:\n";
    for (number, (_, bake)) in (1..).zip(PHASES) {
        writeln!(
            text,
            "    - {{name: phase-{number}, select: {{phase: {number}}}, bake: {bake}, thin_evidence: accept}}"
        )
        .ok();
    }
    text
}

fn declared(spec: &Spec) -> Vec<FleetAgent> {
    let agents = spec.agents.iter().map(|agent| FleetAgent {
        name: agent.name.clone(),
        agent_type: agent.agent_type.clone(),
        revision: agent.revision.id.clone(),
        http: agent.revision.http,
        delivery: agent.revision.delivery,
        boot: agent.revision.boot,
        drain: agent.drain,
    });
    agents.collect()
}

fn first(found: Vec<bellwether_core::diagnostic::Diagnostic>) -> String {
    found.first().map(ToString::to_string).unwrap_or_default()
}
