//! One connection of one client, in a closed loop: it asks, waits until it is answered or its patience is over, and asks
//! again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use tokio::time::{sleep, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use super::{
    answer::{Reader, Trouble},
    books::Books,
    question::Questions,
    wire::{Answered, Wire},
};

/// Who is refused waits before asking again, or a server that is down would be asked without end.
const AGAIN_FIRST: Duration = Duration::from_millis(100);
const AGAIN_LONGEST: Duration = Duration::from_secs(1);

/// What the connections of one turn share.
pub(super) struct Turn {
    pub(super) questions: Questions,
    pub(super) patience: Duration,
    /// Between an answer and the next question, on average.
    pub(super) think: Duration,
    /// What ends before is not counted.
    pub(super) opens: Instant,
    pub(super) closes: Instant,
    /// Closes the window early.
    pub(super) stop: CancellationToken,
    /// How long the last answer took that anybody got, in microseconds: those who leave do it within that time.
    pub(super) recent: AtomicU64,
    pub(super) sequence: Sequence,
}

/// The models of answers in the order in which they came, whoever got them.
pub(super) struct Sequence {
    last: AtomicUsize,
    /// Answers by another model than the one before.
    changes: AtomicU64,
}

impl Sequence {
    pub(super) const fn new() -> Self {
        Self { last: AtomicUsize::new(usize::MAX), changes: AtomicU64::new(0) }
    }

    fn answered(&self, model: usize, counts: bool) {
        let before = self.last.swap(model, Ordering::Relaxed);
        if counts && before != model && before != usize::MAX {
            self.changes.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }
}

impl Turn {
    pub(super) async fn over(&self) {
        tokio::select! {
            () = sleep_until(self.closes.into()) => {}
            () = self.stop.cancelled() => {}
        }
    }
}

pub(super) struct Client {
    pub(super) turn: Arc<Turn>,
    pub(super) wire: Wire,
    pub(super) reader: Reader,
    pub(super) chance: fastrand::Rng,
    /// Leaves before the answer.
    pub(super) leaves: bool,
    /// Clients do not all start in the same instant.
    pub(super) starts_after: Duration,
}

impl Client {
    pub(super) async fn run(mut self) -> Books {
        let turn = Arc::clone(&self.turn);
        let mut books = Books::new(turn.questions.models());
        let mut asking = None;
        tokio::select! {
            biased;
            () = turn.over() => {}
            () = self.ask_on(&mut books, &mut asking) => {}
        }
        if let Some(since) = asking {
            books.left_open(Instant::now().min(turn.closes).saturating_duration_since(since));
        }
        books
    }

    /// For ever.
    async fn ask_on(&mut self, books: &mut Books, asking: &mut Option<Instant>) {
        sleep(self.starts_after).await;
        let mut again = AGAIN_FIRST;
        loop {
            let model = self.chance.usize(..self.turn.questions.models());
            let body = self.turn.questions.body(model, self.chance.u64(..));
            let begun = Instant::now();
            let waits = self.waits();
            if self.leaves {
                self.wire.leaves_at(SystemTime::now() + waits);
            }
            *asking = Some(begun);
            let answer = timeout_at((begun + waits).into(), self.wire.ask(body, &mut self.reader)).await;
            *asking = None;
            let ended = Instant::now();
            let counts = ended >= self.turn.opens;
            let redialled = self.wire.take_redialled();
            books.redialled += if counts { redialled } else { 0 };
            let pause = match answer {
                Ok(Ok(Answered { told, first })) => {
                    again = AGAIN_FIRST;
                    self.turn.sequence.answered(model, counts);
                    let latency = ended - begun;
                    self.turn.recent.store(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
                    match counts {
                        // The timer was late, not the patience longer.
                        true if latency > self.turn.patience => books.given_up(latency),
                        true => books.answered(model, latency, first.map(|first| first - begun), told),
                        false => {}
                    }
                    self.around(self.turn.think)
                }
                Ok(Err(Trouble { cause, retry_after })) => {
                    if counts {
                        books.troubled(cause);
                    }
                    let pause = match retry_after {
                        Some(wished) => wished.clamp(AGAIN_FIRST, self.turn.patience.max(AGAIN_FIRST)),
                        None => self.around(again),
                    };
                    again = (again * 2).min(AGAIN_LONGEST);
                    pause
                }
                Err(_elapsed) => {
                    self.wire.hang_up();
                    match (counts, self.leaves) {
                        (true, true) => books.left(ended.saturating_duration_since(begun + waits)),
                        (true, false) => books.given_up(ended - begun),
                        (false, _) => {}
                    }
                    self.around(self.turn.think)
                }
            };
            if !pause.is_zero() {
                sleep(pause).await;
            }
        }
    }

    fn waits(&mut self) -> Duration {
        if !self.leaves {
            return self.turn.patience;
        }
        let recent = Duration::from_micros(self.turn.recent.load(Ordering::Relaxed));
        recent.min(self.turn.patience).mul_f64(self.chance.f64())
    }

    /// From half of it to one and a half.
    fn around(&mut self, mean: Duration) -> Duration {
        if mean.is_zero() { mean } else { mean.mul_f64(0.5 + self.chance.f64()) }
    }
}
