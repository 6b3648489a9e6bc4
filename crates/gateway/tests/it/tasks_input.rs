//! What is no task, and what is asked of a task that cannot be done: status and message.

use hyper::{Method, StatusCode};

use crate::world::{Answer, BLUE, FLEET, World};

fn refused(answer: &Answer, status: StatusCode, says: &str) {
    assert_eq!(answer.status, status, "{says}: {}", answer.text());
    assert_eq!(answer.headers["content-type"], "application/problem+json", "{says}");
    let problem = answer.json();
    assert_eq!(problem["status"], status.as_u16(), "{says}");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains(says), "{detail:?} should say {says:?}");
}

#[tokio::test]
async fn a_wrong_submission_is_refused_with_the_field_and_what_is_allowed() {
    let world = World::pulling().await;
    let oversize = format!(r#"{{"agent":"a","prompt":"{}"}}"#, "x".repeat(1 << 20));
    let long_id = format!(r#"{{"agent":"a","id":"{}"}}"#, "x".repeat(201));
    let bad = StatusCode::BAD_REQUEST;
    for (body, status, says) in [
        ("", bad, "the body is not the JSON that is wanted"),
        ("{not json", bad, "the body is not the JSON that is wanted"),
        (r#"{"agent":"a"} {}"#, bad, "the body is not the JSON that is wanted"),
        ("[1]", bad, "the body is not the JSON that is wanted"),
        (r#""agent""#, bad, "the body is not the JSON that is wanted"),
        ("{}", bad, "a task needs an agent or a type"),
        (r#"{"agent":null,"type":null}"#, bad, "a task needs an agent or a type"),
        (r#"{"agent":7}"#, bad, "agent is not text"),
        (r#"{"type":["worker"]}"#, bad, "type is not text"),
        (r#"{"agent":"a","id":7}"#, bad, "id is not text"),
        (r#"{"agent":"a","id":"../x"}"#, bad, "1 to 200 letters"),
        (&long_id, bad, "1 to 200 letters"),
        (r#"{"agent":"a","priority":"urgent"}"#, bad, "critical, high, normal, low or background"),
        (r#"{"agent":"a","priority":3}"#, bad, "priority is not text"),
        (r#"{"agent":"a","delay":"soon"}"#, bad, "delay is a number of seconds, or text such as"),
        (r#"{"agent":"a","delay":-0.5}"#, bad, "delay is a number of seconds"),
        (r#"{"agent":"a","delay":"366d"}"#, bad, "delay is at most a year"),
        (r#"{"agent":"a","deadline":false}"#, bad, "deadline is a number of seconds, or text such as"),
        (r#"{"agent":"a","deadline":0}"#, bad, "longer than delay"),
        (r#"{"agent":"a","delay":"1m","deadline":60}"#, bad, "longer than delay"),
        (r#"{"agent":"a","attempts":0}"#, bad, "attempts is a whole number from 1 to 100"),
        (r#"{"agent":"a","attempts":"3"}"#, bad, "attempts is a whole number from 1 to 100"),
        (r#"{"agent":"a","attempts":101}"#, bad, "attempts is a whole number from 1 to 100"),
        (r#"{"agent":"nobody"}"#, StatusCode::NOT_FOUND, "the fleet has no agent nobody"),
        (r#"{"type":"nothing"}"#, StatusCode::NOT_FOUND, "the fleet has no agent of type nothing"),
        (&oversize, StatusCode::PAYLOAD_TOO_LARGE, "larger than 1048576 bytes"),
    ] {
        refused(&world.http.post("/tasks", body).await, status, says);
    }
    let keyed = |key: &'static str| {
        let headers = [("Idempotency-Key", key)];
        let http = world.http.clone();
        async move { http.call(Method::POST, "/tasks", &headers, r#"{"agent":"a","id":"mine"}"#).await }
    };
    refused(&keyed("other").await, bad, "Idempotency-Key is \"other\"");
    refused(&keyed("no key").await, bad, "Idempotency-Key: an id has");
    let counts = world.http.get("/tasks").await.json();
    assert_eq!(counts["queued"], 0, "nothing of it was taken in");
}

#[tokio::test]
async fn a_wrong_question_is_refused_with_the_parameter_and_what_is_allowed() {
    let world = World::pulling().await;
    let bad = StatusCode::BAD_REQUEST;
    for (path, status, says) in [
        ("/tasks?state=dreaming", bad, "cancelled or dead, not \"dreaming\""),
        ("/tasks?limit=0", bad, "limit is from 1 to 1000"),
        ("/tasks?limit=1001", bad, "limit is from 1 to 1000"),
        ("/tasks?limit=many", bad, "limit is a whole number"),
        ("/tasks?after=-1", bad, "after is a whole number"),
        ("/tasks?agent=%", bad, "agent is not well escaped"),
        ("/tasks/t1?wait_ms=long", bad, "wait_ms is a whole number"),
        ("/tasks/%zz", bad, "not well escaped"),
        ("/tasks/none", StatusCode::NOT_FOUND, "no task has this id"),
        ("/tasks/", StatusCode::NOT_FOUND, "no task has this id"),
        ("/tasks/none/of/these", StatusCode::NOT_FOUND, "nothing at this path"),
        ("/completions?after=x", bad, "after is a whole number"),
        ("/completions?limit=x", bad, "limit is a whole number"),
        ("/completions/1", StatusCode::NOT_FOUND, "nothing at this path"),
    ] {
        refused(&world.http.get(path).await, status, says);
    }
    let last = [("Accept", "text/event-stream"), ("Last-Event-ID", "x")];
    let answer = world.http.call(Method::GET, "/completions", &last, "").await;
    refused(&answer, bad, "Last-Event-ID is a whole number");
    let events = [("Accept", "text/event-stream")];
    let answer = world.http.call(Method::GET, "/tasks/none", &events, "").await;
    refused(&answer, StatusCode::NOT_FOUND, "no task has this id");
}

#[tokio::test]
async fn a_wrong_method_is_answered_with_the_right_ones() {
    let world = World::pulling().await;
    for (method, path, allowed) in [
        (Method::DELETE, "/tasks", "GET, POST"),
        (Method::HEAD, "/tasks", "GET, POST"),
        (Method::OPTIONS, "/tasks", "GET, POST"),
        (Method::POST, "/completions", "GET"),
        (Method::POST, "/tasks/t1", "DELETE, GET"),
        (Method::PUT, "/tasks/t1", "DELETE, GET"),
        (Method::GET, "/tasks/t1/retry", "POST"),
    ] {
        let answer = world.http.call(method.clone(), path, &[], "").await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
        assert_eq!(answer.headers["allow"], allowed, "{method} {path}");
    }
}

#[tokio::test]
async fn what_a_task_has_become_decides_what_can_be_asked_of_it() {
    let world = World::pulling().await;
    let cancel = |id: &'static str| world.http.call(Method::DELETE, id, &[], "");
    let retry = |id: &'static str| world.http.call(Method::POST, id, &[], "");
    refused(&cancel("/tasks/none").await, StatusCode::NOT_FOUND, "no task has this id");
    refused(&retry("/tasks/none/retry").await, StatusCode::NOT_FOUND, "no task has this id");
    world.submit("t1").await;
    refused(&retry("/tasks/t1/retry").await, StatusCode::CONFLICT, "has not ended");
    world.next_id(BLUE).await;
    assert_eq!(world.complete(BLUE, "t1").await, StatusCode::OK);
    refused(&cancel("/tasks/t1").await, StatusCode::CONFLICT, "it is completed");
    refused(&retry("/tasks/t1/retry").await, StatusCode::CONFLICT, "is completed, and is not done again");
    refused(
        &world.http.post("/tasks", r#"{"agent":"a","id":"t1","prompt":"other"}"#).await,
        StatusCode::CONFLICT,
        "its content differs",
    );
}

#[tokio::test]
async fn without_a_queue_none_of_it_is_there() {
    let world = World::of(&FLEET.replace("agents:\n", "tasks: {mode: none}\nagents:\n")).await;
    for (method, path) in [
        (Method::POST, "/tasks"),
        (Method::GET, "/tasks?state=dead"),
        (Method::DELETE, "/tasks/t1"),
        (Method::POST, "/tasks/t1/retry"),
        (Method::GET, "/completions"),
    ] {
        let answer = world.http.call(method, path, &[], r#"{"agent":"a"}"#).await;
        refused(&answer, StatusCode::NOT_FOUND, "tasks.mode: none");
    }
}
