//! Counts what ends, second by second. See [`bellwether_core::observation`].

use std::{
    collections::HashMap,
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bellwether_core::{
    id::{AgentName, ModelName, Side},
    observation::{Calls, Cell, Pushes, Resumed, Second, Signs, Tasks},
    port::heir::Streak,
    time::{Millis, UnixMillis},
    traffic::{Outcome, Streaks},
};

use crate::metrics::{Metrics, Told};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) agent: AgentName,
    pub(crate) model: ModelName,
    pub(crate) drawn: Side,
    pub(crate) served: Side,
}

/// Gauges read when a second closes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gauges {
    pub(crate) slots_busy: u32,
    pub(crate) slots_peak: u32,
    pub(crate) calls_waiting: u32,
    pub(crate) tasks_queued: u64,
    pub(crate) model_switches: u32,
    pub(crate) probes: u32,
    pub(crate) probes_failed: u32,
    pub(crate) pushes_open: u32,
    pub(crate) resumed: Option<Resumed>,
    pub(crate) silences: Vec<Silent>,
}

/// How long an active instance has shown nothing. What is shorter than [`SILENCE_MIN`] is not written.
#[derive(Clone, Debug)]
pub(crate) struct Silent {
    pub(crate) key: Key,
    pub(crate) stalled: Millis,
    pub(crate) quiet: Millis,
}

const SILENCE_MIN: Millis = Millis::from_secs(1);

/// Model calls of one second that are told one by one. More are counted with the others all the same.
const TOLD_MAX: usize = 1 << 16;

/// The second that is open. One short critical section per outcome.
#[derive(Default)]
pub(crate) struct Recorder {
    open: Mutex<Open>,
    pub(crate) metrics: Metrics,
}

#[derive(Default)]
struct Open {
    cells: HashMap<Key, Cell>,
    told: Vec<Told>,
    streaks: Streaks,
    /// Once another gateway writes the records: outcomes in their order, which only it knows the past of.
    late: Option<Vec<(Key, Outcome)>>,
}

impl Recorder {
    /// Something ended; `outcome` is none where that says nothing about who served it.
    pub(crate) fn ended(&self, key: &Key, outcome: Option<Outcome>, count: impl FnOnce(&mut Cell)) {
        let mut open = self.lock();
        let Open { cells, streaks, late, .. } = &mut *open;
        with_cell(cells, key, |cell| {
            count(cell);
            match (outcome, late) {
                (Some(outcome), None) => streaks.count(&key.agent, key.served, outcome, &mut cell.signs),
                (Some(outcome), Some(late)) => late.push((key.clone(), outcome)),
                (None, _) => {}
            }
        });
    }

    pub(crate) fn calls(&self, key: &Key, count: impl FnOnce(&mut Calls)) {
        with_cell(&mut self.lock().cells, key, |cell| count(&mut cell.calls));
    }

    /// A call that ended, beside what is [counted](Self::calls) of it.
    pub(crate) fn told(&self, told: Told) {
        let mut open = self.lock();
        if open.told.len() < TOLD_MAX {
            open.told.push(told);
        }
    }

    pub(crate) fn signs(&self, key: &Key, count: impl FnOnce(&mut Signs)) {
        with_cell(&mut self.lock().cells, key, |cell| count(&mut cell.signs));
    }

    /// Another gateway writes the records from here on.
    pub(crate) fn leave(&self) {
        self.lock().late.get_or_insert_default();
    }

    /// What happened since for that one.
    pub(crate) fn take_late(&self) -> (Vec<Cell>, Vec<(Key, Outcome)>) {
        let mut open = self.lock();
        let cells = mem::take(&mut open.cells).into_values().collect();
        (cells, open.late.as_mut().map(mem::take).unwrap_or_default())
    }

    /// What happened at another gateway.
    pub(crate) fn absorb(&self, cell: &Cell) {
        let key = Key { agent: cell.agent.clone(), model: cell.model.clone(), drawn: cell.drawn, served: cell.served };
        with_cell(&mut self.lock().cells, &key, |own| own.absorb(cell));
    }

    /// How something ended that another gateway has counted.
    pub(crate) fn outcome(&self, key: &Key, outcome: Outcome) {
        self.ended(key, Some(outcome), |_counted| ());
    }

    pub(crate) fn streaks(&self) -> Vec<Streak> {
        let open = self.lock();
        let streak =
            |(agent, served, failures): (&AgentName, Side, u64)| Streak { agent: agent.clone(), served, failures };
        open.streaks.all().map(streak).collect()
    }

    pub(crate) fn recall(&self, streaks: &[Streak]) {
        let mut open = self.lock();
        for Streak { agent, served, failures } in streaks {
            open.streaks.recall(agent.clone(), *served, *failures);
        }
    }

    /// The agent's green counts as blue from here on.
    pub(crate) fn settle(&self, agent: &AgentName) {
        self.lock().streaks.settle(agent);
    }

    /// Whoever serves this side of the agent next is somebody new.
    pub(crate) fn forget(&self, agent: &AgentName, served: Side) {
        self.lock().streaks.forget(agent, served);
    }

    /// Closes the open second and opens the next.
    pub(crate) fn close(&self, number: u64, at: UnixMillis, gauges: Gauges) -> Second {
        let mut open = self.lock();
        for Silent { key, stalled, quiet } in gauges.silences {
            if stalled > SILENCE_MIN || quiet > SILENCE_MIN {
                let written = |span: Millis| if span > SILENCE_MIN { span.0 } else { 0 };
                with_cell(&mut open.cells, &key, |cell| {
                    (cell.signs.stalled_ms, cell.signs.quiet_ms) = (written(stalled), written(quiet));
                });
            }
        }
        let mut cells: Vec<Cell> = mem::take(&mut open.cells).into_values().collect();
        for cell in &mut cells {
            cell.signs.streak = open.streaks.failures(&cell.agent, cell.served);
        }
        let told = mem::take(&mut open.told);
        drop(open);
        let second = Second {
            number,
            at,
            cells,
            slots_busy: gauges.slots_busy,
            slots_peak: gauges.slots_peak,
            calls_waiting: gauges.calls_waiting,
            tasks_queued: gauges.tasks_queued,
            model_switches: gauges.model_switches,
            probes: gauges.probes,
            probes_failed: gauges.probes_failed,
            pushes_open: gauges.pushes_open,
            resumed: gauges.resumed,
        };
        self.metrics.second(&second, told);
        second
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn with_cell(cells: &mut HashMap<Key, Cell>, key: &Key, count: impl FnOnce(&mut Cell)) {
    if let Some(cell) = cells.get_mut(key) {
        return count(cell);
    }
    count(cells.entry(key.clone()).or_insert_with(|| Cell {
        agent: key.agent.clone(),
        model: key.model.clone(),
        drawn: key.drawn,
        served: key.served,
        tasks: Tasks::default(),
        calls: Calls::default(),
        pushes: Pushes::default(),
        signs: Signs::default(),
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(agent: &str, drawn: Side) -> Key {
        Key { agent: agent.into(), model: ModelName::new("m"), drawn, served: Side::Green }
    }

    fn close(recorder: &Recorder, silences: Vec<Silent>) -> Vec<Cell> {
        recorder.close(1, UnixMillis(0), Gauges { silences, ..Gauges::default() }).cells
    }

    #[test]
    fn a_streak_is_that_of_the_agent_on_the_side_however_it_was_drawn_and_outlives_the_second() {
        let recorder = Recorder::default();
        for drawn in [Side::Green, Side::Blue, Side::Green] {
            recorder.ended(&key("a", drawn), Some(Outcome::Bad), |cell| cell.tasks.failed += 1);
        }
        recorder.ended(&key("a", Side::Blue), None, |cell| cell.tasks.lost_leases += 1);
        let cells = close(&recorder, Vec::new());
        assert_eq!(cells.iter().map(|cell| cell.signs.streak).collect::<Vec<_>>(), [3, 3]);
        assert_eq!(cells.iter().map(|cell| cell.signs.onsets).sum::<u64>(), 1);
        recorder.calls(&key("a", Side::Green), |calls| calls.succeeded += 1);
        let signs = close(&recorder, Vec::new()).remove(0).signs;
        assert_eq!((signs.streak, signs.trials), (3, 0), "a call is no outcome, and ends nothing");
        recorder.ended(&key("a", Side::Green), Some(Outcome::Good), |cell| cell.tasks.completed += 1);
        assert_eq!(close(&recorder, Vec::new()).remove(0).signs, Signs::default(), "the end of a burst");
    }

    #[test]
    fn silence_is_written_where_it_is_long_and_makes_a_cell_of_its_own() {
        let recorder = Recorder::default();
        let silent = |agent, stalled, quiet| Silent {
            key: key(agent, Side::Green),
            stalled: Millis(stalled),
            quiet: Millis(quiet),
        };
        let mut cells = close(&recorder, vec![silent("a", 1000, 1001), silent("b", 1000, 1000), silent("c", 7000, 0)]);
        cells.sort_by(|one, other| one.agent.cmp(&other.agent));
        let written: Vec<_> =
            cells.iter().map(|cell| (cell.agent.as_str(), cell.signs.stalled_ms, cell.signs.quiet_ms)).collect();
        assert_eq!(written, [("a", 0, 1001), ("c", 7000, 0)]);
    }
}
