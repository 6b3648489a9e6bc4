//! A call at a model server, as far as others look at it: whether anything moves, and who is waited for.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::Context,
    time::{Duration, Instant},
};

use futures_util::task::AtomicWaker;

use super::dispatched::Dispatched;

/// A caller that takes nothing for so long has left: a slot is not a parking space.
const CALLER_STALL_LIMIT: Duration = Duration::from_secs(30);

pub(super) struct Flight {
    origin: Instant,
    /// When something moved last, in microseconds.
    moved: AtomicU64,
    /// It is the caller's turn: the last piece was handed on, and the next was not asked for.
    handed: AtomicBool,
    stalled: AtomicBool,
    waiting: AtomicWaker,
    /// While its answer is on its way.
    aboard: Mutex<Option<Box<Dispatched>>>,
}

impl Flight {
    pub(super) fn new() -> Self {
        Self {
            origin: Instant::now(),
            moved: AtomicU64::new(0),
            handed: AtomicBool::new(false),
            stalled: AtomicBool::new(false),
            waiting: AtomicWaker::new(),
            aboard: Mutex::default(),
        }
    }

    pub(super) fn aboard(&self) -> MutexGuard<'_, Option<Box<Dispatched>>> {
        self.aboard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn handed_on(&self) {
        self.moved.store(self.micros(), Ordering::Relaxed);
        self.handed.store(true, Ordering::Relaxed);
    }

    pub(super) fn asked_for(&self) {
        self.handed.store(false, Ordering::Relaxed);
    }

    /// For whoever waits for the server. Wakes them when it is true.
    pub(super) fn is_stalled(&self, context: &mut Context<'_>) -> bool {
        self.waiting.register(context.waker());
        self.stalled.load(Ordering::Relaxed)
    }

    /// Ends it where nobody moves any more: the model server for `stall`.
    pub(super) fn look(&self, stall: Duration) {
        let still_for = Duration::from_micros(self.micros().saturating_sub(self.moved.load(Ordering::Relaxed)));
        if self.handed.load(Ordering::Relaxed) {
            if still_for >= CALLER_STALL_LIMIT
                && let Some(dispatched) = { self.aboard().take() }
            {
                tracing::warn!("a caller takes nothing of its answer: the call is given up");
                dispatched.left();
            }
        } else if still_for >= stall {
            self.stalled.store(true, Ordering::Relaxed);
            self.waiting.wake();
        }
    }

    fn micros(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}
