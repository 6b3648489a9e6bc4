//! The lease protocol over a bad wire: messages are repeated, reordered and lost, clocks jump, instances die, and the
//! gateway dies before or after each commit.
//!
//! A client submits and says so again until it hears that its task is taken. Agents of one place behave as the
//! synchronous base does: they ask, work, report once. Agents of several places name their attempt and report until
//! they are answered.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Submit {
        id: u8,
        priority: usize,
        delay: u64,
        within: Option<u64>,
        attempts: Option<u32>,
    },
    Ask {
        instance: u64,
    },
    /// The oldest task in its hands.
    Finish {
        instance: u64,
        good: bool,
    },
    Deliver {
        which: usize,
    },
    Repeat {
        which: usize,
    },
    Lose {
        which: usize,
    },
    /// The gateway dies over the next message that it handles, with its commit done or not.
    Die {
        committed: bool,
    },
    Pass {
        secs: u64,
    },
    /// The wall clock alone.
    Jump {
        secs: i64,
    },
    CutOver {
        agent: u8,
        green: bool,
        revoke: bool,
    },
    Kill {
        instance: u64,
    },
    Cancel {
        id: u8,
    },
    Revive {
        id: u8,
    },
}

#[derive(Clone, Debug)]
enum Message {
    Submit(Submission),
    Taken(TaskId),
    Ask(InstanceId),
    Given(InstanceId, Option<Granted>),
    Report { by: InstanceId, id: TaskId, attempt: Option<u32>, good: bool },
    Heard { by: InstanceId, id: TaskId, attempt: Option<u32>, completion: Completion },
}

const AGENTS: u8 = 2;
const HOLD: Millis = Millis::from_secs(8);

fn step() -> impl Strategy<Value = Step> {
    let instance = || 1..=u64::from(AGENTS) * 2;
    let id = || 0..10u8;
    prop_oneof![
        5 => (id(), 0..5usize, prop_oneof![3 => Just(0), 1 => 1..20u64], prop::option::weighted(0.2, 5..60u64),
              prop::option::weighted(0.2, 1..3u32))
            .prop_map(|(id, priority, delay, within, attempts)| Step::Submit { id, priority, delay, within, attempts }),
        6 => instance().prop_map(|instance| Step::Ask { instance }),
        6 => (instance(), prop::bool::weighted(0.7)).prop_map(|(instance, good)| Step::Finish { instance, good }),
        20 => any::<usize>().prop_map(|which| Step::Deliver { which }),
        3 => any::<usize>().prop_map(|which| Step::Repeat { which }),
        3 => any::<usize>().prop_map(|which| Step::Lose { which }),
        2 => any::<bool>().prop_map(|committed| Step::Die { committed }),
        3 => (1..40u64).prop_map(|secs| Step::Pass { secs }),
        1 => (-4000..4000i64).prop_map(|secs| Step::Jump { secs }),
        2 => (0..AGENTS, any::<bool>(), prop::bool::weighted(0.3))
            .prop_map(|(agent, green, revoke)| Step::CutOver { agent, green, revoke }),
        1 => instance().prop_map(|instance| Step::Kill { instance }),
        1 => id().prop_map(|id| Step::Cancel { id }),
        1 => id().prop_map(|id| Step::Revive { id }),
    ]
}

/// An instance as it sees itself.
#[derive(Default)]
struct Worker {
    dead: bool,
    holds: Vec<Granted>,
    /// Until answered; only where it has several places.
    reports: Vec<Message>,
}

struct World {
    traffic: Traffic,
    stored: Snapshot,
    archive: BTreeMap<TaskId, (Task, End, Option<InstanceId>)>,
    wire: Vec<Message>,
    workers: BTreeMap<InstanceId, Worker>,
    /// What the client was told is taken.
    taken: BTreeSet<TaskId>,
    wanted: BTreeMap<TaskId, Submission>,
    /// Whose report of a completion was committed, and whose of a failure.
    completed: BTreeMap<TaskId, InstanceId>,
    failed: BTreeSet<(TaskId, InstanceId)>,
    clock: u64,
    jumped: i64,
    dies: Option<bool>,
}

fn agent(n: u8) -> AgentName {
    AgentName::new(format!("agent-{n}"))
}

fn agents() -> Agents {
    (0..AGENTS).map(|n| (agent(n), "worker".into())).collect()
}

/// Blue is of the synchronous base, green works on three tasks at once.
fn instance_of(n: u8, green: bool) -> InstanceId {
    InstanceId(2 * u64::from(n) + 1 + u64::from(green))
}

fn places(instance: InstanceId) -> Option<u32> {
    instance.0.is_multiple_of(2).then_some(3)
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            traffic: Traffic::new(policy(), agents()),
            stored: Snapshot::default(),
            archive: BTreeMap::new(),
            wire: Vec::new(),
            workers: BTreeMap::new(),
            taken: BTreeSet::new(),
            wanted: BTreeMap::new(),
            completed: BTreeMap::new(),
            failed: BTreeSet::new(),
            clock: 10_000,
            jumped: 0,
            dies: None,
        };
        let both = [(false, Side::Blue), (true, Side::Green)];
        let cards: Vec<InstanceCard> = (0..AGENTS)
            .flat_map(|n| both.map(|(green, side)| card(instance_of(n, green).0, agent(n).as_str(), "worker", side)))
            .collect();
        world.workers = cards.iter().map(|card| (card.instance, Worker::default())).collect();
        let mut changes = Vec::new();
        world.traffic.enrol(cards, &mut changes).unwrap();
        world.commit(&changes);
        (0..AGENTS).for_each(|n| world.cut_over(n, false, false));
        world
    }

    fn now(&self) -> Now {
        let now = at(self.clock);
        Now { wall: UnixMillis(now.wall.0.saturating_add_signed(self.jumped * 1000)), ..now }
    }

    fn commit(&mut self, changes: &[Change]) {
        for change in changes {
            self.stored.apply(change);
            match change {
                Change::Finished { task, how, by, .. } => {
                    let holder = by.as_ref().map(|(_, lease)| lease.instance);
                    let before = self.archive.insert(task.id.clone(), (task.clone(), *how, holder));
                    assert_eq!(before, None, "{} ended twice", task.id);
                    if let (End::Completed, Some(holder)) = (how, holder) {
                        assert_eq!(self.completed.insert(task.id.clone(), holder), None, "{} twice", task.id);
                    }
                    if let (End::Failed, Some(holder)) = (how, holder) {
                        self.failed.insert((task.id.clone(), holder));
                    }
                }
                Change::Retried { task, lease, .. } => {
                    self.failed.insert((task.id.clone(), lease.instance));
                }
                Change::Revived { task } => {
                    let (_, how, _) = self.archive.remove(&task.id).expect("only what has ended begins anew");
                    assert_ne!(how, End::Completed);
                }
                _ => {}
            }
        }
    }

    /// As the store shows it inside of a transaction: whose report ended the task, if it has ended.
    fn ended(&self, changes: &[Change], id: &TaskId) -> Option<Option<InstanceId>> {
        let just_now = changes.iter().find_map(|change| match change {
            Change::Finished { task, by, .. } if task.id == *id => Some(by.as_ref().map(|(_, lease)| lease.instance)),
            _ => None,
        });
        just_now.or_else(|| self.archive.get(id).map(|(_, _, holder)| *holder))
    }

    /// What the gateway does with a message; nothing of it is seen unless it is committed, and then perhaps not.
    fn handle(&mut self, handle: impl FnOnce(&mut Self, Now, &mut Vec<Change>) -> Vec<Message>) {
        let (now, mut changes) = (self.now(), Vec::new());
        self.traffic.expire(now, &mut changes);
        let mut replies = handle(self, now, &mut changes);
        for (instance, granted) in self.traffic.wake(now, |_| true, &mut changes) {
            replies.push(Message::Given(instance, granted));
        }
        let dies = self.dies.take();
        if dies != Some(false) {
            self.commit(&changes);
        }
        match dies {
            None => self.wire.extend(replies),
            Some(_) => self.traffic = Traffic::restore(policy(), agents(), self.stored.clone(), now),
        }
        self.check();
    }

    fn deliver(&mut self, message: Message) {
        match message {
            Message::Submit(submission) => self.handle(|world, now, changes| {
                let id = submission.id.clone();
                if world.ended(changes, &id).is_none() {
                    world.traffic.submit(now, submission, changes).unwrap();
                }
                vec![Message::Taken(id)]
            }),
            Message::Taken(id) => {
                let is_stored = self.stored.tasks.contains_key(&id) || self.archive.contains_key(&id);
                assert!(is_stored, "{id} was promised and is not there");
                self.taken.insert(id);
            }
            Message::Ask(instance) if self.workers[&instance].dead => {}
            Message::Ask(instance) => {
                self.handle(|world, now, changes| match world.traffic.next(now, instance, places(instance), changes) {
                    Some(granted) => vec![Message::Given(instance, Some(granted))],
                    None if world.traffic.hold(now, instance, places(instance), HOLD) => Vec::new(),
                    None => vec![Message::Given(instance, None)],
                });
            }
            Message::Given(instance, granted) => {
                let Some(worker) = self.workers.get_mut(&instance) else { return };
                if let Some(granted) = granted.filter(|granted| !worker.dead && !worker.holds.contains(granted)) {
                    if places(instance).is_none() {
                        worker.holds.clear();
                    }
                    worker.holds.push(granted);
                }
            }
            Message::Report { by, id, attempt, good } => self.handle(|world, now, changes| {
                let report = if good { Report::Completed { empty: false } } else { Report::Failed };
                let told = Told { report, attempt, for_good: false };
                let archived = world.ended(changes, &id).map(|completed_by| Archived { completed_by });
                let completion = world.traffic.complete(now, &id, by, told, archived, changes);
                vec![Message::Heard { by, id, attempt, completion }]
            }),
            Message::Heard { by, id, attempt, completion } => {
                match completion {
                    Completion::Accepted { .. } | Completion::Repeated => {
                        let is_known = self.completed.get(&id) == Some(&by) || self.failed.contains(&(id.clone(), by));
                        assert!(is_known, "{by} was told that its report of {id} counts, and it does not");
                    }
                    Completion::Retried => assert!(self.failed.contains(&(id.clone(), by))),
                    Completion::Conflict => {}
                    Completion::Unknown => assert!(!self.taken.contains(&id), "{id} is not known any more"),
                    Completion::TriedOut => panic!("nobody was tried out"),
                }
                let is_it = |report: &Message| matches!(report, Message::Report { id: of, attempt: nth, .. } if *of == id && *nth == attempt);
                self.workers.get_mut(&by).unwrap().reports.retain(|report| !is_it(report));
            }
        }
    }

    fn take(&mut self, step: Step) {
        let picked = |which: usize, wire: &[Message]| (!wire.is_empty()).then(|| which % wire.len());
        match step {
            Step::Submit { id, priority, delay, within, attempts } => {
                let id = TaskId::new(id.to_string());
                let submission = Submission {
                    priority: Priority::ALL[priority],
                    delay: Millis::from_secs(delay),
                    begin_within: within.map(Millis::from_secs),
                    attempts_max: attempts,
                    ..Submission::new(id.clone(), Addressee::Type("worker".into()), self.clock << 50)
                };
                let submission = self.wanted.entry(id).or_insert(submission).clone();
                self.wire.push(Message::Submit(submission));
            }
            Step::Ask { instance } => self.asks(InstanceId(instance)),
            Step::Finish { instance, good } => self.finishes(InstanceId(instance), good),
            Step::Deliver { which } => {
                if let Some(which) = picked(which, &self.wire) {
                    let message = self.wire.swap_remove(which);
                    self.deliver(message);
                }
            }
            Step::Repeat { which } => {
                if let Some(which) = picked(which, &self.wire) {
                    self.wire.push(self.wire[which].clone());
                }
            }
            Step::Lose { which } => {
                if let Some(which) = picked(which, &self.wire) {
                    self.wire.swap_remove(which);
                }
            }
            Step::Die { committed } => self.dies = Some(committed),
            Step::Pass { secs } => {
                self.clock += secs;
                self.handle(|_, _, _| Vec::new());
            }
            Step::Jump { secs } => self.jumped = secs,
            Step::CutOver { agent, green, revoke } => self.cut_over(agent, green, revoke),
            Step::Kill { instance } => {
                let instance = InstanceId(instance);
                *self.workers.get_mut(&instance).unwrap() = Worker { dead: true, ..Worker::default() };
                self.handle(|world, now, changes| {
                    world.traffic.lost(now, instance, false, changes).unwrap();
                    Vec::new()
                });
            }
            Step::Cancel { id } => {
                let id = TaskId::new(id.to_string());
                self.handle(|world, now, changes| {
                    world.traffic.cancel(now, &id, changes);
                    Vec::new()
                });
            }
            Step::Revive { id } => {
                let ended = self.archive.get(&TaskId::new(id.to_string())).cloned();
                if let Some((task, _, _)) = ended.filter(|(_, how, _)| *how != End::Completed) {
                    self.handle(|world, now, changes| {
                        world.traffic.revive(now, task, changes).unwrap();
                        Vec::new()
                    });
                }
            }
        }
    }

    fn asks(&mut self, instance: InstanceId) {
        let worker = self.workers.get_mut(&instance).unwrap();
        // The synchronous base asks when it has nothing, or does not know any more that it has.
        if !worker.dead && worker.holds.len() < places(instance).unwrap_or(1) as usize {
            self.wire.push(Message::Ask(instance));
        }
        let again = worker.reports.clone();
        self.wire.extend(again);
    }

    fn finishes(&mut self, by: InstanceId, good: bool) {
        let worker = self.workers.get_mut(&by).unwrap();
        if worker.dead || worker.holds.is_empty() {
            return;
        }
        let Granted { id, attempt } = worker.holds.remove(0);
        let attempt = places(by).map(|_| attempt);
        let report = Message::Report { by, id, attempt, good: good || attempt.is_none() };
        if attempt.is_some() {
            worker.reports.push(report.clone());
        }
        self.wire.push(report);
    }

    fn cut_over(&mut self, n: u8, green: bool, revoke: bool) {
        let to = instance_of(n, green);
        self.handle(|world, now, changes| {
            let moves = vec![Move { agent: agent(n), to, fallback: Some(instance_of(n, !green)) }];
            let generation = world.traffic.generation().next();
            // A target that is gone is refused, and that is all.
            drop(world.traffic.cut_over(now, generation, &moves, Millis::from_secs(20), revoke, changes));
            Vec::new()
        });
    }

    fn check(&self) {
        let mut holders = BTreeMap::new();
        for instance in self.workers.keys() {
            for id in self.traffic.held_by(*instance) {
                assert_eq!(holders.insert(id.clone(), *instance), None, "{id} has two holders");
            }
        }
        for id in &self.taken {
            let (here, ended) = (self.stored.tasks.contains_key(id), self.archive.contains_key(id));
            assert!(here != ended, "{id} is lost or in two places");
        }
        let live: BTreeSet<&TaskId> = self.traffic.tasks().map(|task| &task.id).collect();
        assert_eq!(live, self.stored.tasks.keys().collect());
        let counted = self.traffic.delayed() + self.traffic.queued() + self.traffic.leased();
        assert_eq!(counted, live.len() as u64);
        for task in self.traffic.tasks() {
            assert!(task.counted() <= task.attempts_max, "{task:?}");
        }
    }

    /// The faults stop. What was wanted is submitted once more, fresh instances work, and everything ends.
    fn settle(&mut self) {
        self.dies = None;
        self.jumped = 0;
        self.wire.extend(self.wanted.values().cloned().map(Message::Submit));
        let fresh: Vec<InstanceCard> =
            (0..AGENTS).map(|n| card(102 + 2 * u64::from(n), agent(n).as_str(), "worker", Side::Green)).collect();
        let mut changes = Vec::new();
        self.traffic.enrol(fresh.clone(), &mut changes).unwrap();
        self.commit(&changes);
        self.workers = fresh.iter().map(|card| (card.instance, Worker::default())).collect();
        let moves: Vec<Move> =
            fresh.iter().map(|card| Move { agent: card.agent.clone(), to: card.instance, fallback: None }).collect();
        self.handle(|world, now, changes| {
            let generation = world.traffic.generation().next();
            world.traffic.cut_over(now, generation, &moves, Millis::ZERO, false, changes).unwrap();
            Vec::new()
        });
        // Messages of instances that are not there any more find nobody.
        let is_theirs = |message: &Message| match message {
            Message::Submit(_) | Message::Taken(_) => true,
            Message::Ask(instance) | Message::Given(instance, _) => instance.0 > 100,
            Message::Report { by, .. } | Message::Heard { by, .. } => by.0 > 100,
        };
        self.wire.retain(is_theirs);
        for _ in 0..200 {
            if self.wanted.keys().all(|id| self.archive.contains_key(id)) {
                return;
            }
            for card in &fresh {
                self.asks(card.instance);
                while !self.workers[&card.instance].holds.is_empty() {
                    self.finishes(card.instance, true);
                }
            }
            while let Some(message) = self.wire.pop() {
                self.deliver(message);
            }
            self.clock += 5;
            self.handle(|_, _, _| Vec::new());
        }
        let left: Vec<&Task> = self.traffic.tasks().collect();
        panic!("not everything ends: {left:?}");
    }
}

proptest! {
    #[test]
    fn whatever_the_wire_does_each_task_ends_once(steps in prop::collection::vec(step(), 1..150)) {
        let mut world = World::new();
        for step in steps {
            world.take(step);
        }
        world.settle();
    }

    /// The same history again and again, with the gateway dying over one message after the other.
    #[test]
    fn a_crash_over_any_message_loses_nothing(
        steps in prop::collection::vec(step(), 1..60),
        committed in any::<bool>(),
    ) {
        let is_crash = |step: &Step| matches!(step, Step::Die { .. });
        let steps: Vec<Step> = steps.into_iter().filter(|step| !is_crash(step)).collect();
        for crash in 0..steps.len() {
            let mut world = World::new();
            for (n, step) in steps.iter().enumerate() {
                if n == crash {
                    world.take(Step::Die { committed });
                }
                world.take(step.clone());
            }
            world.settle();
        }
    }
}
