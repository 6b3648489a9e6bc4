//! One gateway takes the place of another, under load.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bellwether_core::{
    id::Side,
    port::{
        gateway::{GatewayEvent, GatewayIntent, InstanceCard},
        heir::{HeirAnswer, HeirAsk, PROTOCOL, Standing},
    },
    spec::Delivery,
    time::Millis,
};
use bellwether_gateway::Error;
use bellwether_link::{Client, Hello, Server};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http_body_util::BodyExt;
use hyper::{Method, StatusCode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixListener},
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    agent::{Agent, websocket},
    held,
    served::Served,
    world::{BLUE, FLEET, GREEN, Http, PATIENCE, World, card, eventually},
};

const HAND_OVERS: usize = 20;

/// Clients that keep their connections and never ask twice.
struct Load {
    over: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
    clients: JoinSet<()>,
}

impl Load {
    fn new() -> Self {
        Self { over: Arc::default(), done: Arc::default(), failed: Arc::default(), clients: JoinSet::new() }
    }

    /// `request` says whether it went well.
    fn client<F: Future<Output = bool> + Send + 'static>(&mut self, request: impl Fn(u64) -> F + Send + 'static) {
        let (over, done, failed) = (self.over.clone(), self.done.clone(), self.failed.clone());
        self.clients.spawn(async move {
            for n in 0.. {
                if over.load(Relaxed) {
                    return;
                }
                let went_well = request(n).await;
                (if went_well { &done } else { &failed }).fetch_add(1, Relaxed);
            }
        });
    }

    /// So many that went well, and that did not.
    async fn end(self) -> (u64, u64) {
        self.over.store(true, Relaxed);
        timeout(PATIENCE, self.clients.join_all()).await.expect("the clients end");
        (self.done.load(Relaxed), self.failed.load(Relaxed))
    }
}

async fn status(http: &Http, method: Method, path: &str, body: String) -> Option<StatusCode> {
    let response = http.open(method, path, &[], body).await.ok()?;
    let status = response.status();
    response.into_body().collect().await.ok()?;
    Some(status)
}

#[tokio::test]
async fn no_request_fails_and_no_task_is_lost_or_ended_twice() {
    let blue = Agent::start("blue").await;
    let mut world = World::of(&format!("{FLEET}tasks: {{backoff: 0s}}\n")).await;
    let cards = vec![card(BLUE, Side::Blue, Some(blue.address)), card(GREEN, Side::Green, None)];
    world.done(GatewayIntent::Enrol { cards }).await;
    world.cut_over(BLUE).await;
    let mut load = Load::new();
    for _ in 0..4 {
        let http = Http::new(world.address);
        load.client(move |_| {
            let http = http.clone();
            async move { status(&http, Method::POST, "/a/a/x", "hello".to_owned()).await == Some(StatusCode::OK) }
        });
    }
    let submitted = Arc::new(AtomicU64::new(0));
    for client in 0..2 {
        let (http, submitted) = (Http::new(world.address), submitted.clone());
        load.client(move |n| {
            let (http, submitted) = (http.clone(), submitted.clone());
            async move {
                let task = format!(r#"{{"id":"{client}-{n}","agent":"a","prompt":"p"}}"#);
                let went_well = status(&http, Method::POST, "/tasks", task).await == Some(StatusCode::ACCEPTED);
                submitted.fetch_add(u64::from(went_well), Relaxed);
                sleep(Duration::from_millis(5)).await;
                went_well
            }
        });
    }
    let http = Http::new(world.address);
    load.client(move |_| {
        let http = http.clone();
        async move { work(&http).await }
    });
    for _ in 0..HAND_OVERS {
        world.hand_over().await;
        sleep(Duration::from_millis(20)).await;
    }
    let (done, failed) = load.end().await;
    println!("{HAND_OVERS} hand-overs: {done} requests answered, {failed} failed");
    assert_eq!(failed, 0);
    // What is left is worked off, and each has one end.
    while work_one(&world.http).await == Some(true) {}
    let mut ended = Vec::new();
    loop {
        let after = ended.len();
        let page = world.http.get(&format!("/completions?after={after}")).await.json();
        let page = page["completions"].as_array().unwrap().clone();
        if page.is_empty() {
            break;
        }
        ended.extend(page.iter().map(|end| end["id"].as_str().unwrap_or_default().to_owned()));
    }
    let all = ended.len() as u64;
    ended.sort();
    ended.dedup();
    assert_eq!((ended.len() as u64, all), (submitted.load(Relaxed), submitted.load(Relaxed)), "one end of each");
}

/// False if anything went wrong.
async fn work(http: &Http) -> bool {
    let worked = work_one(http).await;
    if worked == Some(false) {
        sleep(Duration::from_millis(2)).await;
    }
    worked.is_some()
}

/// Whether there was a task; none if something went wrong.
async fn work_one(http: &Http) -> Option<bool> {
    let response = http.open(Method::GET, "/i/token-1/api/tasks/next/worker", &[], "").await.ok()?;
    match response.status() {
        StatusCode::NO_CONTENT => return Some(false),
        StatusCode::OK => {}
        _ => return None,
    }
    let body = response.into_body().collect().await.ok()?.to_bytes();
    let task: serde_json::Value = serde_json::from_slice(&body).ok()?;
    let report = format!(r#"{{"task_id":{},"status":"completed","result":{{"r":1}}}}"#, task["id"]);
    let reported = status(http, Method::POST, "/i/token-1/api/tasks/complete", report).await;
    (reported == Some(StatusCode::OK)).then_some(true)
}

#[tokio::test]
async fn a_stream_spans_it_and_its_instance_is_not_empty_before_its_end() {
    let (blue, green) = (Agent::start("blue").await, Agent::start("green").await);
    let mut world = World::pushing(blue.address, green.address).await;
    let mut stream = world.http.open(Method::GET, "/a/a/stream", &[], "").await.unwrap();
    for (n, piece) in ["1\n", "2\n", "3\n"].into_iter().enumerate() {
        blue.feed.send(Bytes::from_static(piece.as_bytes())).await.unwrap();
        let frame = timeout(PATIENCE, stream.frame()).await.unwrap().unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), piece);
        match n {
            0 => {
                world.hand_over().await;
                assert_eq!(world.instance(BLUE).await.held, 1, "the one before has it");
            }
            1 => {
                world.cut_over(GREEN).await;
                assert_eq!(world.http.get("/a/a/x").await.text(), "green");
                let blue = world.instance(BLUE).await;
                assert!(blue.quiesced && blue.held == 1, "{blue:?}");
            }
            _ => {}
        }
    }
    blue.feed.send(Bytes::new()).await.unwrap();
    assert!(stream.frame().await.is_none());
    assert_eq!(world.empty(BLUE).await, 0);
}

#[tokio::test]
async fn at_the_drain_limit_what_the_one_before_has_is_cut_and_counted() {
    let (blue, green) = (Agent::start("blue").await, Agent::start("green").await);
    let mut world = World::pushing(blue.address, green.address).await;
    let mut stream = world.http.open(Method::GET, "/a/a/stream", &[], "").await.unwrap();
    blue.feed.send(Bytes::from_static(b"1")).await.unwrap();
    assert!(timeout(PATIENCE, stream.frame()).await.unwrap().unwrap().is_ok());
    world.hand_over().await;
    world.cut_over_with(GREEN, None, Millis(20)).await;
    assert_eq!(world.empty(BLUE).await, 1);
    assert!(timeout(PATIENCE, stream.frame()).await.unwrap().unwrap().is_err());
}

#[tokio::test]
async fn a_websocket_spans_it() {
    let (blue, green) = (websocket("blue").await, websocket("green").await);
    let mut world = World::pushing(blue, green).await;
    let stream = TcpStream::connect(world.address).await.unwrap();
    let (mut socket, _) =
        tokio_tungstenite::client_async(format!("ws://{}/a/a/ws", world.address), stream).await.unwrap();
    for n in 0..3 {
        socket.send(format!("{n}").into()).await.unwrap();
        let answer = timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(answer.into_text().unwrap().as_str(), format!("blue:{n}"));
        world.hand_over().await;
    }
    assert_eq!(world.instance(BLUE).await.held, 1, "told on from one to the next");
    world.cut_over(GREEN).await;
    socket.close(None).await.unwrap();
    while timeout(PATIENCE, socket.next()).await.unwrap().is_some_and(|it| it.is_ok()) {}
    drop(socket);
    assert_eq!(world.empty(BLUE).await, 0);
    world.elders_gone().await;
}

#[tokio::test]
async fn what_outlasts_its_time_is_cut() {
    let blue = Agent::start("blue").await;
    let mut world = World::pushing(blue.address, blue.address).await;
    let mut stream = world.http.open(Method::GET, "/a/a/stream", &[], "").await.unwrap();
    blue.feed.send(Bytes::from_static(b"1")).await.unwrap();
    assert!(timeout(PATIENCE, stream.frame()).await.unwrap().unwrap().is_ok());
    world.finish_within = Duration::from_millis(50);
    world.hand_over().await;
    assert!(timeout(PATIENCE, stream.frame()).await.unwrap().unwrap().is_err());
    world.elders_gone().await;
}

#[tokio::test]
async fn what_is_passed_on_is_not_cut_with_what_began_before() {
    let blue = Agent::start("blue").await;
    let mut world = World::pushing(blue.address, blue.address).await;
    let mut kept = TcpStream::connect(world.address).await.unwrap();
    kept.write_all(b"GET /tasks HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert!(timeout(PATIENCE, kept.read(&mut [0; 1024])).await.unwrap().unwrap() > 0);
    world.finish_within = Duration::from_millis(300);
    world.hand_over().await;
    kept.write_all(b"GET /a/a/stream HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut heard = Vec::new();
    for piece in ["first", "second", "third"] {
        blue.feed.send(Bytes::from_static(piece.as_bytes())).await.unwrap();
        while !String::from_utf8_lossy(&heard).contains(piece) {
            assert!(timeout(PATIENCE, kept.read_buf(&mut heard)).await.unwrap().unwrap() > 0, "before {piece}");
        }
        // Past the time that was given, and past the grace for what is cut.
        sleep(Duration::from_millis(800)).await;
    }
    blue.feed.send(Bytes::new()).await.unwrap();
    timeout(PATIENCE, kept.read_to_end(&mut heard)).await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&heard).ends_with("0\r\n\r\n"), "its proper end");
    world.elders_gone().await;
}

#[tokio::test]
async fn a_question_that_is_held_is_answered_and_asked_again() {
    let mut world = World::pulling().await;
    let question = world.held(BLUE).await;
    world.hand_over().await;
    assert_eq!(question.await.unwrap().status, StatusCode::NO_CONTENT);
    let again = held::ask(&world.http, BLUE);
    world.submit("t1").await;
    assert_eq!(again.await.unwrap().json()["id"], "t1");
}

#[tokio::test]
async fn a_request_whose_body_is_on_its_way_is_taken_by_whoever_has_the_store() {
    let mut world = World::pulling().await;
    let mut slow = TcpStream::connect(world.address).await.unwrap();
    let body = r#"{"id":"slow","agent":"a","prompt":"p"}"#;
    let head = format!("POST /tasks HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
    slow.write_all(head.as_bytes()).await.unwrap();
    slow.write_all(&body.as_bytes()[..10]).await.unwrap();
    // Its head is read when a later one is answered.
    assert_eq!(world.http.get("/tasks").await.status, StatusCode::OK);
    world.hand_over().await;
    slow.write_all(&body.as_bytes()[10..]).await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, slow.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    assert_eq!(world.next_id(BLUE).await.as_deref(), Some("slow"));
    world.elders_gone().await;
}

#[tokio::test]
async fn an_idle_connection_is_served_and_its_client_told_to_come_anew() {
    let mut world = World::pulling().await;
    let mut kept = TcpStream::connect(world.address).await.unwrap();
    for n in 0..2 {
        kept.write_all(b"GET /tasks HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut head = [0; 1024];
        let length = timeout(PATIENCE, kept.read(&mut head)).await.unwrap().unwrap();
        let head = String::from_utf8_lossy(&head[..length]).into_owned();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert_eq!(head.contains("connection: close"), n == 1, "{head}");
        if n == 0 {
            world.hand_over().await;
        }
    }
}

/// A model server that holds each generation until it is let go, and notes the most at once.
struct Slots {
    served: Served,
    go: Arc<Semaphore>,
    most: Arc<AtomicU32>,
    now: Arc<AtomicU32>,
}

impl Slots {
    async fn start() -> Self {
        let (go, most, now) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let (of_go, of_most, of_now) = (go.clone(), most.clone(), now.clone());
        let served = Served::start(move |asked| {
            let (go, most, now) = (of_go.clone(), of_most.clone(), of_now.clone());
            async move {
                let is_load = asked.body.is_empty() || asked.json().get("prompt").is_none();
                if !is_load {
                    most.fetch_max(now.fetch_add(1, Relaxed) + 1, Relaxed);
                    go.acquire().await.unwrap().forget();
                    now.fetch_sub(1, Relaxed);
                }
                (200, r#"{"response":"x","done":true}"#.to_owned())
            }
        })
        .await;
        Self { served, go, most, now }
    }
}

#[tokio::test]
async fn slots_are_never_exceeded_and_calls_that_wait_are_granted_by_the_new_one() {
    const CALLS: usize = 6;
    let model = Slots::start().await;
    let mut world = World::of(&FLEET.replace("127.0.0.1:9", &model.served.address.to_string())).await;
    world.done(GatewayIntent::Enrol { cards: vec![card(BLUE, Side::Blue, None)] }).await;
    world.cut_over(BLUE).await;
    let mut calls = JoinSet::new();
    for _ in 0..CALLS {
        let http = Http::new(world.address);
        let call = r#"{"model":"tinyllama","prompt":"p","stream":false}"#;
        calls.spawn(async move { http.post("/i/token-1/ollama/api/generate", call).await.status });
    }
    let (now, all) = (model.now.clone(), CALLS as u64);
    eventually("two are at work", || async { now.load(Relaxed) == 2 }).await;
    let world_ref = &world;
    eventually("all are there", || async { world_ref.instance(BLUE).await.held == all }).await;
    world.hand_over().await;
    sleep(Duration::from_millis(100)).await;
    assert_eq!(model.now.load(Relaxed), 2, "none more while the old one has both");
    for _ in 0..CALLS {
        model.go.add_permits(1);
        sleep(Duration::from_millis(30)).await;
    }
    while let Some(answered) = timeout(PATIENCE, calls.join_next()).await.expect("all are answered") {
        assert_eq!(answered.unwrap(), StatusCode::OK);
    }
    assert_eq!(model.most.load(Relaxed), 2, "never more than slots");
    world.elders_gone().await;
    let world_ref = &world;
    eventually("nothing is held", || async { world_ref.instance(BLUE).await.held == 0 }).await;
}

#[tokio::test]
async fn outcomes_of_the_one_before_are_in_the_records() {
    let blue = Agent::start("blue").await;
    let mut world = World::pushing(blue.address, blue.address).await;
    let http = world.http.clone();
    let slow = tokio::spawn(async move { http.get("/a/a/slow").await });
    eventually("blue has it", || async { !blue.seen.lock().unwrap().is_empty() }).await;
    world.hand_over().await;
    blue.go.notify_one();
    assert_eq!(slow.await.unwrap().text(), "blue");
    let counted = world
        .event(|event| match event {
            GatewayEvent::Second { record } => record.cells.into_iter().find(|cell| cell.pushes.succeeded > 0),
            _ => None,
        })
        .await;
    assert_eq!((counted.pushes.succeeded, counted.signs.trials), (1, 1));
}

#[tokio::test]
async fn a_task_that_is_being_brought_to_an_agent_ends_once() {
    let (go, brought) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicU32::new(0)));
    let (of_go, of_brought) = (go.clone(), brought.clone());
    let agent = Served::start(move |_| {
        let (go, brought) = (of_go.clone(), of_brought.clone());
        async move {
            brought.fetch_add(1, Relaxed);
            go.acquire().await.unwrap().forget();
            (200, r#"{"status":"success","result":{"response":"fine"},"agent":"a","capabilities":[]}"#.to_owned())
        }
    })
    .await;
    let mut world = World::of(&format!("{FLEET}tasks: {{backoff: 0s}}\n")).await;
    let pushed =
        |at: SocketAddr| InstanceCard { delivery: Delivery::Push { places: 1 }, ..card(BLUE, Side::Blue, Some(at)) };
    world.done(GatewayIntent::Enrol { cards: vec![pushed(agent.address)] }).await;
    world.cut_over(BLUE).await;
    world.submit("t1").await;
    eventually("it is brought", || async { brought.load(Relaxed) == 1 }).await;
    world.hand_over().await;
    sleep(Duration::from_millis(200)).await;
    assert_eq!(brought.load(Relaxed), 1, "not once more");
    go.add_permits(10);
    let shown = world.http.get("/tasks/t1?wait_ms=15000").await.json();
    assert_eq!((shown["state"].as_str(), shown["attempts"].as_u64()), (Some("completed"), Some(1)), "{shown}");
    world.submit("t2").await;
    let shown = world.http.get("/tasks/t2?wait_ms=15000").await.json();
    assert_eq!(shown["state"], "completed", "the new one brings the next: {shown}");
    assert_eq!(brought.load(Relaxed), 2);
}

/// A link to the gateway that serves, as an heir has one.
async fn as_heir(world: &World, heir: u64) -> Client<HeirAnswer> {
    let hello = Hello::new(PROTOCOL.0, PROTOCOL.1);
    let (link, _) = Client::<HeirAnswer>::connect::<()>(&world.heir_socket(), hello).await.unwrap();
    drop(link.send(&HeirAsk::Stay { heir }).await.unwrap());
    link
}

fn take_over(heir: u64, schema: i32) -> HeirAsk {
    HeirAsk::TakeOver { heir, schema, finish_within: Millis::from_secs(60) }
}

#[tokio::test]
async fn one_that_cannot_read_the_store_does_not_get_it() {
    let world = World::pulling().await;
    let link = as_heir(&world, 1).await;
    let answer = link.ask(&take_over(1, 1)).await.unwrap();
    assert!(matches!(&answer, HeirAnswer::Refused { reason } if reason.contains("schema")), "{answer:?}");
    world.submit("t1").await;
    assert_eq!(world.next_id(BLUE).await.as_deref(), Some("t1"), "as if nothing had happened");
}

#[tokio::test]
async fn an_heir_that_dies_with_the_store_is_followed_by_another_and_who_waited_is_answered() {
    let blue = Agent::start("blue").await;
    let mut world = World::pushing(blue.address, blue.address).await;
    let mut stream = world.http.open(Method::GET, "/a/a/stream", &[], "").await.unwrap();
    blue.feed.send(Bytes::from_static(b"1")).await.unwrap();
    assert!(timeout(PATIENCE, stream.frame()).await.unwrap().unwrap().is_ok());
    // A connection that is kept, so that what comes on it comes to the old one.
    let mut kept = TcpStream::connect(world.address).await.unwrap();
    kept.write_all(b"GET /tasks HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert!(timeout(PATIENCE, kept.read(&mut [0; 1024])).await.unwrap().unwrap() > 0);

    let link = as_heir(&world, 1).await;
    let HeirAnswer::Yours(estate) = link.ask(&take_over(1, i32::MAX)).await.unwrap() else { panic!("not given") };
    assert_eq!(estate.holding.instances.iter().map(|held| held.claims).sum::<u32>(), 1);
    let second = as_heir(&world, 2).await;
    assert_eq!(second.ask(&take_over(2, i32::MAX)).await.unwrap(), HeirAnswer::Busy, "one at a time");
    kept.write_all(b"POST /a/a/x HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi").await.unwrap();
    drop((link, second));

    world.hand_over().await;
    let mut answer = [0; 1024];
    let length = timeout(PATIENCE, kept.read(&mut answer)).await.unwrap().unwrap();
    assert!(answer[..length].starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer[..length]));
    assert_eq!(world.instance(BLUE).await.held, 1, "the stream is known");
    blue.feed.send(Bytes::new()).await.unwrap();
    assert!(stream.frame().await.is_none());
    let world_ref = &world;
    eventually("nothing is held", || async { world_ref.instance(BLUE).await.held == 0 }).await;
}

#[tokio::test]
async fn an_elder_that_is_ended_holds_nothing_any_more() {
    let (blue, green) = (Agent::start("blue").await, Agent::start("green").await);
    let mut world = World::pushing(blue.address, green.address).await;
    let mut stream = world.http.open(Method::GET, "/a/a/stream", &[], "").await.unwrap();
    blue.feed.send(Bytes::from_static(b"1")).await.unwrap();
    assert!(timeout(PATIENCE, stream.frame()).await.unwrap().unwrap().is_ok());
    world.hand_over().await;
    world.cut_over(GREEN).await;
    assert_eq!(world.instance(BLUE).await.held, 1);
    world.end_elders().await;
    assert!(timeout(PATIENCE, stream.frame()).await.unwrap().unwrap().is_err());
    assert_eq!(world.empty(BLUE).await, 0);
}

#[tokio::test]
async fn a_gateway_that_meets_one_being_taken_over_gives_up() {
    let world = World::pulling().await;
    let link = as_heir(&world, 1).await;
    assert!(matches!(link.ask(&take_over(1, i32::MAX)).await, Ok(HeirAnswer::Yours(_))));
    let mut config = world.config();
    config.heir = world.heir_socket().with_file_name("heir-other");
    let other = std::thread::spawn(move || bellwether_gateway::run(config, CancellationToken::new()));
    let ended = tokio::task::spawn_blocking(move || other.join().unwrap()).await.unwrap();
    assert!(matches!(ended, Err(Error::NotGiven(_))), "{ended:?}");
}

/// A gateway that has given everything away, or that does not answer, as far as an heir can see.
fn beside(world: &World, name: &str, serves: Option<bool>) -> (Server<HeirAnswer, ()>, Arc<AtomicU32>) {
    let listener = UnixListener::bind(world.heir_socket().with_file_name(name)).unwrap();
    let (server, mut requests) = Server::start(listener, Hello::new(PROTOCOL.0, PROTOCOL.1));
    let asked = Arc::new(AtomicU32::new(0));
    let asked_for_more = asked.clone();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Some((ask, tell)) = requests.recv().await {
            match (ask, serves) {
                (HeirAsk::Standing, Some(serves)) => {
                    drop(tell.send(HeirAnswer::Standing(Standing { serves, rank: 9, took_over: None })));
                }
                (ask, _) => {
                    asked_for_more.fetch_add(u32::from(ask != HeirAsk::Standing), Relaxed);
                    open.push(tell);
                }
            }
        }
    });
    (server, asked)
}

#[tokio::test]
async fn those_that_gave_way_are_not_asked_while_another_one_serves() {
    let mut world = World::pulling().await;
    // Whatever the order is in which the directory lists them, one of these comes first.
    let older: Vec<_> = (0..8).map(|n| beside(&world, &format!("heir-older{n}"), Some(false))).collect();
    world.hand_over().await;
    assert_eq!(older.iter().map(|(_, asked)| asked.load(Relaxed)).sum::<u32>(), 0);
    world.submit("t1").await;
    assert_eq!(world.next_id(BLUE).await.as_deref(), Some("t1"));
}

#[tokio::test]
async fn one_that_does_not_answer_is_waited_for_within_a_bound() {
    let mut world = World::pulling().await;
    let (_older, _) = beside(&world, "heir-stuck", None);
    let since = Instant::now();
    world.hand_over().await;
    assert!(since.elapsed() < Duration::from_secs(12), "{:?}", since.elapsed());
    world.submit("t1").await;
    assert_eq!(world.next_id(BLUE).await.as_deref(), Some("t1"));
}
