//! The contract that each driver must meet. Each promise of [`Driver`] is a function
//! here; a driver's tests call them with a [`Bench`] that knows how to make its instances behave.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bellwether_core::{
    id::{Generation, InstanceId},
    port::driver::{DriverAction, DriverAnswer, DriverCommand, DriverEvent, Exit, Launch, Observed},
    time::Millis,
};

use crate::{Driver, Events};

const PATIENCE: Duration = Duration::from_secs(20);
const LONG: Millis = Millis::from_secs(60);

/// What the instance under test does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Runs until it is asked to end, then ends with 0.
    UntilAsked,
    /// Takes no notice of being asked.
    Deaf,
    /// Ends at once with this code.
    Exits(i32),
}

/// A driver on a state of its own, and how to use it.
pub trait Bench {
    fn driver(&self) -> Arc<dyn Driver>;

    /// The driver goes without a word to its instances, and another one takes over its state.
    fn restart(&mut self) -> Pin<Box<dyn Future<Output = ()> + '_>>;

    fn launch(&self, work: Work) -> Launch;

    /// Whether the instance has come so far that it does its work: a deaf one is deaf from here on.
    fn works(&self, instance: InstanceId) -> bool;
}

/// A driver and its events, with the questions that the contract asks.
struct Trial {
    driver: Arc<dyn Driver>,
    events: Events,
}

pub async fn apply_twice_is_once(bench: &mut dyn Bench) {
    let mut trial = Trial::new(bench);
    let id = fresh();
    let start = start(id, 1, bench.launch(Work::UntilAsked));
    let (first, second) = (trial.driver.apply(start.clone()), trial.driver.apply(start.clone()));
    assert_eq!((first.await, second.await), (DriverAnswer::Taken, DriverAnswer::Taken));
    let pid = trial.started(id).await;
    let observed = trial.observed(id).await.expect("a started instance is observed");
    assert_eq!((observed.pid, observed.generation, observed.frozen), (pid, Generation(1), false));

    let stop = command(id, 2, DriverAction::Stop { grace: LONG });
    let (first, second) = (trial.driver.apply(stop.clone()), trial.driver.apply(stop));
    assert_eq!(first.await, DriverAnswer::Taken);
    // The second one may come when it has ended already.
    assert!(matches!(second.await, DriverAnswer::Taken | DriverAnswer::Unknown));
    assert!(trial.exited(id).await.asked);
    assert_eq!(trial.observed(id).await, None);
    // Its number is used up: the same command, by now with the last generation, starts nothing.
    let again = DriverCommand { generation: Generation(2), ..start };
    assert_eq!(trial.driver.apply(again).await, DriverAnswer::Taken);
    trial.nothing_more_of(id).await;
}

pub async fn older_generations_are_refused(bench: &mut dyn Bench) {
    let mut trial = Trial::new(bench);
    let id = fresh();
    let stale = DriverAnswer::Stale { seen: Generation(5) };
    assert_eq!(trial.apply(start(id, 5, bench.launch(Work::UntilAsked))).await, DriverAnswer::Taken);
    trial.started(id).await;
    assert_eq!(trial.apply(command(id, 4, DriverAction::Stop { grace: LONG })).await, stale);
    assert!(trial.observed(id).await.is_some(), "a refused command changes nothing");
    bench.restart().await;
    trial = Trial::new(bench);
    assert_eq!(trial.apply(command(id, 4, DriverAction::Freeze)).await, stale, "it outlives the driver");
    assert_eq!(trial.apply(command(id, 6, DriverAction::Stop { grace: LONG })).await, DriverAnswer::Taken);
    trial.exited(id).await;
    let late = trial.apply(start(id, 5, bench.launch(Work::UntilAsked))).await;
    assert_eq!(late, DriverAnswer::Stale { seen: Generation(6) });
}

pub async fn what_does_not_run_is_unknown(bench: &mut dyn Bench) {
    let mut trial = Trial::new(bench);
    let id = fresh();
    for action in [DriverAction::Stop { grace: LONG }, DriverAction::Freeze, DriverAction::Thaw] {
        assert_eq!(trial.apply(command(id, 1, action)).await, DriverAnswer::Unknown);
    }
    assert_eq!(trial.apply(start(id, 1, bench.launch(Work::Exits(0)))).await, DriverAnswer::Taken);
    trial.exited(id).await;
    assert_eq!(trial.apply(command(id, 2, DriverAction::Stop { grace: LONG })).await, DriverAnswer::Unknown);
}

pub async fn commands_keep_their_order(bench: &mut dyn Bench) {
    let mut trial = Trial::new(bench);
    let id = fresh();
    let replies = [
        trial.driver.apply(start(id, 1, bench.launch(Work::UntilAsked))),
        trial.driver.apply(command(id, 1, DriverAction::Freeze)),
        trial.driver.apply(command(id, 1, DriverAction::Thaw)),
        trial.driver.apply(command(id, 1, DriverAction::Stop { grace: LONG })),
    ];
    for reply in replies.into_iter().rev() {
        assert_eq!(reply.await, DriverAnswer::Taken);
    }
    assert!(trial.exited(id).await.asked);
}

pub async fn an_exit_is_told_once(bench: &mut dyn Bench) {
    let mut trial = Trial::new(bench);
    let id = fresh();
    assert_eq!(trial.apply(start(id, 1, bench.launch(Work::Exits(3)))).await, DriverAnswer::Taken);
    trial.started(id).await;
    let exit = trial.exited(id).await;
    assert_eq!(exit, Exit { code: Some(3), signal: None, out_of_memory: false, asked: false });
    trial.nothing_more_of(id).await;
    bench.restart().await;
    trial = Trial::new(bench);
    trial.nothing_more_of(id).await;
}

pub async fn the_deaf_are_killed_after_their_grace(bench: &mut dyn Bench) {
    let mut trial = Trial::new(bench);
    let id = fresh();
    assert_eq!(trial.apply(start(id, 1, bench.launch(Work::Deaf))).await, DriverAnswer::Taken);
    trial.started(id).await;
    let deadline = Instant::now() + PATIENCE;
    while !bench.works(id) {
        assert!(Instant::now() < deadline, "the instance does not do its work");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(trial.apply(command(id, 1, DriverAction::Stop { grace: LONG })).await, DriverAnswer::Taken);
    // A shorter grace overtakes the longer one.
    assert_eq!(trial.apply(command(id, 2, DriverAction::Stop { grace: Millis(50) })).await, DriverAnswer::Taken);
    let exit = trial.exited(id).await;
    assert!(exit.asked && exit.code != Some(0), "{exit:?}");
}

pub async fn instances_outlive_the_driver(bench: &mut dyn Bench) {
    let mut trial = Trial::new(bench);
    let (id, other) = (fresh(), fresh());
    for id in [id, other] {
        assert_eq!(trial.apply(start(id, 1, bench.launch(Work::UntilAsked))).await, DriverAnswer::Taken);
        trial.started(id).await;
    }
    let before = trial.observed(id).await;
    bench.restart().await;
    trial = Trial::new(bench);
    assert_eq!(trial.observed(id).await, before);
    assert_eq!(trial.apply(start(id, 1, bench.launch(Work::UntilAsked))).await, DriverAnswer::Taken);
    assert_eq!(trial.observed(id).await, before, "an adopted instance is not started again");
    assert_eq!(trial.apply(command(id, 2, DriverAction::Stop { grace: LONG })).await, DriverAnswer::Taken);
    assert!(trial.exited(id).await.asked);
    trial.nothing_more_of(id).await;
    assert!(trial.observed(other).await.is_some());
    assert_eq!(trial.apply(command(other, 2, DriverAction::Stop { grace: Millis::ZERO })).await, DriverAnswer::Taken);
    trial.exited(other).await;
}

pub async fn frozen_means_no_cpu(bench: &mut dyn Bench) {
    let mut trial = Trial::new(bench);
    if !trial.driver.capabilities().freeze {
        return;
    }
    let id = fresh();
    assert_eq!(trial.apply(start(id, 1, bench.launch(Work::UntilAsked))).await, DriverAnswer::Taken);
    trial.started(id).await;
    assert_eq!(trial.apply(command(id, 2, DriverAction::Freeze)).await, DriverAnswer::Taken);
    assert_eq!(trial.next_of(id).await, DriverEvent::Frozen { instance: id });
    assert!(trial.observed(id).await.is_some_and(|seen| seen.frozen));
    bench.restart().await;
    trial = Trial::new(bench);
    assert!(trial.observed(id).await.is_some_and(|seen| seen.frozen), "the next driver sees that it is frozen");
    assert_eq!(trial.apply(command(id, 3, DriverAction::Thaw)).await, DriverAnswer::Taken);
    assert_eq!(trial.next_of(id).await, DriverEvent::Thawed { instance: id });
    assert_eq!(trial.apply(command(id, 4, DriverAction::Freeze)).await, DriverAnswer::Taken);
    assert_eq!(trial.next_of(id).await, DriverEvent::Frozen { instance: id });
    // It has to run to take notice of being asked.
    assert_eq!(trial.apply(command(id, 5, DriverAction::Stop { grace: LONG })).await, DriverAnswer::Taken);
    assert!(trial.exited(id).await.asked);
}

pub async fn usage_is_of_one_moment(bench: &mut dyn Bench) {
    let mut trial = Trial::new(bench);
    let ids = [fresh(), fresh(), fresh()];
    for id in ids {
        assert_eq!(trial.apply(start(id, 1, bench.launch(Work::UntilAsked))).await, DriverAnswer::Taken);
        trial.started(id).await;
    }
    let (sample, host) = trial
        .until("usage of all", |event| match event {
            DriverEvent::Usage { sample, host } if sample.len() == ids.len() => Some((sample, host)),
            _ => None,
        })
        .await;
    assert!(sample.iter().all(|usage| ids.contains(&usage.instance) && usage.memory_bytes > 0), "{sample:?}");
    assert!(host.memory_total_bytes > host.memory_available_bytes && host.cpus > 0, "{host:?}");
    assert!((0.0..=1.0).contains(&host.cpu_busy), "{host:?}");
    for id in ids {
        assert_eq!(trial.apply(command(id, 2, DriverAction::Stop { grace: LONG })).await, DriverAnswer::Taken);
    }
    let mut left = ids.to_vec();
    while !left.is_empty() {
        let ended = trial.until("three ends", exit_of_any).await;
        left.retain(|id| *id != ended);
    }
}

impl Trial {
    fn new(bench: &dyn Bench) -> Self {
        let driver = bench.driver();
        let events = driver.events().expect("nobody else reads the events of a driver on the bench");
        Self { driver, events }
    }

    async fn apply(&self, command: DriverCommand) -> DriverAnswer {
        self.driver.apply(command).await
    }

    async fn observed(&self, id: InstanceId) -> Option<Observed> {
        self.driver.observe().await.into_iter().find(|seen| seen.instance == id)
    }

    async fn started(&mut self, id: InstanceId) -> u32 {
        match self.next_of(id).await {
            DriverEvent::Started { pid, .. } => pid,
            other => panic!("expected the start of {id}, got {other:?}"),
        }
    }

    /// Skips what comes before the end.
    async fn exited(&mut self, id: InstanceId) -> Exit {
        self.until("an end", |event| match event {
            DriverEvent::Exited { instance, exit } if instance == id => Some(exit),
            _ => None,
        })
        .await
    }

    async fn next_of(&mut self, id: InstanceId) -> DriverEvent {
        self.until("an event", |event| (about(&event) == Some(id)).then_some(event)).await
    }

    async fn until<T>(&mut self, what: &str, mut pick: impl FnMut(DriverEvent) -> Option<T>) -> T {
        let wait = async {
            loop {
                let event = self.events.recv().await.expect("events last as long as the driver");
                if let Some(found) = pick(event) {
                    return found;
                }
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
    }

    /// Two beats later nothing else was told about it.
    async fn nothing_more_of(&mut self, id: InstanceId) {
        let mut beats = 0;
        while beats < 2 {
            let event = self.until("a beat", Some).await;
            assert_ne!(about(&event), Some(id), "{event:?}");
            beats += u32::from(matches!(event, DriverEvent::Usage { .. }));
        }
    }
}

fn about(event: &DriverEvent) -> Option<InstanceId> {
    match event {
        DriverEvent::Started { instance, .. }
        | DriverEvent::Exited { instance, .. }
        | DriverEvent::Frozen { instance }
        | DriverEvent::Thawed { instance } => Some(*instance),
        DriverEvent::Usage { .. } => None,
    }
}

fn exit_of_any(event: DriverEvent) -> Option<InstanceId> {
    match event {
        DriverEvent::Exited { instance, .. } => Some(instance),
        _ => None,
    }
}

fn fresh() -> InstanceId {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    InstanceId(NEXT.fetch_add(1, Ordering::Relaxed))
}

fn start(instance: InstanceId, generation: u64, launch: Launch) -> DriverCommand {
    command(instance, generation, DriverAction::Start { launch: Box::new(launch) })
}

fn command(instance: InstanceId, generation: u64, action: DriverAction) -> DriverCommand {
    DriverCommand { instance, generation: Generation(generation), action }
}
