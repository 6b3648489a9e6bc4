//! Tasks of a backend that is the user's own.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bellwether_core::{
    id::{Generation, InstanceId, Side},
    port::gateway::{GatewayIntent, Move},
    time::Millis,
};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, net::TcpStream, sync::Semaphore};

use crate::{
    held::ask,
    served::{Asked, Reply, Served},
    world::{BLUE, FLEET, GREEN, World, card, eventually},
};

/// The seed's backend, as far as these tests need it: it gives each task once, and notes each report.
#[derive(Default)]
struct Books {
    waiting: VecDeque<Value>,
    /// Accepted ends. The same words again are the same end.
    reports: BTreeMap<String, Vec<String>>,
    refuses: Option<u16>,
    /// Questions for a task are answered one by one.
    gate: Option<Arc<Semaphore>>,
    notices: Vec<String>,
}

struct Backend {
    books: Arc<Mutex<Books>>,
    address: SocketAddr,
    served: Option<Served>,
}

fn answer(books: &Mutex<Books>, asked: &Asked) -> Reply {
    let mut books = books.lock().unwrap();
    let line = asked.line();
    if line == "GET /api/tasks/next/worker" {
        return match books.waiting.pop_front() {
            Some(task) => (200, task.to_string()),
            None => (204, String::new()),
        };
    }
    if line == "GET /api/v1/agents/a/tasks" {
        let tasks: Vec<Value> = books.waiting.drain(..).collect();
        return (200, json!({ "tasks": tasks }).to_string());
    }
    let is_status = line.starts_with("PUT /api/v1/tasks/");
    if line == "POST /api/tasks/complete" || is_status {
        if let Some(status) = books.refuses {
            return (status, r#"{"detail":"not now"}"#.to_owned());
        }
        let report = asked.json();
        let id = if is_status { Value::from(line.split('/').nth(4).unwrap()) } else { report["task_id"].clone() };
        let id = id.as_str().map_or_else(|| id.to_string(), str::to_owned);
        let said = String::from_utf8(asked.body.to_vec()).unwrap();
        let all = books.reports.entry(id).or_default();
        if !all.contains(&said) {
            all.push(said);
        }
        return (200, "{}".to_owned());
    }
    books.notices.push(line);
    (207, r#"{"of":"the backend"}"#.to_owned())
}

impl Backend {
    async fn start() -> Self {
        let mut backend =
            Self { books: Arc::default(), address: (std::net::Ipv4Addr::LOCALHOST, 0).into(), served: None };
        backend.back().await;
        backend.address = backend.served.as_ref().unwrap().address;
        backend
    }

    fn away(&mut self) {
        self.served = None;
    }

    async fn back(&mut self) {
        let books = self.books.clone();
        let served = Served::at(self.address, move |asked: Asked| {
            let books = books.clone();
            async move {
                let gate = books.lock().unwrap().gate.clone().filter(|_| asked.head.method == Method::GET);
                if let Some(gate) = gate {
                    gate.acquire().await.unwrap().forget();
                }
                answer(&books, &asked)
            }
        });
        self.served = Some(served.await);
    }

    fn give(&self, task: Value) {
        self.books.lock().unwrap().waiting.push_back(task);
    }

    fn reports(&self) -> BTreeMap<String, Vec<String>> {
        self.books.lock().unwrap().reports.clone()
    }

    async fn knows(&self, id: &str) -> Value {
        eventually("the report arrived", || async { self.reports().contains_key(id) }).await;
        let reports = self.reports().remove(id).unwrap();
        assert_eq!(reports.len(), 1, "{reports:?}");
        serde_json::from_str(&reports[0]).unwrap()
    }
}

impl World {
    async fn relaying(backend: &Backend) -> Self {
        let tasks = format!("tasks: {{mode: relay, backend: \"http://{}\", backoff: 0s}}\n", backend.address);
        let mut world = Self::of(&format!("{FLEET}{tasks}")).await;
        let cards = vec![card(BLUE, Side::Blue, None), card(GREEN, Side::Green, None)];
        world.done(GatewayIntent::Enrol { cards }).await;
        world.cut_over(BLUE).await;
        world
    }

    async fn says(&self, instance: u64, body: &str) -> (StatusCode, String) {
        let answer = self.http.post(&format!("/i/token-{instance}/api/tasks/complete"), body).await;
        let status = answer.json()["status"].as_str().unwrap_or_default().to_owned();
        (answer.status, status)
    }
}

#[tokio::test]
async fn a_task_of_the_backend_is_done_and_its_report_arrives_as_it_was_said() {
    let backend = Backend::start().await;
    let world = World::relaying(&backend).await;
    assert_eq!(world.next_id(BLUE).await, None);
    backend.give(json!({"id": 17, "prompt": "p", "attempt": 5}));
    let task = world.next(BLUE).await;
    assert_eq!(task.json(), json!({"id": 17, "prompt": "p", "attempt": 1}));
    assert_eq!(task.headers["x-bellwether-task"], "17");
    assert_eq!(world.next(BLUE).await.json()["attempt"], 2, "asked again, the same task again");
    assert_eq!(world.http.get("/tasks/17").await.json()["state"], "leased");
    let report = r#"{"task_id":17,"agent_name":"a","status":"completed","result":{"response":"yes"},"timestamp":1}"#;
    assert_eq!(world.says(GREEN, report).await.0, StatusCode::CONFLICT);
    assert_eq!(world.says(BLUE, report).await, (StatusCode::OK, "accepted".to_owned()));
    assert_eq!(world.says(BLUE, report).await, (StatusCode::OK, "repeated".to_owned()));
    assert_eq!(backend.knows("17").await, serde_json::from_str::<Value>(report).unwrap());
    assert_eq!(world.http.get("/completions").await.json()["completions"][0]["id"], "17");

    let refused = world.http.post("/tasks", r#"{"agent":"a"}"#).await;
    assert_eq!(refused.status, StatusCode::NOT_FOUND);
    assert!(refused.text().contains("tasks come from the backend"), "{}", refused.text());
    eventually("nothing is left to send", || async { world.http.get("/relay").await.json()["waiting"] == 0 }).await;
}

#[tokio::test]
async fn only_the_active_instance_reaches_the_backend() {
    let backend = Backend::start().await;
    let world = World::relaying(&backend).await;
    backend.give(json!({"id": "t1"}));
    assert_eq!(world.next_id(GREEN).await, None);
    let beat = r#"{"status":"active"}"#;
    assert_eq!(world.http.post("/i/token-2/api/agents/heartbeat", beat).await.json()["status"], "ok");
    assert_eq!(backend.served.as_ref().unwrap().seen().len(), 0);
    let answer = world.http.post("/i/token-1/api/agents/heartbeat", beat).await;
    assert_eq!((answer.status.as_u16(), answer.text()), (207, r#"{"of":"the backend"}"#), "passed on");
    let answer = world.http.call(Method::PATCH, "/i/token-1/own/path?x=%2F", &[("x-mine", "1")], "body").await;
    assert_eq!((answer.status.as_u16(), answer.text()), (207, r#"{"of":"the backend"}"#));
    let seen = backend.served.as_ref().unwrap().seen();
    let last = seen.last().unwrap();
    assert_eq!(
        (last.line().as_str(), last.header("x-mine"), &last.body[..]),
        ("PATCH /own/path?x=%2F", Some("1"), &b"body"[..])
    );
    assert_eq!(world.next_id(BLUE).await.as_deref(), Some("t1"));
}

#[tokio::test]
async fn a_backend_that_is_away_fails_no_agent_and_gets_its_reports_when_it_is_back() {
    let mut backend = Backend::start().await;
    let mut world = World::relaying(&backend).await;
    backend.give(json!({"id": "t1"}));
    assert_eq!(world.next_id(BLUE).await.as_deref(), Some("t1"));
    backend.away();
    for path in ["api/agents/register", "api/agents/heartbeat"] {
        let answer = world.http.post(&format!("/i/token-1/{path}"), "{}").await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
    }
    assert_eq!(world.complete(BLUE, "t1").await, StatusCode::OK);
    assert_eq!(world.next_id(BLUE).await, None);
    assert_eq!(world.http.get("/i/token-1/other").await.status, StatusCode::BAD_GATEWAY);
    let tried = || async {
        let shown = world.http.get("/relay").await.json();
        shown["waiting"] == 1 && shown["reports"][0]["tries"].as_u64() > Some(0)
    };
    eventually("it was tried", tried).await;
    world.restart().await;
    backend.back().await;
    assert_eq!(backend.knows("t1").await["status"], "completed");
    assert_eq!(world.complete(BLUE, "t1").await, StatusCode::OK, "repeated");
}

#[tokio::test]
async fn a_report_that_is_refused_for_good_is_kept_visible_and_one_that_is_not_is_tried_again() {
    let backend = Backend::start().await;
    let world = World::relaying(&backend).await;
    backend.books.lock().unwrap().refuses = Some(422);
    backend.give(json!({"id": "t1"}));
    world.next_id(BLUE).await;
    assert_eq!(world.complete(BLUE, "t1").await, StatusCode::OK);
    eventually("it was refused", || async { world.http.get("/relay").await.json()["refused"] == 1 }).await;
    let shown = world.http.get("/relay").await.json();
    assert_eq!((&shown["reports"][0]["task"], &shown["reports"][0]["state"]), (&"t1".into(), &"refused".into()));
    assert!(shown["reports"][0]["answer"].as_str().unwrap().contains("not now"), "{shown}");

    backend.books.lock().unwrap().refuses = Some(503);
    backend.give(json!({"id": "t2"}));
    world.next_id(BLUE).await;
    assert_eq!(world.complete(BLUE, "t2").await, StatusCode::OK);
    let tried = || async { world.http.get("/relay").await.json()["reports"][1]["tries"].as_u64() > Some(0) };
    eventually("it was tried", tried).await;
    backend.books.lock().unwrap().refuses = None;
    assert_eq!(backend.knows("t2").await["status"], "completed");
    assert!(!backend.reports().contains_key("t1"));
}

#[tokio::test]
async fn what_the_backend_gives_again_is_done_once_and_told_again() {
    let backend = Backend::start().await;
    let world = World::relaying(&backend).await;
    backend.give(json!({"id": "t1"}));
    assert_eq!(world.next_id(BLUE).await.as_deref(), Some("t1"));
    assert_eq!(world.complete(BLUE, "t1").await, StatusCode::OK);
    backend.knows("t1").await;
    let sent = || backend.served.as_ref().unwrap().seen().iter().filter(|it| it.line().starts_with("POST")).count();
    assert_eq!(sent(), 1);
    backend.give(json!({"id": "t1"}));
    assert_eq!(world.next_id(BLUE).await, None);
    eventually("it was told again", || async { sent() == 2 }).await;
    backend.knows("t1").await;

    // While it is under way, another copy of it is none.
    let two = [("X-Bellwether-Tasks", "2"), ("Prefer", "wait=0")];
    let ask = || world.http.call(Method::GET, "/i/token-1/api/tasks/next/worker", &two, "");
    backend.give(json!({"id": "t2"}));
    assert_eq!(ask().await.json()["id"], "t2");
    backend.give(json!({"id": "t2"}));
    assert_eq!(ask().await.status, StatusCode::NO_CONTENT);
    assert_eq!(world.http.get("/tasks").await.json()["leased"], 1);
}

#[tokio::test]
async fn failures_are_tried_again_here_and_only_the_end_is_told() {
    let backend = Backend::start().await;
    let world = World::relaying(&backend).await;
    backend.give(json!({"id": "t1"}));
    let report = r#"{"task_id":"t1","status":"failed","error":"broke"}"#;
    for (n, said) in ["retried", "retried", "accepted"].into_iter().enumerate() {
        assert_eq!(world.next(BLUE).await.json()["attempt"], n + 1);
        assert_eq!(world.says(BLUE, report).await, (StatusCode::OK, said.to_owned()));
    }
    assert_eq!(backend.knows("t1").await["error"], "broke");

    // What nobody reports is reported by us.
    backend.give(json!({"id": "t2"}));
    world.next_id(BLUE).await;
    assert_eq!(world.http.call(Method::DELETE, "/tasks/t2", &[], "").await.status, StatusCode::OK);
    let told = backend.knows("t2").await;
    assert_eq!((&told["status"], &told["error"]), (&"failed".into(), &"it was cancelled".into()));
}

#[tokio::test]
async fn the_second_dialect_is_relayed_in_its_own_words() {
    let backend = Backend::start().await;
    let world = World::relaying(&backend).await;
    backend.give(json!({"id": "t1"}));
    backend.give(json!({"id": "t2"}));
    let path = "/i/token-1/api/v1/agents/a/tasks";
    let tasks = || world.http.call(Method::GET, path, &[("Prefer", "wait=0")], "");
    assert_eq!(tasks().await.json(), json!({"tasks": [{"attempt": 1, "id": "t1"}]}), "one place");
    let put = |id: &str, body: &'static str| {
        let path = format!("/i/token-1/api/v1/tasks/{id}/status");
        async { world.http.call(Method::PUT, &{ path }, &[], body).await.status }
    };
    let done = r#"{"task_id":"t1","status":"completed","agent_id":"a","result":"x"}"#;
    assert_eq!(put("t1", done).await, StatusCode::OK);
    assert_eq!(backend.knows("t1").await["agent_id"], "a");
    assert_eq!(tasks().await.json()["tasks"][0]["id"], "t2", "it waited with us");
}

#[tokio::test]
async fn what_the_backend_gives_to_who_was_relieved_meanwhile_goes_to_the_heir() {
    let backend = Backend::start().await;
    let mut world = World::relaying(&backend).await;
    let gate = Arc::new(Semaphore::new(0));
    backend.books.lock().unwrap().gate = Some(gate.clone());
    backend.give(json!({"id": "t1"}));
    let question = ask(&world.http, BLUE);
    backend.served.as_ref().unwrap().saw(1).await;
    world.cut_over(GREEN).await;
    assert_eq!(question.await.unwrap().status, StatusCode::NO_CONTENT, "at once");
    gate.add_permits(1);
    eventually("it is ours", || async { world.http.get("/tasks").await.json()["queued"] == 1 }).await;
    assert_eq!(world.next_id(GREEN).await.as_deref(), Some("t1"));
    assert_eq!(world.next_id(BLUE).await, None);
    assert_eq!(world.complete(GREEN, "t1").await, StatusCode::OK);
    assert_eq!(backend.knows("t1").await["status"], "completed");
}

#[tokio::test]
async fn what_the_backend_gives_to_who_has_left_meanwhile_waits_for_its_next_question() {
    let backend = Backend::start().await;
    let world = World::relaying(&backend).await;
    let gate = Arc::new(Semaphore::new(0));
    backend.books.lock().unwrap().gate = Some(gate.clone());
    backend.give(json!({"id": "t1"}));
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    stream.write_all(b"GET /i/token-1/api/tasks/next/worker HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    backend.served.as_ref().unwrap().saw(1).await;
    drop(stream);
    let newer = ask(&world.http, BLUE);
    gate.add_permits(1);
    assert_eq!(newer.await.unwrap().json()["id"], "t1");
    assert_eq!(world.complete(BLUE, "t1").await, StatusCode::OK);
}

/// Everything at once: cutover, a rollback that takes leases away, restarts of the gateway, a backend that is away.
#[tokio::test]
async fn nothing_is_lost_and_nothing_is_told_twice() {
    const TASKS: usize = 60;
    let mut backend = Backend::start().await;
    let mut world = World::relaying(&backend).await;
    for n in 0..TASKS {
        backend.give(json!({"id": format!("t{n}"), "prompt": "p"}));
    }
    let mut accepted = BTreeMap::new();
    let mut held: Vec<(u64, String)> = Vec::new();
    let mut active = BLUE;
    let mut generation = 1;
    for step in 0.. {
        assert!(step < 10 * TASKS, "{} of {TASKS} are done", accepted.len());
        if accepted.len() == TASKS {
            break;
        }
        for instance in [BLUE, GREEN] {
            if let Some(id) = world.next_id(instance).await {
                held.retain(|(who, _)| *who != instance);
                held.push((instance, id));
            }
        }
        match step % 12 {
            3 | 9 => {
                let to = if active == BLUE { GREEN } else { BLUE };
                generation += 1;
                let moves = vec![Move { agent: "a".into(), to: InstanceId(to), fallback: None }];
                let (generation, revoke) = (Generation(generation), step % 12 == 9);
                let drain = Millis::from_mins(10);
                world.done(GatewayIntent::CutOver { generation, moves, drain, revoke }).await;
                active = to;
            }
            5 => world.restart().await,
            6 => backend.away(),
            8 => backend.back().await,
            _ => {}
        }
        for (instance, id) in std::mem::take(&mut held) {
            let report = format!(
                r#"{{"task_id":"{id}","agent_name":"a","status":"completed","result":"by {instance} in {step}"}}"#
            );
            match world.says(instance, &report).await {
                (StatusCode::OK, said) if said == "accepted" => {
                    assert_eq!(accepted.insert(id, report), None, "one end each");
                }
                (StatusCode::CONFLICT, _) => {}
                other => panic!("{id}: {other:?}"),
            }
        }
    }
    if backend.served.is_none() {
        backend.back().await;
    }
    eventually("all reports arrived", || async { backend.reports().len() == TASKS }).await;
    let told: BTreeMap<String, Vec<String>> = accepted.into_iter().map(|(id, report)| (id, vec![report])).collect();
    assert_eq!(backend.reports(), told, "what was accepted here is what the backend knows, word for word");
}
