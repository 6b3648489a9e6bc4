//! The breakers in front of the model server: one per agent and serving side, so that a broken green stops neither
//! its blue nor any other agent (R57).
//!
//! Callers that are no instance of an agent have none: who they are is not known well enough to blame them together.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bellwether_core::{
    id::{AgentName, Side},
    inference::{Breaker, BreakerFigures, BreakerSettings, BreakerState, CallEnd, NotPermitted, Permitted},
};
use serde::Serialize;

use crate::{
    clock::Clock,
    observe::{Key, Recorder},
};

pub(crate) struct Breakers {
    settings: BreakerSettings,
    clock: Clock,
    recorder: Arc<Recorder>,
    /// Made with the first call, so as many as the fleet has agents.
    breakers: Mutex<HashMap<(AgentName, Side), Breaker>>,
}

/// The right to one call. Unless it is told how the call ended, the call counts for nothing.
pub(crate) struct Pass {
    breakers: Arc<Breakers>,
    key: Key,
    permitted: Permitted,
    end: CallEnd,
}

/// A breaker, for people and for metrics.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Shown {
    /// `AGENT/SIDE`, or `server/URL`.
    pub(crate) name: String,
    pub(crate) state: BreakerState,
    #[serde(flatten)]
    pub(crate) figures: BreakerFigures,
}

impl Shown {
    pub(crate) fn of(name: String, breaker: &Breaker) -> Self {
        Self { name, state: breaker.state(), figures: breaker.figures() }
    }
}

impl Breakers {
    pub(crate) fn new(settings: BreakerSettings, clock: Clock, recorder: Arc<Recorder>) -> Arc<Self> {
        Arc::new(Self { settings, clock, recorder, breakers: Mutex::default() })
    }

    pub(crate) fn admit(self: &Arc<Self>, key: &Key) -> Result<Pass, NotPermitted> {
        let now = self.clock.mono();
        let permitted = self
            .lock()
            .entry((key.agent.clone(), key.served))
            .or_insert_with(|| Breaker::new(self.settings))
            .admit(now)?;
        Ok(Pass { breakers: self.clone(), key: key.clone(), permitted, end: CallEnd::Ignored })
    }

    /// Those that there are, in the order of their names.
    pub(crate) fn shown(&self) -> Vec<Shown> {
        let breakers = self.lock();
        let shown =
            |((agent, side), breaker): (&(AgentName, Side), &Breaker)| Shown::of(format!("{agent}/{side}"), breaker);
        let mut all: Vec<Shown> = breakers.iter().map(shown).collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }

    /// Puts the agent's breaker into this state. One that is made with the next call begins so.
    pub(crate) fn force(&self, agent: &AgentName, side: Side, state: BreakerState) {
        let now = self.clock.mono();
        tracing::info!(%agent, %side, %state, "breaker set by hand");
        let mut breakers = self.lock();
        breakers.entry((agent.clone(), side)).or_insert_with(|| Breaker::new(self.settings)).force(now, state);
    }

    /// The agent's green counts as blue from here on.
    pub(crate) fn settle(&self, agent: &AgentName) {
        let mut breakers = self.lock();
        breakers.remove(&(agent.clone(), Side::Blue));
        if let Some(breaker) = breakers.remove(&(agent.clone(), Side::Green)) {
            breakers.insert((agent.clone(), Side::Blue), breaker);
        }
    }

    /// Whoever serves this side of the agent next is somebody new.
    pub(crate) fn forget(&self, agent: &AgentName, served: Side) {
        self.lock().remove(&(agent.clone(), served));
    }

    fn ended(&self, key: &Key, permitted: Permitted, end: CallEnd) {
        let opened = match self.lock().get_mut(&(key.agent.clone(), key.served)) {
            Some(breaker) => breaker.ended(self.clock.mono(), permitted, end),
            // It was settled or forgotten while the call was under way.
            None => false,
        };
        if opened {
            tracing::warn!(agent = %key.agent, side = %key.served, "too many model calls failed: breaker open");
            self.recorder.signs(key, |signs| signs.trips += 1);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(AgentName, Side), Breaker>> {
        self.breakers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass {
    /// Asks again after a wait. Refused if the breaker has opened meanwhile.
    pub(crate) fn confirm(&mut self) -> Result<(), NotPermitted> {
        let now = self.breakers.clock.mono();
        if let Some(breaker) = self.breakers.lock().get_mut(&(self.key.agent.clone(), self.key.served)) {
            self.permitted = breaker.confirm(now, self.permitted)?;
        }
        Ok(())
    }

    pub(crate) fn ended(mut self, end: CallEnd) {
        self.end = end;
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.breakers.ended(&self.key, self.permitted, self.end);
    }
}

#[cfg(test)]
mod tests {
    use bellwether_core::{id::ModelName, time::UnixMillis};

    use super::*;
    use crate::observe::Gauges;

    fn key(agent: &str, served: Side) -> Key {
        Key { agent: agent.into(), model: ModelName::new("m"), drawn: served, served }
    }

    fn breakers() -> (Arc<Breakers>, Arc<Recorder>) {
        let recorder = Arc::new(Recorder::default());
        (Breakers::new(BreakerSettings::default(), Clock::start(), recorder.clone()), recorder)
    }

    fn fail(breakers: &Arc<Breakers>, key: &Key, times: u32) {
        for _ in 0..times {
            breakers.admit(key).unwrap().ended(CallEnd::Failure);
        }
    }

    #[test]
    fn an_open_breaker_is_one_agents_on_one_side_and_counted_once() {
        let (breakers, recorder) = breakers();
        let waiting = breakers.admit(&key("a", Side::Green));
        fail(&breakers, &key("a", Side::Green), 5);
        assert!(breakers.admit(&key("a", Side::Green)).is_err());
        assert!(waiting.unwrap().confirm().is_err(), "opened while the call waited");
        assert!(breakers.admit(&key("a", Side::Blue)).is_ok());
        assert!(breakers.admit(&key("b", Side::Green)).is_ok());
        let cells = recorder.close(1, UnixMillis(0), Gauges::default()).cells;
        assert_eq!(cells.iter().map(|cell| (cell.served, cell.signs.trips)).collect::<Vec<_>>(), [(Side::Green, 1)]);
    }

    #[test]
    fn a_pass_that_is_dropped_says_nothing() {
        let (breakers, _recorder) = breakers();
        for _ in 0..20 {
            drop(breakers.admit(&key("a", Side::Blue)).unwrap());
        }
        fail(&breakers, &key("a", Side::Blue), 4);
        assert!(breakers.admit(&key("a", Side::Blue)).is_ok());
    }

    #[test]
    fn a_settled_green_takes_its_breaker_along_and_a_fresh_one_gets_its_own() {
        let (breakers, _recorder) = breakers();
        fail(&breakers, &key("a", Side::Green), 5);
        breakers.settle(&"a".into());
        assert!(breakers.admit(&key("a", Side::Blue)).is_err());
        assert!(breakers.admit(&key("a", Side::Green)).is_ok());
        breakers.forget(&"a".into(), Side::Blue);
        assert!(breakers.admit(&key("a", Side::Blue)).is_ok());
    }

    #[test]
    fn a_breaker_that_is_set_by_hand_stays_so_and_is_one_agents_on_one_side() {
        let (breakers, _recorder) = breakers();
        breakers.force(&"a".into(), Side::Blue, BreakerState::ForcedOpen);
        assert!(breakers.admit(&key("a", Side::Blue)).is_err());
        assert!(breakers.admit(&key("a", Side::Green)).is_ok());
        let shown: Vec<_> = breakers.shown().into_iter().map(|it| (it.name, it.state)).collect();
        let named = |name: &str, state| (name.to_owned(), state);
        assert_eq!(shown, [named("a/blue", BreakerState::ForcedOpen), named("a/green", BreakerState::Closed)]);
    }
}
