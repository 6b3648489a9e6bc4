//! Model servers in virtual time, driven by the scheduler; properties hold after every event.

use super::*;

pub(super) fn ms(ms: u64) -> Nanos {
    Nanos(ms * 1_000_000)
}

pub(super) fn limits(slots: u32) -> Limits {
    Limits { quantum: Millis(500), ageing: Millis::from_secs(5), ..Limits::for_slots(slots) }
}

pub(super) fn runner(model: &str) -> Runner {
    ModelName::new(model).into()
}

pub(super) fn ask(agent: &str, model: &str) -> Ask {
    Ask::new(agent.into(), runner(model))
}

/// Serves what the scheduler grants and checks it after every step.
pub(super) struct World {
    pub(super) scheduler: Scheduler,
    pub(super) limits: Limits,
    pub(super) now: u64,
    next_id: u64,
    pub(super) load_ms: u64,
    pub(super) calls: BTreeMap<CallId, Asked>,
    pub(super) waiting: BTreeSet<CallId>,
    pub(super) running: BTreeMap<CallId, Running>,
    servers: Vec<Server>,
    pub(super) loads: u32,
    pub(super) fail_loads: BTreeSet<Runner>,
    /// What the bound depends on: who ever asked, for what, and the longest call.
    agents: BTreeSet<AgentName>,
    runners: BTreeSet<Runner>,
    pub(super) call_max: u64,
    /// No two agents want the same.
    pub(super) runner_of_its_own: bool,
    pub(super) worst: Option<Worst>,
}

#[derive(Clone)]
pub(super) struct Asked {
    pub(super) ask: Ask,
    pub(super) service: u64,
    pub(super) at: u64,
    pub(super) granted: Option<u64>,
    /// Calls of the same agent that were in flight or granted before it.
    own_ahead: u32,
}

#[derive(Clone, Copy)]
pub(super) struct Running {
    pub(super) end: u64,
    slots: u32,
    server: usize,
}

#[derive(Default)]
struct Server {
    up: bool,
    resident: Option<Runner>,
    loading: Option<(Runner, u64)>,
}

/// The wait that came closest to its bound.
#[derive(Clone, Copy, Debug)]
pub(super) struct Worst {
    pub(super) waited: u64,
    pub(super) bound: u64,
}

impl Worst {
    pub(super) fn share(&self) -> f64 {
        self.waited as f64 / self.bound as f64
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Load(usize),
    Call(CallId),
}

impl World {
    pub(super) fn new(limits: Limits, load_ms: u64) -> Self {
        Self {
            scheduler: Scheduler::new(limits.clone()),
            servers: limits.slots.iter().map(|_| Server { up: true, ..Server::default() }).collect(),
            limits,
            now: 0,
            next_id: 0,
            load_ms,
            calls: BTreeMap::new(),
            waiting: BTreeSet::new(),
            running: BTreeMap::new(),
            loads: 0,
            fail_loads: BTreeSet::new(),
            agents: BTreeSet::new(),
            runners: BTreeSet::new(),
            call_max: 0,
            runner_of_its_own: false,
            worst: None,
        }
    }

    pub(super) fn ask(&mut self, agent: &str, model: &str, service: u64) -> Result<CallId, Refused> {
        self.put(ask(agent, model), service)
    }

    pub(super) fn put(&mut self, ask: Ask, service: u64) -> Result<CallId, Refused> {
        let id = CallId(self.next_id);
        self.next_id += 1;
        self.agents.insert(ask.agent.clone());
        self.runners.insert(ask.runner.clone());
        self.call_max = self.call_max.max(service);
        let own = |id: &&CallId| self.calls[*id].ask.agent == ask.agent;
        let own_ahead = u32::try_from(self.running.keys().filter(own).count()).unwrap();
        self.waiting.insert(id);
        let asked = Asked { ask: ask.clone(), service, at: self.now, granted: None, own_ahead };
        self.calls.insert(id, asked);
        let taken = self.scheduler.enqueue(ms(self.now), id, ask);
        if taken.is_err() {
            self.waiting.remove(&id);
        }
        self.obey();
        taken.map(|()| id)
    }

    pub(super) fn leave(&mut self, id: CallId) {
        self.scheduler.left(ms(self.now), id);
        self.waiting.remove(&id);
        self.obey();
    }

    pub(super) fn set_up(&mut self, server: usize, up: bool) {
        self.servers[server].up = up;
        if up {
            self.scheduler.up(ms(self.now), ServerId(server));
        } else {
            self.servers[server].resident = None;
            self.scheduler.down(ms(self.now), ServerId(server));
        }
        self.obey();
    }

    fn next_end(&self) -> Option<(u64, End)> {
        let calls = self.running.iter().map(|(&id, running)| (running.end, End::Call(id)));
        let servers = self.servers.iter().enumerate();
        let loads = servers.filter_map(|(at, server)| Some((server.loading.as_ref()?.1, End::Load(at))));
        calls.chain(loads).min()
    }

    /// Moves on to the next thing that ends; false if nothing is under way.
    pub(super) fn step(&mut self) -> bool {
        let Some((at, end)) = self.next_end() else { return false };
        self.now = self.now.max(at);
        match end {
            End::Call(id) => {
                self.running.remove(&id);
                self.scheduler.finished(ms(self.now), id);
            }
            End::Load(at) => {
                let (runner, _) = self.servers[at].loading.take().unwrap();
                self.servers[at].resident = Some(runner.clone());
                let ok = !self.fail_loads.contains(&runner);
                self.scheduler.loaded(ms(self.now), ServerId(at), &runner, ok);
            }
        }
        self.obey();
        true
    }

    pub(super) fn run_until(&mut self, until: u64) {
        while self.next_end().is_some_and(|(end, _)| end <= until) {
            self.step();
        }
        self.now = self.now.max(until);
    }

    pub(super) fn finish(&mut self) {
        while self.step() {}
        assert!(self.waiting.is_empty(), "{} calls wait for ever", self.waiting.len());
    }

    fn obey(&mut self) {
        while let Some(command) = self.scheduler.poll() {
            match command {
                Command::Grant { call, server: ServerId(server) } => self.granted(call, server),
                Command::Load { server: ServerId(at), runner, .. } => {
                    assert!(self.running.values().all(|running| running.server != at), "not drained before a switch");
                    let server = &mut self.servers[at];
                    assert!(server.up && server.loading.is_none(), "a load where none can be");
                    self.loads += 1;
                    server.loading = Some((runner, self.now + self.load_ms));
                }
            }
        }
        self.check();
    }

    fn granted(&mut self, call: CallId, at: usize) {
        assert!(self.waiting.contains(&call), "{call:?} was granted and does not wait");
        let server = &self.servers[at];
        assert!(server.up && server.loading.is_none(), "a grant where none can be");
        assert_eq!(Some(&self.calls[&call].ask.runner), server.resident.as_ref(), "granted for what is not loaded");
        if self.servers.len() == 1 {
            let first = self.waiting.iter().map(|&id| self.precedence(id)).min();
            assert_eq!(Some(self.precedence(call)), first, "a more urgent call waits");
        }
        self.waiting.remove(&call);
        let held = self.scheduler.in_flight().find(|held| held.call == call).unwrap().slots;
        let agent = self.calls[&call].ask.agent.clone();
        for id in &self.waiting {
            let waiting = self.calls.get_mut(id).unwrap();
            waiting.own_ahead += u32::from(waiting.ask.agent == agent);
        }
        let asked = self.calls.get_mut(&call).unwrap();
        asked.granted = Some(self.now);
        self.running.insert(call, Running { end: self.now + asked.service, slots: held, server: at });
        self.compare(call);
    }

    fn precedence(&self, id: CallId) -> u64 {
        let Asked { ask, at, .. } = &self.calls[&id];
        ask.class.rank().saturating_sub((self.now - at) / self.limits.ageing.0)
    }

    /// The bound with the longest call that there was in all, the wait against it.
    fn compare(&mut self, call: CallId) {
        let Asked { ask, at, own_ahead, .. } = &self.calls[&call];
        let weight = |agent: &AgentName| self.limits.weights.get(agent).copied().unwrap_or(1);
        let others: BTreeSet<&AgentName> =
            self.agents.iter().filter(|&it| *it != ask.agent && !self.runner_of_its_own).collect();
        let bound = self.limits.wait_max(&Demand {
            class: ask.class,
            runners: u32::try_from(self.runners.len()).unwrap(),
            others: u32::try_from(others.len()).unwrap(),
            others_weight: others.iter().map(|&agent| u64::from(weight(agent))).sum(),
            weight: weight(&ask.agent),
            own_ahead: *own_ahead,
            call: Millis(self.call_max),
            load: Millis(self.load_ms),
        });
        let worst = Worst { waited: self.now - at, bound: bound.0 };
        if self.worst.is_none_or(|before| before.share() < worst.share()) {
            self.worst = Some(worst);
        }
    }

    fn check(&self) {
        let mut busy = 0;
        for (at, &slots) in self.limits.slots.iter().enumerate() {
            let held: u32 = self.running.values().filter(|it| it.server == at).map(|it| it.slots).sum();
            assert!(held <= slots, "{held} of {slots} slots are held");
            busy += held;
        }
        assert_eq!(self.scheduler.slots_busy(), busy, "slots are conserved");
        assert_eq!(self.scheduler.calls_waiting(), self.waiting.len(), "calls are conserved");
        if self.waiting.is_empty() || self.servers.iter().all(|server| !server.up) {
            return;
        }
        let loading = self.servers.iter().any(|server| server.loading.is_some());
        assert!(loading || !self.running.is_empty(), "calls wait and nothing is under way");
        let wanted: BTreeSet<&Runner> = self.waiting.iter().map(|id| &self.calls[id].ask.runner).collect();
        let narrow = self.waiting.iter().all(|id| self.calls[id].ask.inputs == 1);
        for (at, server) in self.servers.iter().enumerate() {
            let alone = wanted.len() == 1 && wanted.first().copied() == server.resident.as_ref();
            let held: u32 = self.running.values().filter(|it| it.server == at).map(|it| it.slots).sum();
            let idles = server.up && server.loading.is_none() && held < self.limits.slots[at];
            assert!(!(alone && narrow && idles), "a slot idles for no reason");
        }
    }

    /// Keeps so many calls of each open until then: whoever is answered asks again. Each may want another model each time.
    pub(super) fn closed_loop(
        &mut self,
        clients: &[(&str, usize)],
        until: u64,
        mut next: impl FnMut(&str) -> (Ask, u64),
    ) {
        let mut open: Vec<(CallId, &str)> = Vec::new();
        for &(client, connections) in clients {
            for _ in 0..connections {
                let (ask, service) = next(client);
                open.push((self.put(ask, service).unwrap(), client));
            }
        }
        while self.now < until && self.step() {
            let ended: Vec<(CallId, &str)> =
                open.extract_if(.., |(id, _)| !self.waiting.contains(id) && !self.running.contains_key(id)).collect();
            for (_, client) in ended {
                let (ask, service) = next(client);
                open.push((self.put(ask, service).unwrap(), client));
            }
        }
    }

    pub(super) fn slot_time_by_agent(&self) -> BTreeMap<AgentName, u64> {
        let mut used = BTreeMap::new();
        for asked in self.calls.values().filter(|asked| asked.granted.is_some()) {
            *used.entry(asked.ask.agent.clone()).or_default() += asked.service * u64::from(asked.ask.inputs);
        }
        used
    }
}
