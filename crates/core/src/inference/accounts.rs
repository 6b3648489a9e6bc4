//! What each agent has used of the slots. The agent that used least, for its weight, is served next.
//!
//! Slot time is charged as it accrues, so a call that runs long counts before it has ended. An agent that
//! comes back after a pause starts level with the lowest active account: idling saves nothing up.

use std::collections::BTreeMap;

use crate::{id::AgentName, time::Nanos};

/// An account while calls of its agent are known. Not to be kept beyond the last of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct AgentIx(usize);

#[derive(Clone, Debug)]
pub(super) struct Accounts {
    places: BTreeMap<AgentName, AgentIx>,
    accounts: Vec<Option<Account>>,
    vacant: Vec<AgentIx>,
    weights: BTreeMap<AgentName, u32>,
    /// Accounts that are not open stand here.
    floor: u64,
}

#[derive(Clone, Debug)]
struct Account {
    agent: AgentName,
    weight: u32,
    /// Nanoseconds of slot time of the calls that have ended, divided by the weight.
    settled: u64,
    /// Calls, and the slots that they hold.
    running: u32,
    slots: u32,
    /// Sum of the start times of the slots held, so that what has accrued is one subtraction.
    started_sum: u128,
    waiting: usize,
}

impl Account {
    fn accrued(&self, now: Nanos) -> u64 {
        let accrued = (u128::from(now.0) * u128::from(self.slots)).saturating_sub(self.started_sum);
        u64::try_from(accrued / u128::from(self.weight)).unwrap_or(u64::MAX)
    }

    fn charged(&self, now: Nanos) -> u64 {
        self.settled.saturating_add(self.accrued(now))
    }

    fn is_active(&self) -> bool {
        self.running > 0 || self.waiting > 0
    }
}

impl Accounts {
    /// Who is not among `weights` has a weight of 1.
    pub(super) fn new(weights: BTreeMap<AgentName, u32>) -> Self {
        Self { places: BTreeMap::new(), accounts: Vec::new(), vacant: Vec::new(), weights, floor: 0 }
    }

    pub(super) fn find(&self, agent: &AgentName) -> Option<AgentIx> {
        self.places.get(agent).copied()
    }

    pub(super) fn name(&self, at: AgentIx) -> Option<&AgentName> {
        self.get(at).map(|account| &account.agent)
    }

    pub(super) fn weight(&self, at: AgentIx) -> u32 {
        self.get(at).map_or(1, |account| account.weight)
    }

    pub(super) fn waiting(&self, at: AgentIx) -> usize {
        self.get(at).map_or(0, |account| account.waiting)
    }

    /// How many agents have calls, and their weights together.
    pub(super) fn active(&self) -> (usize, u64) {
        let active = self.open().filter(|account| account.is_active());
        active.fold((0, 0), |(agents, weight), account| (agents + 1, weight + u64::from(account.weight)))
    }

    /// What orders agents: slot time for their weight, then calls in flight.
    pub(super) fn rank(&self, now: Nanos, at: AgentIx) -> (u64, u32) {
        self.get(at).map_or((self.floor, 0), |account| (account.charged(now), account.running))
    }

    /// The account that the agent's calls are charged to.
    pub(super) fn open_for(&mut self, agent: &AgentName) -> AgentIx {
        if let Some(at) = self.find(agent) {
            return at;
        }
        let weight = self.weights.get(agent).copied().unwrap_or(1).max(1);
        let account = Account {
            agent: agent.clone(),
            weight,
            settled: self.floor,
            running: 0,
            slots: 0,
            started_sum: 0,
            waiting: 0,
        };
        let at = self.vacant.pop().unwrap_or_else(|| {
            self.accounts.push(None);
            AgentIx(self.accounts.len() - 1)
        });
        self.accounts[at.0] = Some(account);
        self.places.insert(agent.clone(), at);
        at
    }

    /// A call of `agent` waits. What it owes beyond `debt_max` (nanoseconds of slot time) is forgiven.
    pub(super) fn enqueued(&mut self, now: Nanos, agent: &AgentName, debt_max: u64) -> AgentIx {
        self.raise_floor(now);
        let at = self.open_for(agent);
        let floor = self.floor;
        if let Some(account) = self.get_mut(at) {
            if !account.is_active() {
                account.settled = account.settled.max(floor);
            }
            let ceiling = floor.saturating_add(debt_max / u64::from(account.weight));
            let settled_max = ceiling.saturating_sub(account.accrued(now)).max(floor);
            account.settled = account.settled.min(settled_max);
            account.waiting += 1;
        }
        at
    }

    /// A waiting call left.
    pub(super) fn withdrawn(&mut self, now: Nanos, at: AgentIx) {
        if let Some(account) = self.get_mut(at) {
            account.waiting = account.waiting.saturating_sub(1);
        }
        self.forget_if_level(now, at);
    }

    /// A waiting call got its slots.
    pub(super) fn granted(&mut self, now: Nanos, at: AgentIx, slots: u32) {
        if let Some(account) = self.get_mut(at) {
            account.waiting = account.waiting.saturating_sub(1);
        }
        self.adopted(now, at, slots);
    }

    /// A call that never waited here holds slots.
    pub(super) fn adopted(&mut self, now: Nanos, at: AgentIx, slots: u32) {
        if let Some(account) = self.get_mut(at) {
            account.running += 1;
            account.slots += slots;
            account.started_sum += u128::from(now.0) * u128::from(slots);
        }
    }

    /// A call that was granted at `started` gave its slots back.
    pub(super) fn settled(&mut self, now: Nanos, at: AgentIx, started: Nanos, slots: u32) {
        if let Some(account) = self.get_mut(at) {
            account.running = account.running.saturating_sub(1);
            account.slots = account.slots.saturating_sub(slots);
            account.started_sum = account.started_sum.saturating_sub(u128::from(started.0) * u128::from(slots));
            let used = now.0.saturating_sub(started.0).saturating_mul(u64::from(slots));
            account.settled = account.settled.saturating_add(used / u64::from(account.weight));
        }
        self.forget_if_level(now, at);
    }

    /// The floor is the lowest active account. When nobody is active nobody has a debt either: it rises to
    /// the highest.
    fn raise_floor(&mut self, now: Nanos) {
        let active = self.open().filter(|account| account.is_active());
        match active.map(|account| account.charged(now)).min() {
            Some(lowest) => self.floor = self.floor.max(lowest),
            None => {
                let highest = self.open().map(|account| account.settled).max().unwrap_or(0);
                self.floor = self.floor.max(highest);
                self.places.clear();
                self.accounts.clear();
                self.vacant.clear();
            }
        }
    }

    /// Keeps the accounts as few as the agents that are active or owe something.
    fn forget_if_level(&mut self, now: Nanos, at: AgentIx) {
        if self.get(at).is_none_or(Account::is_active) {
            return;
        }
        self.raise_floor(now);
        let floor = self.floor;
        if let Some(level) = self.accounts.get_mut(at.0).and_then(|place| place.take_if(|it| it.settled <= floor)) {
            self.places.remove(&level.agent);
            self.vacant.push(at);
        }
    }

    fn open(&self) -> impl Iterator<Item = &Account> {
        self.accounts.iter().flatten()
    }

    fn get(&self, at: AgentIx) -> Option<&Account> {
        self.accounts.get(at.0)?.as_ref()
    }

    fn get_mut(&mut self, at: AgentIx) -> Option<&mut Account> {
        self.accounts.get_mut(at.0)?.as_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEBT: u64 = 10_000_000_000;

    fn ms(ms: u64) -> Nanos {
        Nanos(ms * 1_000_000)
    }

    fn accounts() -> Accounts {
        Accounts::new(BTreeMap::new())
    }

    #[test]
    fn a_running_call_is_charged_before_it_ends() {
        let mut accounts = accounts();
        let long = accounts.enqueued(ms(0), &"long".into(), DEBT);
        accounts.granted(ms(0), long, 1);
        let idle = accounts.enqueued(ms(0), &"idle".into(), DEBT);
        assert!(accounts.rank(ms(500), long) > accounts.rank(ms(500), idle));
        assert_eq!(accounts.rank(ms(500), long).0, 500_000_000);
    }

    #[test]
    fn a_call_is_charged_for_all_the_slots_that_it_holds_and_by_weight() {
        let mut accounts = Accounts::new(BTreeMap::from([("heavy".into(), 4)]));
        let [wide, heavy] = ["wide", "heavy"].map(|agent| {
            let at = accounts.enqueued(ms(0), &agent.into(), DEBT);
            accounts.granted(ms(0), at, 2);
            at
        });
        assert_eq!([wide, heavy].map(|at| accounts.rank(ms(100), at).0), [200_000_000, 50_000_000]);
        accounts.settled(ms(100), wide, ms(0), 2);
        accounts.settled(ms(100), heavy, ms(0), 2);
        let again = accounts.enqueued(ms(100), &"new".into(), DEBT);
        assert_eq!(accounts.rank(ms(100), again).0, 200_000_000, "nobody is active, so nobody owes anything");
    }

    #[test]
    fn an_idle_agent_comes_back_level_and_not_with_savings() {
        let mut accounts = accounts();
        let busy = accounts.enqueued(ms(0), &"busy".into(), DEBT);
        accounts.granted(ms(0), busy, 1);
        let back = accounts.enqueued(ms(60_000), &"back".into(), DEBT);
        assert_eq!(accounts.rank(ms(60_000), back).0, accounts.rank(ms(60_000), busy).0);
    }

    #[test]
    fn a_debt_is_bounded() {
        let mut accounts = accounts();
        let waiting = accounts.enqueued(ms(0), &"waiting".into(), DEBT);
        let heavy: AgentName = "heavy".into();
        let mut at = accounts.open_for(&heavy);
        for _ in 0..2 {
            at = accounts.enqueued(ms(0), &heavy, DEBT);
            accounts.granted(ms(0), at, 1);
        }
        accounts.settled(ms(60_000), at, ms(0), 1);
        accounts.enqueued(ms(60_000), &heavy, DEBT);
        let debt = accounts.rank(ms(60_000), at).0 - accounts.rank(ms(60_000), waiting).0;
        assert!(debt <= 60_000_000_000, "what still runs counts, what has ended is capped: {debt}");
        accounts.settled(ms(60_000), at, ms(0), 1);
        accounts.enqueued(ms(60_000), &heavy, DEBT);
        assert_eq!(accounts.rank(ms(60_000), at).0, 10_000_000_000);
    }

    #[test]
    fn accounts_that_owe_nothing_are_not_kept() {
        let mut accounts = accounts();
        for i in 0..1000 {
            let at = accounts.enqueued(ms(i), &AgentName::new(format!("agent-{i}")), DEBT);
            accounts.granted(ms(i), at, 1);
            accounts.settled(ms(i + 1), at, ms(i), 1);
        }
        assert!(accounts.open().count() <= 1 && accounts.places.len() <= 1, "{}", accounts.open().count());
    }
}
