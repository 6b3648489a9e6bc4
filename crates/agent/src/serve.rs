//! `/health`, `/ready`, `/stats` and `/metrics`.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration, time::Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::{
    net::TcpListener,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{backend::timestamp, handler::Handler, metrics, runtime::Shared};

/// Probes and a scraper; more is a mistake or an attack.
const CONNECTIONS_MAX: usize = 16;
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECTION_LIFETIME: Duration = Duration::from_secs(300);

pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

pub(crate) async fn serve<H: Handler>(listener: TcpListener, shared: Arc<Shared<H>>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= CONNECTIONS_MAX {
            connections.join_next().await;
        }
        while connections.try_join_next().is_some() {}
        let stream = match listener.accept().await {
            Ok((stream, _peer)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let shared = shared.clone();
        connections.spawn(async move {
            let service = service_fn(|request| {
                let response = answer(&request, &shared);
                async { Ok::<_, Infallible>(response) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .max_buf_size(16 << 10)
                .serve_connection(TokioIo::new(stream), service);
            if let Ok(Err(error)) = timeout(CONNECTION_LIFETIME, connection).await {
                tracing::debug!(%error, "a connection to the health server broke");
            }
        });
    }
}

fn answer<H>(request: &Request<Incoming>, shared: &Shared<H>) -> Response<Full<Bytes>> {
    let status = shared.status();
    let ok_if = |ok: bool| if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/health" | "/healthz") => {
            respond(ok_if(status.is_healthy()), "application/json", health(shared))
        }
        (&Method::GET | &Method::HEAD, "/ready") => {
            respond(ok_if(status.is_ready()), "application/json", json!({ "status": status }).to_string())
        }
        (&Method::GET | &Method::HEAD, "/metrics") => {
            respond(StatusCode::OK, metrics::CONTENT_TYPE, metrics::metrics(shared))
        }
        (&Method::GET | &Method::HEAD, "/stats") => {
            respond(StatusCode::OK, "application/json", json!({ "ollama_pool": metrics::pool(shared) }).to_string())
        }
        (_, "/health" | "/healthz" | "/ready" | "/metrics" | "/stats") => {
            respond(StatusCode::METHOD_NOT_ALLOWED, "text/plain", String::new())
        }
        _ => respond(StatusCode::NOT_FOUND, "text/plain", String::new()),
    }
}

fn respond(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn health<H>(shared: &Shared<H>) -> String {
    let (status, figures) = (shared.status(), shared.stats.read());
    json!({
        "agent_name": shared.config.agent_name,
        "agent_version": env!("CARGO_PKG_VERSION"),
        "status": status,
        "healthy": status.is_healthy(),
        "uptime_seconds": shared.stats.started.elapsed().as_secs_f64(),
        "tasks_processed": figures.tasks_processed,
        "tasks_failed": figures.tasks_failed,
        "active_tasks": figures.tasks_active,
        "avg_processing_time": figures.average_seconds(),
        "ollama_healthy": figures.ollama_healthy,
        "backend_healthy": figures.backend_healthy,
        "circuit_breaker_status": shared.models.breaker().state_name(Instant::now()),
        "model": shared.config.model,
        "main_loop_age_seconds": shared.turn_age().as_secs_f64(),
        "task_silence_seconds": shared.held.silence().map(|silence| silence.as_secs_f64()),
        "timestamp": timestamp(),
    })
    .to_string()
}
