//! Random histories with repeated, late and lost messages, crashes and restarts, against what must always hold.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Submit {
        id: u8,
        agent: Option<u8>,
        chance: u64,
    },
    Next {
        instance: u64,
        places: Option<u32>,
    },
    /// Whoever says it, whether it holds the task or not.
    Complete {
        instance: u64,
        id: u8,
        failed: bool,
    },
    Pass {
        secs: u64,
    },
    Settle {
        instance: u64,
    },
    /// A generation off by one is an intent that was repeated or came too late.
    CutOver {
        late: bool,
        moves: Vec<(u8, bool)>,
        revoke: bool,
    },
    Lost {
        instance: u64,
    },
    Retire {
        instance: u64,
    },
    Renew {
        instance: u64,
        id: u8,
    },
    /// The gateway dies and comes back with what was stored.
    Restart,
}

const AGENTS: u8 = 3;
const INSTANCES: u64 = 6;

fn step() -> impl Strategy<Value = Step> {
    let instance = || 1..=INSTANCES;
    let id = || 0..12u8;
    prop_oneof![
        4 => (id(), prop::option::of(0..AGENTS), any::<u64>())
            .prop_map(|(id, agent, chance)| Step::Submit { id, agent, chance }),
        6 => (instance(), prop::option::of(1..4u32)).prop_map(|(instance, places)| Step::Next { instance, places }),
        6 => (instance(), id(), any::<bool>())
            .prop_map(|(instance, id, failed)| Step::Complete { instance, id, failed }),
        2 => (1..70u64).prop_map(|secs| Step::Pass { secs }),
        2 => (prop::bool::weighted(0.2), prop::collection::vec((0..AGENTS, any::<bool>()), 1..4), any::<bool>())
            .prop_map(|(late, moves, revoke)| Step::CutOver { late, moves, revoke }),
        1 => instance().prop_map(|instance| Step::Lost { instance }),
        1 => instance().prop_map(|instance| Step::Retire { instance }),
        1 => instance().prop_map(|instance| Step::Settle { instance }),
        1 => (instance(), id()).prop_map(|(instance, id)| Step::Renew { instance, id }),
        1 => Just(Step::Restart),
    ]
}

/// The machine, what was stored of it, and what the world outside saw.
struct Run {
    traffic: Traffic,
    stored: Snapshot,
    archive: BTreeMap<TaskId, Archived>,
    submitted: BTreeSet<TaskId>,
    /// Who was told that its completion is the accepted one.
    accepted: BTreeMap<TaskId, InstanceId>,
    /// Who was told that its report of a failure is known.
    failed: BTreeSet<(TaskId, InstanceId)>,
    clock: u64,
}

fn agent(n: u8) -> AgentName {
    AgentName::new(format!("agent-{n}"))
}

fn agents() -> Agents {
    (0..AGENTS).map(|n| (agent(n), "worker".into())).collect()
}

/// Agent n has blue 2n+1 and green 2n+2.
fn instance_of(n: u8, green: bool) -> u64 {
    2 * u64::from(n) + 1 + u64::from(green)
}

impl Run {
    fn new() -> Self {
        let mut run = Self {
            traffic: Traffic::new(policy(), agents()),
            stored: Snapshot::default(),
            archive: BTreeMap::new(),
            submitted: BTreeSet::new(),
            accepted: BTreeMap::new(),
            failed: BTreeSet::new(),
            clock: 0,
        };
        let mut changes = Vec::new();
        let cards = (0..AGENTS).flat_map(|n| {
            [(false, Side::Blue), (true, Side::Green)]
                .map(|(green, side)| card(instance_of(n, green), agent(n).as_str(), "worker", side))
        });
        run.traffic.enrol(cards.collect(), &mut changes).unwrap();
        run.store(changes);
        run
    }

    fn store(&mut self, changes: Vec<Change>) {
        for change in &changes {
            self.stored.apply(change);
            if let Change::Finished { task, by, .. } = change {
                let archived = Archived { completed_by: by.as_ref().map(|(_, lease)| lease.instance) };
                assert_eq!(self.archive.insert(task.id.clone(), archived), None, "{} ended twice", task.id);
            }
        }
    }

    fn take(&mut self, step: Step) {
        let now = at(self.clock);
        let mut changes = Vec::new();
        match step {
            Step::Submit { id, agent: to, chance } => {
                let id = TaskId::new(id.to_string());
                if self.archive.contains_key(&id) {
                    return;
                }
                let to = to.map_or(Addressee::Type("worker".into()), |n| Addressee::Agent(agent(n)));
                self.traffic.submit(now, Submission::new(id.clone(), to, chance), &mut changes).unwrap();
                self.submitted.insert(id);
            }
            Step::Next { instance, places } => {
                let instance = InstanceId(instance);
                let held: Vec<TaskId> = self.traffic.held_by(instance).to_vec();
                if let Some(granted) = self.traffic.next(now, instance, places, &mut changes) {
                    assert!(
                        held.contains(&granted.id) || self.traffic.fence_of(instance).is_some(),
                        "{instance} is not active and got {granted:?}"
                    );
                }
            }
            Step::Complete { instance, id, failed } => {
                let (by, id) = (InstanceId(instance), TaskId::new(id.to_string()));
                let report = if failed { Report::Failed } else { Report::Completed { empty: false } };
                let holds = self.traffic.held_by(by).contains(&id);
                let archived = self.archive.get(&id).copied();
                match self.traffic.complete(now, &id, by, report, archived, &mut changes) {
                    Completion::Accepted { .. } => {
                        assert!(holds);
                        assert_eq!(self.accepted.insert(id.clone(), by), None, "{id} was accepted twice");
                    }
                    Completion::Retried => {
                        assert!(holds && failed);
                        self.failed.insert((id, by));
                    }
                    Completion::Repeated => {
                        assert!(self.accepted.get(&id) == Some(&by) || self.failed.contains(&(id, by)));
                    }
                    Completion::TriedOut => panic!("nobody was tried out"),
                    Completion::Conflict => assert!(!holds && self.submitted.contains(&id)),
                    Completion::Unknown => assert!(!self.submitted.contains(&id)),
                }
            }
            Step::Pass { secs } => {
                self.clock += secs;
                self.traffic.expire(at(self.clock), &mut changes);
            }
            Step::CutOver { late, moves, revoke } => {
                let standing = self.traffic.generation();
                let generation = if late { standing } else { standing.next() };
                let moves: Vec<Move> = moves
                    .into_iter()
                    .map(|(n, green)| Move {
                        agent: agent(n),
                        to: InstanceId(instance_of(n, green)),
                        fallback: Some(InstanceId(instance_of(n, !green))),
                    })
                    .collect();
                let drain = Millis::from_secs(30);
                let before = self.traffic.generation();
                let done = self.traffic.cut_over(now, generation, &moves, drain, revoke, &mut changes);
                assert_eq!(self.traffic.generation() != before, done == Ok(CutOver::Done));
            }
            Step::Lost { instance } => {
                // A lost instance that is not known is refused, and that is all.
                drop(self.traffic.lost(now, InstanceId(instance), instance % 2 == 0, &mut changes));
            }
            Step::Retire { instance } => self.traffic.retire(now, &[InstanceId(instance)], &mut changes),
            Step::Settle { instance } => self.traffic.settle(&[InstanceId(instance)], &mut changes),
            Step::Renew { instance, id } => {
                self.traffic.renew(now.mono, &TaskId::new(id.to_string()), InstanceId(instance));
            }
            Step::Restart => {
                self.traffic = Traffic::restore(policy(), agents(), self.stored.clone(), now);
            }
        }
        self.store(changes);
        self.check();
    }

    fn check(&self) {
        let holders: Vec<(InstanceId, TaskId)> = (1..=INSTANCES)
            .flat_map(|n| self.traffic.held_by(InstanceId(n)).iter().map(move |id| (InstanceId(n), id.clone())))
            .collect();
        let held: BTreeSet<&TaskId> = holders.iter().map(|(_, id)| id).collect();
        assert_eq!(held.len(), holders.len(), "a task has two holders: {holders:?}");
        for (instance, id) in &holders {
            let task = self.traffic.task(id).expect("held, so it is here");
            assert!(matches!(&task.state, State::Leased(lease) if lease.instance == *instance), "{task:?}");
        }
        for id in &self.submitted {
            let (here, ended) = (self.traffic.task(id).is_some(), self.archive.contains_key(id));
            assert!(here != ended, "{id} is lost or in two places");
        }
        assert_eq!(self.traffic.leased(), holders.len() as u64);
        let counted = self.traffic.delayed() + self.traffic.queued() + self.traffic.leased();
        assert_eq!(counted, self.traffic.tasks().count() as u64);
        assert_eq!(self.stored.generation, self.traffic.generation());
        assert_eq!(self.stored.routes, self.traffic.routes().map(|(a, r)| (a.clone(), *r)).collect());
        assert_eq!(self.stored.instances, self.traffic.instances().map(|(i, e)| (*i, e.clone())).collect());
        let ids: BTreeSet<&TaskId> = self.traffic.tasks().map(|task| &task.id).collect();
        assert_eq!(ids, self.stored.tasks.keys().collect());
        for (agent, route) in self.traffic.routes() {
            let active = (1..=INSTANCES).map(InstanceId).filter(|&i| {
                self.traffic.fence_of(i).is_some()
                    && self.traffic.instances().any(|(id, known)| *id == i && &known.card.agent == agent)
            });
            assert!(active.count() <= 1, "{agent} has two active instances");
            assert!(route.active.is_some() || route.fence > Fence(0));
        }
    }

    /// The faults stop: fresh instances for all, which work until nothing is left.
    fn settle(&mut self) {
        let mut changes = Vec::new();
        let fresh: Vec<InstanceCard> =
            (0..AGENTS).map(|n| card(100 + u64::from(n), agent(n).as_str(), "worker", Side::Green)).collect();
        let moves: Vec<Move> =
            fresh.iter().map(|card| Move { agent: card.agent.clone(), to: card.instance, fallback: None }).collect();
        self.traffic.enrol(fresh.clone(), &mut changes).unwrap();
        let generation = self.traffic.generation().next();
        self.traffic.cut_over(at(self.clock), generation, &moves, Millis::ZERO, false, &mut changes).unwrap();
        self.clock += 61;
        self.traffic.expire(at(self.clock), &mut changes);
        self.store(changes);
        for _round in 0..self.submitted.len() {
            for card in &fresh {
                let mut changes = Vec::new();
                if let Some(granted) = self.traffic.next(at(self.clock), card.instance, None, &mut changes) {
                    let report = Report::Completed { empty: false };
                    let by = card.instance;
                    let done = self.traffic.complete(at(self.clock), &granted.id, by, report, None, &mut changes);
                    assert!(matches!(done, Completion::Accepted { .. }), "{done:?}");
                }
                self.store(changes);
            }
        }
        assert_eq!(self.submitted, self.archive.keys().cloned().collect());
    }
}

proptest! {
    #[test]
    fn whatever_comes_no_task_is_lost_or_ends_twice(steps in prop::collection::vec(step(), 1..120)) {
        let mut run = Run::new();
        for step in steps {
            run.take(step);
        }
        run.settle();
    }
}
