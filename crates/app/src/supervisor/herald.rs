//! Tells the gateway at once that an instance has ended, whether or not a controller is there to tell it.
//!
//! It reports and decides nothing: where the traffic goes then is in the route that the gateway holds. The controller
//! says the same later, which changes nothing. What ends while the gateway is away is told when it is back, and what an
//! earlier supervisor did not live to tell is told first.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use bellwether_core::{
    id::InstanceId,
    port::{
        driver::DriverEvent,
        gateway::{GatewayAnswer, GatewayEvent, GatewayIntent, PROTOCOL},
    },
};
use bellwether_drivers::process::ProcessDriver;
use bellwether_link::{Client, Error, Hello};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};

const RETRY_FIRST: Duration = Duration::from_millis(10);
const RETRY_MAX: Duration = Duration::from_millis(500);
/// The gateway answers after a commit; what takes longer is stuck, and is asked on a fresh link.
const PATIENCE: Duration = Duration::from_secs(5);

/// Takes note of what the driver says.
#[derive(Clone)]
pub(super) struct Ear(mpsc::UnboundedSender<(InstanceId, bool)>);

pub(super) struct Herald {
    heard: mpsc::UnboundedReceiver<(InstanceId, bool)>,
    /// Not told yet, and whether the end was asked for. Never more than instances: none begins while no gateway is
    /// there to enrol it.
    untold: BTreeMap<InstanceId, bool>,
    socket: PathBuf,
    driver: Arc<ProcessDriver>,
}

impl Ear {
    pub(super) fn hear(&self, event: &DriverEvent) {
        if let DriverEvent::Exited { instance, exit } = event
            && self.0.send((*instance, exit.asked)).is_err()
        {
            tracing::debug!(%instance, "nobody is left to tell the gateway of its end");
        }
    }
}

impl Herald {
    pub(super) fn new(socket: PathBuf, driver: Arc<ProcessDriver>) -> (Ear, Self) {
        let (tell, heard) = mpsc::unbounded_channel();
        (Ear(tell), Self { heard, untold: BTreeMap::new(), socket, driver })
    }

    /// Until the driver says nothing any more.
    pub(super) async fn run(mut self) {
        self.insist(true).await;
        while let Some((instance, asked)) = self.heard.recv().await {
            self.untold.insert(instance, asked);
            self.insist(false).await;
        }
    }

    /// Until everything is told. The link is held only for so long, so that nobody here has to read what the gateway
    /// tells its controller.
    async fn insist(&mut self, look_first: bool) {
        let mut retry = RETRY_FIRST;
        loop {
            let told = timeout(PATIENCE, self.tell(look_first)).await;
            match told.unwrap_or(Err(Error::Closed)) {
                Ok(()) => return,
                Err(error) => tracing::debug!(%error, untold = self.untold.len(), "the gateway is away"),
            }
            sleep(retry).await;
            retry = (retry * 2).min(RETRY_MAX);
        }
    }

    async fn tell(&mut self, look_first: bool) -> Result<(), Error> {
        let hello = Hello::new(PROTOCOL.0, PROTOCOL.1);
        let (gateway, _events) = Client::<GatewayAnswer>::connect::<GatewayEvent>(&self.socket, hello).await?;
        if look_first {
            self.look(&gateway).await?;
        }
        loop {
            while let Ok((instance, asked)) = self.heard.try_recv() {
                self.untold.insert(instance, asked);
            }
            let Some((&instance, &asked)) = self.untold.first_key_value() else { return Ok(()) };
            let answer = gateway.ask(&GatewayIntent::Lost { instance, asked }).await?;
            match answer {
                GatewayAnswer::Done { .. } => {}
                // The store cannot be written at the moment.
                GatewayAnswer::Refused { reason } => {
                    tracing::warn!(%instance, reason, "the gateway did not take that an instance has ended");
                    return Err(Error::Closed);
                }
                other => tracing::error!(%instance, ?other, "the gateway misunderstood that an instance has ended"),
            }
            tracing::debug!(%instance, asked, "told the gateway that it has ended");
            self.untold.remove(&instance);
        }
    }

    /// What ended before this supervisor began to listen.
    async fn look(&mut self, gateway: &Client<GatewayAnswer>) -> Result<(), Error> {
        if let GatewayAnswer::Observed(view) = gateway.ask(&GatewayIntent::Observe).await? {
            let ended = view
                .instances
                .iter()
                .filter_map(|known| Some((known.instance, self.driver.end_was_asked(known.instance)?)));
            self.untold.extend(ended);
        }
        Ok(())
    }
}
