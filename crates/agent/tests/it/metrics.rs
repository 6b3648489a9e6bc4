//! Each figure moves when its cause happens, and only then.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bellwether_agent::Config;
use serde_json::Value;
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep},
};

use crate::{
    COMPLETE, GENERATE, HEARTBEAT, REGISTER, Running, backend, completes, config,
    gateway::{Gateway, Reply, answer, status},
    health::{free_address, get, until},
    prometheus::{Samples, read},
    start,
};

async fn served(gateway: &Gateway, change: impl FnOnce(&mut Config)) -> (SocketAddr, Running) {
    let mut config = config(gateway);
    let address = free_address().await;
    config.listen = Some(address);
    config.limits.heartbeat_every = Duration::from_millis(20);
    change(&mut config);
    (address, start(config))
}

async fn scrape(address: SocketAddr) -> Samples {
    read(&until(address, "/metrics", 200).await).unwrap()
}

fn value(samples: &Samples, name: &str) -> f64 {
    *samples.get(&format!("bellwether_agent_{name}")).unwrap_or_else(|| panic!("no {name} in {samples:#?}"))
}

/// Until the figures are these.
async fn reaches(address: SocketAddr, wanted: &[(&str, f64)]) -> Samples {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let samples = scrape(address).await;
        if wanted.iter().all(|(name, wanted)| samples.get(&format!("bellwether_agent_{name}")) == Some(wanted)) {
            return samples;
        }
        assert!(Instant::now() < deadline, "not {wanted:?} but {samples:#?}");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn an_agent_that_has_done_nothing_claims_nothing() {
    let gateway = Gateway::start(|seen, nth| backend(seen, nth, &[])).await;
    let (address, agent) = served(&gateway, |config| config.agent_name = "a \"quoted\"\\name\n".into()).await;
    until(address, "/ready", 200).await;
    let samples = scrape(address).await;
    for name in [
        "tasks_processed",
        "tasks_failed",
        "tasks_dropped",
        "tasks_active",
        "tasks_queued",
        "total_processing_time",
        "avg_processing_time",
        "ollama_requests",
        "ollama_failures",
        "ollama_pieces",
        "ollama_connections_error",
        "circuit_breaker_trips",
        "circuit_breaker_state{state=\"open\"}",
        "status{status=\"error\"}",
    ] {
        assert_eq!(value(&samples, name), 0.0, "{name}");
    }
    // It was warmed up with the one question that opened a connection.
    assert_eq!(value(&samples, "ollama_connections{state=\"idle\"}"), 1.0);
    assert_eq!(value(&samples, "ollama_connection_misses"), 1.0);
    for name in ["last_task_time", "task_silence_seconds", "ollama_success_rate"] {
        assert_eq!(samples.get(&format!("bellwether_agent_{name}")), None, "nothing is known of {name}");
    }
    assert_eq!(value(&samples, "status{status=\"active\"}"), 1.0);
    assert!(value(&samples, "startup_time") > 1.7e9);
    assert!(value(&samples, "memory_usage_mb") > 0.1);
    assert!(samples.keys().any(|series| series.contains("agent=\"a \\\"quoted\\\"\\\\name\\n\"")));
    agent.end().await;
}

#[tokio::test]
async fn tasks_and_calls_are_counted_as_they_end() {
    let gateway = Gateway::start(|seen, nth| match seen.path.as_str() {
        GENERATE if seen.body["prompt"] == "p-bad" => status(500),
        GENERATE => answer("done"),
        COMPLETE if seen.body["task_id"] == "gone" => status(409),
        _ => backend(seen, nth, &["good", "bad", "gone"]),
    })
    .await;
    let (address, agent) = served(&gateway, |config| config.concurrency = 1).await;
    let samples = reaches(address, &[("tasks_processed", 1.0), ("tasks_failed", 1.0), ("tasks_dropped", 1.0)]).await;
    assert_eq!((value(&samples, "ollama_requests"), value(&samples, "ollama_failures")), (3.0, 1.0));
    assert!((value(&samples, "ollama_success_rate") - 2.0 / 3.0).abs() < 1e-9);
    assert_eq!(value(&samples, "ollama_pieces"), 6.0);
    let total = value(&samples, "total_processing_time");
    assert!(total > 0.0 && (value(&samples, "avg_processing_time") - total / 3.0).abs() < 1e-9);
    assert!(value(&samples, "last_task_time") >= value(&samples, "startup_time"));
    assert_eq!((value(&samples, "ollama_connection_hits"), value(&samples, "ollama_connection_misses")), (3.0, 1.0));
    assert_eq!(value(&samples, "ollama_connection_hit_rate"), 0.75);
    agent.end().await;
}

#[tokio::test]
async fn what_is_held_waits_and_is_silent() {
    let gate = Arc::new(Semaphore::new(0));
    let inner = gate.clone();
    let gateway = Gateway::start(move |seen, nth| match seen.path.as_str() {
        GENERATE => Reply::After(inner.clone(), Box::new(answer("done"))),
        _ => backend(seen, nth, &["a", "b", "c"]),
    })
    .await;
    let (address, agent) = served(&gateway, |_| {}).await;
    let held = [
        ("tasks_active", 3.0),
        ("tasks_queued", 1.0),
        ("ollama_connections{state=\"busy\"}", 2.0),
        ("status{status=\"busy\"}", 1.0),
        ("status{status=\"active\"}", 0.0),
    ];
    let before = value(&reaches(address, &held).await, "task_silence_seconds");
    sleep(Duration::from_millis(20)).await;
    assert!(value(&scrape(address).await, "task_silence_seconds") > before);
    let stats: Value = serde_json::from_str(&until(address, "/stats", 200).await).unwrap();
    let connections = &stats["ollama_pool"]["connections"];
    assert_eq!(
        (&connections["total"], &connections["active"], &connections["idle"]),
        (&2.into(), &2.into(), &0.into())
    );
    assert_eq!((&stats["ollama_pool"]["waiting"], &connections["max"]), (&1.into(), &2.into()));
    gate.add_permits(3);
    let idle = [("tasks_processed", 3.0), ("tasks_active", 0.0), ("ollama_connections{state=\"idle\"}", 2.0)];
    let after = reaches(address, &idle).await;
    assert_eq!(value(&after, "ollama_connections{state=\"busy\"}"), 0.0);
    assert_eq!(value(&after, "ollama_connection_misses"), 2.0, "as many connections as there may be, and no more");
    agent.end().await;
}

#[tokio::test]
async fn a_connection_that_breaks_is_an_error_and_one_that_is_closed_is_not() {
    let gateway = Gateway::start(|seen, nth| match seen.path.as_str() {
        GENERATE if nth == 0 => Reply::Cut(vec!["{\"response\":\"half\"}\n".into()]),
        GENERATE => answer("done"),
        _ => backend(seen, nth, &["a", "b"]),
    })
    .await;
    let (address, agent) = served(&gateway, |config| {
        config.concurrency = 1;
        config.limits.connection_idle = Duration::from_millis(100);
    })
    .await;
    let wanted = [("tasks_failed", 1.0), ("ollama_connections_error", 1.0), ("tasks_processed", 1.0)];
    let samples = reaches(address, &wanted).await;
    assert_eq!(value(&samples, "ollama_connection_misses"), 2.0, "the broken one was replaced");
    // Idle for too long.
    let reaped = [("ollama_connections{state=\"idle\"}", 0.0), ("ollama_connections_closed", 1.0)];
    reaches(address, &reaped).await;
    agent.end().await;
}

#[tokio::test]
async fn trips_and_states_of_the_breaker_are_shown() {
    let heal = Arc::new(AtomicUsize::new(0));
    let healed = heal.clone();
    let gateway = Gateway::start(move |seen, nth| match seen.path.as_str() {
        GENERATE if healed.load(SeqCst) == 0 => status(500),
        GENERATE => answer("back"),
        _ => backend(seen, nth, &["a", "b", "c"]),
    })
    .await;
    let (address, agent) = served(&gateway, |config| {
        config.concurrency = 1;
        config.limits.breaker_failures = 2;
        config.limits.breaker_open = Duration::from_millis(500);
    })
    .await;
    let open = [("circuit_breaker_trips", 1.0), ("status{status=\"error\"}", 1.0), ("ollama_healthy", 0.0)];
    reaches(address, &open).await;
    assert_eq!(get(address, "/ready").await.unwrap().0, 503);
    assert_eq!(get(address, "/health").await.unwrap().0, 503);
    heal.store(1, SeqCst);
    let closed = [("circuit_breaker_state{state=\"closed\"}", 1.0), ("ollama_healthy", 1.0), ("tasks_processed", 1.0)];
    reaches(address, &closed).await;
    agent.end().await;
}

#[tokio::test]
async fn a_backend_that_fails_is_seen() {
    let down = Arc::new(AtomicUsize::new(0));
    let is_down = down.clone();
    let gateway = Gateway::start(move |seen, nth| match seen.path.as_str() {
        REGISTER => backend(seen, nth, &[]),
        _ if is_down.load(SeqCst) == 1 => status(500),
        _ => backend(seen, nth, &[]),
    })
    .await;
    let (address, agent) = served(&gateway, |_| {}).await;
    reaches(address, &[("backend_healthy", 1.0), ("status{status=\"active\"}", 1.0)]).await;
    down.store(1, SeqCst);
    reaches(address, &[("backend_healthy", 0.0)]).await;
    agent.end().await;
}

#[tokio::test]
async fn heartbeats_say_what_the_metrics_say() {
    let gateway = Gateway::start(|seen, nth| match seen.path.as_str() {
        GENERATE if nth == 0 => answer("done"),
        GENERATE => Reply::Whole(500, "{}".into()),
        _ => backend(seen, nth, &["a", "b"]),
    })
    .await;
    let (address, agent) = served(&gateway, |config| config.concurrency = 1).await;
    gateway.wait(1, completes("b")).await;
    let beat = gateway.wait(1, |seen| seen.path == HEARTBEAT && seen.body["tasks_failed"] == 1).await.remove(0).body;
    let samples = scrape(address).await;
    for name in ["tasks_processed", "tasks_failed", "tasks_queued", "circuit_breaker_trips", "avg_processing_time"] {
        assert_eq!(beat[name].as_f64().unwrap(), value(&samples, name), "{name}");
    }
    assert!((beat["memory_usage_mb"].as_f64().unwrap() / value(&samples, "memory_usage_mb") - 1.0).abs() < 0.5);
    agent.end().await;
}
