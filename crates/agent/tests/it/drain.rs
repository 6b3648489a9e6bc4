//! Room, and the end of an agent.

use std::{sync::Arc, time::Duration};

use tokio::sync::Semaphore;

use crate::{
    COMPLETE, GENERATE, HEARTBEAT, NEXT, REGISTER, VERSION, backend, completes, config,
    gateway::{Gateway, Reply, answer, status},
    start,
};

/// A gateway whose model answers only when it is let.
async fn gated(tasks: &'static [&'static str]) -> (Gateway, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let inner = gate.clone();
    let gateway = Gateway::start(move |seen, nth| match seen.path.as_str() {
        GENERATE => Reply::After(inner.clone(), Box::new(answer("done"))),
        _ => backend(seen, nth, tasks),
    })
    .await;
    (gateway, gate)
}

#[tokio::test]
async fn what_is_held_is_finished_and_nothing_more_is_taken() {
    let (gateway, gate) = gated(&["a", "b"]).await;
    let agent = start(config(&gateway));
    gateway.wait(2, |seen| seen.path == GENERATE).await;
    agent.shutdown.cancel();
    gateway.wait(1, |seen| seen.path == HEARTBEAT && seen.body["status"] == "shutting_down").await;
    let asked = gateway.to(NEXT).len();
    gate.add_permits(2);
    assert_eq!(agent.end().await.unfinished, 0);
    assert_eq!(gateway.to(COMPLETE).len(), 2);
    assert_eq!(gateway.to(NEXT).len(), asked);
    let last = gateway.all(|_| true).pop().unwrap();
    assert_eq!((last.path.as_str(), &last.body["status"]), (HEARTBEAT, &"stopped".into()));
}

#[tokio::test]
async fn what_does_not_finish_in_time_is_left_to_others() {
    let (gateway, _gate) = gated(&["a"]).await;
    let mut config = config(&gateway);
    config.limits.drain = Duration::from_millis(100);
    let agent = start(config);
    gateway.wait(1, |seen| seen.path == GENERATE).await;
    assert_eq!(agent.end().await.unfinished, 1);
    assert!(gateway.to(COMPLETE).is_empty(), "a failure would be final; an expired lease is not");
}

#[tokio::test]
async fn a_task_on_its_way_at_the_end_is_still_done() {
    let gate = Arc::new(Semaphore::new(0));
    let inner = gate.clone();
    let gateway = Gateway::start(move |seen, nth| match seen.path.as_str() {
        NEXT => Reply::After(inner.clone(), Box::new(backend(seen, nth, &["a"]))),
        GENERATE => answer("done"),
        _ => backend(seen, nth, &[]),
    })
    .await;
    let agent = start(config(&gateway));
    gateway.wait(1, |seen| seen.path == NEXT).await;
    agent.shutdown.cancel();
    gate.add_permits(1);
    assert_eq!(agent.end().await.unfinished, 0);
    assert_eq!(gateway.all(completes("a")).len(), 1);
    assert_eq!(gateway.to(NEXT).len(), 1);
}

#[tokio::test]
async fn no_more_tasks_than_there_is_room_for() {
    let (gateway, gate) = gated(&["a", "b", "c"]).await;
    let mut config = config(&gateway);
    config.concurrency = 2;
    config.limits.heartbeat_every = Duration::from_millis(20);
    let agent = start(config);
    gateway.wait(3, |seen| seen.path == HEARTBEAT && seen.body["status"] == "busy").await;
    assert_eq!(gateway.to(NEXT).len(), 2);
    gate.add_permits(1);
    gateway.wait(3, |seen| seen.path == NEXT).await;
    gate.add_permits(2);
    gateway.wait(3, |seen| seen.path == COMPLETE).await;
    agent.end().await;
}

#[tokio::test]
async fn model_connections_are_bounded_below_the_tasks() {
    let (gateway, gate) = gated(&["a", "b", "c"]).await;
    let mut config = config(&gateway);
    config.limits.heartbeat_every = Duration::from_millis(20);
    let agent = start(config);
    gateway.wait(3, |seen| seen.path == HEARTBEAT && seen.body["tasks_queued"] == 1).await;
    assert_eq!(gateway.to(GENERATE).len(), 2);
    gate.add_permits(3);
    gateway.wait(3, |seen| seen.path == COMPLETE).await;
    agent.end().await;
}

#[tokio::test]
async fn an_agent_that_is_not_known_takes_no_tasks() {
    let gateway = Gateway::start(|seen, nth| match seen.path.as_str() {
        REGISTER if nth == 0 => status(403),
        REGISTER if nth == 1 => Reply::Close,
        _ => backend(seen, nth, &[]),
    })
    .await;
    let agent = start(config(&gateway));
    gateway.wait(1, |seen| seen.path == NEXT).await;
    let before: Vec<_> =
        gateway.all(|_| true).into_iter().map(|seen| seen.path).take_while(|path| path != NEXT).collect();
    assert_eq!(before, [REGISTER, REGISTER, REGISTER, VERSION], "and warms up before it is active");
    agent.end().await;
}

#[tokio::test]
async fn it_ends_also_when_it_never_registered() {
    let gateway = Gateway::start(|_, _| status(500)).await;
    let agent = start(config(&gateway));
    gateway.wait(1, |seen| seen.path == REGISTER).await;
    assert_eq!(agent.end().await.unfinished, 0);
}
