//! The control API: `/v1` on a port of its own. Reads come from what the reactor published; writes go through
//! the reactor and are answered when they are durable.

mod backup;
mod drill;
mod freezes;
mod instances;
mod problem;
mod shared;
mod start;
mod terms;
pub mod types;
mod verb;

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bellwether_core::{diagnostic::chain, id::RolloutId, rollout::Refusal};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

pub use backup::BESIDE;
use problem::{problem, refused};
pub(crate) use shared::Shared;
use types::{Report, ReportQuery, Status};

use crate::reactor::Input;

pub(crate) async fn serve(listener: tokio::net::TcpListener, shared: Arc<Shared>, shutdown: CancellationToken) {
    let routes = Router::new()
        .route("/v1/status", get(status))
        .route("/v1/instances", get(instances::list))
        .route("/v1/plans", post(start::plan))
        .route("/v1/backups", post(backup::make))
        .route("/v1/rollouts", get(list).post(start::start))
        .route("/v1/rollouts/{id}", get(show))
        .route("/v1/rollouts/{id}/report", get(report))
        .route("/v1/rollouts/{id}/{verb}", post(verb::verb))
        .with_state(shared);
    let served = axum::serve(listener, routes).with_graceful_shutdown(async move { shutdown.cancelled().await }).await;
    if let Err(error) = served {
        tracing::error!(%error, "the control API ended");
    }
}

async fn status(State(shared): State<Arc<Shared>>) -> Json<Status> {
    Json(shared.status())
}

async fn list(State(shared): State<Arc<Shared>>) -> Response {
    let published = shared.published();
    let rollouts: Vec<_> = published
        .machine
        .rollouts()
        .iter()
        .map(|rollout| published.machine.rollout_view(rollout, published.at))
        .collect();
    Json(rollouts).into_response()
}

async fn show(State(shared): State<Arc<Shared>>, Path(id): Path<u64>) -> Response {
    let published = shared.published();
    match published.machine.rollouts().iter().find(|rollout| rollout.id.0 == id) {
        Some(rollout) => {
            let tag = (header::ETAG, terms::tag(&rollout.position()));
            ([tag], Json(published.machine.rollout_view(rollout, published.at))).into_response()
        }
        None => unknown(id),
    }
}

async fn report(State(shared): State<Arc<Shared>>, Path(id): Path<u64>, Query(query): Query<ReportQuery>) -> Response {
    let Some(rollout) = shared.rollout(RolloutId(id)) else { return unknown(id) };
    let criteria = match shared.evidence.summary(&rollout, &query).await {
        Ok(criteria) => criteria,
        Err(error) => return problem(StatusCode::SERVICE_UNAVAILABLE, chain(&error), &[]),
    };
    let published = shared.published();
    Json(Report {
        rollout: published.machine.rollout_view(&rollout, published.at),
        criteria,
        memory_peak_bytes: published.memory_peak_bytes,
    })
    .into_response()
}

async fn ask<T>(shared: &Shared, input: Input, replied: oneshot::Receiver<Result<T, Refusal>>) -> Result<T, Response> {
    let gone = || problem(StatusCode::SERVICE_UNAVAILABLE, "the controller is stopping; ask again in a moment", &[]);
    shared.inputs.send(input).await.map_err(|_closed| gone())?;
    match replied.await {
        Ok(answer) => answer.map_err(|refusal| refused(&refusal)),
        Err(_dropped) => Err(gone()),
    }
}

fn unknown(id: u64) -> Response {
    refused(&Refusal::NoSuchRollout(RolloutId(id)))
}
