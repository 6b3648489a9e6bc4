//! What every request of one runtime thread has at hand.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use bellwether_core::spec::TaskPolicy;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::{board::Board, desk::Desk, limits, model::Model, pool::Pool};

/// Shared by all threads.
pub(crate) struct House {
    pub(crate) board: Arc<Board>,
    pub(crate) desk: Desk,
    pub(crate) model: Arc<Model>,
    pub(crate) tasks: TaskPolicy,
    pub(crate) connections: Arc<Semaphore>,
    pub(crate) push_waiters: Semaphore,
    pub(crate) long_pollers: Semaphore,
    /// Names of model clients that were seen, up to a bound.
    clients: Mutex<HashSet<String>>,
}

/// One per thread.
pub(crate) struct Door {
    house: Arc<House>,
    pub(crate) pool: Pool,
    /// Owns the tunnels, which outlive the connections that they grew from.
    pub(crate) tunnels: TaskTracker,
}

impl House {
    pub(crate) fn new(board: Arc<Board>, desk: Desk, model: Arc<Model>, tasks: TaskPolicy) -> Self {
        Self {
            board,
            desk,
            model,
            tasks,
            connections: Arc::new(Semaphore::new(limits::CONNECTIONS_MAX)),
            push_waiters: Semaphore::new(limits::PUSH_WAITERS_MAX),
            long_pollers: Semaphore::new(limits::LONG_POLLERS_MAX),
            clients: Mutex::default(),
        }
    }

    /// Whether a client of this name gets an account of its own.
    pub(crate) fn knows_client(&self, name: &str) -> bool {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.contains(name) || (clients.len() < limits::CLIENTS_MAX && clients.insert(name.to_owned()))
    }
}

impl Door {
    pub(crate) fn new(house: Arc<House>) -> Self {
        Self { house, pool: Pool::default(), tunnels: TaskTracker::new() }
    }
}

impl std::ops::Deref for Door {
    type Target = House;

    fn deref(&self) -> &House {
        &self.house
    }
}
