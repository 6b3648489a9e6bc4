//! The folder, written from a journal, logs and a gateway as they are on disk and on the link.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bellwether_core::{
    id::{InstanceId, Side},
    observation::Second,
    port::gateway::{GatewayAnswer, GatewayEvent, GatewayIntent, PROTOCOL},
    rollout::{Controller, ControllerView, Event, RollbackRecord},
    time::{Nanos, Now, UnixMillis},
};
use bellwether_link::{Hello, Server};
use tokio::{net::UnixListener, sync::mpsc, task::JoinSet};

use super::{
    super::{Request, write},
    fixture,
};
use crate::{
    journal::Journal,
    links::{Link, News},
    run::declared,
};

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("bw-evidence-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&path));
        fs::create_dir_all(path.join("logs")).unwrap();
        Self(path)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join("evidence/rollout-17").join(name)).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// A fleet that was declared and whose blues were enrolled, then a rollout that was started.
fn journal(path: &Path) -> ControllerView {
    let spec = fixture::spec();
    let plan = Box::new(fixture::plan(&spec));
    let moment = |second: u64| Now { mono: Nanos(second * 1_000_000_000), wall: fixture::at(second as f64) };
    let events = [
        (moment(0), Event::FleetDeclared { agents: declared(&spec) }),
        (moment(1), Event::Enrolled { instances: (1..=8).map(InstanceId).collect() }),
        (moment(300), Event::Planned { plan, by: "ci".into(), again: None, once: None }),
    ];
    let mut machine = Controller::default();
    for (now, event) in &events {
        machine.step(*now, event.clone()).unwrap();
    }
    if !path.exists() {
        Journal::open(path).unwrap().append(0, &events).unwrap();
    }
    machine.view(moment(300))
}

fn request(scratch: &Scratch, gateway: Link<GatewayAnswer>) -> Request {
    let journal_path = scratch.0.join("journal.sqlite");
    let view = journal(&journal_path);
    let record = RollbackRecord { trigger: crash_loop(), validated: None, ..fixture::errors().record };
    let spec = fixture::spec();
    let mut rollout = fixture::rollout(&spec, &record, serde_json::json!({"state": "needs_attention"}));
    rollout.phases.clear();
    Request {
        spec: Arc::new(spec),
        state_dir: scratch.0.clone(),
        journal: journal_path,
        gateway,
        rollout,
        retreat: None,
        view,
        last_second: 0,
        now: fixture::at(600.0),
    }
}

fn crash_loop() -> bellwether_core::rollout::Trigger {
    bellwether_core::rollout::Trigger::CrashLoop {
        agent: "reviewer-2".into(),
        exits: 3,
        first: fixture::at(430.0),
        fault: None,
    }
}

fn no_gateway(tasks: &mut JoinSet<()>, scratch: &Scratch) -> Link<GatewayAnswer> {
    let (news, _) = mpsc::channel::<News<GatewayEvent>>(8);
    Link::open(tasks, scratch.0.join("nobody.sock"), PROTOCOL, news)
}

#[tokio::test]
async fn what_cannot_be_read_is_named_and_stops_nothing() {
    let scratch = Scratch::new("missing");
    let mut tasks = JoinSet::new();
    let gateway = no_gateway(&mut tasks, &scratch);
    let folder = write(request(&scratch, gateway)).await.unwrap();
    assert_eq!(folder, scratch.0.join("evidence/rollout-17"));
    let page = scratch.read("page.txt");
    assert!(page.contains("the one-second records of the gateway: "), "{page}");
    assert!(page.contains("the log of reviewer-1 (blue, instance"), "{page}");
    assert!(scratch.read("index.html").contains("What could not be read"));
    assert_eq!(scratch.read("seconds.jsonl"), "");
    let facts: serde_json::Value = serde_json::from_str(&scratch.read("facts.json")).unwrap();
    assert_eq!(facts["blamed"]["agents"][0], "reviewer-2");
    assert!(facts["missing"].as_array().unwrap().len() > 1);
}

#[tokio::test]
async fn secrets_of_the_plan_do_not_leave_the_journal() {
    let scratch = Scratch::new("secrets");
    let mut tasks = JoinSet::new();
    let gateway = no_gateway(&mut tasks, &scratch);
    write(request(&scratch, gateway)).await.unwrap();
    let journal = scratch.read("journal.jsonl");
    assert_eq!(journal.lines().count(), 3, "{journal}");
    assert!(journal.contains("API_KEY"), "{journal}");
    for name in ["journal.jsonl", "facts.json", "index.html", "page.txt"] {
        let text = scratch.read(name);
        assert!(!text.contains("hunter2") && !text.contains("correct-horse"), "{name} holds a secret");
    }
}

#[tokio::test]
async fn logs_samples_and_records_are_in_the_folder() {
    let scratch = Scratch::new("whole");
    let socket = scratch.0.join("gateway.sock");
    let mut tasks = JoinSet::new();
    let listener = UnixListener::bind(&socket).unwrap();
    let hello = Hello::new(PROTOCOL.0, PROTOCOL.1);
    let (_server, mut asked) = Server::<GatewayAnswer, GatewayEvent>::start::<GatewayIntent>(listener, hello);
    tasks.spawn(async move {
        while let Some((intent, reply)) = asked.recv().await {
            let GatewayIntent::Seconds { after } = intent else { panic!("asked for {intent:?}") };
            let records = (after + 1..=5000).take(600).map(|number| Second {
                number,
                at: UnixMillis(fixture::ZERO + number * 1000),
                ..Second::default()
            });
            reply.send(GatewayAnswer::Seconds { records: records.collect(), last: 5000 }).unwrap();
        }
    });
    let (news, mut up) = mpsc::channel(8);
    let gateway = Link::open::<GatewayEvent>(&mut tasks, socket, PROTOCOL, news);
    let heard = tokio::time::timeout(Duration::from_secs(10), up.recv()).await.unwrap();
    assert!(matches!(heard, Some(News::Up)));

    let request = request(&scratch, gateway);
    let blue = request.view.agents.iter().find(|view| view.name.as_str() == "reviewer-2").unwrap();
    let instance = blue.blue.is.instance().unwrap();
    fs::write(scratch.0.join(format!("logs/reviewer-2.{instance}.log")), "cannot start\n").unwrap();
    let sample = r#"{"agents":[{"agent":"reviewer-2","side":"blue","serving":true,"memory_bytes":1,"cpu_cores":null}],"memory_bytes":1}"#;
    Journal::open(&request.journal).unwrap().put_usage(fixture::at(599.0).0, sample, 60_000).unwrap();
    let mut under_way = self::request(&scratch, request.gateway.clone());
    under_way.rollout.rollback.as_mut().unwrap().shifted = None;
    write(under_way).await.unwrap();
    assert_eq!(scratch.read("seconds.jsonl").lines().count(), 120, "a gateway that cuts over was kept busy");
    write(request).await.unwrap();

    let seconds = scratch.read("seconds.jsonl");
    let last: Second = serde_json::from_str(seconds.lines().last().unwrap()).unwrap();
    assert_eq!((seconds.lines().count(), last.number), (600, 5000));
    assert!(scratch.read("usage.jsonl").contains(&format!("\"at_ms\":{}", fixture::at(599.0).0)));
    assert_eq!(scratch.read(&format!("logs/reviewer-2-{}-{instance}.log", Side::Blue)), "cannot start\n");
    assert!(scratch.read("page.txt").contains("cannot start"));
}
