//! What every request of one runtime thread has at hand.

use std::sync::Arc;

use bellwether_core::spec::{TaskMode, TaskPolicy};
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    board::Board,
    desk::Desk,
    heir::gate::Gate,
    limits,
    model::{Lane, Model},
    naming::Clients,
    pool::Pool,
    relay::Backend,
};

/// Shared by all threads.
pub(crate) struct House {
    pub(crate) board: Arc<Board>,
    pub(crate) desk: Desk,
    pub(crate) model: Arc<Model>,
    pub(crate) tasks: TaskPolicy,
    /// The gateway stops: whoever waits for something is answered.
    pub(crate) stop: CancellationToken,
    pub(crate) gate: Arc<Gate>,
    /// The store goes to another gateway: nothing is begun any more. Cancelled by a stop too.
    pub(crate) leaving: CancellationToken,
    /// What is in flight had its time.
    pub(crate) cut_all: CancellationToken,
    pub(crate) connections: Arc<Semaphore>,
    pub(crate) push_waiters: Semaphore,
    pub(crate) long_pollers: Arc<Semaphore>,
    pub(crate) clients: Clients,
}

/// One per thread.
pub(crate) struct Door {
    house: Arc<House>,
    pub(crate) pool: Pool,
    pub(crate) lane: Lane,
    /// Where tasks come from, if not from here.
    pub(crate) backend: Option<Backend>,
    /// Owns the tunnels, which outlive the connections that they grew from, and exchanges with the backend.
    pub(crate) tunnels: TaskTracker,
}

impl House {
    pub(crate) fn new(
        board: Arc<Board>,
        desk: Desk,
        model: Arc<Model>,
        tasks: TaskPolicy,
        stop: CancellationToken,
    ) -> Self {
        Self {
            board,
            desk,
            model,
            tasks,
            gate: Gate::new(stop.clone()),
            leaving: stop.child_token(),
            cut_all: stop.child_token(),
            stop,
            connections: Arc::new(Semaphore::new(limits::CONNECTIONS_MAX)),
            push_waiters: Semaphore::new(limits::PUSH_WAITERS_MAX),
            long_pollers: Arc::new(Semaphore::new(limits::LONG_POLLERS_MAX)),
            clients: Clients::default(),
        }
    }

    pub(crate) fn open_connections(&self) -> usize {
        limits::CONNECTIONS_MAX - self.connections.available_permits()
    }
}

impl Door {
    pub(crate) fn new(house: Arc<House>) -> Self {
        let backend = house.tasks.backend.as_deref().filter(|_| house.tasks.mode == TaskMode::Relay).map(Backend::new);
        let lane = house.model.lane();
        Self { house, pool: Pool::default(), lane, backend, tunnels: TaskTracker::new() }
    }
}

impl std::ops::Deref for Door {
    type Target = House;

    fn deref(&self) -> &House {
        &self.house
    }
}
