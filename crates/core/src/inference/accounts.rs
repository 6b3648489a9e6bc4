//! What each agent has used of the slots. The agent that used least is served next.
//!
//! Slot time is charged as it accrues, so a call that runs long counts before it has ended. An agent that
//! comes back after a pause starts level with the lowest active account: idling saves nothing up.

use std::collections::BTreeMap;

use crate::{
    id::AgentName,
    time::{Millis, Nanos},
};

#[derive(Clone, Debug, Default)]
pub(super) struct Accounts {
    open: BTreeMap<AgentName, Account>,
    /// Accounts that are not open stand here.
    floor: u64,
}

#[derive(Clone, Debug, Default)]
struct Account {
    /// Nanoseconds of slot time of the calls that have ended.
    settled: u64,
    running: u32,
    /// Sum of the start times of the running calls, so that what has accrued is one subtraction.
    started_sum: u128,
    waiting: usize,
}

impl Account {
    fn charged(&self, now: Nanos) -> u64 {
        let accrued = (u128::from(now.0) * u128::from(self.running)).saturating_sub(self.started_sum);
        self.settled.saturating_add(u64::try_from(accrued).unwrap_or(u64::MAX))
    }

    fn is_active(&self) -> bool {
        self.running > 0 || self.waiting > 0
    }
}

impl Accounts {
    pub(super) fn waiting(&self, agent: &AgentName) -> usize {
        self.open.get(agent).map_or(0, |account| account.waiting)
    }

    pub(super) fn active(&self) -> usize {
        self.open.values().filter(|account| account.is_active()).count()
    }

    /// What orders agents: slot time, then calls in flight.
    pub(super) fn rank(&self, now: Nanos, agent: &AgentName) -> (u64, u32) {
        self.open.get(agent).map_or((self.floor, 0), |account| (account.charged(now), account.running))
    }

    /// A call of `agent` waits.
    pub(super) fn enqueued(&mut self, now: Nanos, agent: &AgentName, debt_max: Millis) {
        self.raise_floor(now);
        let floor = self.floor;
        let account =
            self.open.entry(agent.clone()).or_insert_with(|| Account { settled: floor, ..Account::default() });
        if !account.is_active() {
            account.settled = account.settled.max(floor);
        }
        let accrued = account.charged(now) - account.settled;
        let ceiling = floor.saturating_add(debt_max.0.saturating_mul(1_000_000));
        account.settled = account.settled.min(ceiling.saturating_sub(accrued).max(floor));
        account.waiting += 1;
    }

    /// A waiting call of `agent` left.
    pub(super) fn withdrawn(&mut self, now: Nanos, agent: &AgentName) {
        if let Some(account) = self.open.get_mut(agent) {
            account.waiting = account.waiting.saturating_sub(1);
        }
        self.forget_if_level(now, agent);
    }

    /// A waiting call of `agent` got a slot.
    pub(super) fn granted(&mut self, now: Nanos, agent: &AgentName) {
        if let Some(account) = self.open.get_mut(agent) {
            account.waiting = account.waiting.saturating_sub(1);
            account.running += 1;
            account.started_sum += u128::from(now.0);
        }
    }

    /// A call of `agent` that never waited here holds a slot.
    pub(super) fn adopted(&mut self, now: Nanos, agent: &AgentName) {
        let floor = self.floor;
        let account =
            self.open.entry(agent.clone()).or_insert_with(|| Account { settled: floor, ..Account::default() });
        account.running += 1;
        account.started_sum += u128::from(now.0);
    }

    /// A call of `agent` that was granted at `started` gave its slot back.
    pub(super) fn settled(&mut self, now: Nanos, agent: &AgentName, started: Nanos) {
        if let Some(account) = self.open.get_mut(agent) {
            account.running = account.running.saturating_sub(1);
            account.started_sum = account.started_sum.saturating_sub(u128::from(started.0));
            account.settled = account.settled.saturating_add(now.0.saturating_sub(started.0));
        }
        self.forget_if_level(now, agent);
    }

    /// The floor is the lowest active account. When nobody is active nobody has a debt either: it rises to
    /// the highest.
    fn raise_floor(&mut self, now: Nanos) {
        let active = self.open.values().filter(|account| account.is_active());
        match active.map(|account| account.charged(now)).min() {
            Some(lowest) => self.floor = self.floor.max(lowest),
            None => {
                let highest = self.open.values().map(|account| account.settled).max().unwrap_or(0);
                self.floor = self.floor.max(highest);
                self.open.clear();
            }
        }
    }

    /// Keeps the map as small as the agents that are active or owe something.
    fn forget_if_level(&mut self, now: Nanos, agent: &AgentName) {
        if self.open.get(agent).is_some_and(|account| !account.is_active()) {
            self.raise_floor(now);
            if self.open.get(agent).is_some_and(|account| account.settled <= self.floor) {
                self.open.remove(agent);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEBT: Millis = Millis(10_000);

    fn ms(ms: u64) -> Nanos {
        Nanos(ms * 1_000_000)
    }

    #[test]
    fn a_running_call_is_charged_before_it_ends() {
        let mut accounts = Accounts::default();
        let (long, idle) = (AgentName::from("long"), AgentName::from("idle"));
        accounts.enqueued(ms(0), &long, DEBT);
        accounts.granted(ms(0), &long);
        accounts.enqueued(ms(0), &idle, DEBT);
        assert!(accounts.rank(ms(500), &long) > accounts.rank(ms(500), &idle));
        assert_eq!(accounts.rank(ms(500), &long).0, 500_000_000);
    }

    #[test]
    fn an_idle_agent_comes_back_level_and_not_with_savings() {
        let mut accounts = Accounts::default();
        let (busy, back) = (AgentName::from("busy"), AgentName::from("back"));
        accounts.enqueued(ms(0), &busy, DEBT);
        accounts.granted(ms(0), &busy);
        accounts.enqueued(ms(60_000), &back, DEBT);
        assert_eq!(accounts.rank(ms(60_000), &back).0, accounts.rank(ms(60_000), &busy).0);
    }

    #[test]
    fn a_debt_is_bounded() {
        let mut accounts = Accounts::default();
        let (waiting, heavy) = (AgentName::from("waiting"), AgentName::from("heavy"));
        accounts.enqueued(ms(0), &waiting, DEBT);
        for _ in 0..2 {
            accounts.enqueued(ms(0), &heavy, DEBT);
            accounts.granted(ms(0), &heavy);
        }
        accounts.settled(ms(60_000), &heavy, ms(0));
        accounts.enqueued(ms(60_000), &heavy, DEBT);
        let debt = accounts.rank(ms(60_000), &heavy).0 - accounts.rank(ms(60_000), &waiting).0;
        assert!(debt <= 60_000_000_000, "what still runs counts, what has ended is capped: {debt}");
        accounts.settled(ms(60_000), &heavy, ms(0));
        accounts.enqueued(ms(60_000), &heavy, DEBT);
        assert_eq!(accounts.rank(ms(60_000), &heavy).0, 10_000_000_000);
    }

    #[test]
    fn accounts_that_owe_nothing_are_not_kept() {
        let mut accounts = Accounts::default();
        for i in 0..1000 {
            let agent = AgentName::new(format!("agent-{i}"));
            accounts.enqueued(ms(i), &agent, DEBT);
            accounts.granted(ms(i), &agent);
            accounts.settled(ms(i + 1), &agent, ms(i));
        }
        assert!(accounts.open.len() <= 1, "{}", accounts.open.len());
    }
}
