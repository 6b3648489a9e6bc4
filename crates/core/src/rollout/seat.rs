//! One side of one agent: which revision sits there, whether it should run, and what it takes to get it there.
//!
//! An instance number is used once. What ends is replaced by a new instance after a back-off that doubles.

use serde::{Deserialize, Serialize};

use super::{
    command::Command,
    timers::{Timer, Timers},
};
use crate::{
    id::{AgentName, InstanceId, RevisionId, Side},
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
    pub boot: Millis,
    pub want: Want,
    pub is: Is,
    /// Unasked ends in a row, for the back-off.
    pub failures: u32,
    /// Unasked ends since the rollout's phase began, for the crash-loop trigger.
    pub exits: u32,
    /// The first of these.
    pub first_exit: Option<UnixMillis>,
    ready_at: Option<Now>,
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
    pub(crate) fn new(agent: AgentName, side: Side, revision: RevisionId, http: bool, boot: Millis) -> Self {
        Self {
            agent,
            side,
            revision,
            http,
            boot,
            want: Want::Running,
            is: Is::Empty,
            failures: 0,
            exits: 0,
            first_exit: None,
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

    pub(crate) fn enrolled(&mut self, now: Now, timers: &mut Timers, out: &mut Vec<Command>) {
        if let Is::Enrolling { instance } = self.is {
            self.is = Is::Starting { instance, polled: false, healthy: !self.http };
            timers.arm(Timer::Boot(instance), now.mono + self.boot);
            out.push(self.start(instance));
        }
    }

    pub(crate) fn started(&self, out: &mut Vec<Command>) {
        if let Is::Starting { instance, healthy: false, .. } = self.is {
            out.push(Command::Probe { instance });
        }
    }

    pub(crate) fn seen(&mut self, now: Now, saw_poll: bool, saw_health: bool, timers: &mut Timers) {
        if let Is::Starting { instance, polled, healthy } = self.is {
            let (polled, healthy) = (polled || saw_poll, healthy || saw_health);
            self.is = if polled && healthy {
                timers.disarm(&Timer::Boot(instance));
                self.ready_at = Some(now);
                Is::Ready { instance }
            } else {
                Is::Starting { instance, polled, healthy }
            };
        }
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

    /// The boot deadline passed.
    pub(crate) fn overdue(&mut self, timers: &mut Timers, out: &mut Vec<Command>) {
        if let Is::Starting { instance, .. } = self.is {
            self.stop(instance, FAILED_GRACE, true, timers, out);
        }
    }

    /// The process is gone, or never came.
    pub(crate) fn ended(&mut self, now: Now, timers: &mut Timers, out: &mut Vec<Command>) {
        let Some(instance) = self.is.instance() else { return };
        timers.disarm(&Timer::Boot(instance));
        let asked = matches!(self.is, Is::Stopping { failed: false, .. });
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

    pub(crate) fn try_again(&mut self) {
        if self.is == Is::BackOff {
            self.is = Is::Empty;
        }
    }

    fn stop(&mut self, instance: InstanceId, grace: Millis, failed: bool, timers: &mut Timers, out: &mut Vec<Command>) {
        timers.disarm(&Timer::Boot(instance));
        self.ready_at = None;
        self.is = Is::Stopping { instance, failed };
        out.push(Command::Stop { instance, grace });
    }
}
