//! The door that every request passes, and that can be shut.
//!
//! Whoever is inside may use the desk. While it is shut, whoever comes waits in front of it: it is opened again, or all
//! are passed on. A request that waits for something slow (its own body, an instance, a slot) steps out meanwhile.

use std::{
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use hyper::Request;
use tokio::sync::{Notify, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::server::{Passage, Place};

pub(crate) struct Gate {
    standing: watch::Sender<Standing>,
    inside: AtomicUsize,
    left: Notify,
    stop: CancellationToken,
    /// Cancelled while it is not open.
    parting: Mutex<CancellationToken>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Open,
    Shut,
    /// Another gateway accepts.
    Moved,
}

/// What becomes of one who wanted in.
pub(crate) enum Entered {
    Inside(Inside),
    /// To be passed on to the gateway that accepts.
    Elsewhere,
    /// The gateway ends before anything was decided.
    Stopped,
}

/// While there is one, the store stays open.
pub(crate) struct Inside(Arc<Gate>);

impl Gate {
    pub(crate) fn new(stop: CancellationToken) -> Arc<Self> {
        let parting = Mutex::new(stop.child_token());
        let standing = watch::Sender::new(Standing::Open);
        Arc::new(Self { standing, inside: AtomicUsize::new(0), left: Notify::new(), stop, parting })
    }

    /// None unless it is open.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<Inside> {
        // Counted before the look: either the one who shuts it sees this one, or this one sees that it is shut.
        self.inside.fetch_add(1, Ordering::SeqCst);
        let inside = Inside(self.clone());
        (self.standing() == Standing::Open).then_some(inside)
    }

    /// Waits while it is shut.
    pub(crate) async fn wait(self: &Arc<Self>) -> Entered {
        loop {
            if let Some(inside) = self.enter() {
                return Entered::Inside(inside);
            }
            match self.not_shut().await {
                Some(Standing::Moved) => return Entered::Elsewhere,
                Some(Standing::Open | Standing::Shut) => {}
                None => return Entered::Stopped,
            }
        }
    }

    /// None if the gateway stops meanwhile.
    pub(crate) async fn not_shut(&self) -> Option<Standing> {
        let mut standing = self.standing.subscribe();
        tokio::select! {
            biased;
            now = standing.wait_for(|now| *now != Standing::Shut) => now.ok().map(|now| *now),
            () = self.stop.cancelled() => None,
        }
    }

    pub(crate) fn standing(&self) -> Standing {
        *self.standing.borrow()
    }

    /// Cancelled when it is shut, and when the gateway stops: whoever waits for something inside is answered.
    pub(crate) fn parting(&self) -> CancellationToken {
        self.parting.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn shut(&self) {
        self.standing.send_replace(Standing::Shut);
        self.parting().cancel();
    }

    pub(super) fn open(&self) {
        *self.parting.lock().unwrap_or_else(PoisonError::into_inner) = self.stop.child_token();
        self.standing.send_replace(Standing::Open);
    }

    pub(super) fn pass_on(&self) {
        self.standing.send_replace(Standing::Moved);
    }

    /// Nobody is inside.
    pub(super) async fn emptied(&self) {
        loop {
            let mut left = pin!(self.left.notified());
            left.as_mut().enable();
            if self.inside.load(Ordering::SeqCst) == 0 {
                return;
            }
            left.await;
        }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        if self.0.inside.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.left.notify_waiters();
        }
    }
}

/// One request's visit: whether it is inside at the moment, and where it wanted to go. Travels with the request.
pub(crate) struct Visit {
    gate: Arc<Gate>,
    inside: Mutex<Option<Inside>>,
    /// The address that the client called.
    pub(super) called: SocketAddr,
    pub(super) tracker: TaskTracker,
    /// Of the connection that it came on.
    pub(crate) place: Place,
    pub(super) passage: Passage,
}

impl Visit {
    pub(crate) fn new(
        gate: &Arc<Gate>,
        inside: Inside,
        called: SocketAddr,
        tracker: &TaskTracker,
        (place, passage): (Place, Passage),
    ) -> Arc<Self> {
        let (inside, tracker) = (Mutex::new(Some(inside)), tracker.clone());
        Arc::new(Self { gate: gate.clone(), inside, called, tracker, place, passage })
    }

    /// That of a request; none outside of a gateway.
    pub(crate) fn of<B>(request: &Request<B>) -> Option<Arc<Self>> {
        request.extensions().get::<Arc<Self>>().cloned()
    }

    /// From here on it does without the desk, until it is back.
    pub(crate) fn step_out(&self) {
        let inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(inside);
    }

    /// False if it is to be passed on. Where the gateway stops it goes on, and the desk refuses.
    pub(crate) async fn step_in(&self) -> bool {
        match self.gate.wait().await {
            Entered::Inside(inside) => {
                *self.inside.lock().unwrap_or_else(PoisonError::into_inner) = Some(inside);
                true
            }
            Entered::Elsewhere => false,
            Entered::Stopped => true,
        }
    }

    /// Returns when another gateway is about to take over, or has. A stop is no reason to look again.
    pub(crate) async fn is_parting(&self) {
        let mut standing = self.gate.standing.subscribe();
        let is_over = standing.wait_for(|now| *now != Standing::Open).await.is_err();
        if is_over || self.gate.stop.is_cancelled() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_millis(50);
    const PATIENCE: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn whoever_comes_while_it_is_shut_waits_for_what_becomes_of_it() {
        let gate = Gate::new(CancellationToken::new());
        let inside = gate.enter().expect("it is open");
        gate.shut();
        assert!(gate.enter().is_none());
        assert!(timeout(SOON, gate.emptied()).await.is_err(), "one is inside");
        drop(inside);
        timeout(PATIENCE, gate.emptied()).await.expect("nobody is inside");
        assert!(timeout(SOON, gate.wait()).await.is_err(), "nothing is decided yet");
        gate.open();
        assert!(matches!(timeout(PATIENCE, gate.wait()).await, Ok(Entered::Inside(_))));
        assert!(!gate.parting().is_cancelled(), "it is as it was");
        gate.shut();
        gate.pass_on();
        assert!(matches!(timeout(PATIENCE, gate.wait()).await, Ok(Entered::Elsewhere)));
    }

    #[tokio::test]
    async fn a_stop_decides_for_those_who_wait() {
        let stop = CancellationToken::new();
        let gate = Gate::new(stop.clone());
        gate.shut();
        stop.cancel();
        assert!(matches!(timeout(PATIENCE, gate.wait()).await, Ok(Entered::Stopped)));
    }
}
