//! Commands become requests on the links, in the order in which the machine gave them. Answers come back to
//! the reactor as events; a link that breaks is answered by looking at the world again.

use std::time::Duration;

use bellwether_core::{
    id::{Generation, InstanceId, RolloutId},
    port::{
        driver::{DriverAction, DriverAnswer, DriverCommand, DriverRequest, Exit},
        gateway::{GatewayAnswer, GatewayIntent, InstanceCard},
    },
    rollout::{Command, Event, Window},
};
use tokio::{sync::mpsc, task::JoinSet};

use crate::{launch::Launcher, links::Link, probe::Prober, reactor::Input};

pub(crate) struct Effects {
    pub(crate) driver: Link<DriverAnswer>,
    pub(crate) gateway: Link<GatewayAnswer>,
    pub(crate) launcher: Launcher,
    pub(crate) prober: Prober,
    pub(crate) inputs: mpsc::Sender<Input>,
    pub(crate) tasks: JoinSet<()>,
}

/// Between a refusal of the gateway and what is made of it.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);

/// What only the reactor can answer, because it needs the machine's state.
#[derive(Debug)]
pub(crate) enum Question {
    Observe,
    OpenWindow { rollout: RolloutId },
    MeasureBaseline { rollout: RolloutId },
    Judge { rollout: RolloutId, window: Window, look: u32 },
}

impl Effects {
    /// Sends everything and returns what is left to be answered by the reactor itself.
    pub(crate) async fn carry_out(&mut self, generation: Generation, commands: Vec<Command>) -> Vec<Question> {
        let mut questions = Vec::new();
        let mut enrol: Vec<InstanceCard> = Vec::new();
        let mut retire: Vec<InstanceId> = Vec::new();
        for command in commands {
            if !matches!(command, Command::Enrol { .. }) {
                self.enrol(std::mem::take(&mut enrol)).await;
            }
            match command {
                Command::Enrol { instance, agent, side, revision } => {
                    match self.launcher.card(instance, &agent, side, &revision) {
                        Ok(card) => enrol.push(card),
                        Err(reason) => self.tell(Event::StartFailed { instance, reason }),
                    }
                }
                Command::Start { instance, agent, side, revision } => {
                    match self.launcher.launch(instance, &agent, side, &revision) {
                        Ok(launch) => {
                            let action = DriverAction::Start { launch: Box::new(launch) };
                            self.drive(generation, instance, action).await;
                        }
                        Err(reason) => self.tell(Event::StartFailed { instance, reason }),
                    }
                }
                Command::Stop { instance, grace } => {
                    self.drive(generation, instance, DriverAction::Stop { grace }).await;
                }
                Command::TryOut { instance, fields } => {
                    self.intend(GatewayIntent::TryOut { instance, fields }, expect_done("try out")).await;
                }
                Command::Freeze { instance } => self.drive(generation, instance, DriverAction::Freeze).await,
                Command::Thaw { instance } => self.drive(generation, instance, DriverAction::Thaw).await,
                Command::Probe { instance } => {
                    let address = self.launcher.http_address(instance);
                    self.tasks.spawn(self.prober.clone().until_healthy(instance, address, self.inputs.clone()));
                }
                Command::CutOver { generation, moves, drain, revoke } => {
                    let agents = moves.len();
                    let before = Generation(generation.0.saturating_sub(1));
                    tracing::info!(%generation, agents, revoke, "cut over");
                    self.intend(
                        GatewayIntent::CutOver { generation, moves, drain, revoke },
                        move |answer| match answer {
                            GatewayAnswer::Done { generation } => Some(Event::CutOver { generation }),
                            GatewayAnswer::Stale { standing } => Some(Event::CutOverStale { standing }),
                            // It did not happen, whatever the reason: the world is looked at before the next try.
                            other => refused("cutover", &other).or(Some(Event::CutOverStale { standing: before })),
                        },
                    )
                    .await;
                }
                Command::Lost { instance, asked } => {
                    self.intend(GatewayIntent::Lost { instance, asked }, expect_done("lost")).await;
                }
                Command::Retire { instances } => retire.extend(instances),
                Command::Settle { instances } => {
                    self.intend(GatewayIntent::Settle { instances }, expect_done("settle")).await;
                }
                Command::Observe => questions.push(Question::Observe),
                Command::OpenWindow { rollout, window: _ } => questions.push(Question::OpenWindow { rollout }),
                Command::MeasureBaseline { rollout } => questions.push(Question::MeasureBaseline { rollout }),
                Command::Judge { rollout, window, look } => questions.push(Question::Judge { rollout, window, look }),
                // Answered with each closed second, by what the watch says.
                Command::CheckBlue { rollout: _ } => {}
            }
        }
        self.enrol(enrol).await;
        if !retire.is_empty() {
            self.intend(GatewayIntent::Retire { instances: retire }, expect_done("retire")).await;
        }
        while self.tasks.try_join_next().is_some() {}
        questions
    }

    async fn enrol(&mut self, cards: Vec<InstanceCard>) {
        if cards.is_empty() {
            return;
        }
        let instances: Vec<InstanceId> = cards.iter().map(|card| card.instance).collect();
        let done = move |answer| match answer {
            GatewayAnswer::Done { .. } => Some(Event::Enrolled { instances }),
            other => refused("enrol", &other),
        };
        self.intend(GatewayIntent::Enrol { cards }, done).await;
    }

    async fn intend(
        &mut self,
        intent: GatewayIntent,
        told: impl FnOnce(GatewayAnswer) -> Option<Event> + Send + 'static,
    ) {
        let answer = match self.gateway.send(&intent).await {
            Ok(answer) => answer,
            Err(error) => return tracing::warn!(%error, "the gateway is away; looking again when it is back"),
        };
        let inputs = self.inputs.clone();
        self.tasks.spawn(async move {
            match answer.wait().await {
                Ok(answer) => {
                    if matches!(answer, GatewayAnswer::Refused { .. }) {
                        // It is asked again at once, and what stands in its way does not go away that fast.
                        tokio::time::sleep(REFUSED_PAUSE).await;
                    }
                    if let Some(event) = told(answer) {
                        send(&inputs, event).await;
                    }
                }
                Err(error) => tracing::warn!(%error, "no answer from the gateway; looking again when it is back"),
            }
        });
    }

    async fn drive(&mut self, generation: Generation, instance: InstanceId, action: DriverAction) {
        let starts = matches!(action, DriverAction::Start { .. });
        let request = DriverRequest::Apply(DriverCommand { instance, generation, action });
        let answer = match self.driver.send(&request).await {
            Ok(answer) => answer,
            Err(error) => return tracing::warn!(%error, "the driver is away; looking again when it is back"),
        };
        let inputs = self.inputs.clone();
        self.tasks.spawn(async move {
            match answer.wait().await {
                Ok(DriverAnswer::Taken) => {}
                Ok(DriverAnswer::Unknown) => {
                    let exit = Exit { code: None, signal: None, out_of_memory: false, asked: !starts };
                    send(&inputs, Event::Exited { instance, exit }).await;
                }
                Ok(DriverAnswer::Failed { reason }) if starts => {
                    tracing::warn!(%instance, reason, "cannot start");
                    send(&inputs, Event::StartFailed { instance, reason }).await;
                }
                Ok(other) => tracing::error!(%instance, ?other, "the driver did not do it"),
                Err(error) => tracing::warn!(%error, "no answer from the driver; looking again when it is back"),
            }
        });
    }

    fn tell(&mut self, event: Event) {
        let inputs = self.inputs.clone();
        self.tasks.spawn(async move { send(&inputs, event).await });
    }
}

pub(crate) async fn send(inputs: &mpsc::Sender<Input>, event: Event) {
    if inputs.send(Input::World(event)).await.is_err() {
        tracing::debug!("the reactor is gone");
    }
}

fn expect_done(what: &'static str) -> impl FnOnce(GatewayAnswer) -> Option<Event> + Send + 'static {
    move |answer| match answer {
        GatewayAnswer::Done { .. } => None,
        other => refused(what, &other),
    }
}

fn refused(what: &'static str, answer: &GatewayAnswer) -> Option<Event> {
    tracing::error!(what, ?answer, "the gateway refused");
    None
}
