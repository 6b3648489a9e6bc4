//! The figures of an agent as Prometheus text and as JSON.
//!
//! The names are those of the agents that this base replaces, so counters carry no `_total`. What cannot be known, such
//! as a rate of nothing, is left out of the text and null in the JSON.

use std::{fmt::Display, time::Instant};

use serde_json::{Value, json};

use crate::{
    backend::mebibytes,
    breaker::STATES,
    connections::share,
    runtime::Shared,
    stats::{Figures, resident_bytes},
    status::Status,
};

pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
const VERSION: &str = env!("CARGO_PKG_VERSION");

pub(crate) fn metrics<H>(shared: &Shared<H>) -> String {
    let (config, figures, status) = (&shared.config, shared.stats.read(), shared.status());
    let mut text = Exposition::default();
    text.family("info", "gauge", "What this agent is.");
    let of = [
        ("agent", config.agent_name.as_str()),
        ("type", &config.agent_type),
        ("model", &config.model),
        ("version", VERSION),
    ];
    text.sample("info", &of, 1);
    text.family("status", "gauge", "1 for the status that the agent is in.");
    for each in Status::ALL {
        text.sample("status", &[("status", each.as_str())], u8::from(each == status));
    }
    tasks(&mut text, shared, &figures);
    text.gauge("startup_time", "When the agent started, in Unix seconds.", shared.stats.started_at.as_second());
    if let Some(bytes) = resident_bytes() {
        text.gauge("memory_usage_mb", "Resident memory in MiB.", mebibytes(bytes));
    }
    text.gauge("cpu_usage_percent", "Share of one core.", shared.stats.cpu_percent());
    text.gauge("main_loop_age_seconds", "Since the main loop last turned.", shared.turn_age().as_secs_f64());
    text.gauge("backend_healthy", "1 if the backend's last answer was one.", u8::from(figures.backend_healthy));
    model_server(&mut text, shared, &figures);
    text.0
}

fn tasks<H>(text: &mut Exposition, shared: &Shared<H>, figures: &Figures) {
    text.counter("tasks_processed", "Tasks completed and accepted.", figures.tasks_processed);
    text.counter("tasks_failed", "Tasks reported as failed and accepted.", figures.tasks_failed);
    text.counter("tasks_dropped", "Tasks that became somebody else's.", figures.tasks_dropped);
    text.gauge("tasks_active", "Tasks held.", figures.tasks_active);
    text.gauge("tasks_queued", "Tasks held that wait for the model server to be free.", figures.tasks_queued);
    if let Some(silence) = shared.held.silence() {
        let help = "Of the tasks held, the longest time without a sign of progress.";
        text.gauge("task_silence_seconds", help, silence.as_secs_f64());
    }
    text.counter("total_processing_time", "Seconds spent on tasks.", figures.processing_time.as_secs_f64());
    text.gauge("avg_processing_time", "Seconds per task.", figures.average_seconds());
    if let Some(last) = figures.last_task {
        text.gauge("last_task_time", "When the last task ended, in Unix seconds.", last.as_second());
    }
}

fn model_server<H>(text: &mut Exposition, shared: &Shared<H>, figures: &Figures) {
    let help = "1 if the model server's last answer was one.";
    text.gauge("ollama_healthy", help, u8::from(figures.ollama_healthy));
    text.counter("ollama_requests", "Calls to the model server.", figures.ollama_requests);
    text.counter("ollama_failures", "Calls to the model server that failed.", figures.ollama_failures);
    if let Some(rate) = success_rate(figures) {
        text.gauge("ollama_success_rate", "Share of calls that did not fail.", rate);
    }
    text.counter("ollama_pieces", "Pieces of answers received.", figures.pieces);
    let counts = shared.models.counts();
    text.family("ollama_connections", "gauge", "Open connections to the model server.");
    text.sample("ollama_connections", &[("state", "idle")], counts.idle);
    text.sample("ollama_connections", &[("state", "busy")], counts.active);
    text.counter("ollama_connections_closed", "Connections that ended as they should.", counts.closed);
    text.counter("ollama_connections_error", "Connections that broke or could not be made.", counts.error);
    text.counter("ollama_connection_hits", "Requests that found an open connection.", counts.hits);
    text.counter("ollama_connection_misses", "Requests that had to open a connection.", counts.misses);
    if let Some(rate) = counts.hit_rate() {
        text.gauge("ollama_connection_hit_rate", "Share of requests that found an open connection.", rate);
    }
    let (state, trips) = {
        let breaker = shared.models.breaker();
        (breaker.state_name(Instant::now()), breaker.trips())
    };
    text.family("circuit_breaker_state", "gauge", "1 for the state that the breaker is in.");
    for each in STATES {
        text.sample("circuit_breaker_state", &[("state", each)], u8::from(each == state));
    }
    let help = "Times the model server was left alone after failures in a row.";
    text.counter("circuit_breaker_trips", help, trips);
}

/// The pool of connections to the model server.
pub(crate) fn pool<H>(shared: &Shared<H>) -> Value {
    let (counts, figures, limits) = (shared.models.counts(), shared.stats.read(), &shared.config.limits);
    json!({
        "connections": {
            "total": counts.total, "active": counts.active, "idle": counts.idle,
            "error": counts.error, "closed": counts.closed, "max": limits.model_connections,
        },
        "hits": counts.hits,
        "misses": counts.misses,
        "hit_rate": counts.hit_rate(),
        "requests": figures.ollama_requests,
        "failures": figures.ollama_failures,
        "success_rate": success_rate(&figures),
        "waiting": figures.tasks_queued,
    })
}

fn success_rate(figures: &Figures) -> Option<f64> {
    share(figures.ollama_requests - figures.ollama_failures, figures.ollama_requests)
}

#[derive(Default)]
struct Exposition(String);

impl Exposition {
    fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "counter", help);
        self.sample(name, &[], value);
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", help);
        self.sample(name, &[], value);
    }

    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let name = format_args!("bellwether_agent_{name}");
        self.0.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<_> = labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escaped(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        self.0.push_str(&format!("bellwether_agent_{name}{labels} {value}\n"));
    }
}

fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
