//! `/health`, `/ready` and `/metrics`.

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

use crate::{
    backend::{mebibytes, timestamp},
    handler::Handler,
    runtime::Shared,
    stats::resident_bytes,
};

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
            respond(StatusCode::OK, "text/plain; version=0.0.4", metrics(shared))
        }
        (_, "/health" | "/healthz" | "/ready" | "/metrics") => {
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
        "timestamp": timestamp(),
    })
    .to_string()
}

fn metrics<H>(shared: &Shared<H>) -> String {
    let figures = shared.stats.read();
    let mut text = Exposition::default();
    text.counter("tasks_processed", "Tasks completed and accepted.", figures.tasks_processed);
    text.counter("tasks_failed", "Tasks reported as failed and accepted.", figures.tasks_failed);
    text.counter("tasks_dropped", "Tasks finished when their lease was gone.", figures.tasks_dropped);
    text.gauge("tasks_active", "Tasks held.", figures.tasks_active);
    text.gauge("tasks_queued", "Tasks held that wait for a connection to the model server.", figures.tasks_queued);
    text.counter("total_processing_time", "Seconds spent on tasks.", figures.processing_time.as_secs_f64());
    text.gauge("avg_processing_time", "Seconds per task.", figures.average_seconds());
    if let Some(last) = figures.last_task {
        text.gauge("last_task_time", "When the last task ended, in Unix seconds.", last.as_second());
    }
    text.gauge("startup_time", "When the agent started, in Unix seconds.", shared.stats.started_at.as_second());
    if let Some(bytes) = resident_bytes() {
        text.gauge("memory_usage_mb", "Resident memory in MiB.", mebibytes(bytes));
    }
    text.gauge("cpu_usage_percent", "Share of one core.", shared.stats.cpu_percent());
    text.counter("ollama_requests", "Calls to the model server.", figures.ollama_requests);
    text.counter("ollama_failures", "Calls to the model server that failed.", figures.ollama_failures);
    text.counter("ollama_pieces", "Pieces of answers received.", figures.pieces);
    text.counter(
        "circuit_breaker_trips",
        "Times the model server was left alone after failures in a row.",
        shared.models.breaker().trips(),
    );
    text.0
}

/// Prometheus text. The names are those of the agents that this base replaces, so they carry no `_total`.
#[derive(Default)]
struct Exposition(String);

impl Exposition {
    fn counter(&mut self, name: &str, help: &str, value: impl std::fmt::Display) {
        self.sample("counter", name, help, value);
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl std::fmt::Display) {
        self.sample("gauge", name, help, value);
    }

    fn sample(&mut self, kind: &str, name: &str, help: &str, value: impl std::fmt::Display) {
        let name = format_args!("bellwether_agent_{name}");
        self.0.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n"));
    }
}
