//! Questions for a task that are held open.

use std::time::Duration;

use bellwether_core::{
    id::{Generation, InstanceId, Side},
    port::gateway::{GatewayEvent, GatewayIntent, InstanceCard, Move},
    time::Millis,
};
use hyper::{Method, StatusCode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
    time::Instant,
};

use crate::world::{Answer, BLUE, FLEET, GREEN, Http, World, card, eventually};

/// Longer than any test waits: only what ends it answers the question.
const HELD: [(&str, &str); 1] = [("Prefer", "wait=60")];

pub(crate) fn ask(http: &Http, instance: u64) -> JoinHandle<Answer> {
    let http = http.clone();
    let path = format!("/i/token-{instance}/api/tasks/next/worker");
    tokio::spawn(async move { http.call(Method::GET, &path, &HELD, "").await })
}

impl World {
    /// A question of the instance that is the first, and is held.
    pub(crate) async fn held(&mut self, instance: u64) -> JoinHandle<Answer> {
        let question = ask(&self.http, instance);
        self.polled(instance).await;
        question
    }

    async fn polled(&mut self, instance: u64) {
        let polled = GatewayEvent::Polled { instance: InstanceId(instance) };
        self.event(|event| (event == polled).then_some(())).await;
        // What the instance asked is behind the sign of it, and ahead of this.
        self.observe().await;
    }
}

#[tokio::test]
async fn a_task_that_arrives_answers_the_question_at_once() {
    let mut world = World::pulling().await;
    let question = world.held(BLUE).await;
    let began = Instant::now();
    world.submit("t1").await;
    let answer = question.await.unwrap();
    println!("submitted and handed out within {:?}", began.elapsed());
    assert_eq!((&answer.json()["id"], &answer.json()["attempt"]), (&"t1".into(), &1.into()));
}

#[tokio::test]
async fn a_cutover_answers_the_heir_with_what_waits_and_the_relieved_with_nothing() {
    let mut world = World::pulling().await;
    let green = world.held(GREEN).await;
    let blue = world.held(BLUE).await;
    world.cut_over(GREEN).await;
    assert_eq!(blue.await.unwrap().status, StatusCode::NO_CONTENT);
    world.submit("t1").await;
    assert_eq!(green.await.unwrap().json()["id"], "t1");
}

#[tokio::test]
async fn what_waits_for_nobody_is_there_with_the_cutover() {
    let mut world = World::new().await;
    let cards = vec![card(BLUE, Side::Blue, None), card(GREEN, Side::Green, None)];
    world.done(GatewayIntent::Enrol { cards }).await;
    world.submit("t1").await;
    let green = world.held(GREEN).await;
    world.cut_over(GREEN).await;
    assert_eq!(green.await.unwrap().json()["id"], "t1");
}

#[tokio::test]
async fn a_newer_question_ends_the_older_one() {
    let mut world = World::pulling().await;
    let older = world.held(BLUE).await;
    let newer = ask(&world.http, BLUE);
    assert_eq!(older.await.unwrap().status, StatusCode::NO_CONTENT);
    world.submit("t1").await;
    assert_eq!(newer.await.unwrap().json()["id"], "t1");
}

#[tokio::test]
async fn what_was_drawn_for_one_who_never_asks_goes_to_another_who_does() {
    let world = World::of(&format!("{FLEET}tasks: {{takeover: 50ms}}\n")).await;
    let of_b = InstanceCard { agent: "b".into(), ..card(3, Side::Blue, None) };
    world.done(GatewayIntent::Enrol { cards: vec![of_b] }).await;
    let moves = vec![Move { agent: "b".into(), to: InstanceId(3), fallback: None }];
    let drain = Millis::from_mins(10);
    world.done(GatewayIntent::CutOver { generation: Generation(1), moves, drain, revoke: false }).await;
    // About half of them are drawn for `a`, which nobody serves.
    for n in 0..20 {
        let answer = world.http.post("/tasks", &format!(r#"{{"type":"worker","id":"t{n}"}}"#)).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED);
    }
    for _ in 0..20 {
        let task = ask(&world.http, 3).await.unwrap().json();
        assert_eq!(world.complete(3, task["id"].as_str().unwrap()).await, StatusCode::OK);
    }
    let last = ask(&world.http, 3);
    let answer = world.http.post("/tasks", r#"{"type":"worker","id":"last"}"#).await;
    assert_eq!((answer.status, &last.await.unwrap().json()["id"]), (StatusCode::ACCEPTED, &"last".into()));
}

#[tokio::test]
async fn whoever_leaves_takes_no_task_along() {
    let mut world = World::pulling().await;
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let head = "GET /i/token-1/api/tasks/next/worker HTTP/1.1\r\nHost: x\r\nPrefer: wait=60\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    world.polled(BLUE).await;
    drop(stream);
    // One attempt is all it has: were it counted for who left, it would be given up.
    let once = r#"{"agent":"a","id":"t1","attempts":1}"#;
    assert_eq!(world.http.post("/tasks", once).await.status, StatusCode::ACCEPTED);
    let answer = ask(&world.http, BLUE).await.unwrap();
    assert_eq!(answer.json()["id"], "t1");
    assert_eq!(world.complete(BLUE, "t1").await, StatusCode::OK);
}

#[tokio::test]
async fn a_gateway_that_stops_keeps_nobody_waiting() {
    let mut world = World::pulling().await;
    let question = world.held(BLUE).await;
    world.stop().await;
    assert_eq!(question.await.unwrap().status, StatusCode::NO_CONTENT);
    world.start().await;
    world.submit("t1").await;
    assert_eq!(ask(&world.http, BLUE).await.unwrap().json()["id"], "t1");
}

#[tokio::test]
async fn a_question_ends_with_what_its_asker_would_wait() {
    let world = World::pulling().await;
    let began = Instant::now();
    let path = "/i/token-1/api/tasks/next/worker";
    let answer = world.http.call(Method::GET, path, &[("Prefer", "respond-async, wait=1")], "").await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    assert!(began.elapsed() >= Duration::from_secs(1));
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
    let mut byte = [0];
    // Without a word of the asker's it is the fleet's `tasks.hold`, 8 s.
    let early = tokio::time::timeout(Duration::from_secs(2), stream.read(&mut byte)).await;
    assert!(early.is_err(), "held open");
    eventually("nothing is left behind", || async { world.instance(BLUE).await.held == 0 }).await;
}
