//! The loop: inputs → machine → journal → effects. The only place where commands of the machine begin to act.
//!
//! Invariant: a command is carried out only after the event that caused it is durable. What only tells of a decision
//! (evidence, answers, the published picture) comes after its commands, so that it never holds up traffic.

mod hear;
mod look;
mod pace;
mod record;
#[cfg(test)]
mod tests;

use std::{path::PathBuf, sync::Arc, time::Instant};

use bellwether_core::{
    id::RolloutId,
    observation::Second,
    plan::Plan,
    port::{driver::DriverEvent, gateway::GatewayEvent},
    rollout::{Again, Command, Controller, Event, Lookout, Once, Refusal, Verb},
    spec::Spec,
    time::{ClockWatch, Now, UnixMillis},
    watch::HealthCheck,
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

pub(crate) use self::{look::Sight, pace::Pace};
use crate::{
    api::{Shared, types::Started},
    bundle,
    bundles::{self, Bundles},
    clock::Clock,
    disk::Disk,
    effects::Effects,
    error::Error,
    evidence::Evidence,
    fleet,
    health::{Health, Target},
    journal::{Journal, noted},
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
        again: Option<Again>,
        once: Option<Once>,
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
    pub(crate) clock_watch: ClockWatch,
    pub(crate) inputs: mpsc::Receiver<Input>,
    pub(crate) effects: Effects,
    pub(crate) usage: UsageLog,
    pub(crate) traffic: TrafficLog,
    pub(crate) watching: Watching,
    pub(crate) health: Health,
    pub(crate) bundles: Bundles,
    pub(crate) disk: Disk,
    /// The last record that is in a snapshot.
    pub(crate) last_snapshot: i64,
    /// There may be old records to drop.
    pub(crate) forgetting: bool,
    /// See [`noted`].
    pub(crate) decided: UnixMillis,
    pub(crate) began: i64,
    /// Samples in a row that could not be written.
    pub(crate) samples_lost: u32,
    /// What the machine has to be told before anything else.
    pub(crate) first: Vec<Event>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) pace: Pace,
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

impl Decisions {
    /// A refusal has nothing to wait for; what was decided is told once it is durable.
    fn answer<T: Send + 'static>(&mut self, to: oneshot::Sender<Result<T, Refusal>>, answer: Result<T, Refusal>) {
        // Whoever asked may have stopped waiting.
        match answer {
            Ok(_) => self.replies.push(Box::new(move || drop(to.send(answer)))),
            Err(_) => drop(to.send(answer)),
        }
    }
}

impl Reactor {
    pub(crate) async fn run(mut self, shutdown: CancellationToken) -> Result<(), Error> {
        if !self.machine.is_declared() {
            let agents = crate::run::declared(&self.spec);
            self.first.push(Event::FleetDeclared { agents });
        }
        let first = std::mem::take(&mut self.first).into_iter().map(Input::World).collect();
        self.take(first).await?;
        self.follow();
        loop {
            let timeout = self.machine.next_timeout().map(|at| self.clock.instant(at));
            let again = self.disk.is_behind().then(|| Instant::now() + record::TRY_AGAIN);
            let (due, again, behind) = (until(timeout), until(again), until(self.pace.wakes_at()));
            let glance = until(Some(self.clock.instant(self.lookout.at())));
            let mut batch = Vec::new();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                () = due => batch.push(Input::World(Event::Tick)),
                () = again => {}
                () = glance => {
                    self.glance();
                    continue;
                }
                received = self.inputs.recv_many(&mut batch, BATCH_MAX) => {
                    if received == 0 {
                        return Ok(());
                    }
                }
                () = behind => {}
            }
            tokio::select! {
                done = self.take(batch) => done?,
                () = shutdown.cancelled() => return Ok(()),
            }
            self.follow();
            self.keep_house();
        }
    }

    async fn take(&mut self, batch: Vec<Input>) -> Result<(), Error> {
        let mut decisions = Decisions::default();
        let mut look = false;
        self.look_at_the_clock(&mut decisions);
        for input in batch {
            match input {
                Input::World(event) => self.step(event, &mut decisions),
                Input::Driver(News::Up) | Input::Gateway(News::Up) => look = true,
                Input::Driver(News::Event(event)) => self.driver_said(event, &mut decisions),
                Input::Gateway(News::Event(event)) => self.gateway_said(event, &mut decisions),
                Input::Start { plan, by, again, once, reply } => {
                    self.effects.launcher.learn(&plan.revisions);
                    let started = match self.start(Event::Planned { plan, by, again, once }, &mut decisions) {
                        // The answer to the first request was lost: this is the same answer.
                        Err(Refusal::Repeated(rollout)) => Ok(rollout),
                        started => started,
                    };
                    decisions.answer(reply, started.map(|rollout| Started { rollout }));
                }
                Input::Verb { verb, reply } => {
                    let allowed = self.may_ask(&verb);
                    let result = match allowed.and_then(|()| self.try_step(Event::Verb(verb), &mut decisions)) {
                        Err(Refusal::Repeated(_)) => Ok(()),
                        result => result,
                    };
                    decisions.answer(reply, result);
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

    /// Once a second at the least, as the gateway closes its seconds.
    fn look_at_the_clock(&mut self, decisions: &mut Decisions) {
        if let Some(jump) = self.clock_watch.look(self.clock.now()) {
            tracing::warn!(%jump, "the wall clock was set, or the machine slept; deadlines go on by the monotonic clock");
            self.step(Event::ClockJumped { jump }, decisions);
        }
    }

    fn start(&mut self, planned: Event, decisions: &mut Decisions) -> Result<RolloutId, Refusal> {
        if let Event::Planned { once, .. } = &planned {
            // What was done already holds no room back again.
            self.machine.check_key(once.as_ref())?;
        }
        let reserve_bytes = self.prepared()?;
        self.try_step(planned, decisions)?;
        let rollout = self.machine.rollout().map(|rollout| rollout.id).unwrap_or_default();
        self.try_step(Event::RollbackAuthorised { rollout, reserve_bytes }, decisions)?;
        Ok(rollout)
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
        let number = self.last_record + (self.disk.unwritten.len() + decisions.records.len()) as i64 + 1;
        (self.decided, self.began) = noted((self.decided, self.began), number, now, &event);
        decisions.records.push((now, event));
        Ok(())
    }

    /// What goes along with the machine: its picture, the watch, the health checks and the evidence of rollbacks.
    fn follow(&mut self) {
        if let Some(job) = self.watching.follow(self.machine.rollout()) {
            let spec = Arc::new(fleet::as_it_runs(&self.spec, &self.machine));
            self.effects.tasks.spawn(job.run(self.evidence(), spec, self.effects.inputs.clone()));
        }
        let began = Instant::now();
        if self.pace.is_due(began) {
            self.look_through();
            let ended = Instant::now();
            self.pace.looked(ended, ended - began);
        }
        self.write_evidence();
    }

    fn look_through(&mut self) {
        self.shared.publish(&self.machine, self.clock.now(), &self.usage, self.disk.full());
        let launcher = &self.effects.launcher;
        let ready = self.machine.ready_with_health().filter(|_| self.watching.is_on());
        self.health.ask(ready.map(|(instance, agent, side)| Target {
            instance,
            agent: agent.clone(),
            side,
            address: launcher.http_address(instance),
        }));
        self.shared.keep_health(|instance| self.health.asks(instance));
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

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
