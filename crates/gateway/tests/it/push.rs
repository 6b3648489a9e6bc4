//! Requests that are pushed to an agent.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

use bellwether_core::{
    id::{InstanceId, Side},
    port::gateway::{GatewayEvent, GatewayIntent},
    time::Millis,
};
use http_body_util::BodyExt;
use hyper::{Method, StatusCode};

use crate::{
    agent::Agent,
    world::{BLUE, GREEN, Http, World, card, eventually, nowhere},
};

#[tokio::test]
async fn a_request_passes_as_it_is_less_what_concerns_one_connection() {
    let blue = Agent::start("blue").await;
    let world = World::pushing(blue.address, nowhere()).await;
    let headers =
        [("connection", "x-mine"), ("x-mine", "1"), ("te", "trailers"), ("x-yours", "2"), ("host", "shop.example")];
    let answer = world.http.call(Method::PUT, "/a/a/deep/er%2Fpath?q=%20a&b", &headers, "body").await;
    assert_eq!((answer.status, answer.text()), (StatusCode::OK, "blue"));
    assert!(!answer.headers.contains_key("x-private"), "named by the agent's connection header");
    let seen = blue.seen.lock().unwrap();
    let head = &seen[0];
    assert_eq!((head.method.as_str(), head.uri.to_string().as_str()), ("PUT", "/deep/er%2Fpath?q=%20a&b"));
    let mut names: Vec<&str> = head.headers.keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["content-length", "host", "x-yours"], "nothing is added");
    assert_eq!(head.headers["host"], "shop.example");
}

#[tokio::test]
async fn paths_that_lead_nowhere_say_so() {
    let world = World::pulling().await;
    assert_eq!(world.http.get("/a/nobody/x").await.status, StatusCode::NOT_FOUND);
    let no_server = world.http.get("/a/a/x").await;
    assert_eq!(no_server.status, StatusCode::NOT_FOUND);
    assert_eq!(no_server.json()["detail"], "this agent takes no pushed requests");
}

#[tokio::test]
async fn a_request_waits_for_the_first_instance_to_be_ready() {
    let blue = Agent::start("blue").await;
    let mut world = World::new().await;
    let cards = vec![card(BLUE, Side::Blue, Some(blue.address))];
    world.done(GatewayIntent::Enrol { cards }).await;
    let http = world.http.clone();
    let waiting = tokio::spawn(async move { http.post("/a/a/x", "hello").await.status });
    eventually("the request is there", || async { !waiting.is_finished() }).await;
    world.cut_over(BLUE).await;
    assert_eq!(waiting.await.unwrap(), StatusCode::OK);
}

#[tokio::test]
async fn a_request_to_an_instance_that_died_goes_to_its_fallback() {
    let blue = Agent::start("blue").await;
    let mut world = World::pushing(blue.address, nowhere()).await;
    world.cut_over_with(GREEN, Some(BLUE), Millis::from_mins(1)).await;
    let http = world.http.clone();
    let waiting = tokio::spawn(async move { http.post("/a/a/x", "hello").await });
    world.done(GatewayIntent::Lost { instance: InstanceId(GREEN), asked: false }).await;
    assert_eq!(waiting.await.unwrap().text(), "blue");
}

#[tokio::test]
async fn an_instance_that_comes_back_at_its_address_is_found_again() {
    let address = nowhere();
    let world = World::pushing(address, nowhere()).await;
    let http = world.http.clone();
    let waiting = tokio::spawn(async move { http.post("/a/a/x", "hello").await });
    let _blue = Agent::at("blue", address).await;
    assert_eq!(waiting.await.unwrap().text(), "blue");
}

#[tokio::test]
async fn a_connection_is_used_again_and_not_kept_for_a_retired_instance() {
    let (blue, green) = (Agent::start("blue").await, Agent::start("green").await);
    let mut world = World::pushing(blue.address, green.address).await;
    for _ in 0..3 {
        assert_eq!(world.http.get("/a/a/x").await.text(), "blue");
    }
    world.cut_over(GREEN).await;
    assert_eq!(world.http.get("/a/a/x").await.text(), "green");
    assert_eq!(world.empty(BLUE).await, 0);
}

#[tokio::test]
async fn a_retired_instance_finishes_what_it_has_and_is_then_empty() {
    let (blue, green) = (Agent::start("blue").await, Agent::start("green").await);
    let mut world = World::pushing(blue.address, green.address).await;
    let http = world.http.clone();
    let slow = tokio::spawn(async move { http.get("/a/a/slow").await });
    eventually("blue has it", || async { !blue.seen.lock().unwrap().is_empty() }).await;
    world.cut_over(GREEN).await;
    assert_eq!(world.instance(BLUE).await.held, 1);
    blue.go.notify_one();
    assert_eq!(slow.await.unwrap().text(), "blue");
    assert_eq!(world.empty(BLUE).await, 0);
}

#[tokio::test]
async fn at_the_drain_limit_a_request_is_cut_and_counted() {
    let (blue, green) = (Agent::start("blue").await, Agent::start("green").await);
    let mut world = World::pushing(blue.address, green.address).await;
    let http = world.http.clone();
    let slow = tokio::spawn(async move { http.get("/a/a/slow").await });
    eventually("blue has it", || async { !blue.seen.lock().unwrap().is_empty() }).await;
    world.cut_over_with(GREEN, None, Millis(20)).await;
    assert_eq!(slow.await.unwrap().status, StatusCode::BAD_GATEWAY);
    assert_eq!(world.empty(BLUE).await, 1);
}

#[tokio::test]
async fn outcomes_are_counted() {
    let blue = Agent::start("blue").await;
    let mut world = World::pushing(blue.address, nowhere()).await;
    world.http.get("/a/a/x").await;
    world.http.get("/a/a/fails").await;
    let mut broken = world.http.open(Method::GET, "/a/a/broken", &[], "").await.unwrap();
    blue.feed.send("half".into()).await.unwrap();
    assert_eq!(broken.frame().await.unwrap().unwrap().into_data().unwrap(), "half");
    blue.feed.send("".into()).await.unwrap();
    assert!(broken.frame().await.unwrap().is_err(), "broken off is seen as broken off");
    let (mut succeeded, mut failed) = (0, 0);
    while succeeded + failed < 3 {
        let cells = world
            .event(|event| match event {
                GatewayEvent::Second { record } => Some(record.cells),
                _ => None,
            })
            .await;
        succeeded += cells.iter().map(|cell| cell.pushes.succeeded).sum::<u64>();
        failed += cells.iter().map(|cell| cell.pushes.failed).sum::<u64>();
    }
    assert_eq!((succeeded, failed), (1, 2));
}

#[tokio::test]
async fn a_hundred_cutovers_under_load_fail_nothing() {
    const CLIENTS: usize = 8;
    let (blue, green) = (Agent::start("blue").await, Agent::start("green").await);
    let mut world = World::pushing(blue.address, green.address).await;
    let (stop, requests) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|n| {
            let (http, stop, requests) = (Http::new(world.address), stop.clone(), requests.clone());
            tokio::spawn(async move {
                let mut failures = Vec::new();
                while !stop.load(Relaxed) {
                    let said = format!("{n}:{}", requests.fetch_add(1, Relaxed));
                    let answer = http.call(Method::POST, "/a/a/echo", &[], &said).await;
                    if answer.status != StatusCode::OK || answer.text() != said {
                        failures.push(format!("{}: {}", answer.status, answer.text()));
                    }
                }
                failures
            })
        })
        .collect();
    for n in 0..100 {
        let so_far = requests.load(Relaxed);
        world.cut_over(if n % 2 == 0 { GREEN } else { BLUE }).await;
        eventually("clients go on", || async { requests.load(Relaxed) > so_far + CLIENTS as u64 }).await;
    }
    stop.store(true, Relaxed);
    let mut failures = Vec::new();
    for client in clients {
        failures.extend(client.await.unwrap());
    }
    assert!(failures.is_empty(), "{} of {} failed: {:?}", failures.len(), requests.load(Relaxed), &failures[..1]);
    assert!(blue.seen.lock().unwrap().len() > 100 && green.seen.lock().unwrap().len() > 100);
    // Both were retired dozens of times; whoever is now must be empty.
    world.cut_over(GREEN).await;
    eventually("blue is empty", || async { world.instance(BLUE).await.held == 0 }).await;
}
