//! What the supervisor can ask of a child that it keeps running.

use std::time::Duration;

use bellwether_core::port::heir::TookOver;
use tokio::sync::{mpsc, oneshot, watch};

use super::{keeper::Deaths, program::Program};

/// What can be asked of a child that is kept.
pub(super) enum Order {
    /// End it and start this program.
    Restart { program: Program, tell: oneshot::Sender<()> },
    /// Start this program beside it, to take its place.
    Succeed { program: Program, finish_within: Duration, tell: oneshot::Sender<Result<TookOver, String>> },
}

/// Gives a kept child another program.
pub(super) struct Handle {
    orders: mpsc::Sender<Order>,
    deaths: watch::Receiver<Deaths>,
}

impl Handle {
    pub(super) fn new(orders: mpsc::Sender<Order>, deaths: watch::Receiver<Deaths>) -> Self {
        Self { orders, deaths }
    }

    /// How often it has died by itself, and how it did last.
    pub(super) fn deaths(&self) -> Deaths {
        self.deaths.borrow().clone()
    }

    /// Returns when the child of before has ended; the new one is on its way.
    pub(super) async fn restart(&self, program: Program) -> Result<(), String> {
        self.order(|tell| Order::Restart { program, tell }).await
    }

    /// Returns when the new one serves, or has failed to.
    pub(super) async fn succeed(&self, program: Program, finish_within: Duration) -> Result<TookOver, String> {
        self.order(|tell| Order::Succeed { program, finish_within, tell }).await?
    }

    async fn order<T>(&self, order: impl FnOnce(oneshot::Sender<T>) -> Order) -> Result<T, String> {
        let (tell, told) = oneshot::channel();
        let ending = "everything is being stopped";
        self.orders.send(order(tell)).await.map_err(|_ended| ending.to_owned())?;
        told.await.map_err(|_ended| ending.to_owned())
    }
}
