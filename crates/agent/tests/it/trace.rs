//! `traceparent`, from the task to each model call.

use bellwether_agent::{Handler, Model, Task, TaskError};
use serde_json::Value;

use crate::{
    GENERATE, NEXT, backend, completes, config,
    gateway::{Gateway, Reply, answer, json},
    start_with,
};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const OTHER: &str = "00-11111111111111111111111111111111-2222222222222222-00";

struct AsksTwice;

impl Handler for AsksTwice {
    async fn handle(&self, _task: Task, model: Model) -> Result<Value, TaskError> {
        model.generate("one").await?;
        Ok(model.generate("two").await?.text.into())
    }
}

/// The parents of the two calls that are made for a task, as (trace, span, flags).
async fn parents(task: impl Fn() -> Reply + Send + Sync + 'static) -> Vec<(String, String, String)> {
    let gateway = Gateway::start(move |seen, nth| match seen.path.as_str() {
        NEXT if nth == 0 => task(),
        GENERATE => answer("done"),
        _ => backend(seen, nth, &[]),
    })
    .await;
    let agent = start_with(config(&gateway), AsksTwice);
    gateway.wait(1, completes("a")).await;
    agent.end().await;
    let part = |parent: &str, nth: usize| parent.split('-').nth(nth).unwrap().to_owned();
    let calls = gateway.to(GENERATE);
    assert!(calls.iter().all(|call| call.headers["traceparent"].len() == 55));
    calls
        .iter()
        .map(|call| &call.headers["traceparent"])
        .map(|parent| (part(parent, 1), part(parent, 2), part(parent, 3)))
        .collect()
}

#[tokio::test]
async fn a_task_s_trace_goes_on_with_each_call_as_a_span_of_its_own() {
    let calls = parents(|| json(format!(r#"{{"id":"a","prompt":"p","traceparent":"{PARENT}"}}"#))).await;
    for (trace, span, flags) in &calls {
        assert_eq!((trace.as_str(), flags.as_str()), ("4bf92f3577b34da6a3ce929d0e0e4736", "01"));
        assert_ne!(span, "00f067aa0ba902b7");
    }
    assert_ne!(calls[0].1, calls[1].1);
}

#[tokio::test]
async fn it_may_come_in_a_header() {
    let headed = || Reply::Headed(format!("traceparent: {OTHER}\r\n"), r#"{"id":"a","prompt":"p"}"#.into());
    let calls = parents(headed).await;
    assert_eq!((calls[0].0.as_str(), calls[0].2.as_str()), ("11111111111111111111111111111111", "00"));
    let both = || {
        let task = format!(r#"{{"id":"a","prompt":"p","traceparent":"{PARENT}"}}"#);
        Reply::Headed(format!("traceparent: {OTHER}\r\n"), task)
    };
    assert_eq!(parents(both).await[0].0, "4bf92f3577b34da6a3ce929d0e0e4736", "the submitter's own counts first");
}

#[tokio::test]
async fn a_task_without_one_gets_one() {
    let calls = parents(|| json(r#"{"id":"a","prompt":"p","traceparent":"not one"}"#)).await;
    assert_eq!(calls[0].0, calls[1].0, "both calls are in it");
    assert_ne!(calls[0].0, "0".repeat(32));
}
