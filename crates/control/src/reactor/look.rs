//! Looks at the world, and answers what the machine asks of the reactor itself.

use std::collections::BTreeSet;

use bellwether_core::{
    id::InstanceId,
    port::{
        driver::{DriverAnswer, DriverRequest},
        gateway::{GatewayAnswer, GatewayIntent, GatewayView},
    },
    rollout::Event,
};

use super::{Decisions, Reactor};
use crate::{effects::Question, error::Error};

impl Reactor {
    /// Looks at both worlds and tells the machine. Where one is away, its return is the next occasion. No command is
    /// sent meanwhile, so that what is seen is not overtaken by what is asked for.
    pub(super) async fn converge(&mut self) -> Result<(), Error> {
        let Some((running, gateway)) = self.look().await else { return Ok(()) };
        self.last_second = self.last_second.max(gateway.last_second);
        tracing::info!(running = running.len(), generation = %gateway.generation, "looked at the world");
        self.tell(Event::Converge { running, gateway }).await
    }

    pub(super) async fn answer(&mut self, question: Question) -> Result<(), Error> {
        match question {
            Question::Observe => return self.converge().await,
            Question::OpenWindow { rollout } => {
                return self.tell(Event::WindowOpened { rollout, after_second: self.last_second }).await;
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

    /// One event, recorded and acted upon by itself.
    async fn tell(&mut self, event: Event) -> Result<(), Error> {
        let mut decisions = Decisions::default();
        self.step(event, &mut decisions);
        Box::pin(self.record_and_act(decisions)).await
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
}
