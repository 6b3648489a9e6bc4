use std::{net::Ipv4Addr, sync::atomic::AtomicU32};

use bellwether_core::{
    id::{AgentName, Fence, Generation, InstanceId, InstanceToken, ModelName, Side},
    observation::{Calls, Cell, Pushes, Second, Signs, Tasks},
    port::gateway::{InstanceCard, Move},
    time::{Millis, Nanos, UnixMillis},
    traffic::{Change, Draw, End, Lease, Priority, Report, Route, Snapshot, State, Task, TaskId},
};

use super::*;
use crate::limits;

/// A directory that goes away with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("bw-store-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("gateway.sqlite")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn card(instance: u64) -> InstanceCard {
    InstanceCard {
        instance: InstanceId(instance),
        agent: "a".into(),
        agent_type: "worker".into(),
        model: ModelName::new("tinyllama"),
        side: Side::Green,
        token: InstanceToken::new(format!("token-{instance}")),
        address: Ipv4Addr::LOCALHOST,
        upstream: Some("127.0.0.1:9".parse().unwrap()),
        delivery: bellwether_core::spec::Delivery::Pull,
    }
}

fn task(id: &str, order: u64) -> Task {
    Task {
        id: TaskId::new(id),
        order,
        agent: "a".into(),
        agent_type: "worker".into(),
        draw: Some(Draw { side: Side::Green, chance: 0.25 }),
        priority: Priority::High,
        rank: 77,
        bytes: 5,
        attempts: 0,
        attempts_max: 4,
        revoked: 0,
        submitted: UnixMillis(1000),
        begin_by: Some(UnixMillis(90_000)),
        begin_due: None,
        failed_by: None,
        state: State::Queued { since: Nanos(0) },
    }
}

fn lease(instance: u64) -> Lease {
    Lease {
        instance: InstanceId(instance),
        agent: "a".into(),
        side: Side::Green,
        fence: Fence(3),
        granted: Nanos(0),
        granted_at: UnixMillis(2000),
        deadline: Nanos(0),
    }
}

fn finished(id: &str, order: u64, seq: u64) -> Change {
    Change::Finished {
        task: task(id, order),
        seq,
        at: UnixMillis(3000),
        how: End::Completed,
        by: Some((Report::Completed { empty: false }, lease(1))),
        lease_micros: 5,
    }
}

/// One of each kind of change. Monotonic times are zero, as they are after loading.
fn history() -> Vec<Change> {
    let moves = vec![Move { agent: "a".into(), to: InstanceId(1), fallback: Some(InstanceId(2)) }];
    let route = |active, fence| Route { active, fence: Fence(fence), fallback: Some(InstanceId(2)) };
    let (one, two) = (InstanceId(1), InstanceId(2));
    vec![
        Change::Enrolled { card: card(1) },
        Change::Enrolled { card: card(2) },
        Change::Enrolled { card: card(3) },
        Change::Places { instance: one, places: 3 },
        Change::Settled { instance: one },
        Change::Generation { generation: Generation(7), moves },
        Change::Routed { agent: "a".into(), route: route(Some(one), 1) },
        Change::Routed { agent: "a".into(), route: route(None, 2) },
        Change::Opened { instance: one, generation: Generation(7) },
        Change::Retired { instance: two, limit: UnixMillis(99) },
        Change::Retired { instance: one, limit: UnixMillis(98) },
        Change::DrainOver { instance: one },
        Change::Gone { instance: InstanceId(3) },
        Change::Queued { task: task("t1", 1) },
        Change::Queued { task: task("t2", 2) },
        Change::Queued { task: task("t3", 3) },
        Change::Queued { task: task("t4", 4) },
        Change::Leased { id: TaskId::new("t1"), attempts: 1, lease: lease(1) },
        Change::Leased { id: TaskId::new("t2"), attempts: 1, lease: lease(1) },
        Change::LeaseLost {
            task: Task { attempts: 1, revoked: 1, ..task("t2", 2) },
            end: bellwether_core::traffic::LeaseEnd::Revoked,
            lease: lease(1),
        },
        Change::Leased { id: TaskId::new("t3"), attempts: 1, lease: lease(1) },
        finished("t3", 3, 1),
        Change::Finished {
            task: task("t4", 4),
            seq: 2,
            at: UnixMillis(4000),
            how: End::Failed,
            by: None,
            lease_micros: 0,
        },
        Change::FellBack { agent: "a".into(), from: one, to: two, generation: Generation(7) },
        Change::Forgotten { instance: InstanceId(3), token: InstanceToken::new("token-3") },
    ]
}

fn write(store: &mut Store, changes: &[Change]) {
    for change in changes {
        store.write(change, b"{\"id\":\"x\"}").unwrap();
    }
    store.commit().unwrap();
}

#[test]
fn what_was_committed_is_what_is_loaded() {
    let scratch = Scratch::new();
    let mut store = Store::open(&scratch.file()).unwrap();
    let mut expected = Snapshot::default();
    for change in history() {
        expected.apply(&change);
        write(&mut store, &[change]);
        assert_eq!(store.load().unwrap().snapshot, expected);
    }
    drop(store);
    let loaded = Store::open(&scratch.file()).unwrap().load().unwrap();
    assert_eq!(loaded.snapshot, expected);
    assert_eq!(loaded.revoked, ["token-3".to_owned()].into());
    assert_eq!((loaded.ended.completed, loaded.ended.failed), (1, 1));
}

#[test]
fn what_was_not_committed_is_as_if_it_never_was() {
    let scratch = Scratch::new();
    let mut store = Store::open(&scratch.file()).unwrap();
    write(&mut store, &history()[..1]);
    store.write(&history()[1], b"").unwrap();
    store.roll_back().unwrap();
    assert_eq!(store.load().unwrap().snapshot.instances.len(), 1);
    store.write(&history()[1], b"").unwrap();
    drop(store);
    assert_eq!(Store::open(&scratch.file()).unwrap().load().unwrap().snapshot.instances.len(), 1);
}

#[test]
fn ended_tasks_are_shown_until_their_retention_is_over_and_their_numbers_are_not_used_again() {
    let scratch = Scratch::new();
    let mut store = Store::open(&scratch.file()).unwrap();
    write(&mut store, &history());
    let shown = store.shown(&TaskId::new("t3")).unwrap().unwrap();
    assert_eq!((shown.state, shown.served, shown.drawn), ("completed", Some(Side::Green), Some(Side::Green)));
    let seqs = |store: &Store, after| -> Vec<u64> {
        store.completions(after, 10).unwrap().into_iter().map(|it| it.seq).collect()
    };
    assert_eq!((seqs(&store, 0), seqs(&store, 1)), (vec![1, 2], vec![2]));
    let mut purge = |now| store.purge(UnixMillis(now), Millis(500), u64::MAX).unwrap().gone;
    assert_eq!(purge(3501), Ends { completed: 1, ..Ends::default() });
    assert_eq!(purge(10_000), Ends { failed: 1, ..Ends::default() });
    store.commit().unwrap();
    assert!(store.shown(&TaskId::new("t3")).unwrap().is_none());
    assert_eq!(store.load().unwrap().snapshot.last_seq, 2);
    assert_eq!(store.load().unwrap().snapshot.tasks.len(), 2, "what has not ended stays");
}

#[test]
fn an_answer_is_bounded_in_bytes_and_never_empty_for_it() {
    let scratch = Scratch::new();
    let mut store = Store::open(&scratch.file()).unwrap();
    let cell = |agent: String| Cell {
        agent: AgentName::new(agent),
        model: ModelName::new("m"),
        drawn: Side::Blue,
        served: Side::Blue,
        tasks: Tasks::default(),
        calls: Calls::default(),
        pushes: Pushes::default(),
        signs: Signs { quiet_ms: 5000, ..Signs::default() },
    };
    let long = "a".repeat(limits::SECONDS_ANSWERED_BYTES / 2 + 1);
    for (number, name) in [(1, &long), (2, &long), (3, &"b".to_owned()), (4, &format!("{long}{long}"))] {
        store.spool(&Second { number, cells: vec![cell(name.clone())], ..Second::default() }).unwrap();
    }
    let answered = |after| store.seconds(after).unwrap().iter().map(|second| second.number).collect::<Vec<_>>();
    assert_eq!((answered(0), answered(1), answered(3)), (vec![1], vec![2, 3], vec![4]));
}

#[test]
fn seconds_come_back_after_a_number() {
    let scratch = Scratch::new();
    let mut store = Store::open(&scratch.file()).unwrap();
    for number in 1..=3 {
        store.spool(&Second { number, ..Second::default() }).unwrap();
    }
    store.commit().unwrap();
    let numbers: Vec<u64> = store.seconds(1).unwrap().into_iter().map(|second| second.number).collect();
    assert_eq!((numbers, store.load().unwrap().last_second), (vec![2, 3], 3));
}

#[test]
fn a_file_that_is_not_ours_is_left_as_it_is() {
    let scratch = Scratch::new();
    let garbage = vec![b'x'; 9000];
    std::fs::write(scratch.file(), &garbage).unwrap();
    let refused = Store::open(&scratch.file()).err().unwrap();
    assert!(matches!(refused, StoreError::Foreign { .. }), "{refused}");
    assert_eq!(std::fs::read(scratch.file()).unwrap(), garbage);

    let other = scratch.0.join("other.sqlite");
    Connection::open(&other).unwrap().execute_batch("CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)").unwrap();
    let before = std::fs::read(&other).unwrap();
    let refused = Store::open(&other).err().unwrap();
    assert!(matches!(refused, StoreError::Foreign { .. }), "{refused}");
    assert_eq!(std::fs::read(&other).unwrap(), before);
}

#[test]
fn a_file_of_a_newer_build_is_left_as_it_is() {
    let scratch = Scratch::new();
    drop(Store::open(&scratch.file()).unwrap());
    Connection::open(scratch.file()).unwrap().execute_batch("PRAGMA user_version = 9").unwrap();
    let before = std::fs::read(scratch.file()).unwrap();
    let refused = Store::open(&scratch.file()).err().unwrap();
    assert!(refused.to_string().contains("schema 9, this one knows 2"), "{refused}");
    assert_eq!(std::fs::read(scratch.file()).unwrap(), before);
}

#[test]
fn a_damaged_file_is_said_to_be_damaged() {
    let scratch = Scratch::new();
    let mut store = Store::open(&scratch.file()).unwrap();
    write(&mut store, &history());
    drop(store);
    let whole = std::fs::read(scratch.file()).unwrap();
    // Everything behind the first page, which holds the names of the tables.
    let mut damaged = whole.clone();
    damaged[4096..].fill(0xa5);
    std::fs::write(scratch.file(), &damaged).unwrap();
    let refused = Store::open(&scratch.file()).and_then(|mut store| store.load()).err().unwrap();
    assert!(matches!(refused, StoreError::Damaged { .. }), "{refused}");
    assert_eq!(std::fs::read(scratch.file()).unwrap(), damaged);

    std::fs::write(scratch.file(), &whole).unwrap();
    let connection = Connection::open(scratch.file()).unwrap();
    connection.execute_batch("UPDATE instances SET card = '{}' WHERE instance = 1").unwrap();
    drop(connection);
    let refused = Store::open(&scratch.file()).and_then(|mut store| store.load()).err().unwrap();
    assert!(refused.to_string().contains("instances.card"), "{refused}");
}

#[test]
fn one_gateway_at_a_time() {
    let scratch = Scratch::new();
    let first = Store::open(&scratch.file()).unwrap();
    let refused = Store::open(&scratch.file()).err().unwrap();
    assert!(matches!(refused, StoreError::InUse { .. }), "{refused}");
    drop(first);
    Store::open(&scratch.file()).unwrap();
}
