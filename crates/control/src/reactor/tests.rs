//! The disk is full under a controller that is about to decide something.

use std::path::Path;

use bellwether_core::{
    plan::{self, Measured},
    rollout::{PauseReason, State, VerbKind},
    spec::{Sources, parse_fleet, parse_release},
};
use bellwether_store::Mark;
use tokio::task::JoinSet;

use super::*;
use crate::{
    disk::Marked,
    journal::Memory,
    launch::{Entrance, Launcher},
    links::Link,
    probe::Prober,
};

const FLEET: &str = "\
version: 1
fleet: test
host: {memory: 8GiB, reserve: 1GiB}
agents:
  defaults: {command: [x], type: worker}
  list: [a, b]
rollout:
  phases: [{name: all, select: rest, bake: 1m, thin_evidence: accept}]
";
const RELEASE: &str = "version: 1\nrelease: v2\nset: {command: [y]}\n";

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("bw-reactor-{name}-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&dir));
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn spec() -> Spec {
    parse_fleet(&Sources { name: "fleet.yaml", text: FLEET, read: &|_| Err(String::new()) }).unwrap()
}

/// On a state directory as it is left, with nobody at the other ends of its links.
fn reactor(state: &Path) -> Reactor {
    let spec = Arc::new(spec());
    let journal_path = state.join("journal.sqlite");
    let journal = Journal::open(&journal_path).unwrap();
    let (after, mut memory) = journal.snapshot().unwrap();
    let last_record = journal.events(after, |seq, now, event| {
        memory.replay(seq, now, event).unwrap();
        Ok(())
    });
    let Memory { machine, boots, decided, began } = memory;
    let mut disk = Disk::of(state);
    let mut first = if machine.is_declared() { vec![Event::Restarted] } else { Vec::new() };
    first.extend(disk.left(&machine).unwrap());
    let (inputs, received) = mpsc::channel(64);
    let mut tasks = JoinSet::new();
    let driver = Link::open(&mut tasks, state.join("driver.sock"), ("driver", 1), nobody::<News<DriverEvent>>());
    let gateway = Link::open(&mut tasks, state.join("gateway.sock"), ("gateway", 1), nobody::<News<GatewayEvent>>());
    let evidence = Evidence { spec: spec.clone(), gateway: gateway.clone(), journal: journal_path.clone() };
    let shared = Arc::new(Shared::new(spec.clone(), state.to_owned(), inputs.clone(), evidence));
    let entrance = Entrance { port: 1, by_address: false };
    let launcher = Launcher::new((*spec).clone(), entrance, state).unwrap();
    let (prober, clock) = (Prober::new(), Clock::start());
    let health = Health::new(prober.clone(), clock, inputs.clone());
    Reactor {
        spec,
        bundles: Bundles::resumed(machine.rollout()),
        machine,
        last_snapshot: journal.last_snapshot().unwrap(),
        journal,
        state_dir: state.to_owned(),
        journal_path,
        last_record: last_record.unwrap(),
        clock,
        clock_watch: ClockWatch::default(),
        pace: Pace::new(Instant::now()),
        lookout: Lookout::new(clock.now().mono),
        inputs: received,
        effects: Effects { driver, gateway, launcher, prober, inputs, tasks },
        usage: UsageLog::resumed(boots),
        traffic: TrafficLog::default(),
        watching: Watching::new(decided),
        health,
        disk,
        forgetting: false,
        decided,
        began,
        samples_lost: 0,
        first,
        shared,
        last_second: 0,
    }
}

/// A channel that nobody reads.
fn nobody<T>() -> mpsc::Sender<T> {
    mpsc::channel(1).0
}

async fn told(reactor: &mut Reactor, events: Vec<Event>) {
    reactor.take(events.into_iter().map(Input::World).collect()).await.unwrap();
}

async fn asked(reactor: &mut Reactor, verb: VerbKind) -> Option<Result<(), Refusal>> {
    let rollout = reactor.machine.rollout().unwrap().id;
    let verb = Verb::new(verb, rollout, "ann", "harm ".repeat(2000));
    let (reply, mut replied) = oneshot::channel();
    reactor.take(vec![Input::Verb { verb, reply }]).await.unwrap();
    replied.try_recv().ok()
}

/// A fleet whose rollout has begun to start greens.
async fn rolling(state: &Path) -> Reactor {
    let mut reactor = reactor(state);
    let agents = crate::run::declared(&reactor.spec);
    told(&mut reactor, vec![Event::FleetDeclared { agents }]).await;
    let release = parse_release("release.yaml", RELEASE).unwrap();
    let measured = Measured { present_memory_bytes: Some(8 << 30), ..Measured::default() };
    let plan = Box::new(plan::make(&reactor.spec, &release, &measured, 1.0).unwrap());
    let (reply, mut replied) = oneshot::channel();
    reactor.take(vec![Input::Start { plan, by: "ann".into(), again: None, once: None, reply }]).await.unwrap();
    let rollout = replied.try_recv().unwrap().unwrap().rollout;
    told(&mut reactor, vec![Event::BaselineMeasured { rollout, until_second: 1, refused: None }]).await;
    assert!(matches!(reactor.machine.rollout().unwrap().state, State::Progressing { .. }));
    assert!(reactor.machine.rollout().unwrap().authorised);
    reactor
}

fn marked(state: &Path) -> Option<Marked> {
    Mark::read(&state.join("rollback.mark")).unwrap()
}

fn held(state: &Path) -> u64 {
    std::fs::metadata(state.join("journal.reserve")).map_or(0, |meta| meta.len())
}

fn replayed(reactor: &Reactor) -> Controller {
    let (after, mut memory) = reactor.journal.snapshot().unwrap();
    let events = reactor.journal.events(after, |seq, now, event| {
        memory.replay(seq, now, event).unwrap();
        Ok(())
    });
    events.unwrap();
    memory.machine
}

/// More than what is left in a page.
fn large() -> Event {
    Event::StartFailed { instance: bellwether_core::id::InstanceId(u64::MAX), reason: "x".repeat(10_000) }
}

/// What fills every page that is left.
fn fill(reactor: &Reactor) {
    reactor.journal.limit_pages(1);
    let full = (0..200_u64).any(|n| reactor.journal.put_usage(n, &"x".repeat(3000), u64::MAX).is_err());
    assert!(full, "the disk looks full");
}

#[tokio::test]
async fn what_cannot_be_recorded_waits_and_comes_of_nothing_until_there_is_room() {
    let scratch = Scratch::new("waits");
    let mut reactor = rolling(&scratch.0).await;
    let whole = held(&scratch.0);
    fill(&reactor);
    assert_eq!(asked(&mut reactor, VerbKind::Pause).await, None, "it is answered when it is recorded");
    assert!(reactor.disk.is_behind());
    assert!(held(&scratch.0) <= whole / 2 + (1 << 20) && held(&scratch.0) > 0, "half of it is for the way back alone");
    assert!(reactor.machine.rollout().unwrap().paused.is_some());
    let refused = asked(&mut reactor, VerbKind::Resume).await.expect("it is answered at once");
    assert!(matches!(refused, Err(Refusal::CannotRecord(_))), "{refused:?}");
    assert_eq!(marked(&scratch.0), None);
    assert_ne!(replayed(&reactor), reactor.machine);

    reactor.journal.limit_pages(100_000);
    reactor.take(Vec::new()).await.unwrap();
    assert!(!reactor.disk.is_behind());
    assert_eq!(replayed(&reactor), reactor.machine, "what happened meanwhile is recorded in its order");
    reactor.keep_house();
    assert_eq!((held(&scratch.0), reactor.disk.full()), (whole, None), "room is held back again");
    assert_eq!(asked(&mut reactor, VerbKind::Resume).await, Some(Ok(())));
}

#[tokio::test]
async fn a_full_disk_pauses_a_rollout_that_nobody_paused() {
    let scratch = Scratch::new("pauses");
    let mut reactor = rolling(&scratch.0).await;
    fill(&reactor);
    told(&mut reactor, vec![large()]).await;
    assert!(matches!(reactor.machine.rollout().unwrap().paused, Some(PauseReason::DiskFull { .. })));
    assert!(reactor.disk.full().is_some_and(|why| why.contains("full")), "{:?}", reactor.disk.full());
}

#[tokio::test]
async fn a_way_back_that_cannot_be_recorded_is_marked_and_the_next_controller_goes_back() {
    for recovers in [true, false] {
        let scratch = Scratch::new(if recovers { "recovers" } else { "dies" });
        let mut first = rolling(&scratch.0).await;
        fill(&first);
        told(&mut first, vec![large()]).await;
        assert!(first.disk.is_behind(), "earlier things wait already");
        assert_eq!(asked(&mut first, VerbKind::Rollback).await, Some(Ok(())), "it is answered, for it is under way");
        assert!(matches!(first.machine.rollout().unwrap().state, State::RollingBack { .. }));
        let mark = marked(&scratch.0).expect("the mark stands for the journal");
        assert_eq!((mark.rollout, mark.next), (RolloutId(1), first.machine.next_instance()));
        assert_eq!(held(&scratch.0), 0, "all that was held back was tried first");
        if recovers {
            first.journal.limit_pages(100_000);
            first.take(Vec::new()).await.unwrap();
            assert_eq!((marked(&scratch.0), replayed(&first)), (None, first.machine.clone()));
            continue;
        }
        assert!(
            matches!(replayed(&first).rollout().unwrap().state, State::Progressing { .. }),
            "the journal knows nothing"
        );
        drop(first);
        let mut second = reactor(&scratch.0);
        let left = std::mem::take(&mut second.first);
        assert!(matches!(left[..], [Event::Restarted, Event::RollbackFound { .. }]), "{left:?}");
        told(&mut second, left).await;
        assert!(matches!(second.machine.rollout().unwrap().state, State::RollingBack { .. }), "back, never forward");
        assert!(second.machine.next_instance() >= mark.next);
        assert_eq!((marked(&scratch.0), replayed(&second)), (None, second.machine.clone()));
    }
}

#[tokio::test]
async fn a_rollout_for_whose_way_back_there_is_no_room_does_not_start() {
    let scratch = Scratch::new("no-room");
    let mut reactor = reactor(&scratch.0);
    let agents = crate::run::declared(&reactor.spec);
    told(&mut reactor, vec![Event::FleetDeclared { agents }]).await;
    // Nothing can be held back where a directory is in the way.
    std::fs::create_dir_all(scratch.0.join("journal.reserve")).unwrap();
    let release = parse_release("release.yaml", RELEASE).unwrap();
    let measured = Measured { present_memory_bytes: Some(8 << 30), ..Measured::default() };
    let plan = Box::new(plan::make(&reactor.spec, &release, &measured, 1.0).unwrap());
    let (reply, mut replied) = oneshot::channel();
    reactor.disk = Disk::of(&scratch.0);
    reactor.take(vec![Input::Start { plan, by: "ann".into(), again: None, once: None, reply }]).await.unwrap();
    let refused = replied.try_recv().unwrap();
    assert!(matches!(refused, Err(Refusal::NoRoom { needed, .. }) if needed > 6 << 20), "{refused:?}");
    assert!(reactor.machine.rollout().is_none());
}

#[tokio::test]
async fn samples_that_cannot_be_written_end_nothing() {
    let scratch = Scratch::new("samples");
    let mut reactor = rolling(&scratch.0).await;
    fill(&reactor);
    let second = |number| GatewayEvent::Second { record: Box::new(Second { number, ..Second::default() }) };
    // The page that is there takes some.
    for number in 1..=3000 {
        reactor.take(vec![Input::Gateway(News::Event(second(number)))]).await.unwrap();
    }
    assert!(reactor.samples_lost > 0 && reactor.disk.full().is_some());
    assert_eq!(reactor.last_second, 3000, "and all were heard");
}

#[tokio::test]
async fn what_a_restore_left_is_recorded_once_and_its_note_goes() {
    let scratch = Scratch::new("restored");
    let first = rolling(&scratch.0).await;
    let next = first.machine.next_instance();
    drop(first);
    std::fs::write(scratch.0.join(crate::PUT_BACK), format!("{{\"next\":{}}}", next.0 + 40)).unwrap();
    let mut second = reactor(&scratch.0);
    let left = std::mem::take(&mut second.first);
    told(&mut second, left).await;
    assert!(second.machine.next_instance().0 > next.0 + 40 + (1 << 19));
    assert!(!scratch.0.join(crate::PUT_BACK).exists());
    assert_eq!(replayed(&second), second.machine);
}
