//! Faults on purpose, as a backend sees them.

use std::time::Duration;

use bellwether_agent::{Config, Fault};
use serde_json::{Value, json};

use crate::{
    COMPLETE, GENERATE, HEARTBEAT, NEXT, REGISTER, backend, completes, config,
    gateway::{Gateway, answer},
    start,
};

async fn working(tasks: &'static [&'static str]) -> Gateway {
    Gateway::start(|seen, nth| match seen.path.as_str() {
        GENERATE => answer("all quiet"),
        _ => backend(seen, nth, tasks),
    })
    .await
}

async fn reported(fault: Fault) -> Value {
    let gateway = working(&["a"]).await;
    let mut config = config(&gateway);
    config.fault = Some(fault);
    let agent = start(config);
    let report = gateway.wait(1, completes("a")).await.remove(0).body;
    assert_eq!(gateway.to(GENERATE).len(), 1, "the work itself is done");
    agent.end().await;
    report
}

#[tokio::test]
async fn a_task_of_the_drawn_share_is_reported_as_failed() {
    let report = reported(Fault::Errors { share: 1.0 }).await;
    assert_eq!((&report["status"], report.get("result")), (&json!("failed"), None), "{report}");
    let report = reported(Fault::Errors { share: 0.0 }).await;
    assert_eq!(report["status"], "completed", "{report}");
}

#[tokio::test]
async fn a_fault_sleeps_until_its_file_is_there() {
    let from = std::env::temp_dir().join(format!("bw-agent-fault-{}", std::process::id()));
    let gateway = working(&["a", "b"]).await;
    let mut config = config(&gateway);
    (config.fault, config.fault_from) = (Some(Fault::Swallow), Some(from.clone()));
    let agent = start(config.clone());
    assert_ne!(gateway.wait(1, completes("a")).await[0].body["result"], "");
    agent.end().await;
    std::fs::write(&from, "").unwrap();
    let gateway = working(&["a"]).await;
    let agent =
        start(Config { backend: crate::config(&gateway).backend, ollama: crate::config(&gateway).ollama, ..config });
    assert_eq!(gateway.wait(1, completes("a")).await[0].body["result"], "");
    agent.end().await;
    std::fs::remove_file(&from).unwrap();
}

#[tokio::test]
async fn a_swallowed_task_is_an_empty_success() {
    let report = reported(Fault::Swallow).await;
    assert_eq!((&report["status"], &report["result"]), (&json!("completed"), &json!("")), "{report}");
}

#[tokio::test]
async fn one_that_hangs_goes_on_beating() {
    let gateway = working(&["a", "b", "c"]).await;
    let mut config = config(&gateway);
    config.fault = Some(Fault::Hang);
    config.limits.heartbeat_every = Duration::from_millis(20);
    config.limits.drain = Duration::from_millis(50);
    let agent = start(config);
    gateway.wait(1, |seen| seen.path == GENERATE).await;
    gateway.wait(5, |seen| seen.path == HEARTBEAT).await;
    assert_eq!((gateway.to(NEXT).len(), gateway.to(COMPLETE).len()), (1, 0));
    assert_eq!(agent.end().await.unfinished, 1);
}

#[tokio::test]
async fn a_heavy_agent_takes_its_time_and_can_be_ended_in_it() {
    let gateway = working(&[]).await;
    let mut config = config(&gateway);
    config.boot_delay = Duration::from_millis(300);
    config.ballast_bytes = 1 << 20;
    let began = std::time::Instant::now();
    let agent = start(config.clone());
    gateway.wait(1, |seen| seen.path == REGISTER).await;
    assert!(began.elapsed() >= config.boot_delay);
    agent.end().await;

    config.boot_delay = Duration::from_secs(3600);
    let agent = start(config);
    assert_eq!(agent.end().await.unfinished, 0);
    assert_eq!(gateway.to(REGISTER).len(), 1);
}
