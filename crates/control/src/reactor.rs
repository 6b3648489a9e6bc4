//! The loop: inputs → machine → journal → effects. The only place where commands of the machine begin to act.
//!
//! Invariant: a command is carried out only after the event that caused it is durable.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use bellwether_core::{
    id::InstanceId,
    observation::Second,
    plan::Plan,
    port::{
        driver::{DriverAnswer, DriverEvent, DriverRequest},
        gateway::{GatewayAnswer, GatewayEvent, GatewayIntent, GatewayView},
    },
    rollout::{Command, Controller, Event, Refusal, Verb},
    spec::Spec,
    time::Now,
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::{
    api::{Shared, types::Started},
    clock::Clock,
    effects::{Effects, Question},
    error::Error,
    evidence::Evidence,
    journal::Journal,
    links::News,
    usage::UsageLog,
};

/// Everything that can reach the reactor.
pub(crate) enum Input {
    World(Event),
    Driver(News<DriverEvent>),
    Gateway(News<GatewayEvent>),
    Start { plan: Box<Plan>, by: String, reply: oneshot::Sender<Result<Started, Refusal>> },
    Verb { verb: Verb, reply: oneshot::Sender<Result<(), Refusal>> },
}

pub(crate) struct Reactor {
    pub(crate) spec: Arc<Spec>,
    pub(crate) machine: Controller,
    pub(crate) journal: Journal,
    pub(crate) journal_path: PathBuf,
    pub(crate) last_record: i64,
    pub(crate) clock: Clock,
    pub(crate) inputs: mpsc::Receiver<Input>,
    pub(crate) effects: Effects,
    pub(crate) usage: UsageLog,
    pub(crate) shared: Arc<Shared>,
    /// The number of the last one-second record that was pushed.
    pub(crate) last_second: u64,
}

/// Inputs taken into one journal transaction.
const BATCH_MAX: usize = 256;
/// Samples of memory, CPU and availability are kept this long.
const SAMPLES_KEPT_S: u64 = 24 * 3600;

/// Answers to operators wait until what they asked for is durable.
type Replies = Vec<Box<dyn FnOnce() + Send>>;

impl Reactor {
    pub(crate) async fn run(mut self, shutdown: CancellationToken) -> Result<(), Error> {
        if !self.machine.is_declared() {
            let agents = crate::run::declared(&self.spec);
            self.take(vec![Input::World(Event::FleetDeclared { agents })]).await?;
        }
        self.publish();
        loop {
            let timeout = self.machine.next_timeout().map(|at| self.clock.instant(at));
            let due = async {
                match timeout {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            let mut batch = Vec::new();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                () = due => batch.push(Input::World(Event::Tick)),
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
            self.publish();
        }
    }

    async fn take(&mut self, batch: Vec<Input>) -> Result<(), Error> {
        let mut records = Vec::new();
        let mut commands = Vec::new();
        let mut replies = Replies::new();
        let mut look = false;
        for input in batch {
            match input {
                Input::World(event) => self.step(event, &mut records, &mut commands),
                Input::Driver(News::Up) | Input::Gateway(News::Up) => look = true,
                Input::Driver(News::Event(event)) => {
                    if let Some(event) = self.driver_event(event)? {
                        self.step(event, &mut records, &mut commands);
                    }
                }
                Input::Gateway(News::Event(event)) => {
                    if let Some(event) = self.gateway_event(event)? {
                        self.step(event, &mut records, &mut commands);
                    }
                }
                Input::Start { plan, by, reply } => {
                    self.effects.launcher.learn(&plan.revisions);
                    let result = self.try_step(Event::Planned { plan, by }, &mut records, &mut commands);
                    let started =
                        result.map(|()| Started { rollout: self.machine.rollout().map(|r| r.id).unwrap_or_default() });
                    replies.push(Box::new(move || drop(reply.send(started))));
                }
                Input::Verb { verb, reply } => {
                    let result = self.try_step(Event::Verb(verb), &mut records, &mut commands);
                    replies.push(Box::new(move || drop(reply.send(result))));
                }
            }
        }
        self.record_and_act(records, commands, replies).await?;
        if look {
            self.converge().await?;
        }
        Ok(())
    }

    async fn record_and_act(
        &mut self,
        records: Vec<(Now, Event)>,
        commands: Vec<Command>,
        replies: Replies,
    ) -> Result<(), Error> {
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

    fn step(&mut self, event: Event, records: &mut Vec<(Now, Event)>, commands: &mut Vec<Command>) {
        if let Err(refusal) = self.try_step(event, records, commands) {
            tracing::error!(%refusal, "the machine refused an event of the world");
        }
    }

    fn try_step(
        &mut self,
        event: Event,
        records: &mut Vec<(Now, Event)>,
        commands: &mut Vec<Command>,
    ) -> Result<(), Refusal> {
        let now = self.clock.now();
        let before = self.machine.rollout().map(|r| (r.id, r.state));
        commands.extend(self.machine.step(now, event.clone())?);
        if let Some(rollout) = self.machine.rollout()
            && before != Some((rollout.id, rollout.state))
        {
            tracing::info!(rollout = %rollout.id, state = ?rollout.state, "rollout moved");
        }
        records.push((now, event));
        Ok(())
    }

    fn driver_event(&mut self, event: DriverEvent) -> Result<Option<Event>, Error> {
        Ok(match event {
            DriverEvent::Started { instance, pid: _ } => Some(Event::Started { instance }),
            DriverEvent::Exited { instance, exit } => {
                if !exit.asked {
                    let seat = self.machine.seat_of(instance).map(|(agent, side)| format!("{agent} ({side})"));
                    tracing::warn!(%instance, seat, ?exit, "an instance ended by itself");
                }
                Some(Event::Exited { instance, exit })
            }
            DriverEvent::Frozen { instance } => Some(Event::Frozen { instance }),
            DriverEvent::Thawed { instance } => Some(Event::Thawed { instance }),
            DriverEvent::Usage { sample, host } => {
                let wall_ms = self.clock.now().wall.0;
                let beat = self.usage.beat(wall_ms, &sample, host, &self.machine);
                match serde_json::to_string(&beat) {
                    Ok(text) => self.journal.put_usage(wall_ms, &text, SAMPLES_KEPT_S * 1000)?,
                    Err(error) => tracing::error!(%error, "a sample of memory and CPU could not be written"),
                }
                None
            }
        })
    }

    fn gateway_event(&mut self, event: GatewayEvent) -> Result<Option<Event>, Error> {
        Ok(match event {
            GatewayEvent::Polled { instance } => Some(Event::Polled { instance }),
            GatewayEvent::Empty { instance, revoked } => Some(Event::Empty { instance, revoked }),
            GatewayEvent::FellBack { agent, from, to, generation } => {
                tracing::warn!(%agent, %from, %to, "the gateway fell back");
                Some(Event::FellBack { agent, from, to, generation })
            }
            GatewayEvent::Second { record } => {
                self.second(*record)?;
                None
            }
        })
    }

    fn second(&mut self, record: Second) -> Result<(), Error> {
        self.last_second = self.last_second.max(record.number);
        let without_ready = u32::try_from(self.machine.without_ready_instance()).unwrap_or(u32::MAX);
        self.journal.put_availability(record.number, without_ready, SAMPLES_KEPT_S)?;
        self.shared.live(record);
        Ok(())
    }

    /// Looks at both worlds and tells the machine. Where one is away, its return is the next occasion. No command is sent meanwhile, so that what is seen is not
    /// overtaken by what is asked for.
    async fn converge(&mut self) -> Result<(), Error> {
        let Some((running, gateway)) = self.look().await else { return Ok(()) };
        self.last_second = self.last_second.max(gateway.last_second);
        tracing::info!(running = running.len(), generation = %gateway.generation, "looked at the world");
        let (mut records, mut commands) = (Vec::new(), Vec::new());
        self.step(Event::Converge { running, gateway }, &mut records, &mut commands);
        Box::pin(self.record_and_act(records, commands, Replies::new())).await
    }

    async fn look(&self) -> Option<(BTreeSet<InstanceId>, GatewayView)> {
        let running = match self.effects.driver.ask_now(&DriverRequest::Observe).await {
            Ok(DriverAnswer::Observed { instances }) => instances.into_iter().map(|seen| seen.instance).collect(),
            Ok(other) => {
                tracing::error!(?other, "the driver did not say what runs");
                return None;
            }
            Err(error) => {
                tracing::warn!(%error, "cannot see what runs; looking again when the link is back");
                return None;
            }
        };
        match self.effects.gateway.ask_now(&GatewayIntent::Observe).await {
            Ok(GatewayAnswer::Observed(view)) => Some((running, *view)),
            Ok(other) => {
                tracing::error!(?other, "the gateway did not say how it stands");
                None
            }
            Err(error) => {
                tracing::warn!(%error, "cannot see the gateway; looking again when the link is back");
                None
            }
        }
    }

    async fn answer(&mut self, question: Question) -> Result<(), Error> {
        match question {
            Question::Observe => return self.converge().await,
            Question::OpenWindow { rollout } => {
                let event = Event::WindowOpened { rollout, after_second: self.last_second };
                let (mut records, mut commands) = (Vec::new(), Vec::new());
                self.step(event, &mut records, &mut commands);
                return Box::pin(self.record_and_act(records, commands, Replies::new())).await;
            }
            // Answered with each closed second, by what the watch says.
            Question::CheckBlue { rollout } => {
                let (mut records, mut commands) = (Vec::new(), Vec::new());
                self.step(Event::RollbackChecked { rollout, fault: None }, &mut records, &mut commands);
                return Box::pin(self.record_and_act(records, commands, Replies::new())).await;
            }
            Question::MeasureBaseline { rollout } => {
                let evidence = self.evidence();
                let inputs = self.effects.inputs.clone();
                let Some(rollout) = self.machine.rollout().filter(|r| r.id == rollout).cloned() else { return Ok(()) };
                self.effects.tasks.spawn(async move { evidence.measure_baseline(&rollout, &inputs).await });
            }
            Question::Judge { rollout, window, look } => {
                let evidence = self.evidence();
                let inputs = self.effects.inputs.clone();
                let Some(rollout) = self.machine.rollout().filter(|r| r.id == rollout).cloned() else { return Ok(()) };
                self.effects.tasks.spawn(async move { evidence.judge(&rollout, window, look, &inputs).await });
            }
        }
        Ok(())
    }

    fn evidence(&self) -> Evidence {
        Evidence { spec: self.spec.clone(), gateway: self.effects.gateway.clone(), journal: self.journal_path.clone() }
    }

    fn publish(&self) {
        self.shared.publish(&self.machine, self.clock.now(), &self.usage);
    }
}
