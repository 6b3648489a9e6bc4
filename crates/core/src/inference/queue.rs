//! Calls that wait for a slot, by what has to be loaded for them, in the order in which runners have their turns.
//!
//! There are at most [`super::Limits::waiting_max`] of them, so everything here looks at each.

use super::{CallId, Class, Runner, accounts::AgentIx};
use crate::time::{Millis, Nanos};

/// A call that waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) call: CallId,
    pub(super) agent: AgentIx,
    pub(super) class: Class,
    /// It works for a task that an agent has begun.
    pub(super) begun: bool,
    pub(super) slots: u32,
    pub(super) since: Nanos,
}

impl Waiting {
    /// How many classes precede it: one fewer with each `ageing` that it has waited.
    pub(super) fn precedence(&self, now: Nanos, ageing: Millis) -> u64 {
        let aged = now.since(self.since).0.checked_div(ageing.0).unwrap_or(u64::MAX);
        self.class.rank().saturating_sub(aged)
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    /// None is empty. The one whose turn comes next is first.
    lines: Vec<Line>,
    len: usize,
}

/// What waits for one runner.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) runner: Runner,
    pub(super) waiting: Vec<Waiting>,
}

impl Line {
    /// Whether a call of it is preceded by no more than `top` classes.
    pub(super) fn reaches(&self, top: u64, now: Nanos, ageing: Millis) -> bool {
        self.waiting.iter().any(|call| call.precedence(now, ageing) <= top)
    }
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn lines(&self) -> &[Line] {
        &self.lines
    }

    pub(super) fn line(&self, runner: &Runner) -> Option<&Line> {
        self.lines.iter().find(|line| &line.runner == runner)
    }

    pub(super) fn push(&mut self, call: Waiting, runner: &Runner) {
        self.len += 1;
        match self.lines.iter_mut().find(|line| &line.runner == runner) {
            Some(line) => line.waiting.push(call),
            None => self.lines.push(Line { runner: runner.clone(), waiting: vec![call] }),
        }
    }

    pub(super) fn remove(&mut self, call: CallId, runner: &Runner) -> Option<Waiting> {
        let at = self.lines.iter().position(|line| &line.runner == runner)?;
        let line = &mut self.lines[at];
        let gone = line.waiting.iter().position(|waiting| waiting.call == call)?;
        let gone = line.waiting.swap_remove(gone);
        self.len -= 1;
        if line.waiting.is_empty() {
            self.lines.remove(at);
        }
        Some(gone)
    }

    /// The runner has its turn, or had it: all others come before it has another.
    pub(super) fn goes_last(&mut self, runner: &Runner) {
        if let Some(at) = self.lines.iter().position(|line| &line.runner == runner) {
            let line = self.lines.remove(at);
            self.lines.push(line);
        }
    }
}
