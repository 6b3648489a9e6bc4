//! Progress and checkpoints, and the second dialect.

use hyper::{Method, StatusCode};
use serde_json::json;

use crate::world::{Answer, BLUE, FLEET, World, card};
use bellwether_core::{id::Side, port::gateway::GatewayIntent};

impl World {
    async fn said(&self, path: &str, body: &str) -> StatusCode {
        self.http.post(&format!("/i/token-1/{path}"), body).await.status
    }

    async fn put(&self, id: &str, body: &str) -> Answer {
        self.http.call(Method::PUT, &format!("/i/token-1/api/v1/tasks/{id}/status"), &[], body).await
    }

    async fn tasks(&self, headers: &[(&str, &str)]) -> Vec<String> {
        let headers = [headers, &[("Prefer", "wait=0")]].concat();
        let answer = self.http.call(Method::GET, "/i/token-1/api/v1/agents/a/tasks", &headers, "").await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        let tasks = answer.json()["tasks"].as_array().unwrap().clone();
        tasks.iter().map(|task| task["id"].as_str().unwrap().to_owned()).collect()
    }
}

#[tokio::test]
async fn the_next_attempt_goes_on_from_the_checkpoint() {
    let mut world = World::of(&format!("{FLEET}tasks: {{backoff: 0s}}\n")).await;
    world.done(GatewayIntent::Enrol { cards: vec![card(BLUE, Side::Blue, None)] }).await;
    world.cut_over(BLUE).await;
    world.submit("t1").await;
    assert_eq!(world.next(BLUE).await.json().get("checkpoint"), None);
    let progress = r#"{"task_id":"t1","attempt":1,"checkpoint":{"page":3,"big":12345678901234567890123}}"#;
    assert_eq!(world.said("api/tasks/progress", progress).await, StatusCode::OK);
    assert_eq!(world.said("api/tasks/progress", r#"{"task_id":"t1"}"#).await, StatusCode::OK, "none is no news");
    assert_eq!(world.http.get("/tasks/t1").await.json()["checkpoint"], true);
    let failed = r#"{"task_id":"t1","attempt":1,"status":"failed","error":"broke"}"#;
    assert_eq!(world.http.post("/i/token-1/api/tasks/complete", failed).await.json()["status"], "retried");
    let second = world.next(BLUE).await;
    assert!(second.text().contains(r#""checkpoint":{"page":3,"big":12345678901234567890123}"#), "{}", second.text());
    assert_eq!(second.headers["x-bellwether-attempt"], "2");
    assert_eq!(world.said("api/tasks/progress", progress).await, StatusCode::CONFLICT, "of an attempt that is over");

    // A report of a failure keeps one too, and what restarts between does not lose it.
    let failed = r#"{"task_id":"t1","status":"failed","error":"broke","checkpoint":"half"}"#;
    assert_eq!(world.said("api/tasks/complete", failed).await, StatusCode::OK);
    world.restart().await;
    let third = world.next(BLUE).await.json();
    assert_eq!((&third["attempt"], &third["checkpoint"]), (&3.into(), &"half".into()));
    assert_eq!(world.complete(BLUE, "t1").await, StatusCode::OK);
    assert_eq!(world.said("api/tasks/progress", r#"{"task_id":"t1"}"#).await, StatusCode::CONFLICT);
    assert_eq!(world.said("api/tasks/progress", r#"{"task_id":"t2"}"#).await, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_checkpoint_has_its_bound() {
    let world = World::pulling().await;
    world.submit("t1").await;
    world.next_id(BLUE).await;
    let of = |bytes: usize| format!(r#"{{"task_id":"t1","checkpoint":"{}"}}"#, "x".repeat(bytes - 2));
    assert_eq!(world.said("api/tasks/progress", &of(65_537)).await, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(world.http.get("/tasks/t1").await.json()["checkpoint"], false);
    assert_eq!(world.said("api/tasks/progress", &of(65_536)).await, StatusCode::OK);
}

#[tokio::test]
async fn a_generated_agent_lives_its_life() {
    let world = World::pulling().await;
    let register = r#"{"agent_id":"a-1","agent_type":"worker","config":{"max_concurrent_tasks":2},"status":"online","timestamp":"1970-01-01T00:00:00Z"}"#;
    assert_eq!(world.said("api/v1/agents/register", register).await, StatusCode::OK);
    let beat = r#"{"agent_id":"a-1","status":"online","metrics":{"circuit_breaker_trips":1},"timestamp":"soon"}"#;
    assert_eq!(world.said("api/v1/agents/a/heartbeat", beat).await, StatusCode::OK);
    assert_eq!(
        world.http.get("/i/token-1/health").await.json()["heartbeat"]["metrics"],
        json!({"circuit_breaker_trips": 1})
    );
    assert_eq!(world.tasks(&[]).await, [""; 0]);
    for id in ["t1", "t2", "t3"] {
        world.submit(id).await;
    }
    assert_eq!(world.tasks(&[]).await, ["t1", "t2"], "as it registered");
    assert_eq!(world.tasks(&[]).await, [""; 0]);
    assert_eq!(world.put("t1", r#"{"task_id":"t1","status":"processing"}"#).await.json()["status"], "renewed");
    assert_eq!(
        world.put("t1", r#"{"status":"completed","result":{"response":"done"}}"#).await.json()["status"],
        "accepted"
    );
    assert_eq!(
        world.put("t1", r#"{"status":"completed","result":{"response":"done"}}"#).await.json()["status"],
        "repeated"
    );
    assert_eq!(world.put("t1", r#"{"status":"processing"}"#).await.status, StatusCode::CONFLICT);
    assert_eq!(world.put("t2", r#"{"status":"failed","error":"x"}"#).await.json()["status"], "retried");
    assert_eq!(world.tasks(&[("X-Bellwether-Tasks", "1")]).await, ["t3"]);
    assert_eq!(world.tasks(&[("X-Bellwether-Tasks", "1")]).await, ["t3"], "asked again, the same task again");
    assert_eq!(world.put("t1", r#"{"task_id":"t2","status":"completed"}"#).await.status, StatusCode::BAD_REQUEST);

    for (method, path) in [(Method::POST, "b/heartbeat"), (Method::GET, "b/tasks"), (Method::DELETE, "b")] {
        let answer = world.http.call(method, &format!("/i/token-1/api/v1/agents/{path}"), &[], "{}").await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
        assert_eq!(answer.json()["detail"], "this instance is of agent a");
    }
    let by_address = world.http.call(Method::GET, "/api/v1/agents/a/tasks", &[("Prefer", "wait=0")], "").await;
    assert_eq!(by_address.status, StatusCode::OK, "the address that was called names instance 1");
}

#[tokio::test]
async fn who_says_goodbye_gives_back_what_it_holds_and_gets_nothing_before_it_is_back() {
    let world = World::pulling().await;
    let once = r#"{"agent":"a","id":"t1","attempts":1}"#;
    assert_eq!(world.http.post("/tasks", once).await.status, StatusCode::ACCEPTED);
    assert_eq!(world.tasks(&[]).await, ["t1"]);
    let goodbye = world.http.call(Method::DELETE, "/i/token-1/api/v1/agents/a", &[], "").await;
    assert_eq!((goodbye.status, &goodbye.json()["status"]), (StatusCode::OK, &"unregistered".into()));
    let shown = world.http.get("/tasks/t1").await.json();
    assert_eq!((&shown["state"], &shown["error"]), (&"queued".into(), &"its holder was asked to end".into()));
    assert_eq!(world.put("t1", r#"{"status":"completed","result":"late"}"#).await.status, StatusCode::CONFLICT);
    assert_eq!(world.tasks(&[]).await, [""; 0]);
    assert_eq!(world.next_id(BLUE).await, None, "in either dialect");
    assert_eq!(world.observe().await.routes.len(), 1, "its route is not its own");
    assert_eq!(world.said("api/v1/agents/register", r#"{"agent_id":"a"}"#).await, StatusCode::OK);
    assert_eq!(world.tasks(&[]).await, ["t1"], "its one attempt was not used up");
}
