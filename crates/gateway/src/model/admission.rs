//! The scheduler's shell: reads the clock, wakes callers whose calls were granted, hands loads to the loader.
//!
//! Lives on the model's own thread alone. What holds a slot or waits for one is a [`Permit`]; dropping it, in
//! whatever way a call ends, gives everything back.

use std::{
    cell::RefCell,
    collections::HashMap,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Instant,
};

use bellwether_core::{
    id::{AgentName, ModelName},
    inference::{CallId, Command, Limits, Refused, Scheduler},
    port::heir::CallHeld,
    time::Nanos,
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
    /// Another gateway grants the slots. Said before any waiting call is sent back.
    pub(super) closed: AtomicBool,
}

pub(super) struct Admission {
    desk: RefCell<Desk>,
    origin: Instant,
    board: Arc<Board>,
    loads: mpsc::Sender<ModelName>,
}

struct Desk {
    scheduler: Scheduler,
    callers: HashMap<CallId, oneshot::Sender<()>>,
    next: u64,
    switches_shown: u64,
    /// Calls of another gateway, by its numbers.
    adopted: HashMap<u64, CallId>,
}

impl Admission {
    /// Models to load come out of the receiver, never two at a time; each is answered by [`Admission::loaded`].
    pub(super) fn new(limits: Limits, board: Arc<Board>) -> (Rc<Self>, mpsc::Receiver<ModelName>) {
        let (loads, to_load) = mpsc::channel(1);
        let scheduler = Scheduler::new(limits);
        let desk = Desk { scheduler, callers: HashMap::new(), next: 0, switches_shown: 0, adopted: HashMap::new() };
        (Rc::new(Self { desk: RefCell::new(desk), origin: Instant::now(), board, loads }), to_load)
    }

    /// Puts a call into the queue. It holds a slot once [`Permit::granted`] returns.
    pub(super) fn enqueue(self: &Rc<Self>, agent: AgentName, model: ModelName) -> Result<Permit, Refused> {
        let (grant, granted) = oneshot::channel();
        let call = {
            let mut desk = self.desk.borrow_mut();
            let call = CallId(desk.next);
            desk.next += 1;
            desk.scheduler.enqueue(self.now(), call, agent, model)?;
            desk.callers.insert(call, grant);
            call
        };
        self.obey();
        Ok(Permit { admission: Rc::clone(self), call, granted })
    }

    /// Exactly these calls of another gateway hold slots here.
    pub(super) fn hold(&self, calls: &[CallHeld], resident: Option<ModelName>) {
        {
            let mut desk = self.desk.borrow_mut();
            let now = self.now();
            let Desk { scheduler, next, adopted, .. } = &mut *desk;
            for CallHeld { number, agent, model } in calls {
                adopted.entry(*number).or_insert_with(|| {
                    let call = CallId(*next);
                    *next += 1;
                    scheduler.adopt(now, call, agent.clone(), model.clone());
                    call
                });
            }
            let ended = adopted.extract_if(|number, _| calls.iter().all(|call| call.number != *number));
            ended.for_each(|(_, call)| scheduler.finished(now, call));
            if let Some(model) = resident {
                scheduler.assume(now, model);
            }
        }
        self.obey();
    }

    /// Those who wait are no longer waited for here.
    pub(super) fn close(&self) {
        self.board.closed.store(true, Ordering::Release);
        {
            let mut desk = self.desk.borrow_mut();
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
        let desk = self.desk.borrow();
        let held = |(CallId(number), agent, model): (CallId, &AgentName, &ModelName)| CallHeld {
            number,
            agent: agent.clone(),
            model: model.clone(),
        };
        // A load is at the model server as any call is.
        let load = desk.scheduler.loading().map(|model| CallHeld {
            number: u64::MAX,
            agent: AgentName::new(LOADING),
            model: model.clone(),
        });
        InFlight {
            calls: desk.scheduler.in_flight().map(held).chain(load).collect(),
            resident: desk.scheduler.resident().cloned(),
        }
    }

    pub(super) fn loaded(&self, model: &ModelName, ok: bool) {
        self.desk.borrow_mut().scheduler.loaded(self.now(), model, ok);
        self.obey();
    }

    fn finished(&self, call: CallId) {
        {
            let mut desk = self.desk.borrow_mut();
            desk.callers.remove(&call);
            desk.scheduler.finished(self.now(), call);
        }
        self.obey();
    }

    fn obey(&self) {
        let mut desk = self.desk.borrow_mut();
        while let Some(command) = desk.scheduler.poll() {
            match command {
                Command::Grant { call } => {
                    // A caller that is leaving this very moment finishes the call by dropping its permit.
                    if let Some(grant) = desk.callers.remove(&call) {
                        grant.send(()).ok();
                    }
                }
                Command::Load { model } => {
                    if let Err(error) = self.loads.try_send(model) {
                        tracing::error!(%error, "no one is there to load a model");
                    }
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

    fn now(&self) -> Nanos {
        Nanos(u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}

pub(super) struct Permit {
    admission: Rc<Admission>,
    call: CallId,
    granted: oneshot::Receiver<()>,
}

impl Permit {
    /// Waits for the slot. False if admission is gone.
    pub(super) async fn granted(&mut self) -> bool {
        (&mut self.granted).await.is_ok()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.admission.finished(self.call);
    }
}
