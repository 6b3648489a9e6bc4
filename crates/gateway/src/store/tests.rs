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

/// As version 1 made it.
const VERSION_1: &str = "
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE instances (instance INTEGER PRIMARY KEY, card TEXT NOT NULL, places INTEGER NOT NULL, gone INTEGER NOT NULL,
    drain_limit INTEGER);
CREATE TABLE revoked (number INTEGER PRIMARY KEY, token TEXT NOT NULL);
CREATE TABLE routes (agent TEXT PRIMARY KEY, active INTEGER, fence INTEGER NOT NULL, fallback INTEGER) WITHOUT ROWID;
CREATE TABLE tasks (id TEXT PRIMARY KEY, place INTEGER NOT NULL, agent TEXT NOT NULL, agent_type TEXT NOT NULL,
    drawn TEXT, chance REAL, attempts INTEGER NOT NULL, revoked INTEGER NOT NULL, submitted INTEGER NOT NULL,
    body BLOB NOT NULL, instance INTEGER, served_agent TEXT, served TEXT, fence INTEGER, granted INTEGER, seq INTEGER,
    status TEXT, finished INTEGER, result BLOB);
CREATE INDEX tasks_live ON tasks (place) WHERE seq IS NULL;
CREATE UNIQUE INDEX tasks_seq ON tasks (seq) WHERE seq IS NOT NULL;
CREATE INDEX tasks_finished ON tasks (finished) WHERE seq IS NOT NULL;
CREATE TABLE seconds (number INTEGER PRIMARY KEY, record TEXT NOT NULL);
INSERT INTO meta VALUES ('generation', '7'), ('last_order', '4'), ('last_seq', '1'), ('last_second', '9');
INSERT INTO instances VALUES (1, '{\"instance\":1,\"agent\":\"a\",\"agent_type\":\"worker\",\"model\":\"m\",\"side\":\"blue\",
    \"token\":\"token-1\",\"address\":\"127.0.0.1\",\"upstream\":null}', 1, 0, NULL);
INSERT INTO routes VALUES ('a', 1, 3, NULL);
INSERT INTO tasks VALUES
    ('held', 3, 'a', 'worker', 'blue', 0.5, 2, 1, 1003, x'7b2268223a317d', 1, 'a', 'blue', 3, 1500, NULL, NULL, NULL, NULL),
    ('done', 1, 'a', 'worker', NULL, NULL, 1, 0, 1001, x'7b7d', 1, 'a', 'blue', 3, 1400, 1, 'completed', 1600, x'2279657322'),
    ('waits', 4, 'a', 'worker', NULL, NULL, 0, 0, 1004, x'7b7d', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
PRAGMA application_id = 1113016151;
PRAGMA user_version = 1;
";

#[test]
fn a_file_of_the_version_before_keeps_everything() {
    let scratch = Scratch::new();
    Connection::open(scratch.file()).unwrap().execute_batch(VERSION_1).unwrap();
    for _ in 0..2 {
        let mut store = Store::open(&scratch.file()).unwrap();
        let loaded = store.load().unwrap();
        let snapshot = loaded.snapshot;
        assert_eq!((snapshot.generation, snapshot.last_order, snapshot.last_seq), (Generation(7), 4, 1));
        assert_eq!((loaded.last_second, loaded.ended), (9, Ends { completed: 1, ..Ends::default() }));
        assert_eq!(snapshot.instances[&InstanceId(1)].card.token.as_str(), "token-1");
        assert_eq!(snapshot.routes[&AgentName::from("a")].active, Some(InstanceId(1)));
        let held = Task {
            draw: Some(Draw { side: Side::Blue, chance: 0.5 }),
            priority: Priority::Normal,
            rank: 1003,
            bytes: 7,
            attempts: 2,
            attempts_max: 3,
            revoked: 1,
            submitted: UnixMillis(1003),
            begin_by: None,
            state: State::Leased(Lease { side: Side::Blue, granted_at: UnixMillis(1500), ..lease(1) }),
            ..task("held", 3)
        };
        assert_eq!(snapshot.tasks[&held.id], held);
        assert_eq!(snapshot.tasks[&TaskId::new("waits")].order, 4);
        assert_eq!(snapshot.tasks.len(), 2);
        assert_eq!(store.content(&held.id).unwrap(), (b"{\"h\":1}".to_vec(), None));
        let done = store.shown(&TaskId::new("done")).unwrap().unwrap();
        assert_eq!((done.state, done.result.unwrap().get()), ("completed", "\"yes\""));
        assert_eq!(store.kept_bytes(), 7, "body and result of what has ended");
        assert_eq!(store.completions(0, 10).unwrap().len(), 1);
        let (listed, _) = store.list(&Filter::default(), 0, 10, |_| None).unwrap();
        assert_eq!(listed.iter().map(|shown| shown.id.as_str()).collect::<Vec<_>>(), ["done", "held", "waits"]);
    }
}

#[test]
fn a_file_of_the_version_before_is_kept_as_it_was() {
    let scratch = Scratch::new();
    Connection::open(scratch.file()).unwrap().execute_batch(VERSION_1).unwrap();
    for _ in 0..2 {
        drop(Store::open(&scratch.file()).unwrap());
    }
    let kept = Connection::open(bellwether_store::kept(&scratch.file(), 1)).unwrap();
    let number = |sql: &str| kept.query_row(sql, (), |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(number("PRAGMA user_version"), 1);
    assert_eq!(number("SELECT count(*) FROM tasks WHERE body IS NOT NULL"), 3);
}

#[test]
fn where_no_copy_can_be_kept_the_form_is_not_changed() {
    let scratch = Scratch::new();
    Connection::open(scratch.file()).unwrap().execute_batch(VERSION_1).unwrap();
    let mut partial = bellwether_store::kept(&scratch.file(), 1).into_os_string();
    partial.push(".partial");
    std::fs::create_dir_all(PathBuf::from(partial).join("in-the-way")).unwrap();
    let refused = Store::open(&scratch.file()).err().unwrap();
    assert!(matches!(refused, StoreError::Keep(_)), "{refused}");
    let version = Connection::open(scratch.file()).unwrap();
    assert_eq!(version.query_row("PRAGMA user_version", (), |row| row.get::<_, i32>(0)).unwrap(), 1);
}

#[test]
fn a_log_of_writes_that_is_cut_or_garbled_gives_what_was_committed_once_or_an_error() {
    let scratch = Scratch::new();
    let mut store = Store::open(&scratch.file()).unwrap();
    let mut states = vec![store.load().unwrap().snapshot];
    for change in history() {
        write(&mut store, &[change]);
        states.push(store.load().unwrap().snapshot);
    }
    let wal = |file: &Path| PathBuf::from(format!("{}-wal", file.display()));
    let (file, log) = (std::fs::read(scratch.file()).unwrap(), std::fs::read(wal(&scratch.file())).unwrap());
    let torn = scratch.0.join("torn.sqlite");
    let loaded = |log: &[u8]| {
        std::fs::write(&torn, &file).unwrap();
        std::fs::write(wal(&torn), log).unwrap();
        Store::open(&torn).and_then(|mut store| store.load()).map(|loaded| loaded.snapshot)
    };
    let mut found = std::collections::BTreeSet::new();
    for cut in (0..log.len()).step_by(1733) {
        match loaded(&log[..cut]) {
            Ok(snapshot) => {
                let at = states.iter().position(|state| *state == snapshot);
                found.insert(at.unwrap_or_else(|| panic!("cut at {cut}: a state that never was")));
            }
            // Before the tables were made there is nothing that could be lost.
            Err(error) => panic!("cut at {cut}: {error}"),
        }
        let mut garbled = log.clone();
        garbled[cut] ^= 0x5a;
        match loaded(&garbled) {
            Ok(snapshot) => assert!(states.contains(&snapshot), "garbled at {cut}: a state that never was"),
            Err(error) => assert_eq!(error.remedy(), Remedy::Restore, "garbled at {cut}: {error}"),
        }
    }
    assert!(found.len() > 10, "{found:?}");
}

/// What a cutover of a fleet to blue takes, with leases that are taken from green, against what is held back for it.
#[test]
fn the_cutover_of_a_fleet_fits_into_half_of_what_is_held_back() {
    const AGENTS: u64 = 131;
    let scratch = Scratch::new();
    let mut store = Store::open(&scratch.file()).unwrap();
    for n in 1..=AGENTS {
        let name: AgentName = format!("agent-with-a-long-name-{n}").as_str().into();
        store.write(&Change::Enrolled { card: InstanceCard { agent: name.clone(), ..card(n) } }, b"").unwrap();
        let queued = Task { agent: name, ..task(&format!("t{n}"), n) };
        store.write(&Change::Queued { task: queued.clone() }, b"{}").unwrap();
        store.write(&Change::Leased { id: queued.id, attempts: 1, lease: lease(n) }, b"").unwrap();
    }
    store.commit().unwrap();
    let size = |ending: &str| std::fs::metadata(format!("{}{ending}", scratch.file().display())).unwrap().len();
    store.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    let before = size("");
    let names = (1..=AGENTS).map(|n| AgentName::new(format!("agent-with-a-long-name-{n}")));
    let moves: Vec<Move> =
        names.clone().zip(1..).map(|(agent, n)| Move { agent, to: InstanceId(n), fallback: None }).collect();
    store.write(&Change::Generation { generation: Generation(8), moves }, b"").unwrap();
    for (agent, n) in names.zip(1..) {
        let route = Route { active: Some(InstanceId(n)), fence: Fence(4), fallback: None };
        store.write(&Change::Routed { agent, route }, b"").unwrap();
        store.write(&Change::Retired { instance: InstanceId(n), limit: UnixMillis(1) }, b"").unwrap();
        let end = bellwether_core::traffic::LeaseEnd::Revoked;
        store.write(&Change::LeaseLost { task: task(&format!("t{n}"), n), end, lease: lease(n) }, b"").unwrap();
    }
    store.commit().unwrap();
    let written = size("-wal") + size("").saturating_sub(before);
    let held_back = bellwether_core::rollout::reserve::gateway_bytes(usize::try_from(AGENTS).unwrap());
    assert!(2 * written <= held_back, "{written} of {held_back} bytes");
}

#[test]
fn what_is_kept_is_counted_to_the_byte_and_gives_way_in_steps() {
    let scratch = Scratch::new();
    let mut store = Store::open(&scratch.file()).unwrap();
    let n = limits::PURGE_ROWS as u64 + 10;
    for order in 1..=n {
        let id = format!("t{order}");
        let queued = Task { bytes: 10, ..task(&id, order) };
        store.write(&Change::Queued { task: queued.clone() }, b"0123456789").unwrap();
        store.write(&Change::Checkpoint { id: queued.id.clone() }, b"[1,2,3]").unwrap();
        store.write(&Change::Checkpoint { id: queued.id.clone() }, b"[4]").unwrap();
        let how = if order % 2 == 0 { End::Completed } else { End::Expired };
        let end = Change::Finished { task: queued, seq: order, at: UnixMillis(order), how, by: None, lease_micros: 0 };
        store.write(&end, b"\"ok\"").unwrap();
    }
    store.commit().unwrap();
    let kept = n / 2 * (10 + 4) + n.div_ceil(2) * (10 + 4 + 3);
    assert_eq!(store.kept_bytes(), kept, "a checkpoint is kept for what may be tried again");
    let read_again = |store: &mut Store| {
        store.load().unwrap();
        store.kept_bytes()
    };
    assert_eq!(read_again(&mut store), kept);

    let forever = Millis::from_mins(60);
    assert_eq!(store.purge(UnixMillis(n), forever, kept).unwrap(), Purged::default(), "just enough room");
    let one = store.purge(UnixMillis(n), forever, kept - 1).unwrap();
    assert_eq!((one.gone, one.more), (Ends { expired: 1, ..Ends::default() }, true));
    let step = store.purge(UnixMillis(n), forever, 0).unwrap();
    assert_eq!(step.gone.completed + step.gone.expired, limits::PURGE_ROWS as u64, "no more at once");
    store.commit().unwrap();
    assert_eq!(read_again(&mut store), store.kept_bytes());
    assert!(store.purge(UnixMillis(n), forever, 0).unwrap().more);
    assert_eq!(store.purge(UnixMillis(n), forever, 0).unwrap(), Purged::default());
    store.commit().unwrap();
    assert_eq!((store.kept_bytes(), read_again(&mut store)), (0, 0));
    for table in ["tasks", "bodies", "checkpoints", "results"] {
        let sql = format!("SELECT COUNT(*) FROM {table}");
        assert_eq!(store.connection.query_row(&sql, (), |row| row.get::<_, u64>(0)).unwrap(), 0, "{table}");
    }
}

#[test]
fn a_file_that_was_large_becomes_small_again_a_little_at_a_time() {
    let scratch = Scratch::new();
    let mut store = Store::open(&scratch.file()).unwrap();
    let body = vec![b'x'; 1 << 20];
    for order in 1..=24 {
        let queued = Task { bytes: body.len() as u64, ..task(&format!("t{order}"), order) };
        store.write(&Change::Queued { task: queued.clone() }, &body).unwrap();
        store.write(&finished(queued.id.as_str(), order, order), b"").unwrap();
    }
    store.commit().unwrap();
    let full = store.pages();
    assert!(!store.shrink().unwrap(), "all of it is used");
    while store.purge(UnixMillis(5000), Millis(500), 0).unwrap().more {
        store.commit().unwrap();
    }
    let (mut before, mut steps) = (store.pages(), 0);
    assert_eq!(before, full, "free pages are found again before any are given back");
    while store.shrink().unwrap() {
        store.commit().unwrap();
        let pages = store.pages();
        // A few pages of the map of pages go with them.
        assert!(pages < before && u64::from(before - pages) <= limits::SHRINK_PAGES + 8, "{before} {pages}");
        (before, steps) = (pages, steps + 1);
    }
    assert!(steps > 1 && u64::from(before) <= limits::FREE_PAGES_MIN * 4 / 3 + 100, "{before} of {full}");
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
    assert!(matches!(refused, StoreError::Refused(Refused::Foreign { .. })), "{refused}");
    assert_eq!(std::fs::read(scratch.file()).unwrap(), garbage);

    let other = scratch.0.join("other.sqlite");
    Connection::open(&other).unwrap().execute_batch("CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)").unwrap();
    let before = std::fs::read(&other).unwrap();
    let refused = Store::open(&other).err().unwrap();
    assert!(matches!(refused, StoreError::Refused(Refused::Foreign { .. })), "{refused}");
    assert_eq!(std::fs::read(&other).unwrap(), before);
}

#[test]
fn a_file_of_a_newer_build_is_left_as_it_is() {
    let scratch = Scratch::new();
    drop(Store::open(&scratch.file()).unwrap());
    Connection::open(scratch.file()).unwrap().execute_batch("PRAGMA user_version = 9").unwrap();
    let before = std::fs::read(scratch.file()).unwrap();
    let refused = Store::open(&scratch.file()).err().unwrap();
    let text = refused.to_string();
    assert!(text.contains(&format!("version {} and has schema 9", bellwether_store::BUILD)), "{text}");
    assert!(text.contains("which knows 2") && text.contains("bellwether restore DIR"), "{text}");
    assert_eq!(refused.remedy(), Remedy::Version);
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

#[test]
fn a_gateway_that_was_killed_is_told_from_one_that_ended() {
    let scratch = Scratch::new();
    let begin = || {
        let mut store = Store::open(&scratch.file()).unwrap();
        store.load().unwrap();
        let before = store.begin_work().unwrap();
        (store, before.map(|last| (last.number, last.pushes_open)))
    };
    let (mut first, before) = begin();
    assert_eq!(before, None, "there was none before it");
    first.spool(&Second { number: 1, ..Second::default() }).unwrap();
    first.spool(&Second { number: 2, pushes_open: 3, ..Second::default() }).unwrap();
    first.commit().unwrap();
    drop(first);
    let (mut second, before) = begin();
    assert_eq!(before, Some((2, 3)), "the first was killed");
    second.end_work().unwrap();
    drop(second);
    assert_eq!(begin().1, None, "the second ended");
}

#[test]
fn a_full_disk_keeps_no_gateway_from_its_work() {
    let scratch = Scratch::new();
    let mut store = Store::open(&scratch.file()).unwrap();
    write(&mut store, &history());
    store.limit_pages(store.pages());
    let before = store.load().unwrap().snapshot;
    store.begin_work().unwrap();
    store.end_work().unwrap();
    assert_eq!(store.load().unwrap().snapshot, before);
}
