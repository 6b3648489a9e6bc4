//! The control API: `/v1` on a port of its own. Reads come from what the reactor published; writes go through
//! the reactor and are answered when they are durable.

mod backup;
mod drill;
mod freezes;
mod instances;
mod shared;
pub mod types;

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bellwether_core::{
    diagnostic::{Diagnostic, chain},
    id::RolloutId,
    plan::{self, FreezeOverride, Plan},
    rollout::{Refusal, Verb, VerbKind},
    spec::{DrillPolicy, parse_release},
};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

pub use backup::BESIDE;
pub(crate) use shared::Shared;
use types::{Problem, ProblemDiagnostic, Report, ReportQuery, StartRequest, Status, VerbRequest};

use crate::{calendar, clock, edits, fleet, reactor::Input};

pub(crate) async fn serve(listener: tokio::net::TcpListener, shared: Arc<Shared>, shutdown: CancellationToken) {
    let routes = Router::new()
        .route("/v1/status", get(status))
        .route("/v1/instances", get(instances::list))
        .route("/v1/plans", post(make_plan))
        .route("/v1/backups", post(backup::make))
        .route("/v1/rollouts", get(list).post(start))
        .route("/v1/rollouts/{id}", get(show))
        .route("/v1/rollouts/{id}/report", get(report))
        .route("/v1/rollouts/{id}/{verb}", post(verb))
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
        Some(rollout) => Json(published.machine.rollout_view(rollout, published.at)).into_response(),
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

async fn make_plan(State(shared): State<Arc<Shared>>, Json(request): Json<StartRequest>) -> Response {
    first_sample(&shared).await;
    match plan_for(&shared, &request) {
        Ok(plan) => Json(plan).into_response(),
        Err(diagnostics) => refused_file(&diagnostics),
    }
}

async fn start(State(shared): State<Arc<Shared>>, Json(request): Json<StartRequest>) -> Response {
    first_sample(&shared).await;
    let plan = match plan_for(&shared, &request) {
        Ok(plan) => Box::new(plan),
        Err(diagnostics) => return refused_file(&diagnostics),
    };
    if let Err(refused) = allowed(&shared, &request, &plan) {
        return problem(StatusCode::CONFLICT, "the rollout cannot begin", &[refused]);
    }
    let (reply, replied) = oneshot::channel();
    match ask(&shared, Input::Start { plan, by: request.by, reply }, replied).await {
        Ok(started) => (StatusCode::ACCEPTED, Json(started)).into_response(),
        Err(response) => response,
    }
}

async fn verb(
    State(shared): State<Arc<Shared>>,
    Path((id, name)): Path<(u64, String)>,
    Json(request): Json<VerbRequest>,
) -> Response {
    let kinds = [VerbKind::Pause, VerbKind::Resume, VerbKind::Promote, VerbKind::Rollback, VerbKind::Commit];
    let Some(kind) = kinds.into_iter().find(|kind| kind.as_str() == name) else {
        let known = kinds.map(VerbKind::as_str).join(", ");
        return problem(StatusCode::NOT_FOUND, format!("there is no verb {name:?}; there are {known}"), &[]);
    };
    let VerbRequest { by, reason, only, override_freeze } = request;
    if let Err(refused) = freezes::answered_for(override_freeze.as_deref()) {
        return problem(StatusCode::UNPROCESSABLE_ENTITY, "the request is not complete", &[refused]);
    }
    let verb = Verb { verb: kind, rollout: RolloutId(id), by, reason, only, override_freeze };
    let (reply, replied) = oneshot::channel();
    match ask(&shared, Input::Verb { verb, reply }, replied).await {
        Ok(()) => show(State(shared), Path(id)).await,
        Err(response) => response,
    }
}

/// A plan rests on what was measured. Right after a start the first sample is still on its way.
async fn first_sample(shared: &Shared) {
    const BEAT: Duration = Duration::from_millis(50);
    const BEATS_MAX: u32 = 100;
    for _ in 0..BEATS_MAX {
        if !shared.published().seen.is_empty() {
            return;
        }
        tokio::time::sleep(BEAT).await;
    }
}

/// The release against the fleet as it stands, with the needs measured so far.
fn plan_for(shared: &Shared, request: &StartRequest) -> Result<Plan, Vec<Diagnostic>> {
    freezes::answered_for(request.override_freeze.as_deref()).map_err(|refused| vec![refused])?;
    let release = parse_release(&request.file, &request.release)?;
    let published = shared.published();
    let mut spec = fleet::as_it_runs(&shared.spec, &published.machine);
    if let Some(baseline) = request.baseline {
        spec.rollout.baseline = baseline;
    }
    let measured = published.seen.measured(&spec, &release);
    let plan = plan::make(&spec, &release, &measured, request.speed)?;
    let mut plan = if request.drill { plan::drill_of(&plan) } else { plan };
    let over = request.override_freeze.clone();
    plan.freeze_override = over.map(|why| FreezeOverride { by: request.by.clone(), why });
    calendar::among(plan, &spec.rollout, clock::wall()).map_err(|refused| vec![refused])
}

/// Whether the policy lets this plan be carried out now.
fn allowed(shared: &Shared, request: &StartRequest, plan: &Plan) -> Result<(), Diagnostic> {
    if !request.with_running_fleet {
        let published = shared.published();
        let under_way = published.machine.rollout().filter(|rollout| !rollout.state.is_over());
        edits::taken(&shared.state, under_way.map(|rollout| rollout.id))?;
    }
    freezes::fits_its_window(plan)?;
    if plan.drill || shared.spec.rollout.drill == DrillPolicy::Optional {
        return Ok(());
    }
    drill::rehearsed(plan, shared.published().machine.rollouts())
}

async fn ask<T>(shared: &Shared, input: Input, replied: oneshot::Receiver<Result<T, Refusal>>) -> Result<T, Response> {
    let gone = || problem(StatusCode::SERVICE_UNAVAILABLE, "the controller is stopping; ask again in a moment", &[]);
    shared.inputs.send(input).await.map_err(|_closed| gone())?;
    match replied.await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(refusal @ Refusal::NoSuchRollout(_))) => Err(problem(StatusCode::NOT_FOUND, refusal.to_string(), &[])),
        Ok(Err(refusal @ (Refusal::NoRoom { .. } | Refusal::CannotRecord(_)))) => {
            let help = "`bellwether explain BW0345` says what is held back, and what goes on meanwhile";
            let diagnostic = Diagnostic::new("BW0345", refusal.to_string()).help(help);
            Err(problem(StatusCode::INSUFFICIENT_STORAGE, refusal.to_string(), &[diagnostic]))
        }
        Ok(Err(Refusal::Frozen { what, name, ends })) => {
            Err(problem(StatusCode::CONFLICT, "a freeze is open", &[freezes::open(what, &name, &ends)]))
        }
        Ok(Err(refusal)) => Err(problem(StatusCode::CONFLICT, refusal.to_string(), &[])),
        Err(_dropped) => Err(gone()),
    }
}

fn unknown(id: u64) -> Response {
    problem(StatusCode::NOT_FOUND, Refusal::NoSuchRollout(RolloutId(id)).to_string(), &[])
}

fn refused_file(diagnostics: &[Diagnostic]) -> Response {
    problem(StatusCode::UNPROCESSABLE_ENTITY, "the release cannot be planned", diagnostics)
}

fn problem(status: StatusCode, title: impl Into<String>, diagnostics: &[Diagnostic]) -> Response {
    let diagnostics = diagnostics.iter().map(ProblemDiagnostic::from).collect();
    let body = Json(Problem { title: title.into(), status: status.as_u16(), diagnostics });
    (status, [(axum::http::header::CONTENT_TYPE, "application/problem+json")], body).into_response()
}
