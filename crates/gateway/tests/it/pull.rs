//! Agents that pull tasks by the seed's protocol.

use bellwether_core::{
    id::{Generation, InstanceId},
    port::gateway::{GatewayEvent, GatewayIntent, Move},
    time::Millis,
};
use hyper::{Method, StatusCode};

use crate::world::{Answer, BLUE, GREEN, World};

impl World {
    pub(crate) async fn submit(&self, id: &str) {
        let answer = self.http.post("/tasks", &format!(r#"{{"agent":"a","id":"{id}","prompt":"p"}}"#)).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
    }

    /// The answer of the moment: the question is not held open.
    pub(crate) async fn next(&self, instance: u64) -> Answer {
        let path = format!("/i/token-{instance}/api/tasks/next/worker");
        self.http.call(Method::GET, &path, &[("Prefer", "wait=0")], "").await
    }

    pub(crate) async fn next_id(&self, instance: u64) -> Option<String> {
        let answer = self.next(instance).await;
        match answer.status {
            StatusCode::OK => Some(answer.json()["id"].as_str().unwrap().to_owned()),
            StatusCode::NO_CONTENT => None,
            other => panic!("{other}: {}", answer.text()),
        }
    }

    pub(crate) async fn complete(&self, instance: u64, id: &str) -> StatusCode {
        let report = format!(r#"{{"task_id":"{id}","agent_name":"a","status":"completed","result":"done"}}"#);
        self.http.post(&format!("/i/token-{instance}/api/tasks/complete"), &report).await.status
    }

    pub(crate) async fn state_of(&self, id: &str) -> String {
        self.http.get(&format!("/tasks/{id}")).await.json()["state"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn an_agent_of_the_seed_lives_its_life() {
    let mut world = World::pulling().await;
    let register = r#"{"agent_name":"a","agent_type":"worker","capabilities":[],"status":"active"}"#;
    assert_eq!(world.http.post("/i/token-1/api/agents/register", register).await.status, StatusCode::OK);
    let beat = r#"{"agent_name":"a","status":"active","tasks_processed":3}"#;
    assert_eq!(world.http.post("/i/token-1/api/agents/heartbeat", beat).await.status, StatusCode::OK);
    assert_eq!(world.next(BLUE).await.status, StatusCode::NO_CONTENT);
    let polled = world.event(|event| matches!(event, GatewayEvent::Polled { .. }).then_some(event)).await;
    assert_eq!(polled, GatewayEvent::Polled { instance: InstanceId(BLUE) });

    world.submit("t1").await;
    assert_eq!(world.state_of("t1").await, "queued");
    let task = world.next(BLUE).await;
    assert_eq!(task.json(), serde_json::json!({"id": "t1", "agent": "a", "prompt": "p", "attempt": 1}));
    assert_eq!(
        (&task.headers["x-bellwether-task"], &task.headers["x-bellwether-attempt"]),
        (&"t1".parse().unwrap(), &"1".parse().unwrap())
    );
    assert_eq!(world.state_of("t1").await, "leased");
    assert_eq!(world.instance(BLUE).await.held, 1);
    assert_eq!(world.complete(BLUE, "t1").await, StatusCode::OK);
    assert_eq!(world.complete(BLUE, "t1").await, StatusCode::OK, "repeated");
    assert_eq!(world.complete(GREEN, "t1").await, StatusCode::CONFLICT);
    assert_eq!(world.complete(BLUE, "unknown").await, StatusCode::NOT_FOUND);
    assert_eq!(world.instance(BLUE).await.held, 0);

    let shown = world.http.get("/tasks/t1").await.json();
    assert_eq!(
        (&shown["state"], &shown["result"], &shown["served"]),
        (&"completed".into(), &"done".into(), &"blue".into())
    );
    let ends = world.http.get("/completions?after=0").await.json();
    assert_eq!(ends["completions"].as_array().unwrap().len(), 1, "one entry, however often it was said");
    assert_eq!((&ends["completions"][0]["id"], &ends["next"]), (&"t1".into(), &1.into()));
    let health = world.http.get("/i/token-1/health").await.json();
    assert_eq!((&health["active"], &health["heartbeat"]["tasks_processed"]), (&true.into(), &3.into()));
}

#[tokio::test]
async fn a_cutover_in_the_middle_of_a_lease_leaves_it_with_its_holder() {
    let mut world = World::pulling().await;
    world.submit("t1").await;
    world.submit("t2").await;
    assert_eq!(world.next_id(BLUE).await.as_deref(), Some("t1"));
    assert_eq!(world.next_id(GREEN).await, None);
    world.cut_over(GREEN).await;
    let blue = world.instance(BLUE).await;
    assert!(blue.quiesced && blue.held == 1, "{blue:?}");
    assert_eq!(world.next_id(GREEN).await.as_deref(), Some("t2"));
    assert_eq!(world.next_id(BLUE).await.as_deref(), Some("t1"), "asked again, the same task again");
    assert_eq!(world.complete(BLUE, "t1").await, StatusCode::OK);
    assert_eq!(world.empty(BLUE).await, 0);
    assert_eq!(world.next_id(BLUE).await, None);
    assert_eq!(world.complete(GREEN, "t2").await, StatusCode::OK);
}

#[tokio::test]
async fn at_the_drain_limit_a_lease_is_revoked_and_goes_to_green() {
    let mut world = World::pulling().await;
    world.submit("t1").await;
    assert_eq!(world.next_id(BLUE).await.as_deref(), Some("t1"));
    world.cut_over_with(GREEN, None, Millis(50)).await;
    assert_eq!(world.empty(BLUE).await, 1);
    assert_eq!(world.complete(BLUE, "t1").await, StatusCode::CONFLICT);
    assert_eq!(world.next(GREEN).await.json()["attempt"], 2);
    assert_eq!(world.complete(BLUE, "t1").await, StatusCode::CONFLICT, "granted again");
    assert_eq!(world.complete(GREEN, "t1").await, StatusCode::OK);
}

#[tokio::test]
async fn a_blamed_instance_loses_its_leases_with_the_cutover() {
    let world = World::pulling().await;
    world.submit("t1").await;
    world.next_id(BLUE).await;
    let moves = vec![Move { agent: "a".into(), to: InstanceId(GREEN), fallback: None }];
    let drain = Millis::from_mins(10);
    world.done(GatewayIntent::CutOver { generation: Generation(2), moves, drain, revoke: true }).await;
    assert_eq!(world.next_id(GREEN).await.as_deref(), Some("t1"));
    assert_eq!(world.complete(BLUE, "t1").await, StatusCode::CONFLICT);
}

#[tokio::test]
async fn a_dead_green_falls_back_to_its_warm_blue_and_its_task_goes_along() {
    let mut world = World::pulling().await;
    world.cut_over_with(GREEN, Some(BLUE), Millis::from_mins(10)).await;
    world.submit("t1").await;
    assert_eq!(world.next_id(GREEN).await.as_deref(), Some("t1"));
    world.done(GatewayIntent::Lost { instance: InstanceId(GREEN), asked: false }).await;
    let fell_back = world.event(|event| matches!(event, GatewayEvent::FellBack { .. }).then_some(event)).await;
    let (from, to) = (InstanceId(GREEN), InstanceId(BLUE));
    assert_eq!(fell_back, GatewayEvent::FellBack { agent: "a".into(), from, to, generation: Generation(3) });
    assert_eq!(world.next_id(BLUE).await.as_deref(), Some("t1"));
    assert_eq!(world.observe().await.routes[0].active, to);
}

#[tokio::test]
async fn an_agent_of_many_places_holds_that_many() {
    let world = World::pulling().await;
    for id in ["t1", "t2", "t3", "t4"] {
        world.submit(id).await;
    }
    let of_two = [("X-Bellwether-Tasks", "2"), ("Prefer", "wait=0")];
    let ask = || world.http.call(Method::GET, "/i/token-1/api/tasks/next/worker", &of_two, "");
    assert_eq!(ask().await.json()["id"], "t1");
    assert_eq!(ask().await.json()["id"], "t2");
    assert_eq!(ask().await.status, StatusCode::NO_CONTENT);
    let register = r#"{"agent_name":"a","agent_type":"worker","max_concurrent_tasks":3}"#;
    assert_eq!(world.http.post("/i/token-1/api/agents/register", register).await.status, StatusCode::OK);
    assert_eq!(world.next_id(BLUE).await.as_deref(), Some("t3"), "as it registered");
    let wrong =
        world.http.call(Method::GET, "/i/token-1/api/tasks/next/worker", &[("X-Bellwether-Tasks", "no")], "").await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn what_ended_is_counted_by_what_it_carried() {
    let mut world = World::pulling().await;
    for (id, report) in [
        ("t1", r#""status":"completed","result":{"response":"yes"}"#),
        ("t2", r#""status":"completed","result":{"response":""},"retry":false"#),
        ("t3", r#""status":"failed","error":"broke","retry":false"#),
    ] {
        world.submit(id).await;
        world.next_id(BLUE).await;
        let report = format!(r#"{{"task_id":"{id}",{report}}}"#);
        assert_eq!(world.http.post("/i/token-1/api/tasks/complete", &report).await.status, StatusCode::OK);
    }
    let empty = world.http.get("/tasks/t2").await.json();
    assert_eq!((&empty["state"], &empty["result"]), (&"failed".into(), &serde_json::json!({"response": ""})));
    assert_eq!(world.http.get("/tasks/t3").await.json()["result"], "broke");
    let (mut completed, mut failed, mut lease_times) = (0, 0, 0);
    while completed + failed < 3 {
        let cells = world
            .event(|event| match event {
                GatewayEvent::Second { record } => Some(record.cells),
                _ => None,
            })
            .await;
        for cell in cells {
            completed += cell.tasks.completed;
            failed += cell.tasks.failed;
            lease_times += cell.tasks.lease_time.count();
        }
    }
    assert_eq!((completed, failed, lease_times), (1, 2, 3));
}
