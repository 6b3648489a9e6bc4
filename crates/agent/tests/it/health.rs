//! What the agent's own server says.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bellwether_agent::{PromptHandler, StartError, run};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::{
    GENERATE, REGISTER, backend, config,
    gateway::{Gateway, Reply, answer},
    start,
};

pub(crate) async fn free_address() -> SocketAddr {
    tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

pub(crate) async fn get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).await.ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await.ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

pub(crate) async fn until(address: SocketAddr, path: &str, status: u16) -> String {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match get(address, path).await {
            Some((seen, body)) if seen == status => return body,
            seen => assert!(Instant::now() < deadline, "{path}: {seen:?}"),
        }
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn ready_from_registration_to_the_drain() {
    let gate = Arc::new(Semaphore::new(0));
    let inner = gate.clone();
    let gateway = Gateway::start(move |seen, nth| match seen.path.as_str() {
        REGISTER => Reply::After(inner.clone(), Box::new(backend(seen, nth, &[]))),
        GENERATE => Reply::After(inner.clone(), Box::new(answer("done"))),
        _ => backend(seen, nth, &["a"]),
    })
    .await;
    let mut config = config(&gateway);
    let address = free_address().await;
    config.listen = Some(address);
    let agent = start(config);

    assert!(until(address, "/ready", 503).await.contains("registering"));
    until(address, "/health", 200).await;
    gate.add_permits(1);
    until(address, "/ready", 200).await;
    gateway.wait(1, |seen| seen.path == GENERATE).await;
    agent.shutdown.cancel();
    assert!(until(address, "/ready", 503).await.contains("shutting_down"));
    let health: Value = serde_json::from_str(&until(address, "/health", 200).await).unwrap();
    assert_eq!((&health["active_tasks"], &health["circuit_breaker_status"]), (&1.into(), &"closed".into()));
    gate.add_permits(1);
    agent.end().await;
    assert_eq!(get(address, "/health").await, None);
}

#[tokio::test]
async fn only_what_there_is_can_be_read() {
    let gateway = Gateway::start(|seen, nth| backend(seen, nth, &[])).await;
    let mut config = config(&gateway);
    let address = free_address().await;
    config.listen = Some(address);
    let agent = start(config);
    for path in ["/health", "/healthz", "/ready", "/stats", "/metrics"] {
        until(address, path, 200).await;
    }
    assert_eq!(get(address, "/other").await.unwrap().0, 404);
    agent.end().await;
}

#[tokio::test]
async fn an_address_in_use_is_said_before_anything_starts() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = Gateway::start(|seen, nth| backend(seen, nth, &[])).await;
    let mut config = config(&gateway);
    config.listen = Some(taken.local_addr().unwrap());
    let refused = run(config, PromptHandler, CancellationToken::new()).await;
    assert!(matches!(refused, Err(StartError::Listen { .. })));
    assert!(gateway.all(|_| true).is_empty());
}
