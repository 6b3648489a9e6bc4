//! The agent against a small backend and model server, both in this process.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic")]

mod server;

use std::{thread, time::Duration};

use legacy_agent::Config;
use server::{Seen, Server};

const SOON: Duration = Duration::from_secs(10);

/// Starts an agent that lives as long as the test's process.
fn start(server: &Server) {
    let url = server.url();
    let config = Config::from_lookup(|variable| {
        Some(match variable {
            "AGENT_NAME" => "auditor".to_owned(),
            "AGENT_TYPE" => "security".to_owned(),
            "BACKEND_URL" => format!("{url}/i/TOKEN"),
            "OLLAMA_URL" => format!("{url}/i/TOKEN/ollama"),
            "MODEL_NAME" => "phi".to_owned(),
            "LEGACY_IDLE_MS" => "20".to_owned(),
            _ => return None,
        })
    })
    .unwrap();
    thread::spawn(|| legacy_agent::run(config));
}

fn is_complete(seen: &Seen) -> bool {
    seen.path.ends_with("/api/tasks/complete")
}

#[test]
fn a_task_goes_through_the_model_and_back() {
    let server = Server::start(|seen, nth| match seen.path.as_str() {
        "/i/TOKEN/api/tasks/next/security" if nth == 0 => (200, r#"{"id":7,"attempt":1,"prompt":"say \"hi\""}"#.into()),
        "/i/TOKEN/api/tasks/next/security" => (204, String::new()),
        "/i/TOKEN/ollama/api/generate" => (200, r#"{"response":"hi","done":true}"#.into()),
        _ => (200, "{}".into()),
    });
    start(&server);

    let complete = server.wait(SOON, is_complete);
    assert!(complete.body.contains(r#""task_id":7,"agent_name":"auditor","status":"completed","result":"hi""#));
    let asked = server.wait(SOON, |seen| seen.path.ends_with("/api/generate"));
    assert_eq!(asked.body, r#"{"model":"phi","prompt":"say \"hi\"","stream":false}"#);
    let heartbeat = server.wait(SOON, |seen| seen.path == "/i/TOKEN/api/agents/heartbeat");
    assert!(heartbeat.body.contains(r#""status":"active""#));
    let register = server.wait(SOON, |seen| seen.path == "/i/TOKEN/api/agents/register");
    assert!(register.body.contains(r#""agent_type":"security","capabilities":[]"#));
}

#[test]
fn a_failed_model_call_is_an_empty_success() {
    let server = Server::start(|seen, nth| match seen.path.as_str() {
        "/i/TOKEN/api/tasks/next/security" if nth == 0 => (200, r#"{"id":"a","payload":{"x":1}}"#.into()),
        "/i/TOKEN/api/tasks/next/security" => (204, String::new()),
        "/i/TOKEN/ollama/api/generate" => (503, r#"{"error":"busy"}"#.into()),
        _ => (200, "{}".into()),
    });
    start(&server);
    let complete = server.wait(SOON, is_complete);
    assert!(complete.body.contains(r#""status":"completed","result":"""#), "{}", complete.body);
}

#[test]
fn neither_a_refused_registration_nor_a_refused_completion_stops_it() {
    let server = Server::start(|seen, nth| match seen.path.as_str() {
        "/i/TOKEN/api/agents/register" => (500, String::new()),
        "/i/TOKEN/api/tasks/next/security" if nth < 2 => (200, format!(r#"{{"id":"{nth}","prompt":"p"}}"#)),
        "/i/TOKEN/api/tasks/next/security" => (204, String::new()),
        "/i/TOKEN/api/tasks/complete" if nth == 0 => (409, r#"{"title":"lease revoked"}"#.into()),
        "/i/TOKEN/ollama/api/generate" => (200, r#"{"response":"done"}"#.into()),
        _ => (200, "{}".into()),
    });
    start(&server);
    server.wait(SOON, |seen| is_complete(seen) && seen.body.contains(r#""task_id":"0""#));
    server.wait(SOON, |seen| is_complete(seen) && seen.body.contains(r#""task_id":"1""#));
    let again = server.count(|seen| is_complete(seen) && seen.body.contains(r#""task_id":"0""#));
    assert_eq!(again, 1, "a refused completion is not repeated");
}

#[test]
fn one_task_at_a_time() {
    let server = Server::start(|seen, nth| match seen.path.as_str() {
        "/i/TOKEN/api/tasks/next/security" if nth < 3 => (200, format!(r#"{{"id":"{nth}","prompt":"p"}}"#)),
        "/i/TOKEN/api/tasks/next/security" => (204, String::new()),
        "/i/TOKEN/ollama/api/generate" => (200, r#"{"response":"x"}"#.into()),
        _ => (200, "{}".into()),
    });
    start(&server);
    server.wait(SOON, |seen| is_complete(seen) && seen.body.contains(r#""task_id":"2""#));
    let order: Vec<_> = server
        .seen()
        .into_iter()
        .filter_map(|seen| {
            let path = seen.path;
            ["next/security", "generate", "complete"].into_iter().find(|end| path.ends_with(end))
        })
        .take(9)
        .collect();
    assert_eq!(order, ["next/security", "generate", "complete"].repeat(3));
}
