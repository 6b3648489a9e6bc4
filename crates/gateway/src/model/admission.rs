//! The scheduler's shell: reads the clock, wakes callers whose calls were granted, hands loads to the loader.
//!
//! Shared by all runtime threads: a lock around the pure machine, held for one step of it and never across a wait. What
//! holds a slot or waits for one is a [`Permit`]; dropping it, in whatever way a call ends, gives everything back.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Instant,
};

use bellwether_core::{
    id::{AgentName, ModelName},
    inference::{Ask, CallId, Class, Command, Held, Limits, Refused, Runner, Scheduler, ServerId},
    port::heir::CallHeld,
    time::{Millis, Nanos},
};
use tokio::sync::{mpsc, oneshot};

use super::InFlight;

/// The account that a load of another gateway is charged to: nobody's.
const LOADING: &str = "load";

/// Figures that other threads read.
#[derive(Debug, Default)]
pub(super) struct Board {
    pub(super) slots_busy: AtomicU32,
    pub(super) slots_peak: AtomicU32,
    pub(super) calls_waiting: AtomicU32,
    pub(super) model_switches: AtomicU32,
    /// Slots of which it is not known whether the model server is done with what held them.
    pub(super) slots_doubtful: AtomicU32,
    /// The longest that a call of the default class may have to wait, in milliseconds.
    pub(super) wait_max: AtomicU64,
    /// Another gateway grants the slots. Said before any waiting call is sent back.
    pub(super) closed: AtomicBool,
}

pub(super) struct Admission {
    desk: Mutex<Desk>,
    origin: Instant,
    board: Arc<Board>,
    chores: mpsc::UnboundedSender<Chore>,
}

/// What the model's own thread has to do. Bounded by the servers: no load or revival is begun before the last has ended.
pub(super) enum Chore {
    Load(Load),
    /// Try the server until it answers.
    Revive(ServerId),
}

/// A load that is to be made. There is one at a time for each model server.
pub(super) struct Load {
    pub(super) server: ServerId,
    pub(super) runner: Runner,
    pub(super) embeds: bool,
}

struct Desk {
    scheduler: Scheduler,
    callers: HashMap<CallId, oneshot::Sender<ServerId>>,
    next: u64,
    switches_shown: u64,
    /// Calls of another gateway, by its numbers.
    adopted: HashMap<u64, CallId>,
}

impl Admission {
    /// Each load that comes out of the receiver is answered by [`Admission::loaded`].
    pub(super) fn new(limits: Limits, board: Arc<Board>) -> (Arc<Self>, mpsc::UnboundedReceiver<Chore>) {
        let (chores, to_do) = mpsc::unbounded_channel();
        let scheduler = Scheduler::new(limits);
        let desk = Desk { scheduler, callers: HashMap::new(), next: 0, switches_shown: 0, adopted: HashMap::new() };
        (Arc::new(Self { desk: Mutex::new(desk), origin: Instant::now(), board, chores }), to_do)
    }

    /// Puts a call into the queue. It holds a slot once [`Permit::granted`] returns.
    pub(super) fn enqueue(self: &Arc<Self>, ask: Ask) -> Result<Permit, Refused> {
        let (grant, granted) = oneshot::channel();
        let call = {
            let mut desk = self.lock();
            let call = CallId(desk.next);
            desk.next += 1;
            desk.scheduler.enqueue(self.now(), call, ask)?;
            desk.callers.insert(call, grant);
            call
        };
        self.obey();
        Ok(Permit { admission: Arc::clone(self), call, granted })
    }

    /// Exactly these calls of another gateway hold slots here.
    pub(super) fn hold(&self, calls: &[CallHeld], resident: Option<Runner>) {
        {
            let mut desk = self.lock();
            let now = self.now();
            let Desk { scheduler, next, adopted, .. } = &mut *desk;
            for held in calls {
                adopted.entry(held.number).or_insert_with(|| {
                    let call = CallId(*next);
                    *next += 1;
                    let ask = Ask { inputs: held.slots, ..Ask::new(held.agent.clone(), held.runner()) };
                    scheduler.adopt(now, call, ask, ServerId(held.server));
                    call
                });
            }
            let ended = adopted.extract_if(|number, _| calls.iter().all(|call| call.number != *number));
            ended.for_each(|(_, call)| scheduler.finished(now, call));
            if let Some(runner) = resident {
                scheduler.assume(now, ServerId(0), runner);
            }
        }
        self.obey();
    }

    /// Those who wait are no longer waited for here.
    pub(super) fn close(&self) {
        self.board.closed.store(true, Ordering::Release);
        {
            let mut desk = self.lock();
            for call in desk.scheduler.close(self.now()) {
                desk.callers.remove(&call);
            }
        }
        self.obey();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.board.closed.load(Ordering::Acquire)
    }

    pub(super) fn in_flight(&self) -> InFlight {
        let desk = self.lock();
        let held = |number: u64, agent: AgentName, runner: &Runner, server: ServerId, slots: u32| {
            let Runner { model, digest, options } = runner.clone();
            CallHeld { number, agent, model, digest, options, server: server.0, slots }
        };
        let calls = desk
            .scheduler
            .in_flight()
            .map(|it: Held<'_>| held(it.call.0, it.agent.clone(), it.runner, it.server, it.slots));
        // A load is at the model server as any call is.
        let loads = desk
            .scheduler
            .loading()
            .map(|(server, runner)| held(u64::MAX - server.0 as u64, AgentName::new(LOADING), runner, server, 1));
        InFlight { calls: calls.chain(loads).collect(), resident: desk.scheduler.resident(ServerId(0)).cloned() }
    }

    pub(super) fn loaded(&self, load: &Load, ok: bool) {
        self.tell(|scheduler, now| scheduler.loaded(now, load.server, &load.runner, ok));
    }

    pub(super) fn unloaded(&self, server: ServerId) {
        self.tell(|scheduler, now| scheduler.unloaded(now, server));
    }

    pub(super) fn has(&self, server: ServerId, models: BTreeSet<ModelName>) {
        self.tell(|scheduler, now| scheduler.has(now, server, models));
    }

    /// Nothing is sent there until it is [up](Self::up), which it is looked after for.
    pub(super) fn down(&self, server: ServerId) {
        self.tell(|scheduler, now| scheduler.down(now, server));
        self.have_done(Chore::Revive(server));
    }

    pub(super) fn up(&self, server: ServerId) {
        self.tell(|scheduler, now| scheduler.up(now, server));
    }

    pub(super) fn is_up(&self, server: ServerId) -> bool {
        self.lock().scheduler.is_up(server)
    }

    pub(super) fn has_room(&self, server: ServerId) -> bool {
        self.lock().scheduler.has_room(server)
    }

    pub(super) fn resident(&self, server: ServerId) -> Option<Runner> {
        self.lock().scheduler.resident(server).cloned()
    }

    pub(super) fn is_idle(&self) -> bool {
        let desk = self.lock();
        desk.scheduler.slots_busy() == 0 && desk.scheduler.calls_waiting() == 0
    }

    /// So many more slots, or fewer, of which nothing is known.
    pub(super) fn doubt(&self, more: bool) {
        if more {
            self.board.slots_doubtful.fetch_add(1, Ordering::Relaxed);
        } else {
            self.board.slots_doubtful.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn tell(&self, word: impl FnOnce(&mut Scheduler, Nanos)) {
        word(&mut self.lock().scheduler, self.now());
        self.obey();
    }

    fn finished(&self, call: CallId) {
        {
            let mut desk = self.lock();
            desk.callers.remove(&call);
            desk.scheduler.finished(self.now(), call);
        }
        self.obey();
    }

    fn obey(&self) {
        let mut desk = self.lock();
        while let Some(command) = desk.scheduler.poll() {
            match command {
                Command::Grant { call, server } => {
                    // A caller that is leaving this very moment finishes the call by dropping its permit.
                    if let Some(grant) = desk.callers.remove(&call) {
                        grant.send(server).ok();
                    }
                }
                Command::Load { server, runner, embeds } => {
                    self.have_done(Chore::Load(Load { server, runner, embeds }));
                }
            }
        }
        self.show(&mut desk);
    }

    fn show(&self, desk: &mut Desk) {
        let busy = desk.scheduler.slots_busy();
        let waiting = u32::try_from(desk.scheduler.calls_waiting()).unwrap_or(u32::MAX);
        let switches = desk.scheduler.switches();
        let fresh = u32::try_from(switches - desk.switches_shown).unwrap_or(u32::MAX);
        desk.switches_shown = switches;
        self.board.slots_busy.store(busy, Ordering::Relaxed);
        self.board.slots_peak.fetch_max(busy, Ordering::Relaxed);
        self.board.calls_waiting.store(waiting, Ordering::Relaxed);
        self.board.model_switches.fetch_add(fresh, Ordering::Relaxed);
    }

    /// Looked at now and then: it goes through all that waits.
    pub(super) fn show_wait_max(&self) {
        let Millis(wait_max) = self.lock().scheduler.wait_max(Class::default());
        self.board.wait_max.store(wait_max, Ordering::Relaxed);
    }

    fn have_done(&self, chore: Chore) {
        if self.chores.send(chore).is_err() {
            tracing::error!("the model's thread is gone: nothing is loaded any more");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Nanos {
        Nanos(u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}

pub(super) struct Permit {
    admission: Arc<Admission>,
    call: CallId,
    granted: oneshot::Receiver<ServerId>,
}

impl Permit {
    /// Waits for the slot, and tells where it is. None if admission is gone.
    pub(super) async fn granted(&mut self) -> Option<ServerId> {
        (&mut self.granted).await.ok()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.admission.finished(self.call);
    }
}
