//! Patience with a gateway that has no room: as long as it takes something now and then, waiting is worth while.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bellwether_core::time::Millis;
use bytes::Bytes;
use hyper::Method;
use tokio::time::{Instant, sleep};

use super::{
    gateway::{Answer, Gateway, Lost},
    refusal::{self, Asked, refused},
};
use crate::failure::Failure;

const PAUSE_SHORTEST: Duration = Duration::from_millis(100);
/// A gateway that has seen no task end yet can only guess, and names half a minute.
const PAUSE_LONGEST: Duration = Duration::from_secs(5);
/// Before a question is put again that found no gateway or lost its connection.
const AFTER_A_LOSS: Duration = Duration::from_millis(500);

/// One thing that the gateway is asked to do.
pub(super) struct Wish<'a> {
    pub(super) path: String,
    pub(super) body: Bytes,
    pub(super) asked: Asked<'a>,
}

/// Shared by all that is sent for one command.
pub(super) struct Pace {
    /// Without anything being taken.
    patience: Duration,
    taken: Mutex<Option<Instant>>,
    told: AtomicBool,
}

impl Pace {
    pub(super) fn new(patience: Duration) -> Self {
        Self { patience, taken: Mutex::new(None), told: AtomicBool::new(false) }
    }

    /// Sends until the gateway takes it, refuses it for good, or patience is over.
    pub(super) async fn post(&self, gateway: &Gateway, wish: &Wish<'_>) -> Result<Answer, Failure> {
        let began = Instant::now();
        loop {
            let sent = gateway.send(Method::POST, &wish.path, wish.body.clone(), Duration::ZERO).await;
            let (failure, pause) = match sent {
                Ok(answer) if answer.status.is_success() => {
                    *self.last_taken() = Some(Instant::now());
                    return Ok(answer);
                }
                Ok(answer) if answer.is_not_now() => {
                    (refused(gateway, wish.asked, &answer), answer.retry_after.unwrap_or(PAUSE_SHORTEST))
                }
                Ok(answer) => return Err(refused(gateway, wish.asked, &answer)),
                Err(lost) => {
                    let failure = refusal::lost(gateway, wish.asked, &lost);
                    if !self.may_repeat(&lost, wish.asked) {
                        return Err(failure);
                    }
                    (failure, AFTER_A_LOSS)
                }
            };
            let Some(pause) = self.pause(began, pause) else { return Err(failure) };
            self.tell(&failure);
            sleep(pause).await;
        }
    }

    /// Nobody has to wait for a gateway that was never there, and only what carries its own key can be sent twice.
    fn may_repeat(&self, lost: &Lost, asked: Asked<'_>) -> bool {
        match (lost, asked) {
            (Lost::Unreachable(_), _) => self.last_taken().is_some(),
            (Lost::Broken(_), Asked::Submit(_)) => true,
            (Lost::Broken(_), Asked::Show(_) | Asked::Cancel(_) | Asked::Retry(_) | Asked::Read) => false,
        }
    }

    fn pause(&self, began: Instant, wanted: Duration) -> Option<Duration> {
        let since = self.last_taken().map_or(began, |taken| taken.max(began));
        let left = self.patience.saturating_sub(since.elapsed());
        (!left.is_zero()).then(|| wanted.clamp(PAUSE_SHORTEST, PAUSE_LONGEST).min(left))
    }

    fn tell(&self, failure: &Failure) {
        if !self.told.swap(true, Ordering::Relaxed) {
            let why = failure.diagnostics.first().map_or_else(String::new, |told| {
                told.cause.as_ref().map_or_else(|| told.message.clone(), |cause| format!("{}: {cause}", told.message))
            });
            eprintln!("{why}; trying again, until nothing was taken for {}", brief(self.patience));
        }
    }

    fn last_taken(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn brief(span: Duration) -> Millis {
    Millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}
