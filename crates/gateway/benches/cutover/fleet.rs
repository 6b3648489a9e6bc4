//! The fleet of the benchmark: agents by number, each with a blue and a green instance.

use std::fmt::Write;

use anyhow::bail;
use bellwether_core::{
    id::{AgentName, InstanceId, InstanceToken, ModelName, Side},
    port::gateway::{InstanceCard, Move},
    spec::{Sources, Spec, parse_fleet},
};

/// The number of an agent, from zero.
pub(crate) type Agent = usize;

pub(crate) const SIDES: [Side; 2] = [Side::Blue, Side::Green];

pub(crate) fn name(agent: Agent) -> String {
    format!("agent-{agent:03}")
}

pub(crate) fn instance(agent: Agent, side: Side) -> InstanceId {
    InstanceId(agent as u64 * 2 + if side == Side::Blue { 1 } else { 2 })
}

/// How a target says who it is.
pub(crate) fn signature(agent: Agent, side: Side) -> String {
    format!("{} {side}", name(agent))
}

pub(crate) fn card(agent: Agent, side: Side, upstream: std::net::SocketAddr) -> InstanceCard {
    let instance = instance(agent, side);
    InstanceCard {
        instance,
        agent: AgentName::new(name(agent)),
        agent_type: "general".into(),
        model: ModelName::new("tinyllama"),
        side,
        token: InstanceToken::new(format!("token-{instance}")),
        address: instance.address(),
        upstream: Some(upstream),
        delivery: bellwether_core::spec::Delivery::Pull,
    }
}

pub(crate) fn moved(agent: Agent, to: Side) -> Move {
    Move { agent: AgentName::new(name(agent)), to: instance(agent, to), fallback: Some(instance(agent, to.other())) }
}

pub(crate) fn spec(agents: u16) -> anyhow::Result<Spec> {
    let mut text = String::from(
        "version: 1\nfleet: bench\nagents:\n  defaults: {command: [bellwether, agent], http: true}\n  list:\n",
    );
    for agent in 0..usize::from(agents) {
        writeln!(text, "    - {}", name(agent))?;
    }
    let read = |_: &str| Err("the fleet of the benchmark is one file".to_owned());
    match parse_fleet(&Sources { name: "bench.yaml", text: &text, read: &read }) {
        Ok(spec) => Ok(spec),
        Err(found) => bail!(found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
    }
}
