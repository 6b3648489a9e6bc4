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

use super::{Decisions, Input, Reactor};
use crate::{effects::Question, error::Error, links::Link};

/// What runs, and what the gateway holds.
pub(crate) type Sight = (BTreeSet<InstanceId>, Box<GatewayView>);

impl Reactor {
    /// Looks at both worlds and tells the machine. Where one is away, its return is the next occasion; where one is only
    /// slow, there is no such, and the next look comes by itself. No command is sent meanwhile, so that what is seen is not
    /// overtaken by what is asked for.
    pub(super) async fn converge(&mut self) -> Result<(), Error> {
        let Some((running, gateway)) = look(&self.effects.driver, &self.effects.gateway).await else {
            self.lookout.failed(self.clock.now().mono);
            return Ok(());
        };
        self.lookout.looks(self.clock.now().mono);
        self.last_second = self.last_second.max(gateway.last_second);
        tracing::info!(running = running.len(), generation = %gateway.generation, "looked at the world");
        self.tell(Event::Converge { running, gateway: *gateway }).await
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

    /// Looks without holding anything up.
    pub(super) fn glance(&mut self) {
        self.lookout.looks(self.clock.now().mono);
        let (driver, gateway) = (self.effects.driver.clone(), self.effects.gateway.clone());
        let inputs = self.effects.inputs.clone();
        while self.effects.tasks.try_join_next().is_some() {}
        self.effects.tasks.spawn(async move {
            let seen = look(&driver, &gateway).await;
            if inputs.send(Input::Glanced(seen)).await.is_err() {
                tracing::debug!("the reactor is gone");
            }
        });
    }

    /// Whether the machine has to be told what there is to see.
    pub(super) fn glanced(&mut self, seen: Option<Sight>) -> bool {
        let Some((running, gateway)) = seen else {
            self.lookout.saw_nothing(self.clock.now().mono);
            return false;
        };
        let doubts = self.machine.doubts(&running, &gateway);
        let told = format!("{doubts:?}");
        let sure = self.lookout.is_sure(doubts);
        if sure {
            tracing::warn!(doubts = told, "something was missed; looking again");
        }
        sure
    }
}

async fn look(driver: &Link<DriverAnswer>, gateway: &Link<GatewayAnswer>) -> Option<Sight> {
    let running = match driver.ask_now(&DriverRequest::Observe).await {
        Ok(DriverAnswer::Observed { instances }) => instances.into_iter().map(|seen| seen.instance).collect(),
        Ok(other) => {
            tracing::error!(?other, "the driver did not say what runs");
            return None;
        }
        Err(error) => {
            tracing::warn!(%error, "cannot see what runs; looking again soon");
            return None;
        }
    };
    match gateway.ask_now(&GatewayIntent::Observe).await {
        Ok(GatewayAnswer::Observed(view)) => Some((running, view)),
        Ok(other) => {
            tracing::error!(?other, "the gateway did not say how it stands");
            None
        }
        Err(error) => {
            tracing::warn!(%error, "cannot see the gateway; looking again soon");
            None
        }
    }
}
