//! Agents that get their tasks brought.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use bellwether_core::{
    id::{InstanceId, Side},
    port::gateway::{GatewayIntent, InstanceCard},
    spec::Delivery,
    time::Millis,
};
use hyper::{Method, StatusCode};
use serde_json::json;
use tokio::sync::Semaphore;

use crate::{
    served::{Asked, Reply, Served},
    world::{BLUE, FLEET, GREEN, World, card, eventually, nowhere},
};

fn pushed(instance: u64, side: Side, at: SocketAddr, places: u32) -> InstanceCard {
    InstanceCard { delivery: Delivery::Push { places }, ..card(instance, side, Some(at)) }
}

impl World {
    /// With blue of `a` active, and green ready.
    async fn bringing(blue: SocketAddr, green: SocketAddr, places: u32) -> Self {
        let mut world = Self::of(&format!("{FLEET}tasks: {{backoff: 0s}}\n")).await;
        let cards = vec![pushed(BLUE, Side::Blue, blue, places), pushed(GREEN, Side::Green, green, places)];
        world.done(GatewayIntent::Enrol { cards }).await;
        world.cut_over(BLUE).await;
        world
    }

    async fn ends(&self, id: &str, state: &str) -> serde_json::Value {
        let shown = self.http.get(&format!("/tasks/{id}?wait_ms=15000")).await.json();
        assert_eq!(shown["state"], state, "{shown}");
        shown
    }
}

async fn fine() -> Reply {
    (200, r#"{"status":"success","result":{"response":"fine"},"agent":"a","capabilities":[]}"#.to_owned())
}

/// An agent whose requests wait until they are let go, and that sees how many were given up.
struct Slow {
    served: Served,
    go: Arc<Semaphore>,
    given_up: Arc<AtomicU32>,
}

struct Unanswered(Arc<AtomicU32>);

impl Drop for Unanswered {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Slow {
    async fn start() -> Self {
        let (go, given_up) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicU32::new(0)));
        let state = (go.clone(), given_up.clone());
        let served = Served::start(move |_| {
            let (go, given_up) = state.clone();
            async move {
                let unanswered = Unanswered(given_up);
                go.acquire().await.unwrap().forget();
                std::mem::forget(unanswered);
                fine().await
            }
        })
        .await;
        Self { served, go, given_up }
    }

    async fn gave_up(&self) {
        eventually("the request was given up", || async { self.given_up.load(Ordering::Relaxed) == 1 }).await;
    }
}

#[tokio::test]
async fn a_task_is_brought_in_the_form_of_push_agents() {
    let agent = Served::start(|_| fine()).await;
    let world = World::bringing(agent.address, nowhere(), 1).await;
    let task = r#"{"agent":"a","id":"t1","prompt":"do it","temperature":0.10,"traceparent":"00-ab-cd-01"}"#;
    assert_eq!(world.http.post("/tasks", task).await.status, StatusCode::ACCEPTED);
    let shown = world.ends("t1", "completed").await;
    assert_eq!(shown["result"], json!({"response": "fine"}));
    let seen = agent.seen();
    let [it] = seen.as_slice() else { panic!("{seen:?}") };
    assert_eq!(it.line(), "POST /execute");
    let context = json!({"agent": "a", "attempt": 1, "id": "t1", "traceparent": "00-ab-cd-01", "type": "worker"});
    assert_eq!(it.json(), json!({"task": "do it", "context": context, "parameters": {"temperature": 0.10}}));
    let headers =
        ["x-bellwether-task", "x-bellwether-attempt", "traceparent", "content-type"].map(|name| it.header(name));
    assert_eq!(headers, [Some("t1"), Some("1"), Some("00-ab-cd-01"), Some("application/json")]);
    assert_eq!(world.next_id(BLUE).await, None, "who gets its tasks brought does not find them");
    assert!(world.instance(BLUE).await.polled, "but its question was seen");
}

#[tokio::test]
async fn what_fails_is_tried_again_unless_that_would_not_mend_it() {
    let count = Arc::new(AtomicU32::new(0));
    let agent = Served::start(move |asked: Asked| {
        let n = count.fetch_add(1, Ordering::Relaxed);
        async move {
            match asked.json()["task"].as_str().unwrap() {
                "flaky" if n == 0 => (500, "{\"detail\":\"broke\"}".to_owned()),
                "refused" => (422, r#"{"detail":"no such field"}"#.to_owned()),
                "empty" => (200, r#"{"status":"success","result":""}"#.to_owned()),
                "failing" => (200, r#"{"status":"error","error":"no model"}"#.to_owned()),
                _ => fine().await,
            }
        }
    })
    .await;
    let world = World::bringing(agent.address, nowhere(), 1).await;
    for (task, state, attempts, error) in [
        ("flaky", "completed", 2, None),
        ("refused", "failed", 1, Some("no such field")),
        ("failing", "failed", 3, Some("no model")),
        ("empty", "failed", 3, None),
    ] {
        let submitted = format!(r#"{{"agent":"a","id":"{task}","prompt":"{task}"}}"#);
        assert_eq!(world.http.post("/tasks", &submitted).await.status, StatusCode::ACCEPTED);
        let shown = world.ends(task, state).await;
        assert_eq!(shown["attempts"], attempts, "{shown}");
        if let Some(error) = error {
            assert_eq!(shown["error"], error);
        }
    }
}

#[tokio::test]
async fn so_many_at_once_as_there_are_places() {
    let agent = Slow::start().await;
    let world = World::bringing(agent.served.address, nowhere(), 2).await;
    for id in ["t1", "t2", "t3"] {
        world.submit(id).await;
    }
    agent.served.saw(2).await;
    assert_eq!(world.http.get("/tasks").await.json()["leased"], 2);
    assert_eq!(agent.served.seen().len(), 2);
    agent.go.add_permits(3);
    for id in ["t1", "t2", "t3"] {
        world.ends(id, "completed").await;
    }
}

#[tokio::test]
async fn what_never_reached_the_agent_costs_no_attempt() {
    let at = nowhere();
    let world = World::bringing(at, nowhere(), 1).await;
    let once = r#"{"agent":"a","id":"t1","attempts":1}"#;
    assert_eq!(world.http.post("/tasks", once).await.status, StatusCode::ACCEPTED);
    let came_back = || async { world.http.get("/tasks/t1").await.json()["error"] == "it did not reach its holder" };
    eventually("it was tried", came_back).await;
    let _agent = Served::at(at, |_| fine()).await;
    world.ends("t1", "completed").await;
}

#[tokio::test]
async fn after_its_relief_it_ends_what_it_has_and_the_heir_gets_the_rest() {
    let (blue, green) = (Slow::start().await, Served::start(|_| fine()).await);
    let mut world = World::bringing(blue.served.address, green.address, 1).await;
    world.submit("t1").await;
    world.submit("t2").await;
    blue.served.saw(1).await;
    world.cut_over(GREEN).await;
    assert_eq!(world.ends("t2", "completed").await["served"], "green");
    blue.go.add_permits(1);
    assert_eq!(world.ends("t1", "completed").await["served"], "blue");
    assert_eq!(world.empty(BLUE).await, 0);
    assert_eq!((blue.served.seen().len(), green.seen().len()), (1, 1));
}

#[tokio::test]
async fn at_the_drain_limit_it_is_cut_and_the_heir_begins_anew() {
    let (blue, green) = (Slow::start().await, Served::start(|_| fine()).await);
    let mut world = World::bringing(blue.served.address, green.address, 1).await;
    world.submit("t1").await;
    blue.served.saw(1).await;
    world.cut_over_with(GREEN, None, Millis(50)).await;
    assert_eq!(world.empty(BLUE).await, 1, "counted once");
    blue.gave_up().await;
    assert_eq!(world.ends("t1", "completed").await["served"], "green");
    assert_eq!(green.seen()[0].header("x-bellwether-attempt"), Some("2"));
}

#[tokio::test]
async fn a_task_that_is_cancelled_is_taken_from_its_holder() {
    let agent = Slow::start().await;
    let world = World::bringing(agent.served.address, nowhere(), 1).await;
    world.submit("t1").await;
    agent.served.saw(1).await;
    assert_eq!(world.http.call(Method::DELETE, "/tasks/t1", &[], "").await.status, StatusCode::OK);
    agent.gave_up().await;
    agent.go.add_permits(1);
    world.submit("t2").await;
    world.ends("t2", "completed").await;
}

#[tokio::test]
async fn a_gateway_that_restarts_brings_what_was_under_way_again() {
    let agent = Slow::start().await;
    let mut world = World::bringing(agent.served.address, nowhere(), 2).await;
    let once = r#"{"agent":"a","id":"t1","attempts":1}"#;
    assert_eq!(world.http.post("/tasks", once).await.status, StatusCode::ACCEPTED);
    agent.served.saw(1).await;
    world.restart().await;
    agent.served.saw(2).await;
    agent.go.add_permits(2);
    assert_eq!(world.ends("t1", "completed").await["attempts"], 2);
    assert_eq!(world.http.get("/completions").await.json()["next"], 1);
}

#[tokio::test]
async fn a_standby_is_tried_out_by_what_is_brought_to_it() {
    let count = Arc::new(AtomicU32::new(0));
    let green = Served::start(move |asked: Asked| {
        let n = count.fetch_add(1, Ordering::Relaxed);
        async move {
            assert_eq!(asked.json()["context"]["synthetic"], true);
            match n {
                0 => (503, r#"{"detail":"loading"}"#.to_owned()),
                _ => fine().await,
            }
        }
    })
    .await;
    let blue = Served::start(|_| fine()).await;
    let mut world = World::bringing(blue.address, green.address, 3).await;
    world.try_out(GREEN).await;
    assert_eq!(world.tried_out(GREEN).await.unwrap(), "it reported a failure: loading");
    assert_eq!(world.tried_out(GREEN).await, None);
    assert_eq!(green.seen().len(), 2);
    assert!(!world.instance(GREEN).await.polled, "it has no loop");
    world.submit("t1").await;
    world.ends("t1", "completed").await;
    assert_eq!(green.seen().len(), 2, "standby gets nothing that is real");
}

#[tokio::test]
async fn a_try_out_waits_for_an_agent_that_is_still_starting() {
    let at = nowhere();
    let mut world = World::bringing(nowhere(), at, 3).await;
    world.try_out(GREEN).await;
    let _green = Served::at(at, |_| fine()).await;
    assert_eq!(world.tried_out(GREEN).await, None);
}

#[tokio::test]
async fn nothing_is_brought_to_who_was_removed() {
    let (blue, green) = (Served::start(|_| fine()).await, Slow::start().await);
    let mut world = World::bringing(blue.address, green.served.address, 1).await;
    world.cut_over(GREEN).await;
    world.submit("t1").await;
    green.served.saw(1).await;
    world.cut_over(BLUE).await;
    world.done(GatewayIntent::Retire { instances: vec![InstanceId(GREEN)] }).await;
    green.gave_up().await;
    assert_eq!(world.ends("t1", "completed").await["served"], "blue");
}
