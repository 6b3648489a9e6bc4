//! The controller of the benchmark: enrols, cuts over by the clock, and notes how long each took.

use std::{net::SocketAddr, ops::Range, path::Path, time::Duration};

use anyhow::{Context, bail};
use bellwether_core::{
    id::{Generation, Side},
    port::gateway::{GatewayAnswer, GatewayIntent, PROTOCOL},
    time::Millis,
};
use bellwether_link::{Client, Hello};
use serde::{Serialize, de::IgnoredAny};
use tokio::time::{Instant, sleep, sleep_until};

use crate::{
    cutovers::{Cutover, Cutovers},
    fleet::{self, Agent, SIDES},
    ledger::Clock,
};

/// Longer than any run: what is cut was not cut by this limit.
const DRAIN: Millis = Millis::from_mins(60);
const LINK_WAIT: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Part {
    Before,
    OneByOne,
    AllAtOnce,
    After,
}

pub(crate) struct Conductor {
    link: Client<GatewayAnswer>,
    generation: Generation,
    agents: usize,
    clock: Clock,
    cutovers: Cutovers,
    parts: Vec<(Part, Range<Duration>)>,
}

impl Conductor {
    /// Waits for the gateway to listen.
    pub(crate) async fn connect(link: &Path, agents: u16, clock: Clock) -> anyhow::Result<Self> {
        let deadline = Instant::now() + LINK_WAIT;
        let link = loop {
            match Client::connect::<IgnoredAny>(link, Hello::new(PROTOCOL.0, PROTOCOL.1)).await {
                Ok((client, _events)) => break client,
                Err(_) if Instant::now() < deadline => sleep(LOOK_AGAIN).await,
                Err(error) => return Err(error).context("cannot reach the gateway over its link"),
            }
        };
        Ok(Self {
            link,
            generation: Generation(0),
            agents: usize::from(agents),
            clock,
            cutovers: Cutovers::default(),
            parts: Vec::new(),
        })
    }

    /// Makes both sides of every agent known, and routes all agents to blue.
    pub(crate) async fn enrol(&mut self, upstreams: &[[SocketAddr; 2]]) -> anyhow::Result<()> {
        let cards = upstreams.iter().enumerate().flat_map(|(agent, upstreams)| {
            SIDES.into_iter().zip(upstreams).map(move |(side, &upstream)| fleet::card(agent, side, upstream))
        });
        self.carry_out(&GatewayIntent::Enrol { cards: cards.collect() }).await?;
        self.cut_over(0..self.agents, Side::Blue).await
    }

    pub(crate) async fn pass(&mut self, part: Part, length: Duration) {
        let began = self.clock.now();
        sleep_until(self.clock.at(began + length)).await;
        self.close(part, began);
    }

    /// To green, an intent for each agent.
    pub(crate) async fn one_by_one(&mut self, length: Duration) -> anyhow::Result<()> {
        let began = self.clock.now();
        for agent in 0..self.agents {
            sleep_until(self.clock.at(began + length.mul_f64(agent as f64 / self.agents as f64))).await;
            self.cut_over(agent..agent + 1, Side::Green).await?;
        }
        sleep_until(self.clock.at(began + length)).await;
        self.close(Part::OneByOne, began);
        Ok(())
    }

    /// To blue and back, one intent for all agents each time.
    pub(crate) async fn all_at_once(&mut self, length: Duration, swaps: u32) -> anyhow::Result<()> {
        let began = self.clock.now();
        for swap in 0..swaps {
            sleep_until(self.clock.at(began + length.mul_f64(f64::from(swap) / f64::from(swaps)))).await;
            self.cut_over(0..self.agents, SIDES[swap as usize % 2]).await?;
        }
        sleep_until(self.clock.at(began + length)).await;
        self.close(Part::AllAtOnce, began);
        Ok(())
    }

    /// What the gateway still holds for instances once its clients hold nothing; waits for it to be nothing.
    pub(crate) async fn claims_left(&self, wait: Duration) -> anyhow::Result<u64> {
        let deadline = Instant::now() + wait;
        loop {
            let GatewayAnswer::Observed(view) = self.link.ask(&GatewayIntent::Observe).await? else {
                bail!("the gateway does not say what it sees");
            };
            let held = view.instances.iter().map(|instance| instance.held).sum();
            if held == 0 || Instant::now() >= deadline {
                return Ok(held);
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    pub(crate) fn account(self) -> (Cutovers, Vec<(Part, Range<Duration>)>) {
        (self.cutovers, self.parts)
    }

    async fn cut_over(&mut self, agents: Range<Agent>, to: Side) -> anyhow::Result<()> {
        let intent = GatewayIntent::CutOver {
            generation: self.generation.next(),
            moves: agents.clone().map(|agent| fleet::moved(agent, to)).collect(),
            drain: DRAIN,
            revoke: false,
        };
        let sent = self.clock.now();
        self.carry_out(&intent).await?;
        self.cutovers.push(Cutover { agents, to, sent, done: self.clock.now() });
        Ok(())
    }

    async fn carry_out(&mut self, intent: &GatewayIntent) -> anyhow::Result<()> {
        match self.link.ask(intent).await? {
            GatewayAnswer::Done { generation } => self.generation = generation,
            GatewayAnswer::Stale { standing } => bail!("the gateway is at generation {standing}"),
            GatewayAnswer::Refused { reason } => bail!("the gateway refused: {reason}"),
            GatewayAnswer::Observed(_) | GatewayAnswer::Seconds { .. } => bail!("the gateway answered something else"),
        }
        Ok(())
    }

    fn close(&mut self, part: Part, began: Duration) {
        self.parts.push((part, began..self.clock.now()));
    }
}
