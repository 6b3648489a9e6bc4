//! The scheduler of Ollama, as far as load can see it, in virtual time.
//!
//! Two queues. Requests for a model that is loaded go straight to its runner, whose queue in front of the
//! slots has no bound. All others wait in one first-in-first-out queue with a bound; its head waits until the
//! runner that has to make room is drained, and everybody behind waits with it. A request that was given up
//! is noticed only when it is reached; given up during the load that it caused, it takes the load down.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
    mem,
    sync::Arc,
};

use bellwether_core::time::Nanos;

use super::{ledger::Ledger, params::Params};

/// What the server is given at its start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Calls that one loaded model computes at once (`OLLAMA_NUM_PARALLEL`).
    pub(crate) slots: usize,
    /// Models in memory at once (`OLLAMA_MAX_LOADED_MODELS`).
    pub(crate) resident: usize,
    /// Requests in front of the scheduler (`OLLAMA_MAX_QUEUE`).
    pub(crate) queue_max: usize,
}

/// A request, numbered by the shell. Numbers are not used twice.
pub(super) type CallId = u64;

/// Two requests share a runner if both agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Runs {
    pub(super) model: Arc<str>,
    pub(super) context: Option<u64>,
}

#[derive(Clone, Debug)]
pub(super) struct Work {
    pub(super) runs: Runs,
    pub(super) prompt_tokens: u32,
    /// Zero for embeddings, and for a request that only loads.
    pub(super) output_tokens: u32,
    /// The model is not wanted any longer: it is unloaded once nobody uses it.
    pub(super) release: bool,
    /// When its client gives it up, if it said so. Only counted with.
    pub(super) leaves: Option<Nanos>,
}

impl Work {
    /// It only loads or unloads.
    fn is_empty(&self) -> bool {
        self.prompt_tokens == 0 && self.output_tokens == 0
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    Token,
    Finished(Timing),
    /// The queue was full.
    Refused,
}

/// Where the time of a finished call went, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Timing {
    pub(super) load: u64,
    pub(super) prompt: u64,
    pub(super) output: u64,
    pub(super) total: u64,
}

#[derive(Debug)]
pub(super) struct Machine {
    shape: Shape,
    params: Params,
    chance: fastrand::Rng,
    now: Nanos,
    calls: HashMap<CallId, Call>,
    /// May hold calls that were given up.
    pending: VecDeque<CallId>,
    runners: Vec<Runner>,
    next_runner: u64,
    due: BinaryHeap<Reverse<(Nanos, u64, Due)>>,
    next_due: u64,
    notices: VecDeque<(CallId, Notice)>,
    ledger: Ledger,
}

#[derive(Debug)]
struct Call {
    work: Work,
    arrived: Nanos,
    /// When its runner could take it.
    usable: Nanos,
    prompt: u64,
    per_token: u64,
    tokens_left: u32,
    /// When it was given a slot.
    running: Option<Nanos>,
}

#[derive(Debug)]
struct Runner {
    id: u64,
    runs: Runs,
    phase: Phase,
    /// When its phase began.
    since: Nanos,
    running: usize,
    queue: VecDeque<CallId>,
    last_used: Nanos,
    release: bool,
}

#[derive(Debug)]
enum Phase {
    /// For one call; those that came meanwhile and want the same model wait with it.
    Loading {
        by: CallId,
        with: Vec<CallId>,
    },
    Ready,
    Unloading,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Loaded {
        runner: u64,
    },
    Unloaded {
        runner: u64,
    },
    /// The next token of a call, or its end if there is none left.
    Token {
        call: CallId,
    },
    /// A runner may be known to be idle.
    Idle,
}

impl Runner {
    fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Ready) && self.running == 0 && self.queue.is_empty()
    }
}

impl Machine {
    pub(super) fn new(shape: Shape, params: Params) -> Self {
        let shape = Shape { slots: shape.slots.max(1), resident: shape.resident.max(1), ..shape };
        Self {
            shape,
            chance: fastrand::Rng::with_seed(params.seed),
            params,
            now: Nanos(0),
            calls: HashMap::new(),
            pending: VecDeque::new(),
            runners: Vec::new(),
            next_runner: 0,
            due: BinaryHeap::new(),
            next_due: 0,
            notices: VecDeque::new(),
            ledger: Ledger::default(),
        }
    }

    pub(super) fn arrive(&mut self, now: Nanos, id: CallId, work: Work) {
        self.advance(now);
        let runs = work.runs.clone();
        let call = Call { work, arrived: now, usable: now, prompt: 0, per_token: 0, tokens_left: 0, running: None };
        self.calls.insert(id, call);
        match self.runners.iter_mut().find(|runner| runner.runs == runs) {
            Some(Runner { phase: Phase::Ready, queue, .. }) => queue.push_back(id),
            Some(Runner { phase: Phase::Loading { with, .. }, .. }) => with.push(id),
            Some(Runner { phase: Phase::Unloading, .. }) | None => self.pend(id),
        }
        self.settle();
    }

    /// The client has gone.
    pub(super) fn leave(&mut self, now: Nanos, id: CallId) {
        self.advance(now);
        let Some(call) = self.calls.remove(&id) else { return };
        if let Some(since) = call.running {
            self.ledger.abandoned(since, now, call.work.leaves);
        }
        if call.running.is_some()
            && let Some(runner) = self.runners.iter_mut().find(|runner| runner.runs == call.work.runs)
        {
            runner.running -= 1;
            runner.last_used = now;
        }
        let mut again = Vec::new();
        let mut aborted = None;
        for runner in &mut self.runners {
            runner.queue.retain(|&queued| queued != id);
            if let Phase::Loading { by, with } = &mut runner.phase {
                with.retain(|&waiting| waiting != id);
                if *by == id {
                    again = mem::take(with);
                    runner.phase = Phase::Unloading;
                    runner.since = now;
                    self.ledger.load_aborted();
                    aborted = Some(runner.id);
                }
            }
        }
        if let Some(runner) = aborted {
            let span = self.jittered(self.params.unload_us * 1000);
            self.schedule(span, Due::Unloaded { runner });
        }
        for id in again {
            self.pend(id);
        }
        self.settle();
    }

    /// When something happens by itself next.
    pub(super) fn timeout(&self) -> Option<Nanos> {
        self.due.peek().map(|Reverse((at, _, _))| *at)
    }

    /// Lets everything happen that is due by `now`, each at its own time.
    pub(super) fn advance(&mut self, now: Nanos) {
        while let Some(&Reverse((at, _, due))) = self.due.peek()
            && at <= now
        {
            self.due.pop();
            self.now = self.now.max(at);
            match due {
                Due::Loaded { runner } => self.loaded(runner),
                Due::Unloaded { runner } => self.unloaded(runner),
                Due::Token { call } => self.token(call),
                Due::Idle => {}
            }
            self.settle();
        }
        self.now = self.now.max(now);
    }

    pub(super) fn poll(&mut self) -> Option<(CallId, Notice)> {
        self.notices.pop_front()
    }

    /// Models in memory that can be asked.
    pub(super) fn resident(&self) -> impl Iterator<Item = &Runs> {
        self.runners.iter().filter(|runner| matches!(runner.phase, Phase::Ready)).map(|runner| &runner.runs)
    }

    /// What was computed so far, of calls that have ended.
    pub(super) fn ledger(&self) -> Ledger {
        self.ledger
    }

    fn pend(&mut self, id: CallId) {
        if self.pending.len() < self.shape.queue_max {
            self.pending.push_back(id);
        } else {
            self.calls.remove(&id);
            self.notices.push_back((id, Notice::Refused));
        }
    }

    fn unloaded(&mut self, id: u64) {
        let now = self.now;
        for runner in self.runners.extract_if(.., |runner| runner.id == id) {
            self.ledger.unloaded(runner.since, now);
        }
    }

    fn loaded(&mut self, id: u64) {
        let now = self.now;
        let Some(runner) = self.runners.iter_mut().find(|runner| runner.id == id) else { return };
        if let Phase::Loading { by, with } = &mut runner.phase {
            self.ledger.loaded(runner.since, now);
            runner.queue.push_back(*by);
            runner.queue.extend(mem::take(with));
            runner.last_used = now;
            runner.phase = Phase::Ready;
            runner.since = now;
            for id in &runner.queue {
                if let Some(call) = self.calls.get_mut(id) {
                    call.usable = now;
                }
            }
        }
    }

    fn token(&mut self, id: CallId) {
        let now = self.now;
        let Some(call) = self.calls.get_mut(&id) else { return };
        if call.tokens_left > 0 {
            call.tokens_left -= 1;
            self.notices.push_back((id, Notice::Token));
            if call.tokens_left > 0 {
                let span = call.per_token;
                self.schedule(span, Due::Token { call: id });
                return;
            }
        }
        let Some(call) = self.calls.remove(&id) else { return };
        if let Some(since) = call.running {
            self.ledger.finished(since, now, call.work.leaves, !call.work.is_empty());
        }
        let timing = Timing {
            load: call.usable.0 - call.arrived.0,
            prompt: call.prompt,
            output: call.per_token * u64::from(call.work.output_tokens),
            total: now.0 - call.arrived.0,
        };
        self.notices.push_back((id, Notice::Finished(timing)));
        if let Some(runner) = self.runners.iter_mut().find(|runner| runner.runs == call.work.runs) {
            runner.running -= 1;
            runner.last_used = now;
            runner.release |= call.work.release;
        }
    }

    /// Starts what can start: calls on free slots, then the head of the queue, until it has to wait.
    fn settle(&mut self) {
        loop {
            self.fill_slots();
            self.unload_released();
            let Some(&head) = self.pending.front() else { return };
            let Some(call) = self.calls.get_mut(&head) else {
                self.pending.pop_front();
                continue;
            };
            let runs = call.work.runs.clone();
            match self.runners.iter_mut().find(|runner| runner.runs == runs) {
                Some(Runner { phase: Phase::Ready, queue, .. }) => {
                    queue.push_back(head);
                    call.usable = self.now;
                }
                Some(Runner { phase: Phase::Loading { .. } | Phase::Unloading, .. }) => return,
                None => {
                    if !self.has_room_for(&runs) {
                        self.make_room_for(&runs);
                        return;
                    }
                    self.load(head, runs);
                }
            }
            self.pending.pop_front();
        }
    }

    fn fill_slots(&mut self) {
        for at in 0..self.runners.len() {
            while self.runners[at].running < self.shape.slots && matches!(self.runners[at].phase, Phase::Ready) {
                let Some(id) = self.runners[at].queue.pop_front() else { break };
                let factor = self.factor();
                let Some(call) = self.calls.get_mut(&id) else { continue };
                let scaled = |us: u64| us * 1000 * factor / 1000;
                call.running = Some(self.now);
                call.prompt =
                    scaled(self.params.call_us + self.params.prompt_token_us * u64::from(call.work.prompt_tokens));
                call.per_token = scaled(self.params.output_token_us);
                call.tokens_left = call.work.output_tokens;
                let first = call.prompt + if call.tokens_left > 0 { call.per_token } else { 0 };
                self.runners[at].running += 1;
                self.schedule(first, Due::Token { call: id });
            }
        }
    }

    fn has_room_for(&self, runs: &Runs) -> bool {
        let other_context = self.runners.iter().any(|runner| runner.runs.model == runs.model);
        !other_context && self.runners.len() < self.shape.resident
    }

    /// Unloads the same model with another context, else the one that was not used for longest, once it is idle.
    ///
    /// That it is idle is known only some time after its last call has ended. Whoever asks again at once still
    /// finds the model loaded.
    fn make_room_for(&mut self, runs: &Runs) {
        if self.runners.iter().any(|runner| matches!(runner.phase, Phase::Unloading)) {
            return;
        }
        let victim = self
            .runners
            .iter_mut()
            .min_by_key(|runner| (runner.runs.model != runs.model, !runner.is_idle(), runner.last_used));
        let Some(victim) = victim.filter(|victim| victim.is_idle()) else { return };
        let known = victim.last_used.0 + self.params.linger_us * 1000;
        if self.now.0 < known {
            let span = known - self.now.0;
            return self.schedule(span, Due::Idle);
        }
        victim.phase = Phase::Unloading;
        victim.since = self.now;
        let runner = victim.id;
        let span = self.jittered(self.params.unload_us * 1000);
        self.schedule(span, Due::Unloaded { runner });
    }

    fn unload_released(&mut self) {
        let released = self.runners.iter_mut().find(|runner| runner.release && runner.is_idle());
        if let Some(runner) = released {
            runner.phase = Phase::Unloading;
            runner.since = self.now;
            let runner = runner.id;
            let span = self.jittered(self.params.unload_us * 1000);
            self.schedule(span, Due::Unloaded { runner });
        }
    }

    fn load(&mut self, by: CallId, runs: Runs) {
        let id = self.next_runner;
        self.next_runner += 1;
        self.runners.push(Runner {
            id,
            runs,
            phase: Phase::Loading { by, with: Vec::new() },
            since: self.now,
            running: 0,
            queue: VecDeque::new(),
            last_used: self.now,
            release: false,
        });
        let span = self.jittered(self.params.load_us * 1000);
        self.schedule(span, Due::Loaded { runner: id });
    }

    fn schedule(&mut self, span: u64, due: Due) {
        let at = Nanos(self.now.0.saturating_add(span));
        self.due.push(Reverse((at, self.next_due, due)));
        self.next_due += 1;
    }

    fn jittered(&mut self, nanos: u64) -> u64 {
        nanos * self.factor() / 1000
    }

    /// Around a thousand.
    fn factor(&mut self) -> u64 {
        let jitter = self.params.jitter_permille.min(999);
        self.chance.u64(1000 - jitter..=1000 + jitter)
    }
}

#[cfg(test)]
mod tests;
