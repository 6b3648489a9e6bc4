//! Model calls as a use of the instance that makes them. How they are admitted and passed on is tested beside it.

use std::sync::Arc;

use bellwether_core::{
    id::{InstanceId, Side},
    port::gateway::GatewayIntent,
    time::Millis,
};
use hyper::{Method, StatusCode};
use tokio::task::JoinHandle;

use crate::{
    agent::Agent,
    world::{Answer, BLUE, FLEET, GREEN, World, card, eventually},
};

const CALL: &str = r#"{"model":"tinyllama","prompt":"p","stream":false}"#;

/// Blue of `a` is active, and the model server answers when the test lets it.
pub(crate) async fn with_model() -> (World, Agent) {
    let model = Agent::start("generated").await;
    let mut world = World::of(&FLEET.replace("127.0.0.1:9", &model.address.to_string())).await;
    let cards = vec![card(BLUE, Side::Blue, None), card(GREEN, Side::Green, None)];
    world.done(GatewayIntent::Enrol { cards }).await;
    world.cut_over(BLUE).await;
    (world, model)
}

/// Returns when the model server has the call.
async fn generate(world: &World, model: &Agent, path: &'static str, task: &'static str) -> JoinHandle<Answer> {
    let http = world.http.clone();
    let call = tokio::spawn(async move { http.call(Method::POST, path, &[("x-bellwether-task", task)], CALL).await });
    let seen = Arc::clone(&model.seen);
    eventually("the model server has the call", || async {
        // The first is to load the model.
        seen.lock().unwrap().iter().filter(|head| head.uri.path() == "/api/generate").count() == 2
    })
    .await;
    call
}

#[tokio::test]
async fn a_retired_instance_is_not_empty_before_its_model_call_ended() {
    let (mut world, model) = with_model().await;
    let call = generate(&world, &model, "/i/token-1/ollama/api/generate", "none").await;
    world.cut_over(GREEN).await;
    let blue = world.instance(BLUE).await;
    assert!(blue.quiesced && blue.held == 1, "{blue:?}");
    model.go.notify_one();
    assert_eq!(call.await.unwrap().text(), "generated");
    assert_eq!(world.empty(BLUE).await, 0);
}

#[tokio::test]
async fn a_call_at_the_root_is_of_the_instance_that_was_addressed() {
    let (world, model) = with_model().await;
    let call = generate(&world, &model, "/api/generate", "none").await;
    assert_eq!(world.instance(BLUE).await.held, 1);
    model.go.notify_one();
    assert_eq!(call.await.unwrap().status, StatusCode::OK);
}

#[tokio::test]
async fn at_the_drain_limit_a_model_call_is_cut_and_its_lease_revoked() {
    let (mut world, model) = with_model().await;
    world.submit("t1").await;
    assert_eq!(world.next_id(BLUE).await.as_deref(), Some("t1"));
    assert_eq!(world.instance(BLUE).await.held, 1);
    let call = generate(&world, &model, "/i/token-1/ollama/api/generate", "t1").await;
    assert_eq!(world.instance(BLUE).await.held, 2, "a lease and a call");
    world.cut_over_with(GREEN, None, Millis(20)).await;
    assert_eq!(call.await.unwrap().status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(world.empty(BLUE).await, 2);
    let standby = world.http.get("/i/token-1/ollama/api/tags").await;
    assert_eq!(standby.text(), "generated", "what begins in standby is not cut");
}

#[tokio::test]
async fn an_instance_that_is_forgotten_is_cut_off_at_once() {
    let (world, model) = with_model().await;
    let call = generate(&world, &model, "/i/token-1/ollama/api/generate", "none").await;
    world.done(GatewayIntent::Retire { instances: vec![InstanceId(BLUE)] }).await;
    assert_eq!(call.await.unwrap().status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn who_is_no_instance_is_charged_under_the_name_that_the_call_carries() {
    // No model server is there; a call that fails is somebody's too.
    let mut world = World::new().await;
    let (token, agent) = (("authorization", "Bearer s3cret"), ("x-agent", "reviewer"));
    for (path, headers, account) in [
        ("/m/ci/api/generate", vec![token, agent], "client/ci"),
        ("/api/generate", vec![token, agent], "token/"),
        ("/m/ci/api/generate", vec![], "client/ci"),
        ("/api/generate", vec![agent], "client/reviewer"),
        ("/api/generate", vec![], "unidentified"),
    ] {
        let answer = world.http.call(Method::POST, path, &headers, CALL).await;
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{}", answer.text());
        let charged = loop {
            let cells = world.second().await.cells;
            // Its wait may stand in an earlier record than its end.
            if let Some(cell) = cells.into_iter().find(|cell| cell.calls.failed > 0) {
                break cell.agent;
            }
        };
        assert!(charged.as_str().starts_with(account), "{path} {headers:?}: {charged}");
    }
}

#[tokio::test]
async fn the_fleet_file_says_what_else_the_model_server_may_be_asked_for() {
    let asked = |allow: &'static str| async move {
        let model = Agent::start("done").await;
        let fleet = FLEET.replace("127.0.0.1:9\"", &format!("{}\"{allow}", model.address));
        let world = World::of(&fleet).await;
        let pulled = world.http.post("/api/pull", "{}").await.status;
        let cloud = r#"{"model":"gpt-oss:120b-cloud","prompt":"p"}"#;
        let generating = world.http.post("/api/generate", cloud);
        model.go.notify_one();
        let seen = (pulled, generating.await.status);
        (seen, model.seen.lock().unwrap().iter().filter(|head| head.method == Method::POST).count())
    };
    let (ok, no) = (StatusCode::OK, StatusCode::FORBIDDEN);
    assert_eq!(asked("").await, ((no, no), 0));
    assert_eq!(asked(", allow: {manage: true}").await, ((ok, no), 1));
    assert_eq!(asked(", allow: {cloud: true}").await, ((no, ok), 1), "and nothing is loaded for it");
}

#[tokio::test]
async fn metrics_and_breakers_can_be_looked_at_and_a_breaker_be_set_by_hand() {
    let (world, model) = with_model().await;
    let call = generate(&world, &model, "/i/token-1/ollama/api/generate", "none").await;
    model.go.notify_one();
    assert_eq!(call.await.unwrap().status, StatusCode::OK);
    let line = r#"bellwether_model_calls_total{agent="a",side="blue",model="tinyllama:latest",outcome="succeeded"} 1"#;
    eventually("the call is counted", || async {
        world.http.call(Method::GET, "/metrics", &[], "").await.text().contains(line)
    })
    .await;

    let set = |path: &'static str, body: &'static str| world.http.call(Method::PUT, path, &[], body);
    let wrong = set("/breakers/a/blue", r#"{"state":"ajar"}"#).await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
    assert!(wrong.text().contains("forced_open"), "{}", wrong.text());
    assert_eq!(set("/breakers/a/red", r#"{"state":"closed"}"#).await.status, StatusCode::NOT_FOUND);
    assert_eq!(set("/breakers/a/blue", r#"{"state":"forced_open"}"#).await.status, StatusCode::OK);
    let refused = world.http.call(Method::POST, "/i/token-1/ollama/api/generate", &[], CALL).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    let shown = world.http.call(Method::GET, "/breakers", &[], "").await;
    let shown = shown.text();
    assert!(shown.contains(r#""name":"a/blue","state":"forced_open""#) && shown.contains("server/http://"), "{shown}");
}
