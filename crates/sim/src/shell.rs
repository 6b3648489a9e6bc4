//! The controller's process: the real machine, its journal, and how it dies and comes back.

use std::collections::{BTreeSet, VecDeque};

use bellwether_core::{
    id::RolloutId,
    rollout::{Command, Controller, Event, Lookout, Refusal, State, Step},
    time::{Millis, Nanos, Now, UnixMillis},
};

use crate::referee::{Violation, violated};

pub(crate) struct Shell {
    pub(crate) machine: Controller,
    /// Fed from the journal alone, a few events at a time.
    shadow: Controller,
    shadowed: usize,
    journal: Journal,
    pub(crate) up: bool,
    /// Counts processes. What was meant for an earlier one does not reach a later one.
    pub(crate) life: u64,
    /// Where this process's monotonic clock began.
    origin: Nanos,
    /// How far the wall clock is off.
    pub(crate) wall_ahead: i64,
    /// It looks at the world; what comes meanwhile waits.
    pub(crate) looking: bool,
    /// It writes its journal until then; what comes meanwhile waits, and is taken together.
    pub(crate) busy_until: Nanos,
    /// It will take what waits as soon as it can.
    pub(crate) woken: bool,
    pub(crate) inbox: VecDeque<Event>,
    pub(crate) tick_at: Option<Nanos>,
    /// For when ticks of this process are on the agenda already.
    pub(crate) ticks: BTreeSet<Nanos>,
    pub(crate) lookout: Lookout,
    /// For when its next look is on the agenda.
    pub(crate) glance_at: Option<Nanos>,
    /// How often driver, gateway and machine had changed when a look found nothing to doubt.
    pub(crate) settled: Option<(u64, u64, usize)>,
}

/// What is written, transaction by transaction.
#[derive(Default)]
struct Journal {
    records: Vec<(Now, Event)>,
    /// Records that are durable, as far as the disk says, and those that were before the last transaction.
    committed: usize,
    before: usize,
    /// Records that somebody outside knows of: a command that followed from them has left, or a person was answered.
    released: usize,
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
            journal: Journal::default(),
            up: true,
            life: 0,
            origin: Nanos(0),
            wall_ahead: 0,
            looking: false,
            busy_until: Nanos(0),
            woken: false,
            inbox: VecDeque::new(),
            tick_at: None,
            ticks: BTreeSet::new(),
            lookout: Lookout::new(Nanos(0)),
            glance_at: None,
            settled: None,
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

    /// Takes one event into the transaction that is open.
    pub(crate) fn step(&mut self, now: Nanos, event: Event) -> Result<Result<Vec<Command>, Refusal>, Violation> {
        let now = self.clock(now);
        let before = self.machine.generation();
        let stood = self.stage();
        let commands = match self.machine.step(now, event.clone()) {
            Ok(commands) => commands,
            Err(refusal) => return Ok(Err(refusal)),
        };
        self.journal.records.push((now, event));
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
        Ok(Ok(commands))
    }

    fn stage(&self) -> Option<(RolloutId, State)> {
        self.machine.rollout().map(|rollout| (rollout.id, rollout.state))
    }

    /// Makes durable what was taken since the last time.
    pub(crate) fn commit(&mut self) -> Result<(), Violation> {
        (self.journal.before, self.journal.committed) = (self.journal.committed, self.journal.records.len());
        if self.journal.committed - self.shadowed >= COMPARE_EVERY {
            self.compare()?;
        }
        Ok(())
    }

    pub(crate) fn committed(&self) -> usize {
        self.journal.committed
    }

    /// What follows from the records up to here leaves the process.
    pub(crate) fn release(&mut self) {
        self.journal.released = self.journal.committed;
    }

    /// The process is gone. Nothing but what was committed is left.
    pub(crate) fn die(&mut self) {
        self.journal.records.truncate(self.journal.committed);
        self.up = false;
        self.looking = false;
        self.woken = false;
        self.life += 1;
        self.inbox.clear();
        self.tick_at = None;
        self.glance_at = None;
        self.settled = None;
        self.ticks.clear();
    }

    /// The disk did not keep the last transaction, whatever it said.
    pub(crate) fn tear_tail(&mut self) {
        self.journal.committed = self.journal.before;
        self.journal.records.truncate(self.journal.committed);
        if self.shadowed > self.journal.committed {
            (self.shadow, self.shadowed) = (Controller::default(), 0);
        }
    }

    /// Another process replays the journal.
    pub(crate) fn come_back(&mut self, now: Nanos) -> Result<(), Violation> {
        if self.journal.released > self.journal.committed {
            let lost = self.journal.released - self.journal.committed;
            return violated("what was acted on is in the journal", format!("{lost} events are lost"));
        }
        self.replay()?;
        self.machine = self.by_snapshot()?;
        self.up = true;
        self.origin = now;
        self.busy_until = now;
        self.lookout = Lookout::new(self.clock(now).mono);
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
        self.replay()?;
        if self.shadow == self.machine {
            return Ok(());
        }
        violated("replayed state equals live state", format!("after {} events", self.journal.committed))
    }

    fn replay(&mut self) -> Result<(), Violation> {
        for (now, event) in &self.journal.records[self.shadowed..self.journal.committed] {
            if let Err(refusal) = self.shadow.step(*now, event.clone()) {
                return violated("what is in the journal can be replayed", refusal.to_string());
            }
        }
        self.shadowed = self.journal.committed;
        Ok(())
    }

    /// The whole journal once more, through the text that it is stored as.
    pub(crate) fn compare_from_text(&self) -> Result<(), Violation> {
        let mut replayed = Controller::default();
        for (now, event) in &self.journal.records {
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

#[cfg(test)]
mod tests {
    use bellwether_core::{rollout::FleetAgent, spec::Delivery};

    use super::*;

    fn declared() -> Event {
        let agent = FleetAgent {
            name: "a".into(),
            agent_type: "worker".into(),
            revision: "v1".into(),
            http: false,
            delivery: Delivery::Pull,
            boot: Millis(1000),
            drain: Millis(1000),
        };
        Event::FleetDeclared { agents: vec![agent] }
    }

    fn with_one_transaction() -> Shell {
        let mut shell = Shell::new();
        shell.step(Nanos(0), declared()).unwrap().unwrap();
        shell.commit().unwrap();
        shell
    }

    #[test]
    fn a_tail_that_nobody_knows_of_may_be_lost() {
        let mut shell = with_one_transaction();
        shell.tear_tail();
        shell.die();
        shell.come_back(Nanos(5)).unwrap();
        assert!(!shell.machine.is_declared());
    }

    #[test]
    fn a_tail_that_was_acted_on_may_not() {
        let mut shell = with_one_transaction();
        shell.release();
        shell.tear_tail();
        shell.die();
        let violation = shell.come_back(Nanos(5)).unwrap_err();
        assert_eq!(violation.invariant, "what was acted on is in the journal");
    }

    #[test]
    fn an_open_transaction_is_lost_as_a_whole() {
        let mut shell = with_one_transaction();
        shell.release();
        shell.step(Nanos(1), Event::Tick).unwrap().unwrap();
        shell.step(Nanos(2), Event::Tick).unwrap().unwrap();
        shell.die();
        shell.come_back(Nanos(5)).unwrap();
        assert_eq!(shell.journal.records.len(), 1);
    }

    #[test]
    fn a_state_that_no_journal_gives_is_found() {
        let mut shell = with_one_transaction();
        shell.machine = Controller::default();
        assert_eq!(shell.compare().unwrap_err().invariant, "replayed state equals live state");
        assert_eq!(shell.compare_from_text().unwrap_err().invariant, "replayed state equals live state");
    }

    #[test]
    fn a_journal_that_the_machine_refuses_is_found() {
        let mut shell = with_one_transaction();
        shell.journal.records.push((Now::default(), declared()));
        shell.journal.committed += 1;
        assert_eq!(shell.compare().unwrap_err().invariant, "what is in the journal can be replayed");
    }
}
