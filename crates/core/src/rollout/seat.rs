//! One side of one agent: which revision sits there, whether it should run, and what it takes to get it there.
//!
//! An instance number is used once. What ends is replaced by a new instance after a back-off that doubles. A seat of
//! a revision that is being rolled out is proven once: its first instance that is ready has answered a synthetic task.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    command::Command,
    timers::{Timer, Timers},
};
use crate::{
    id::{AgentName, InstanceId, RevisionId, Side},
    plan::PlannedAgent,
    spec::Delivery,
    time::{Millis, Now, UnixMillis},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Want {
    Running,
    Frozen,
    Stopped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Is {
    Empty,
    Enrolling {
        instance: InstanceId,
    },
    Starting {
        instance: InstanceId,
        polled: bool,
        healthy: bool,
    },
    /// It has begun, and has to answer a synthetic task.
    Proving {
        instance: InstanceId,
    },
    Ready {
        instance: InstanceId,
    },
    Freezing {
        instance: InstanceId,
    },
    Frozen {
        instance: InstanceId,
    },
    Thawing {
        instance: InstanceId,
    },
    /// `failed`: it is being ended because it never became ready.
    Stopping {
        instance: InstanceId,
        failed: bool,
    },
    BackOff,
}

impl Is {
    pub fn instance(self) -> Option<InstanceId> {
        match self {
            Self::Empty | Self::BackOff => None,
            Self::Enrolling { instance }
            | Self::Starting { instance, .. }
            | Self::Proving { instance }
            | Self::Ready { instance }
            | Self::Freezing { instance }
            | Self::Frozen { instance }
            | Self::Thawing { instance }
            | Self::Stopping { instance, .. } => Some(instance),
        }
    }

    pub fn ready(self) -> Option<InstanceId> {
        match self {
            Self::Ready { instance } => Some(instance),
            Self::Empty
            | Self::BackOff
            | Self::Enrolling { .. }
            | Self::Starting { .. }
            | Self::Proving { .. }
            | Self::Freezing { .. }
            | Self::Frozen { .. }
            | Self::Thawing { .. }
            | Self::Stopping { .. } => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seat {
    pub agent: AgentName,
    pub side: Side,
    pub revision: RevisionId,
    pub http: bool,
    pub delivery: Delivery,
    pub boot: Millis,
    /// What its first instance still has to show once it has begun.
    pub trial: Option<Trial>,
    pub want: Want,
    pub is: Is,
    /// Unasked ends in a row, for the back-off.
    pub failures: u32,
    /// Unasked ends since the rollout's phase began, for the crash-loop trigger.
    pub exits: u32,
    /// The first of these.
    pub first_exit: Option<UnixMillis>,
    /// Why the last instance was ended as failed, or what is wrong with its answers so far.
    pub fault: Option<String>,
    ready_at: Option<Now>,
}

/// The synthetic task that an instance is tried out with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    pub fields: BTreeMap<String, String>,
    pub within: Millis,
}

impl Trial {
    pub(crate) fn of(planned: &PlannedAgent, delivery: Delivery) -> Option<Self> {
        planned.trial(delivery).map(|(fields, within)| Self { fields: fields.clone(), within })
    }
}

/// How an instance that will not end is given to finish before it is made to.
pub(crate) const STOP_GRACE: Millis = Millis::from_secs(35);
const FAILED_GRACE: Millis = Millis::from_secs(2);
/// What a trigger blames holds nothing that is worth waiting for.
const HURRIED_GRACE: Millis = Millis::from_secs(2);
const BACKOFF_FIRST: Millis = Millis(200);
const BACKOFF_MAX: Millis = Millis::from_secs(30);
/// An instance that was ready for this long starts the back-off afresh.
const STEADY: Millis = Millis::from_secs(60);

impl Seat {
    pub(crate) fn new(
        agent: AgentName,
        side: Side,
        revision: RevisionId,
        (http, delivery): (bool, Delivery),
        boot: Millis,
        trial: Option<Trial>,
    ) -> Self {
        Self {
            agent,
            side,
            revision,
            http,
            delivery,
            boot,
            trial,
            want: Want::Running,
            is: Is::Empty,
            failures: 0,
            exits: 0,
            first_exit: None,
            fault: None,
            ready_at: None,
        }
    }

    /// Issues what is missing to get from what is to what is wanted. `idle` says that the instance takes no
    /// traffic and holds nothing; `hurry` that what it does is harm.
    pub(crate) fn reconcile(
        &mut self,
        idle: bool,
        hurry: bool,
        next: &mut InstanceId,
        timers: &mut Timers,
        out: &mut Vec<Command>,
    ) {
        match (self.want, self.is) {
            (Want::Running | Want::Frozen, Is::Empty) => {
                let instance = *next;
                *next = next.next();
                self.is = Is::Enrolling { instance };
                out.push(self.enrol(instance));
            }
            (Want::Running, Is::Frozen { instance }) => {
                self.is = Is::Thawing { instance };
                out.push(Command::Thaw { instance });
            }
            (Want::Frozen, Is::Ready { instance }) if idle => {
                self.is = Is::Freezing { instance };
                out.push(Command::Freeze { instance });
            }
            (
                Want::Stopped,
                Is::Enrolling { instance }
                | Is::Starting { instance, .. }
                | Is::Proving { instance }
                | Is::Ready { instance }
                | Is::Frozen { instance },
            ) if idle => {
                if matches!(self.is, Is::Frozen { .. }) {
                    out.push(Command::Thaw { instance });
                }
                let grace = if hurry { HURRIED_GRACE } else { STOP_GRACE };
                self.stop(instance, grace, false, timers, out);
            }
            (Want::Stopped, Is::BackOff) => {
                timers.disarm(&Timer::BackOff(self.agent.clone(), self.side));
                self.is = Is::Empty;
            }
            // Under way, where it should be, or not idle yet.
            (
                Want::Running,
                Is::Enrolling { .. }
                | Is::Starting { .. }
                | Is::Proving { .. }
                | Is::Ready { .. }
                | Is::Freezing { .. }
                | Is::Thawing { .. }
                | Is::Stopping { .. }
                | Is::BackOff,
            )
            | (
                Want::Frozen,
                Is::Enrolling { .. }
                | Is::Starting { .. }
                | Is::Proving { .. }
                | Is::Ready { .. }
                | Is::Freezing { .. }
                | Is::Frozen { .. }
                | Is::Thawing { .. }
                | Is::Stopping { .. }
                | Is::BackOff,
            )
            | (
                Want::Stopped,
                Is::Empty
                | Is::Enrolling { .. }
                | Is::Starting { .. }
                | Is::Proving { .. }
                | Is::Ready { .. }
                | Is::Freezing { .. }
                | Is::Frozen { .. }
                | Is::Thawing { .. }
                | Is::Stopping { .. },
            ) => {}
        }
    }

    pub(crate) fn enrol(&self, instance: InstanceId) -> Command {
        Command::Enrol { instance, agent: self.agent.clone(), side: self.side, revision: self.revision.clone() }
    }

    pub(crate) fn start(&self, instance: InstanceId) -> Command {
        Command::Start { instance, agent: self.agent.clone(), side: self.side, revision: self.revision.clone() }
    }

    /// Neither tasks nor health would tell that it has begun.
    fn shows_nothing(&self) -> bool {
        self.delivery == Delivery::None && !self.http
    }

    pub(crate) fn enrolled(&mut self, now: Now, timers: &mut Timers, out: &mut Vec<Command>) {
        if let Is::Enrolling { instance } = self.is {
            self.is = Is::Starting { instance, polled: self.delivery != Delivery::Pull, healthy: !self.http };
            timers.arm(Timer::Boot(instance), now.mono + self.boot);
            out.push(self.start(instance));
        }
    }

    pub(crate) fn started(&self, out: &mut Vec<Command>) {
        if let Is::Starting { instance, healthy: false, .. } = self.is {
            out.push(Command::Probe { instance });
        }
    }

    pub(crate) fn seen(
        &mut self,
        now: Now,
        saw_poll: bool,
        saw_health: bool,
        timers: &mut Timers,
        out: &mut Vec<Command>,
    ) {
        if let Is::Starting { instance, polled, healthy } = self.is {
            let (polled, healthy) = (polled || saw_poll, healthy || saw_health);
            if polled && healthy && !self.shows_nothing() {
                self.begun(now, instance, timers, out);
            } else {
                self.is = Is::Starting { instance, polled, healthy };
            }
        }
    }

    fn begun(&mut self, now: Now, instance: InstanceId, timers: &mut Timers, out: &mut Vec<Command>) {
        timers.disarm(&Timer::Boot(instance));
        match &self.trial {
            None => self.be_ready(now, instance),
            Some(trial) => {
                timers.arm(Timer::TryOut(instance), now.mono + trial.within);
                self.is = Is::Proving { instance };
                self.fault = None;
                self.try_out(out);
            }
        }
    }

    /// Asks for a synthetic task, again where the first word may have been lost.
    pub(crate) fn try_out(&self, out: &mut Vec<Command>) {
        if let (Is::Proving { instance }, Some(trial)) = (self.is, &self.trial) {
            out.push(Command::TryOut { instance, fields: trial.fields.clone() });
        }
    }

    /// An answer to a synthetic task came, good or bad.
    pub(crate) fn tried_out(&mut self, now: Now, fault: Option<String>, timers: &mut Timers) {
        if let Is::Proving { instance } = self.is {
            match fault {
                Some(fault) => self.fault = Some(format!("did not answer a synthetic task: {fault}")),
                None => {
                    timers.disarm(&Timer::TryOut(instance));
                    self.be_ready(now, instance);
                }
            }
        }
    }

    fn be_ready(&mut self, now: Now, instance: InstanceId) {
        // Proven: what is started in its place later runs the same revision.
        self.trial = None;
        self.fault = None;
        self.ready_at = Some(now);
        self.is = Is::Ready { instance };
    }

    pub(crate) fn frozen(&mut self) {
        if let Is::Freezing { instance } = self.is {
            self.is = Is::Frozen { instance };
        }
    }

    pub(crate) fn thawed(&mut self) {
        if let Is::Thawing { instance } = self.is {
            self.is = Is::Ready { instance };
        }
    }

    /// The deadline of the boot passed, or that of the try-out.
    pub(crate) fn overdue(&mut self, now: Now, timers: &mut Timers, out: &mut Vec<Command>) {
        match self.is {
            Is::Starting { instance, .. } if self.shows_nothing() => self.begun(now, instance, timers, out),
            Is::Starting { instance, polled, healthy } => {
                let missing = match (polled, healthy) {
                    (false, false) => "did not ask for a task and was not healthy",
                    (false, true) => "did not ask for a task",
                    (true, _) => "was not healthy",
                };
                self.fault = Some(format!("{missing} within {}", self.boot));
                self.stop(instance, FAILED_GRACE, true, timers, out);
            }
            Is::Proving { instance } => {
                let within = self.trial.as_ref().map_or(Millis::ZERO, |trial| trial.within);
                self.fault.get_or_insert_with(|| format!("did not answer a synthetic task within {within}"));
                self.stop(instance, FAILED_GRACE, true, timers, out);
            }
            Is::Empty
            | Is::Enrolling { .. }
            | Is::Ready { .. }
            | Is::Freezing { .. }
            | Is::Frozen { .. }
            | Is::Thawing { .. }
            | Is::Stopping { .. }
            | Is::BackOff => {}
        }
    }

    /// The process is gone, or never came.
    pub(crate) fn ended(&mut self, now: Now, timers: &mut Timers, out: &mut Vec<Command>) {
        let Some(instance) = self.is.instance() else { return };
        self.disarm(instance, timers);
        let asked = matches!(self.is, Is::Stopping { failed: false, .. });
        if !matches!(self.is, Is::Stopping { failed: true, .. }) {
            // It ended by itself: how it was doing before does not say why.
            self.fault = None;
        }
        out.push(Command::Lost { instance, asked });
        out.push(Command::Retire { instances: vec![instance] });
        if asked {
            self.is = Is::Empty;
            self.failures = 0;
            return;
        }
        if self.ready_at.take().is_some_and(|ready| now.mono.since(ready.mono) >= STEADY) {
            self.failures = 0;
        }
        let backoff = Millis(BACKOFF_FIRST.0 << self.failures.min(16)).min(BACKOFF_MAX);
        self.failures += 1;
        self.exits += 1;
        self.first_exit.get_or_insert(now.wall);
        self.is = Is::BackOff;
        timers.arm(Timer::BackOff(self.agent.clone(), self.side), now.mono + backoff);
    }

    /// Its instance is gone by what was done to the whole fleet, and not by a fault of its own.
    pub(crate) fn vacate(&mut self, timers: &mut Timers) {
        let Some(instance) = self.is.instance() else { return };
        self.disarm(instance, timers);
        self.ready_at = None;
        self.is = Is::Empty;
    }

    pub(crate) fn try_again(&mut self) {
        if self.is == Is::BackOff {
            self.is = Is::Empty;
        }
    }

    fn stop(&mut self, instance: InstanceId, grace: Millis, failed: bool, timers: &mut Timers, out: &mut Vec<Command>) {
        self.disarm(instance, timers);
        self.ready_at = None;
        self.is = Is::Stopping { instance, failed };
        out.push(Command::Stop { instance, grace });
    }

    pub(crate) fn disarm(&self, instance: InstanceId, timers: &mut Timers) {
        timers.disarm(&Timer::Boot(instance));
        timers.disarm(&Timer::TryOut(instance));
    }
}
