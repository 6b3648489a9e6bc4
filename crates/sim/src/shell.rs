//! The controller's process: the real machine, its journal, and how it dies and comes back.

use std::collections::{BTreeSet, VecDeque};

use bellwether_core::{
    id::RolloutId,
    rollout::{Command, Controller, Event, Refusal, State, Step},
    time::{Millis, Nanos, Now, UnixMillis},
};

use crate::referee::{Violation, violated};

pub(crate) struct Shell {
    pub(crate) machine: Controller,
    /// Fed from the journal alone, a few events at a time.
    shadow: Controller,
    shadowed: usize,
    journal: Vec<(Now, Event)>,
    pub(crate) up: bool,
    /// Counts processes. What was meant for an earlier one does not reach a later one.
    pub(crate) life: u64,
    /// Where this process's monotonic clock began.
    origin: Nanos,
    /// How far the wall clock is off.
    pub(crate) wall_ahead: i64,
    /// It looks at the world; what comes meanwhile waits.
    pub(crate) looking: bool,
    pub(crate) inbox: VecDeque<Event>,
    pub(crate) tick_at: Option<Nanos>,
    /// For when ticks of this process are on the agenda already.
    pub(crate) ticks: BTreeSet<Nanos>,
}

/// Events between two comparisons of the live state with the replayed one.
const COMPARE_EVERY: usize = 256;
const EPOCH: u64 = 1_760_000_000_000;

impl Shell {
    pub(crate) fn new() -> Self {
        Self {
            machine: Controller::default(),
            shadow: Controller::default(),
            shadowed: 0,
            journal: Vec::new(),
            up: true,
            life: 0,
            origin: Nanos(0),
            wall_ahead: 0,
            looking: false,
            inbox: VecDeque::new(),
            tick_at: None,
            ticks: BTreeSet::new(),
        }
    }

    pub(crate) fn clock(&self, world: Nanos) -> Now {
        let wall = (EPOCH + world.0 / 1_000_000).saturating_add_signed(self.wall_ahead);
        Now { mono: Nanos(world.0 - self.origin.0), wall: UnixMillis(wall) }
    }

    /// When the machine wants to be woken, by the world's clock.
    pub(crate) fn wants_tick_at(&self) -> Option<Nanos> {
        // Shells round up to their timer's resolution.
        self.machine.next_timeout().map(|at| Nanos(at.0 + self.origin.0) + Millis(1))
    }

    /// Takes one event and makes it durable.
    pub(crate) fn step(&mut self, now: Nanos, event: Event) -> Result<Result<Vec<Command>, Refusal>, Violation> {
        let now = self.clock(now);
        let before = self.machine.generation();
        let stood = self.stage();
        let commands = match self.machine.step(now, event.clone()) {
            Ok(commands) => commands,
            Err(refusal) => return Ok(Err(refusal)),
        };
        self.journal.push((now, event));
        if self.machine.generation() < before {
            let after = self.machine.generation();
            return violated("the generation grows", format!("the controller went from {before} to {after}"));
        }
        let frozen = self.machine.rollout().is_some_and(|rollout| rollout.frozen(now.wall).is_some());
        if frozen
            && self.stage() != stood
            && matches!(self.stage(), Some((_, State::Progressing { step: Step::CuttingOver { .. }, .. })))
        {
            return violated("nothing goes forward in a freeze", format!("{stood:?} became {:?}", self.stage()));
        }
        if self.journal.len() - self.shadowed >= COMPARE_EVERY {
            self.compare()?;
        }
        Ok(Ok(commands))
    }

    fn stage(&self) -> Option<(RolloutId, State)> {
        self.machine.rollout().map(|rollout| (rollout.id, rollout.state))
    }

    /// The process is gone. Nothing but the journal is left.
    pub(crate) fn die(&mut self) {
        self.up = false;
        self.looking = false;
        self.life += 1;
        self.inbox.clear();
        self.tick_at = None;
        self.ticks.clear();
    }

    /// Another process replays the journal.
    pub(crate) fn come_back(&mut self, now: Nanos) -> Result<(), Violation> {
        self.compare()?;
        self.machine = self.by_snapshot()?;
        self.up = true;
        self.origin = now;
        Ok(())
    }

    /// What was replayed, written down and read back: replay may begin at a snapshot.
    fn by_snapshot(&self) -> Result<Controller, Violation> {
        let read = serde_json::to_string(&self.shadow).and_then(|text| serde_json::from_str::<Controller>(&text));
        match read {
            Ok(machine) if machine == self.shadow => Ok(machine),
            Ok(_) => violated("a snapshot is the state that it was made of", format!("after {} events", self.shadowed)),
            Err(error) => violated("a snapshot can be stored", error.to_string()),
        }
    }

    /// What was journaled gives the state that lives.
    pub(crate) fn compare(&mut self) -> Result<(), Violation> {
        for (now, event) in &self.journal[self.shadowed..] {
            if let Err(refusal) = self.shadow.step(*now, event.clone()) {
                return violated("what is in the journal can be replayed", refusal.to_string());
            }
        }
        self.shadowed = self.journal.len();
        if self.shadow == self.machine {
            return Ok(());
        }
        violated("replayed state equals live state", format!("after {} events", self.journal.len()))
    }

    /// The whole journal once more, through the text that it is stored as.
    pub(crate) fn compare_from_text(&self) -> Result<(), Violation> {
        let mut replayed = Controller::default();
        for (now, event) in &self.journal {
            let stored = serde_json::to_string(event).and_then(|text| serde_json::from_str::<Event>(&text));
            match stored {
                Ok(stored) => drop(replayed.step(*now, stored)),
                Err(error) => return violated("events can be stored", error.to_string()),
            }
        }
        if replayed == self.machine {
            return Ok(());
        }
        violated("replayed state equals live state", "after the journal was written and read")
    }
}
