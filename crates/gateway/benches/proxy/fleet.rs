//! The fleet of the benchmark: one agent with one instance, which is the upstream, as is the model server.

use std::{net::SocketAddr, path::Path, time::Duration};

use anyhow::{Context, bail};
use bellwether_core::{
    id::{AgentName, Generation, InstanceId, InstanceToken, ModelName, Side},
    port::gateway::{GatewayAnswer, GatewayIntent, InstanceCard, Move, PROTOCOL},
    spec::{Delivery, Sources, Spec, parse_fleet},
    time::Millis,
};
use bellwether_link::{Client, Hello};
use serde::de::IgnoredAny;
use tokio::time::{Instant, sleep};

pub(crate) const AGENT: &str = "agent";
pub(crate) const TOKEN: &str = "token-of-the-benchmark";
pub(crate) const MODEL: &str = "tinyllama";
const INSTANCE: InstanceId = InstanceId(1);
const LINK_WAIT: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// More slots than calls, so that nobody waits for one.
pub(crate) fn spec(model_server: SocketAddr, slots: u32) -> anyhow::Result<Spec> {
    let text = format!(
        "version: 1\nfleet: bench\nollama: {{url: 'http://{model_server}', parallel: {slots}}}\nagents:\n  \
         defaults: {{command: [bellwether, agent], http: true}}\n  list:\n    - {AGENT}\n"
    );
    let read = |_: &str| Err("the fleet of the benchmark is one file".to_owned());
    match parse_fleet(&Sources { name: "bench.yaml", text: &text, read: &read }) {
        Ok(spec) => Ok(spec),
        Err(found) => bail!(found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
    }
}

/// Makes the instance known and routes the agent to it, once the gateway listens.
pub(crate) async fn enrol(link: &Path, upstream: SocketAddr) -> anyhow::Result<()> {
    let deadline = Instant::now() + LINK_WAIT;
    let link = loop {
        match Client::connect::<IgnoredAny>(link, Hello::new(PROTOCOL.0, PROTOCOL.1)).await {
            Ok((client, _events)) => break client,
            Err(_) if Instant::now() < deadline => sleep(LOOK_AGAIN).await,
            Err(error) => return Err(error).context("cannot reach the gateway over its link"),
        }
    };
    let generation = carry_out(&link, &GatewayIntent::Enrol { cards: vec![card(upstream)] }).await?;
    let moves = vec![Move { agent: AgentName::new(AGENT), to: INSTANCE, fallback: None }];
    let cut_over =
        GatewayIntent::CutOver { generation: generation.next(), moves, drain: Millis::from_mins(60), revoke: false };
    carry_out(&link, &cut_over).await?;
    Ok(())
}

fn card(upstream: SocketAddr) -> InstanceCard {
    InstanceCard {
        instance: INSTANCE,
        agent: AgentName::new(AGENT),
        agent_type: "general".into(),
        model: ModelName::new(MODEL),
        side: Side::Blue,
        token: InstanceToken::new(TOKEN),
        address: INSTANCE.address(),
        upstream: Some(upstream),
        delivery: Delivery::Pull,
    }
}

async fn carry_out(link: &Client<GatewayAnswer>, intent: &GatewayIntent) -> anyhow::Result<Generation> {
    match link.ask(intent).await? {
        GatewayAnswer::Done { generation } => Ok(generation),
        GatewayAnswer::Stale { standing } => bail!("the gateway is at generation {standing}"),
        GatewayAnswer::Refused { reason } => bail!("the gateway refused: {reason}"),
        GatewayAnswer::Observed(_) | GatewayAnswer::Seconds { .. } => bail!("the gateway answered something else"),
    }
}
