//! The loop: inputs → machine → journal → effects. The only place where commands of the machine begin to act.
//!
//! Invariant: a command is carried out only after the event that caused it is durable. What only tells of a decision
//! (evidence, answers, the published picture) comes after its commands, so that it never holds up traffic.

mod hear;
mod look;

use std::{path::PathBuf, sync::Arc};

use bellwether_core::{
    id::RolloutId,
    observation::Second,
    plan::Plan,
    port::{driver::DriverEvent, gateway::GatewayEvent},
    rollout::{Command, Controller, Event, Lookout, Refusal, Verb},
    spec::Spec,
    time::Now,
    watch::HealthCheck,
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

pub(crate) use self::look::Sight;
use crate::{
    api::{Shared, types::Started},
    bundle,
    bundles::{self, Bundles},
    clock::Clock,
    effects::Effects,
    error::Error,
    evidence::Evidence,
    fleet,
    health::{Health, Target},
    journal::Journal,
    links::News,
    measured::TrafficLog,
    usage::UsageLog,
    watching::{Prepared, Watching},
};

/// Everything that can reach the reactor.
pub(crate) enum Input {
    World(Event),
    Driver(News<DriverEvent>),
    Gateway(News<GatewayEvent>),
    Start {
        plan: Box<Plan>,
        by: String,
        reply: oneshot::Sender<Result<Started, Refusal>>,
    },
    Verb {
        verb: Verb,
        reply: oneshot::Sender<Result<(), Refusal>>,
    },
    /// The watch of a rollout was made from what the gateway's spool holds.
    Watch {
        rollout: RolloutId,
        prepared: Prepared,
    },
    /// Records that the link did not deliver; none if they could not be read.
    Missed {
        rollout: RolloutId,
        records: Option<Vec<Second>>,
    },
    Health(HealthCheck),
    /// A look that nobody asked for; none if it could not be taken.
    Glanced(Option<Sight>),
}

pub(crate) struct Reactor {
    pub(crate) spec: Arc<Spec>,
    pub(crate) machine: Controller,
    pub(crate) journal: Journal,
    pub(crate) state_dir: PathBuf,
    pub(crate) journal_path: PathBuf,
    pub(crate) last_record: i64,
    pub(crate) clock: Clock,
    pub(crate) inputs: mpsc::Receiver<Input>,
    pub(crate) effects: Effects,
    pub(crate) usage: UsageLog,
    pub(crate) traffic: TrafficLog,
    pub(crate) watching: Watching,
    pub(crate) health: Health,
    pub(crate) bundles: Bundles,
    pub(crate) shared: Arc<Shared>,
    /// The number of the last one-second record that was pushed.
    pub(crate) last_second: u64,
    pub(crate) lookout: Lookout,
}

/// Inputs taken into one journal transaction.
const BATCH_MAX: usize = 256;

/// What the machine made of some inputs: what must be durable, what is then done, and who is then answered.
#[derive(Default)]
struct Decisions {
    records: Vec<(Now, Event)>,
    commands: Vec<Command>,
    replies: Vec<Box<dyn FnOnce() + Send>>,
}

impl Reactor {
    pub(crate) async fn run(mut self, shutdown: CancellationToken) -> Result<(), Error> {
        if !self.machine.is_declared() {
            let agents = crate::run::declared(&self.spec);
            self.take(vec![Input::World(Event::FleetDeclared { agents })]).await?;
        }
        self.follow();
        loop {
            let timeout = self.machine.next_timeout().map(|at| self.clock.instant(at));
            let due = async {
                match timeout {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            let glance = self.clock.instant(self.lookout.at());
            let mut batch = Vec::new();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                () = due => batch.push(Input::World(Event::Tick)),
                () = tokio::time::sleep_until(glance.into()) => {
                    self.glance();
                    continue;
                }
                received = self.inputs.recv_many(&mut batch, BATCH_MAX) => {
                    if received == 0 {
                        return Ok(());
                    }
                }
            }
            tokio::select! {
                done = self.take(batch) => done?,
                () = shutdown.cancelled() => return Ok(()),
            }
            self.follow();
        }
    }

    async fn take(&mut self, batch: Vec<Input>) -> Result<(), Error> {
        let mut decisions = Decisions::default();
        let mut look = false;
        for input in batch {
            match input {
                Input::World(event) => self.step(event, &mut decisions),
                Input::Driver(News::Up) | Input::Gateway(News::Up) => look = true,
                Input::Driver(News::Event(event)) => self.driver_said(event, &mut decisions)?,
                Input::Gateway(News::Event(event)) => self.gateway_said(event, &mut decisions)?,
                Input::Start { plan, by, reply } => {
                    self.effects.launcher.learn(&plan.revisions);
                    let result = self.try_step(Event::Planned { plan, by }, &mut decisions);
                    let started =
                        result.map(|()| Started { rollout: self.machine.rollout().map(|r| r.id).unwrap_or_default() });
                    decisions.replies.push(Box::new(move || drop(reply.send(started))));
                }
                Input::Verb { verb, reply } => {
                    let result = self.try_step(Event::Verb(verb), &mut decisions);
                    decisions.replies.push(Box::new(move || drop(reply.send(result))));
                }
                Input::Watch { rollout, prepared } => {
                    let alarms = self.watching.prepared(rollout, prepared);
                    self.alarm(alarms, &mut decisions);
                }
                Input::Missed { rollout, records } => self.missed(rollout, records.as_deref(), &mut decisions),
                Input::Health(check) => self.checked(&check, &mut decisions),
                Input::Glanced(seen) => look |= self.glanced(seen),
            }
        }
        self.record_and_act(decisions).await?;
        if look {
            self.converge().await?;
        }
        Ok(())
    }

    async fn record_and_act(&mut self, decisions: Decisions) -> Result<(), Error> {
        let Decisions { records, commands, replies } = decisions;
        if !records.is_empty() {
            self.last_record = self.journal.append(self.last_record, &records)?;
        }
        for reply in replies {
            reply();
        }
        let questions = self.effects.carry_out(self.machine.generation(), commands).await;
        for question in questions {
            self.answer(question).await?;
        }
        Ok(())
    }

    fn step(&mut self, event: Event, decisions: &mut Decisions) {
        if let Err(refusal) = self.try_step(event, decisions) {
            tracing::error!(%refusal, "the machine refused an event of the world");
        }
    }

    fn try_step(&mut self, event: Event, decisions: &mut Decisions) -> Result<(), Refusal> {
        let now = self.clock.now();
        let before = self.machine.rollout().map(|r| (r.id, r.state));
        decisions.commands.extend(self.machine.step(now, event.clone())?);
        if let Some(rollout) = self.machine.rollout()
            && before != Some((rollout.id, rollout.state))
        {
            tracing::info!(rollout = %rollout.id, state = ?rollout.state, "rollout moved");
        }
        self.usage.seen.happened(now.wall, &event, &self.machine);
        decisions.records.push((now, event));
        Ok(())
    }

    /// What goes along with the machine: its picture, the watch, the health checks and the evidence of rollbacks.
    fn follow(&mut self) {
        self.shared.publish(&self.machine, self.clock.now(), &self.usage);
        if let Some(job) = self.watching.follow(self.machine.rollout()) {
            let spec = Arc::new(fleet::as_it_runs(&self.spec, &self.machine));
            self.effects.tasks.spawn(job.run(self.evidence(), spec, self.effects.inputs.clone()));
        }
        let launcher = &self.effects.launcher;
        let ready = self.machine.ready_with_health().filter(|_| self.watching.is_on());
        self.health.ask(ready.map(|(instance, agent, side)| Target {
            instance,
            agent: agent.clone(),
            side,
            address: launcher.http_address(instance),
        }));
        self.shared.keep_health(|instance| self.health.asks(instance));
        self.write_evidence();
    }

    fn write_evidence(&mut self) {
        let Some(rollout) = self.machine.rollout() else { return };
        for retreat in self.bundles.due(rollout) {
            let now = self.clock.now();
            let request = bundle::Request {
                spec: self.spec.clone(),
                state_dir: self.state_dir.clone(),
                journal: self.journal_path.clone(),
                gateway: self.effects.gateway.clone(),
                rollout: rollout.clone(),
                retreat,
                view: self.machine.view(now),
                last_second: self.last_second,
                now: now.wall,
            };
            self.effects.tasks.spawn(bundles::write(request));
        }
    }

    fn evidence(&self) -> Evidence {
        Evidence { spec: self.spec.clone(), gateway: self.effects.gateway.clone(), journal: self.journal_path.clone() }
    }
}
