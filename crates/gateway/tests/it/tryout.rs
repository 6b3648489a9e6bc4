//! What an instance has to answer before it gets real tasks.

use std::collections::BTreeMap;

use bellwether_core::{
    id::InstanceId,
    port::gateway::{GatewayEvent, GatewayIntent},
};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    held::ask,
    world::{GREEN, World},
};

impl World {
    pub(crate) async fn try_out(&self, instance: u64) {
        let fields = BTreeMap::from([("prompt".to_owned(), "Reply with one word: ready".to_owned())]);
        self.done(GatewayIntent::TryOut { instance: InstanceId(instance), fields }).await;
    }

    /// The fault of the next answer that is told.
    pub(crate) async fn tried_out(&mut self, instance: u64) -> Option<String> {
        self.event(|event| match event {
            GatewayEvent::TriedOut { instance: which, fault } if which == InstanceId(instance) => Some(fault),
            _ => None,
        })
        .await
    }

    async fn answer(&self, task: &Value, rest: &str) -> StatusCode {
        let report = format!(r#"{{"task_id":{},"attempt":{},{rest}}}"#, task["id"], task["attempt"]);
        self.http.post(&format!("/i/token-{GREEN}/api/tasks/complete"), &report).await.status
    }
}

#[tokio::test]
async fn a_standby_is_tried_out_until_it_answers_well() {
    let mut world = World::pulling().await;
    let question = world.held(GREEN).await;
    world.try_out(GREEN).await;
    let first = question.await.unwrap().json();
    assert_eq!((&first["prompt"], &first["synthetic"]), (&"Reply with one word: ready".into(), &true.into()));
    let progress = format!(r#"{{"task_id":{},"checkpoint":1}}"#, first["id"]);
    let path = format!("/i/token-{GREEN}/api/tasks/progress");
    assert_eq!(world.http.post(&path, &progress).await.status, StatusCode::OK);
    assert_eq!(world.answer(&first, r#""status":"failed","error":"no model""#).await, StatusCode::OK);
    assert_eq!(world.tried_out(GREEN).await.unwrap(), "it reported a failure: no model");

    // After a pause, and without a question of ours in between.
    let second = ask(&world.http, GREEN).await.unwrap().json();
    assert_ne!(first["id"], second["id"]);
    assert_eq!(world.answer(&second, r#""status":"completed","result":{"response":" "}"#).await, StatusCode::OK);
    assert_eq!(world.tried_out(GREEN).await.unwrap(), "its result carries less than it must");
    assert!(!world.instance(GREEN).await.tried);

    let third = ask(&world.http, GREEN).await.unwrap().json();
    assert_eq!(world.answer(&third, r#""status":"completed","result":"ready""#).await, StatusCode::OK);
    assert_eq!(world.tried_out(GREEN).await, None);
    assert_eq!(world.answer(&third, r#""status":"completed","result":"ready""#).await, StatusCode::OK, "repeated");
    assert!(world.instance(GREEN).await.tried);
    world.try_out(GREEN).await;
    assert_eq!(world.tried_out(GREEN).await, None, "told again to who asks again");

    let counts = world.http.get("/tasks").await.json();
    let all: u64 = counts.as_object().unwrap().values().filter_map(Value::as_u64).sum();
    assert_eq!(all, 0, "{counts}");
    assert_eq!(world.http.get("/completions").await.json()["completions"], json!([]));
    assert_eq!(world.instance(GREEN).await.held, 0);
    let second = world.second().await;
    let of_green = second.cells.iter().filter(|cell| cell.tasks.completed + cell.tasks.failed > 0).count();
    assert_eq!(of_green, 0, "{second:?}");
    world.restart().await;
    assert!(!world.instance(GREEN).await.tried, "who wants to know asks again");
}

#[tokio::test]
async fn a_try_out_goes_before_real_tasks_and_by_the_other_dialect_too() {
    let mut world = World::pulling().await;
    world.submit("t1").await;
    world.try_out(1).await;
    let path = "/i/token-1/api/v1/agents/a/tasks";
    let tasks = world.http.call(Method::GET, path, &[("Prefer", "wait=0")], "").await.json();
    assert_eq!(tasks["tasks"].as_array().unwrap().len(), 1, "{tasks}");
    let task = &tasks["tasks"][0];
    assert_eq!(task["synthetic"], true);
    let id = task["id"].as_str().unwrap().replace('@', "%40");
    let status = format!("/i/token-1/api/v1/tasks/{id}/status");
    let put = |body: &'static str| world.http.call(Method::PUT, &status, &[], body);
    assert_eq!(put(r#"{"status":"processing"}"#).await.status, StatusCode::OK);
    assert_eq!(put(r#"{"status":"completed","result":"ready"}"#).await.status, StatusCode::OK);
    assert_eq!(world.tried_out(1).await, None);
    assert_eq!(world.next_id(1).await.as_deref(), Some("t1"));
}

#[tokio::test]
async fn nobody_is_tried_out_who_is_not_there() {
    let world = World::pulling().await;
    let fields = BTreeMap::new();
    let answer = world.intent(GatewayIntent::TryOut { instance: InstanceId(77), fields }).await;
    assert!(matches!(answer, bellwether_core::port::gateway::GatewayAnswer::Refused { .. }), "{answer:?}");
    let foreign = r#"{"task_id":"try-out@1-1","status":"completed","result":"ready"}"#;
    let answer = world.http.post("/i/token-1/api/tasks/complete", foreign).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
}
