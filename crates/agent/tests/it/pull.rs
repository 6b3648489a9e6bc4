//! Questions for tasks, calls to the model server, and the faults of the agents that this base replaces.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bellwether_agent::{Handler, Model, Task, TaskError};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::{
    COMPLETE, GENERATE, HEARTBEAT, NEXT, REGISTER, VERSION, backend, completes, config,
    gateway::{Gateway, Reply, answer, status},
    health::{free_address, until},
    start, start_with,
};

#[tokio::test]
async fn an_idle_agent_asks_once_and_has_the_question_held() {
    let gate = Arc::new(Semaphore::new(0));
    let inner = gate.clone();
    let gateway = Gateway::start(move |seen, nth| match seen.path.as_str() {
        NEXT => Reply::After(inner.clone(), Box::new(status(204))),
        _ => backend(seen, nth, &[]),
    })
    .await;
    let mut config = config(&gateway);
    config.limits.heartbeat_every = Duration::from_millis(20);
    let agent = start(config);
    gateway.wait(5, |seen| seen.path == HEARTBEAT).await;
    let asked = gateway.to(NEXT);
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].headers["prefer"], "wait=54", "a little less than it waits itself");
    gate.add_permits(1);
    gateway.wait(2, |seen| seen.path == NEXT).await;
    gate.add_permits(1);
    agent.end().await;
}

#[tokio::test]
async fn a_backend_that_hears_of_the_end_lets_go_of_the_question() {
    let gate = Arc::new(Semaphore::new(0));
    let inner = gate.clone();
    let gateway = Gateway::start(move |seen, nth| match seen.path.as_str() {
        NEXT => Reply::After(inner.clone(), Box::new(status(204))),
        HEARTBEAT if seen.body["status"] == "shutting_down" => {
            inner.add_permits(1);
            status(200)
        }
        _ => backend(seen, nth, &[]),
    })
    .await;
    let agent = start(config(&gateway));
    gateway.wait(1, |seen| seen.path == NEXT).await;
    assert_eq!(agent.end().await.unfinished, 0);
    assert_eq!(gateway.to(NEXT).len(), 1);
}

#[tokio::test]
async fn a_backend_that_never_lets_go_does_not_hold_the_agent() {
    let gate = Arc::new(Semaphore::new(0));
    let gateway = Gateway::start(move |seen, nth| match seen.path.as_str() {
        NEXT => Reply::After(gate.clone(), Box::new(status(204))),
        _ => backend(seen, nth, &[]),
    })
    .await;
    let agent = start(config(&gateway));
    gateway.wait(1, |seen| seen.path == NEXT).await;
    assert_eq!(agent.end().await.unfinished, 0);
}

#[tokio::test]
async fn a_task_that_comes_while_the_model_server_is_left_alone_waits() {
    let gate = Arc::new(Semaphore::new(1));
    let inner = gate.clone();
    let gateway = Gateway::start(move |seen, nth| match seen.path.as_str() {
        NEXT => Reply::After(inner.clone(), Box::new(backend(seen, nth, &["a", "b"]))),
        GENERATE if nth == 0 => status(500),
        GENERATE => answer("back"),
        COMPLETE if seen.body["task_id"] == "a" => {
            inner.add_permits(1);
            status(200)
        }
        _ => backend(seen, nth, &[]),
    })
    .await;
    let mut config = config(&gateway);
    config.limits.breaker_failures = 1;
    config.limits.breaker_open = Duration::from_millis(300);
    let agent = start(config);
    gateway.wait(2, |seen| seen.path == NEXT).await;
    let report = gateway.wait(1, completes("b")).await.remove(0).body;
    assert_eq!((&report["status"], &report["result"]), (&json!("completed"), &json!("back")));
    agent.end().await;
}

#[tokio::test]
async fn the_model_is_loaded_before_the_first_task_where_that_is_asked_for() {
    let gateway = Gateway::start(|seen, nth| match seen.path.as_str() {
        GENERATE if nth == 0 => crate::gateway::json(r#"{"done":true,"done_reason":"load"}"#),
        GENERATE => answer("done"),
        _ => backend(seen, nth, &["a"]),
    })
    .await;
    let mut config = config(&gateway);
    config.preload = Some("30m".into());
    let agent = start(config);
    gateway.wait(1, completes("a")).await;
    let order: Vec<_> = gateway.all(|_| true).into_iter().map(|seen| seen.path).take(4).collect();
    assert_eq!(order, [REGISTER, VERSION, GENERATE, NEXT]);
    let calls = gateway.to(GENERATE);
    assert_eq!(calls[0].body, json!({"model": "phi", "keep_alive": "30m", "stream": false}));
    assert_eq!(calls[1].body["keep_alive"], "30m");
    agent.end().await;
}

#[tokio::test]
async fn an_agent_starts_without_its_model_server() {
    let gateway = Gateway::start(|seen, nth| backend(seen, nth, &["a"])).await;
    let mut config = config(&gateway);
    config.ollama = bellwether_agent::Base::parse("http://127.0.0.1:9").unwrap();
    config.limits.warm_up = Duration::from_millis(50);
    let agent = start(config);
    let report = gateway.wait(1, completes("a")).await.remove(0).body;
    assert_eq!(report["status"], "failed");
    assert!(report["error"].as_str().unwrap().contains("could not connect"), "{report}");
    agent.end().await;
}

/// R92: more tasks than connections queue here, and none fails for it.
#[tokio::test]
async fn many_tasks_share_few_connections() {
    const TASKS: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (gate, began, peak) = (Arc::new(Semaphore::new(0)), now.clone(), most.clone());
    let inner = gate.clone();
    let gateway = Gateway::start(move |seen, nth| match seen.path.as_str() {
        GENERATE => {
            peak.fetch_max(began.fetch_add(1, SeqCst) + 1, SeqCst);
            Reply::After(inner.clone(), Box::new(answer("done")))
        }
        COMPLETE => {
            began.fetch_sub(1, SeqCst);
            status(200)
        }
        _ => backend(seen, nth, &TASKS),
    })
    .await;
    let mut config = config(&gateway);
    config.concurrency = TASKS.len();
    let agent = start(config);
    gateway.wait(TASKS.len(), |seen| seen.path == NEXT).await;
    for done in 1..=TASKS.len() {
        gate.add_permits(1);
        gateway.wait(done, |seen| seen.path == COMPLETE && seen.body["status"] == "completed").await;
    }
    // A call may begin before the report of the one whose connection it got has arrived.
    assert!(most.load(SeqCst) <= 3, "{most:?} calls at once");
    agent.end().await;
}

/// R94: what may still be computing is not asked for again.
#[tokio::test]
async fn a_slow_answer_is_not_asked_for_twice() {
    let gate = Arc::new(Semaphore::new(0));
    let gateway = Gateway::start(move |seen, nth| match seen.path.as_str() {
        GENERATE => Reply::After(gate.clone(), Box::new(answer("too late"))),
        _ => backend(seen, nth, &["a"]),
    })
    .await;
    let mut config = config(&gateway);
    config.limits.model_read_timeout = Duration::from_millis(100);
    let agent = start(config);
    let report = gateway.wait(1, completes("a")).await.remove(0).body;
    assert!(report["error"].as_str().unwrap().contains("no answer within 100ms"), "{report}");
    assert_eq!(report.get("retry"), None);
    assert_eq!(gateway.to(GENERATE).len(), 1);
    agent.end().await;
}

/// R95: the model is named as it was given, looked up nowhere and pulled never.
#[tokio::test]
async fn the_name_of_the_model_goes_as_it_is() {
    for name in ["phi3", "phi3:latest", "hf.co/org/Model-GGUF:Q4_K_M"] {
        let gateway = Gateway::start(|seen, nth| match seen.path.as_str() {
            GENERATE => answer("done"),
            _ => backend(seen, nth, &["a"]),
        })
        .await;
        let mut config = config(&gateway);
        config.model = name.into();
        let agent = start(config);
        gateway.wait(1, completes("a")).await;
        agent.end().await;
        assert_eq!(gateway.to(GENERATE)[0].body["model"], name);
        let calls = gateway.all(|seen| seen.path.starts_with("ollama/"));
        assert!(calls.iter().all(|seen| [GENERATE, VERSION].contains(&seen.path.as_str())), "{calls:#?}");
    }
}

struct Hangs;

impl Handler for Hangs {
    async fn handle(&self, _task: Task, _model: Model) -> Result<Value, TaskError> {
        std::future::pending().await
    }
}

/// R90: beats go on, but what is shown beside them does not look like work.
#[tokio::test]
async fn work_that_hangs_is_seen() {
    let gateway = Gateway::start(|seen, nth| backend(seen, nth, &["a"])).await;
    let mut config = config(&gateway);
    config.concurrency = 1;
    config.limits.heartbeat_every = Duration::from_millis(20);
    config.limits.drain = Duration::ZERO;
    let address = free_address().await;
    config.listen = Some(address);
    let agent = start_with(config, Hangs);
    let busy = gateway.wait(3, |seen| seen.path == HEARTBEAT && seen.body["status"] == "busy").await;
    assert!(busy.iter().all(|beat| beat.body["tasks_processed"] == 0));
    let health = || async { serde_json::from_str::<Value>(&until(address, "/health", 200).await).unwrap() };
    let first = health().await["task_silence_seconds"].as_f64().unwrap();
    gateway.wait(6, |seen| seen.path == HEARTBEAT).await;
    let later = health().await;
    assert!(later["task_silence_seconds"].as_f64().unwrap() > first);
    assert!(later["main_loop_age_seconds"].as_f64().unwrap() < 10.0, "the loop itself goes on");
    assert_eq!(agent.end().await.unfinished, 1);
}
