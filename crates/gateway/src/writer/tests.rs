//! A store that cannot be written for a while.

use std::{
    net::Ipv4Addr,
    path::PathBuf,
    sync::{Arc, atomic::AtomicU32},
};

use bellwether_core::{
    id::{Generation, InstanceId, InstanceToken, ModelName, Side},
    port::gateway::{GatewayAnswer, GatewayIntent, InstanceCard, Move},
    spec::{Sources, parse_fleet},
    time::Millis,
    traffic::{self, Addressee, TaskId},
};
use tokio::sync::mpsc;

use super::*;
use crate::{
    clock::Clock,
    desk::{CancelAnswer, Desk, ReviveAnswer, Submission, SubmitAnswer, Unavailable},
    store::Filter,
};

struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn scratch() -> Scratch {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("bw-writer-{}-{n}", std::process::id()));
    std::fs::create_dir_all(&path).unwrap();
    Scratch(path)
}

fn writer(mut store: Store) -> Writer {
    let text = "version: 1\nagents:\n  defaults: {command: [x], type: worker}\n  list: [a]\n";
    let sources = Sources { name: "fleet.yaml", text, read: &|_| Err(String::new()) };
    let spec = parse_fleet(&sources).unwrap();
    let (events, _) = mpsc::unbounded_channel();
    let board = Arc::new(Board::new(&spec, Clock::start(), events));
    let agents = vec![("a".into(), "worker".into())];
    let loaded = store.load().unwrap();
    Writer::new(board, store, loaded, spec.tasks, agents)
}

fn submit(id: &str, bytes: usize) -> impl FnOnce(Tell<SubmitAnswer>) -> Ask {
    let (id, to) = (TaskId::new(id), Addressee::Agent("a".into()));
    let body = format!("{{\"id\":\"{id}\",\"p\":\"{}\"}}", "x".repeat(bytes)).into_bytes();
    move |tell| Ask::Submit(Submission { task: traffic::Submission::new(id, to, 0), is_fresh: false, body }, tell)
}

/// Works off what is asked until the answer is there.
async fn ask<T>(writer: &mut Writer, ask: impl FnOnce(Tell<T>) -> Ask) -> Result<T, Unavailable> {
    let (asks, mut asked) = mpsc::channel(1);
    let desk = Desk::new(asks);
    let work = async {
        let mut batch = vec![asked.recv().await.unwrap()];
        writer.work_off(&mut batch, false).unwrap();
    };
    tokio::join!(desk.ask(ask), work).0
}

#[tokio::test]
async fn while_the_disk_is_full_nothing_is_promised_and_nothing_is_lost() {
    let scratch = scratch();
    let store = Store::open(&scratch.0.join("gateway.sqlite")).unwrap();
    let mut w = writer(store);
    let card = InstanceCard {
        instance: InstanceId(1),
        agent: "a".into(),
        agent_type: "worker".into(),
        model: ModelName::new("m"),
        side: Side::Blue,
        token: InstanceToken::new("token"),
        address: Ipv4Addr::LOCALHOST,
        upstream: None,
        delivery: bellwether_core::spec::Delivery::Pull,
    };
    let moves = vec![Move { agent: "a".into(), to: InstanceId(1), fallback: None }];
    let cut_over = GatewayIntent::CutOver { generation: Generation(1), moves, drain: Millis::ZERO, revoke: false };
    for intent in [GatewayIntent::Enrol { cards: vec![card] }, cut_over] {
        let answer = ask(&mut w, |tell| Ask::Intent(intent, tell)).await.unwrap();
        assert!(matches!(answer, GatewayAnswer::Done { .. }), "{answer:?}");
    }
    assert!(matches!(ask(&mut w, submit("t1", 10)).await, Ok(SubmitAnswer::Queued { .. })));

    let pages = w.store.pages();
    w.store.limit_pages(pages);
    assert!(ask(&mut w, submit("t2", 100_000)).await.is_err(), "not promised");
    assert_eq!(w.traffic.queued(), 1, "nor remembered");
    let counts = ask(&mut w, Ask::Counts).await.unwrap();
    assert_eq!((counts.queued, counts.leased), (1, 0), "reading goes on");

    w.store.limit_pages(pages + 1000);
    let again = ask(&mut w, submit("t2", 100_000)).await;
    assert!(matches!(again, Ok(SubmitAnswer::Queued { .. })), "the key was not used up");
    for id in ["t1", "t2"] {
        let next = |tell| Ask::Next { instance: InstanceId(1), places: Some(2), hold: Millis::ZERO, tell };
        let mut handed_out = ask(&mut w, next).await.unwrap().unwrap();
        handed_out.delivered();
        assert_eq!(handed_out.granted.id.as_str(), id);
    }
    assert_eq!(w.board.table.load().instance(InstanceId(1)).unwrap().view().held, 2);
}

#[tokio::test]
async fn while_the_disk_is_full_no_task_ends_and_none_begins_again() {
    let scratch = scratch();
    let mut w = writer(Store::open(&scratch.0.join("gateway.sqlite")).unwrap());
    for id in ["dead", "live"] {
        assert!(matches!(ask(&mut w, submit(id, 10)).await, Ok(SubmitAnswer::Queued { .. })));
    }
    let of = |id: &str| TaskId::new(id);
    let cancelled = ask(&mut w, |tell| Ask::Cancel { id: of("dead"), tell }).await.unwrap();
    assert!(matches!(cancelled, CancelAnswer::Cancelled(_)));
    let kept = w.store.kept_bytes();

    w.store.limit_pages(w.store.pages());
    // What is large does not fit, and takes what came with it along.
    let (cancel, cancelled) = tokio::sync::oneshot::channel();
    let (revive, revived) = tokio::sync::oneshot::channel();
    let (large, large_told) = tokio::sync::oneshot::channel();
    let mut batch = vec![
        Ask::Cancel { id: of("live"), tell: cancel },
        Ask::Revive { id: of("dead"), tell: revive },
        submit("large", 100_000)(large),
    ];
    w.work_off(&mut batch, false).unwrap();
    assert!(cancelled.await.is_err() && revived.await.is_err() && large_told.await.is_err());
    let counts = ask(&mut w, Ask::Counts).await.unwrap();
    assert_eq!((counts.queued, counts.ended.cancelled, w.store.kept_bytes()), (1, 1, kept), "as it was");
    let page = |tell| Ask::List { filter: Filter::default(), after: 0, limit: 10, tell };
    let states: Vec<_> = ask(&mut w, page).await.unwrap().tasks.iter().map(|shown| shown.state).collect();
    assert_eq!(states, ["cancelled", "queued"]);

    w.store.limit_pages(w.store.pages() + 1000);
    let revived = ask(&mut w, |tell| Ask::Revive { id: of("dead"), tell }).await.unwrap();
    assert!(matches!(revived, ReviveAnswer::Queued { .. }));
    assert_eq!((ask(&mut w, Ask::Counts).await.unwrap().queued, w.store.kept_bytes()), (2, 0));
}

#[tokio::test]
async fn questions_that_came_together_fail_together() {
    let scratch = scratch();
    let mut w = writer(Store::open(&scratch.0.join("gateway.sqlite")).unwrap());
    w.store.limit_pages(w.store.pages());
    let (small, small_told) = tokio::sync::oneshot::channel();
    let (large, large_told) = tokio::sync::oneshot::channel();
    let mut batch = vec![submit("small", 1)(small), submit("large", 100_000)(large)];
    w.work_off(&mut batch, false).unwrap();
    assert!(small_told.await.is_err() && large_told.await.is_err());
    assert_eq!((w.traffic.queued(), w.store.load().unwrap().snapshot.tasks.len()), (0, 0));
}

/// Whatever else waits, and however little room there is.
#[tokio::test]
async fn a_cutover_that_finds_no_room_takes_what_was_held_back_and_tasks_are_told_why() {
    let directory = Full::mount("cutover", 64);
    let Some(directory) = directory else { return };
    let mut w = writer(Store::open(&directory.0.join("gateway.sqlite")).unwrap());
    let held = || std::fs::metadata(directory.0.join("gateway.reserve")).map_or(0, |meta| meta.len());
    let whole = held();
    assert!(whole > 0);
    let card = |n: u64| InstanceCard {
        instance: InstanceId(n),
        agent: "a".into(),
        agent_type: "worker".into(),
        model: ModelName::new("m"),
        side: Side::Blue,
        token: InstanceToken::new(format!("token-{n}")),
        address: Ipv4Addr::LOCALHOST,
        upstream: None,
        delivery: bellwether_core::spec::Delivery::Pull,
    };
    directory.fill();
    let mut refused = None;
    for n in 0..4000 {
        match ask(&mut w, submit(&format!("t{n}"), 20_000)).await {
            Ok(SubmitAnswer::Queued { .. }) => {}
            other => {
                refused = Some(other);
                break;
            }
        }
    }
    assert!(matches!(refused, Some(Err(Unavailable))), "the first that finds no room is not promised");
    let queued = w.traffic.queued();
    assert!(matches!(ask(&mut w, submit("next", 1)).await, Ok(SubmitAnswer::NoRoom)), "and the next is told why");
    assert_eq!(held(), whole, "tasks do not get what is held back");
    for generation in 1..=300 {
        let enrol = GatewayIntent::Enrol { cards: vec![card(generation)] };
        let moves = vec![Move { agent: "a".into(), to: InstanceId(generation), fallback: None }];
        let generation = Generation(generation);
        let cut_over = GatewayIntent::CutOver { generation, moves, drain: Millis::ZERO, revoke: true };
        for intent in [enrol, cut_over] {
            let answer = ask(&mut w, |tell| Ask::Intent(intent, tell)).await.unwrap();
            assert!(matches!(answer, GatewayAnswer::Done { .. }), "{generation}: {answer:?}");
        }
    }
    assert_eq!(w.traffic.queued(), queued, "nothing was lost");
    directory.clear();
    assert!(matches!(ask(&mut w, submit("next", 1)).await, Ok(SubmitAnswer::Queued { .. })));
    assert_eq!(held(), whole, "it is held back again");
}

/// A small disk of its own.
struct Full(PathBuf);

impl Full {
    /// None where nothing may be mounted; the reason is printed.
    fn mount(name: &str, mebibytes: u32) -> Option<Self> {
        let path = std::env::temp_dir().join(format!("bw-full-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        let mount = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mebibytes}m"), "none"])
            .arg(&path)
            .output();
        match mount {
            Ok(done) if done.status.success() => Some(Self(path)),
            other => {
                println!("skipped: no file system of a limited size can be mounted here: {other:?}");
                None
            }
        }
    }

    fn fill(&self) {
        let mut file = std::fs::File::create(self.0.join("filler")).unwrap();
        let zeros = [0; 4096];
        while std::io::Write::write_all(&mut file, &zeros).is_ok() {}
    }

    fn clear(&self) {
        std::fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for Full {
    fn drop(&mut self) {
        drop(std::process::Command::new("umount").arg("-l").arg(&self.0).status());
        drop(std::fs::remove_dir(&self.0));
    }
}
