//! Those who submit tasks and read their ends.

use std::time::Duration;

use hyper::StatusCode;
use tokio::time::Instant;

use crate::world::{BLUE, FLEET, World};

#[tokio::test]
async fn a_key_that_is_known_is_not_taken_twice() {
    let world = World::pulling().await;
    let task = r#"{"agent":"a","id":"key-1"}"#;
    let first = world.http.post("/tasks", task).await;
    let again = world.http.post("/tasks", task).await;
    assert_eq!((first.status, again.status), (StatusCode::ACCEPTED, StatusCode::OK));
    assert_eq!(first.body, again.body);
    world.next_id(BLUE).await;
    world.complete(BLUE, "key-1").await;
    assert_eq!(world.http.post("/tasks", task).await.status, StatusCode::OK, "known after its end too");
    let counts = world.http.get("/tasks").await.json();
    let expected = serde_json::json!({
        "delayed": 0, "queued": 0, "leased": 0, "completed": 1, "failed": 0, "expired": 0, "cancelled": 0
    });
    assert_eq!(counts, expected);
}

#[tokio::test]
async fn over_the_bound_a_submitter_is_asked_to_come_back() {
    let world = World::of(&FLEET.replace("agents:\n", "tasks: {waiting: 2}\nagents:\n")).await;
    for status in [StatusCode::ACCEPTED, StatusCode::ACCEPTED, StatusCode::TOO_MANY_REQUESTS] {
        let answer = world.http.post("/tasks", r#"{"type":"worker"}"#).await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.headers.contains_key("retry-after"), status == StatusCode::TOO_MANY_REQUESTS);
    }
}

#[tokio::test]
async fn who_waits_for_an_end_hears_of_it_when_it_comes() {
    let world = World::pulling().await;
    world.submit("t1").await;
    world.next_id(BLUE).await;
    let waiting = async {
        tokio::join!(
            world.http.get("/tasks/t1?wait_ms=15000"),
            world.http.get("/completions?after=0&wait_ms=15000&limit=5"),
            world.http.get("/completions?after=9&wait_ms=100"),
        )
    };
    let began = Instant::now();
    let ((task, ends, none), done) = tokio::join!(waiting, async {
        // The short wait is over first, so the long ones are there by now.
        tokio::time::sleep(Duration::from_millis(100)).await;
        world.complete(BLUE, "t1").await
    });
    assert_eq!(done, StatusCode::OK);
    assert!(began.elapsed() < Duration::from_secs(10), "woken, not timed out");
    assert_eq!(task.json()["state"], "completed");
    assert_eq!(ends.json()["completions"][0]["id"], "t1");
    assert_eq!(none.json(), serde_json::json!({"completions": [], "next": 9}));
}

#[tokio::test]
async fn who_stops_waiting_is_told_how_it_stands() {
    let world = World::pulling().await;
    world.submit("t1").await;
    assert_eq!(world.http.get("/tasks/t1?wait_ms=50").await.json()["state"], "queued");
}
