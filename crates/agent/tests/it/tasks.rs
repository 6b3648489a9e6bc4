//! What becomes of tasks.

use std::time::Duration;

use bellwether_agent::{Handler, Model, Task, TaskError};
use serde_json::{Value, json};

use crate::{
    COMPLETE, GENERATE, HEARTBEAT, NEXT, REGISTER, backend, completes, config,
    gateway::{Gateway, Reply, answer, status},
    start, start_with,
};

#[tokio::test]
async fn a_task_goes_through_the_model_and_back() {
    let gateway = Gateway::start(|seen, nth| match seen.path.as_str() {
        GENERATE => answer("all quiet"),
        _ => backend(seen, nth, &["a"]),
    })
    .await;
    let agent = start(config(&gateway));

    let complete = gateway.wait(1, completes("a")).await.remove(0).body;
    assert_eq!((&complete["status"], &complete["result"]), (&json!("completed"), &json!("all quiet")));
    assert!(complete["processing_time"].as_f64().unwrap() > 0.0);
    let call = gateway.to(GENERATE).remove(0);
    assert_eq!(call.body, json!({"model": "phi", "prompt": "p-a", "stream": true}));
    assert_eq!(call.headers["x-bellwether-task"], "a");
    assert_eq!(gateway.to(NEXT)[0].headers["x-bellwether-tasks"], "3");
    assert_eq!(gateway.to(REGISTER)[0].body["max_concurrent_tasks"], 3);

    assert_eq!(agent.end().await.unfinished, 0);
    let beats = gateway.to(HEARTBEAT);
    let statuses: Vec<_> = beats.iter().map(|beat| beat.body["status"].clone()).collect();
    assert_eq!(statuses, ["shutting_down", "stopped"]);
    assert_eq!(beats[1].body["tasks_processed"], 1);
    assert!(beats[1].body["memory_usage_mb"].as_f64().unwrap() > 0.1);
}

/// Runs one task against a model server that fails and returns the report.
async fn reported(reply: impl Fn() -> Reply + Send + Sync + 'static) -> Value {
    let gateway = Gateway::start(move |seen, nth| match seen.path.as_str() {
        GENERATE => reply(),
        _ => backend(seen, nth, &["a"]),
    })
    .await;
    let agent = start(config(&gateway));
    let report = gateway.wait(1, completes("a")).await.remove(0).body;
    agent.end().await;
    report
}

#[tokio::test]
async fn a_failure_of_the_model_server_is_never_a_success() {
    let piece = r#"{"response":"half an ans","done":false}"#;
    type Failure = Box<dyn Fn() -> Reply + Send + Sync>;
    let failures: [(&str, Failure); 7] = [
        ("status 503: busy", Box::new(|| Reply::Whole(503, r#"{"error":"busy"}"#.into()))),
        ("status 404: no such model", Box::new(|| Reply::Whole(404, r#"{"title":"no such model"}"#.into()))),
        ("broke off", Box::new(move || Reply::Cut(vec![format!("{piece}\n")]))),
        ("broke off", Box::new(move || Reply::Stream(vec![format!("{piece}\n")]))),
        ("out of memory", Box::new(|| Reply::Stream(vec![r#"{"error":"out of memory"}"#.into()]))),
        ("not an answer", Box::new(|| Reply::Stream(vec!["<html>\n".into()]))),
        ("answered with nothing", Box::new(|| Reply::Stream(vec![r#"{"response":" ","done":true}"#.into()]))),
    ];
    for (expected, reply) in failures {
        let report = reported(reply).await;
        assert_eq!(report["status"], "failed", "{report}");
        assert!(report["error"].as_str().unwrap().contains(expected), "{report}");
        assert_eq!(report.get("result"), None);
    }
}

#[tokio::test]
async fn a_call_that_got_no_answer_is_made_again() {
    let gateway = Gateway::start(|seen, nth| match seen.path.as_str() {
        GENERATE if nth == 0 => Reply::Close,
        GENERATE => answer("late"),
        _ => backend(seen, nth, &["a"]),
    })
    .await;
    let agent = start(config(&gateway));
    let report = gateway.wait(1, completes("a")).await.remove(0).body;
    assert_eq!(report["result"], "late");
    agent.end().await;
}

#[tokio::test]
async fn a_refused_completion_is_dropped_and_work_goes_on() {
    let gateway = Gateway::start(|seen, nth| match seen.path.as_str() {
        GENERATE => answer("done"),
        COMPLETE if seen.body["task_id"] == "a" => status(409),
        _ => backend(seen, nth, &["a", "b"]),
    })
    .await;
    let mut config = config(&gateway);
    config.concurrency = 1;
    let agent = start(config);
    gateway.wait(1, completes("b")).await;
    agent.end().await;
    assert_eq!(gateway.all(completes("a")).len(), 1, "a refused completion is not repeated");
    let last = gateway.to(HEARTBEAT).pop().unwrap().body;
    assert_eq!(last["tasks_processed"], 1, "only what was accepted counts");
}

#[tokio::test]
async fn a_completion_outlives_a_restart_of_the_gateway() {
    let gateway = Gateway::start(|seen, nth| match seen.path.as_str() {
        GENERATE => answer("done"),
        COMPLETE if nth == 0 => Reply::Close,
        COMPLETE if nth == 1 => status(502),
        _ => backend(seen, nth, &["a"]),
    })
    .await;
    let agent = start(config(&gateway));
    gateway.wait(3, completes("a")).await;
    agent.end().await;
    let last = gateway.to(HEARTBEAT).pop().unwrap().body;
    assert_eq!(last["tasks_processed"], 1);
}

struct Panics;

impl Handler for Panics {
    async fn handle(&self, task: Task, _model: Model) -> Result<Value, TaskError> {
        if task.id == "a" { panic!("on purpose") } else { Ok(json!({"ok": true})) }
    }
}

#[tokio::test]
async fn a_handler_that_panics_fails_its_task_alone() {
    let gateway = Gateway::start(|seen, nth| backend(seen, nth, &["a", "b"])).await;
    let agent = start_with(config(&gateway), Panics);
    let failed = gateway.wait(1, completes("a")).await.remove(0).body;
    assert_eq!(failed["status"], "failed");
    let completed = gateway.wait(1, completes("b")).await.remove(0).body;
    assert_eq!(completed["result"], json!({"ok": true}));
    agent.end().await;
}

#[tokio::test]
async fn a_model_server_that_fails_on_is_left_alone() {
    let gateway = Gateway::start(|seen, nth| match seen.path.as_str() {
        GENERATE if nth < 2 => status(500),
        GENERATE => answer("back"),
        _ => backend(seen, nth, &["a", "b", "c"]),
    })
    .await;
    let mut config = config(&gateway);
    config.concurrency = 1;
    config.limits.breaker_failures = 2;
    config.limits.breaker_open = Duration::from_millis(300);
    config.limits.heartbeat_every = Duration::from_millis(30);
    let agent = start(config);
    gateway.wait(1, |seen| seen.path == HEARTBEAT && seen.body["status"] == "error").await;
    assert_eq!(gateway.to(NEXT).len(), 2, "nothing is taken while it is left alone");
    gateway.wait(1, completes("c")).await;
    gateway.wait(1, |seen| seen.path == HEARTBEAT && seen.body["status"] == "active").await;
    agent.end().await;
    assert_eq!(gateway.to(HEARTBEAT).pop().unwrap().body["circuit_breaker_trips"], 1);
}
