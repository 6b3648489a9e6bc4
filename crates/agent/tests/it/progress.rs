//! Attempts, checkpoints, and what is not to be tried again.

use std::time::Duration;

use bellwether_agent::{Handler, Model, Task, TaskError};
use serde_json::{Value, json};

use crate::{
    COMPLETE, GENERATE, NEXT, PROGRESS, backend, completes, config,
    gateway::{Gateway, Reply, json as reply_json, status},
    start, start_with,
};

/// Saves these, then does as the prompt says.
struct Saves(Vec<Value>);

impl Handler for Saves {
    async fn handle(&self, task: Task, _model: Model) -> Result<Value, TaskError> {
        for checkpoint in &self.0 {
            task.save(checkpoint.clone()).await?;
        }
        match task.prompt().as_deref() {
            Some("hang") => std::future::pending().await,
            Some("impossible") => Err(TaskError::Impossible("no such customer".into())),
            Some("resume") => Ok(json!({ "resumed_from": task.checkpoint })),
            _ => Err(TaskError::Other("out of luck".into())),
        }
    }
}

/// Hands this task out once.
async fn giving(task: &'static str) -> Gateway {
    Gateway::start(move |seen, nth| match seen.path.as_str() {
        NEXT if nth == 0 => reply_json(task),
        _ => backend(seen, nth, &[]),
    })
    .await
}

#[tokio::test]
async fn a_failed_attempt_leaves_its_last_checkpoint() {
    let gateway = giving(r#"{"id":"a","attempt":2,"prompt":"fail"}"#).await;
    let agent = start_with(config(&gateway), Saves(vec![json!({"page": 1}), json!({"page": 2})]));
    let report = gateway.wait(1, completes("a")).await.remove(0).body;
    assert_eq!(
        (&report["status"], &report["attempt"], &report["checkpoint"]),
        (&"failed".into(), &2.into(), &json!({"page": 2}))
    );
    assert_eq!(report.get("retry"), None, "another attempt may do better");
    let told = gateway.to(PROGRESS);
    assert_eq!(told.len(), 1, "not more often than once a second");
    let body = &told[0].body;
    assert_eq!(
        (&body["task_id"], &body["attempt"], &body["checkpoint"]),
        (&"a".into(), &2.into(), &json!({"page": 1}))
    );
    agent.end().await;
}

#[tokio::test]
async fn the_next_attempt_finds_it() {
    let gateway = giving(r#"{"id":7,"attempt":3,"prompt":"resume","checkpoint":{"page":2}}"#).await;
    let agent = start_with(config(&gateway), Saves(Vec::new()));
    let report = gateway.wait(1, |seen| seen.path == COMPLETE).await.remove(0).body;
    assert_eq!(report["result"], json!({"resumed_from": {"page": 2}}));
    assert_eq!((&report["task_id"], &report["attempt"]), (&7.into(), &3.into()));
    agent.end().await;
}

#[tokio::test]
async fn what_the_drain_cuts_off_leaves_its_last_checkpoint() {
    let gateway = giving(r#"{"id":"a","attempt":1,"prompt":"hang"}"#).await;
    let mut config = config(&gateway);
    config.limits.drain = Duration::from_millis(50);
    let agent = start_with(config, Saves(vec![json!(1), json!(2), json!(3)]));
    gateway.wait(1, |seen| seen.path == PROGRESS).await;
    assert_eq!(agent.end().await.unfinished, 1);
    let told: Vec<_> = gateway.to(PROGRESS).into_iter().map(|seen| seen.body["checkpoint"].clone()).collect();
    assert_eq!(told, [json!(1), json!(3)]);
    assert!(gateway.to(COMPLETE).is_empty(), "it is left to the gateway");
}

#[tokio::test]
async fn a_task_that_is_somebody_elses_is_given_up() {
    let gateway = Gateway::start(|seen, nth| match seen.path.as_str() {
        NEXT if nth == 0 => reply_json(r#"{"id":"gone","attempt":1,"prompt":"hang"}"#),
        NEXT if nth == 1 => reply_json(r#"{"id":"b","attempt":1,"prompt":"fail"}"#),
        PROGRESS if seen.body["task_id"] == "gone" => status(409),
        _ => backend(seen, nth, &[]),
    })
    .await;
    let mut config = config(&gateway);
    config.concurrency = 1;
    let agent = start_with(config, Saves(vec![json!(1)]));
    gateway.wait(1, completes("b")).await;
    agent.end().await;
    assert!(gateway.all(completes("gone")).is_empty());
}

#[tokio::test]
async fn a_backend_without_progress_is_no_error() {
    let gateway = Gateway::start(|seen, nth| match seen.path.as_str() {
        NEXT if nth == 0 => reply_json(r#"{"id":"a","prompt":"resume"}"#),
        PROGRESS => status(404),
        _ => backend(seen, nth, &[]),
    })
    .await;
    let agent = start_with(config(&gateway), Saves(vec![json!(1)]));
    let report = gateway.wait(1, completes("a")).await.remove(0).body;
    assert_eq!((&report["status"], report.get("attempt")), (&"completed".into(), None));
    agent.end().await;
}

#[tokio::test]
async fn what_would_fail_again_is_not_to_be_tried_again() {
    let refused = |status: u16| {
        Gateway::start(move |seen, nth| match seen.path.as_str() {
            GENERATE => Reply::Whole(status, "{}".into()),
            _ => backend(seen, nth, &["a"]),
        })
    };
    for (status, is_final) in
        [(400, true), (404, true), (413, true), (408, false), (429, false), (500, false), (503, false)]
    {
        let gateway = refused(status).await;
        let agent = start(config(&gateway));
        let report = gateway.wait(1, completes("a")).await.remove(0).body;
        assert_eq!(report.get("retry"), is_final.then_some(&json!(false)), "{status}: {report}");
        agent.end().await;
    }
    let large = Value::String("x".repeat(70_000));
    for (prompt, saves, why) in [
        (r#"{"id":"a","attempt":1}"#, Vec::new(), "out of luck"),
        (r#"{"id":"a","attempt":1,"prompt":"impossible"}"#, Vec::new(), "no such customer"),
        (r#"{"id":"a","attempt":1,"prompt":"x"}"#, vec![large], "the checkpoint has 70002 bytes; 65536 are taken"),
    ] {
        let gateway = giving(prompt).await;
        let agent = start_with(config(&gateway), Saves(saves));
        let report = gateway.wait(1, completes("a")).await.remove(0).body;
        assert_eq!(report["error"], why);
        assert_eq!(report.get("retry").is_some(), why != "out of luck", "{report}");
        agent.end().await;
    }
    let gateway = giving(r#"{"id":"a","attempt":1,"type":"no prompt"}"#).await;
    let agent = start(config(&gateway));
    assert_eq!(gateway.wait(1, completes("a")).await[0].body["retry"], false);
    agent.end().await;
}
