//! What people ask of a rollout.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use bellwether_core::{
    id::RolloutId,
    plan::FreezeOverride,
    rollout::{Again, Event, Refusal, Rollout, State as At, Verb, VerbKind},
};
use tokio::sync::oneshot;

use super::{
    Shared, ask, freezes,
    problem::{problem, refused},
    show,
    start::{self, Asked, Wanted},
    terms,
    types::{DryRun, VerbRequest},
    unknown,
};
use crate::reactor::Input;

pub(super) async fn verb(
    State(shared): State<Arc<Shared>>,
    Path((id, name)): Path<(u64, String)>,
    headers: HeaderMap,
    Json(request): Json<VerbRequest>,
) -> Response {
    let Some(kind) = VerbKind::ALL.into_iter().find(|kind| kind.as_str() == name) else {
        let known = VerbKind::ALL.map(VerbKind::as_str).join(", ");
        return problem(StatusCode::NOT_FOUND, format!("there is no verb {name:?}; there are {known}"), &[]);
    };
    let verb = match read(kind, RolloutId(id), &headers, &request) {
        Ok(verb) => verb,
        Err(response) => return response,
    };
    if request.dry_run {
        return match preview(&shared, verb).await {
            Ok(preview) => Json(preview).into_response(),
            Err(response) => response,
        };
    }
    match carry_out(&shared, verb).await {
        Ok(RolloutId(shown)) => show(State(shared), Path(shown)).await,
        Err(response) => response,
    }
}

fn read(kind: VerbKind, rollout: RolloutId, headers: &HeaderMap, request: &VerbRequest) -> Result<Verb, Response> {
    let VerbRequest { by, reason, only, override_freeze, expect, dry_run: _ } = request.clone();
    if let Err(refused) = freezes::answered_for(override_freeze.as_deref()) {
        return Err(problem(StatusCode::UNPROCESSABLE_ENTITY, "the request is not complete", &[refused]));
    }
    let expect = terms::expected(headers, expect.as_deref())?;
    let verb = Verb { only, override_freeze, expect, ..Verb::new(kind, rollout, by, reason) };
    let once = terms::once(headers, &verb)?;
    Ok(Verb { once, ..verb })
}

/// The rollout that it has come to: the one that was asked for, or where that is tried again, the next.
async fn carry_out(shared: &Shared, verb: Verb) -> Result<RolloutId, Response> {
    // After the first time a retry can look like something else: the rollback that it began may be over.
    match shared.published().machine.check_key(verb.once.as_ref()) {
        Ok(()) => {}
        Err(Refusal::Repeated(rollout)) => return Ok(rollout),
        Err(refusal) => return Err(refused(&refusal)),
    }
    if let Some(rollout) = to_start_again(shared, &verb)? {
        let (wanted, asked) = again(&rollout, verb)?;
        return Ok(start::begin(shared, &wanted, asked).await?.rollout);
    }
    let id = verb.rollout;
    let (reply, replied) = oneshot::channel();
    ask(shared, Input::Verb { verb, reply }, replied).await?;
    Ok(id)
}

async fn preview(shared: &Shared, verb: Verb) -> Result<DryRun, Response> {
    if let Some(rollout) = to_start_again(shared, &verb)? {
        let (wanted, asked) = again(&rollout, verb)?;
        return start::preview(shared, &wanted, asked).await;
    }
    let published = shared.published();
    let event = Event::Verb(Verb { once: None, ..verb });
    let preview = published.machine.preview(published.at, event).map_err(|refusal| refused(&refusal))?;
    Ok(DryRun { preview, plan: None, plan_text: None })
}

/// The rollout that a retry means, where it came to nothing and has to be planned anew.
fn to_start_again(shared: &Shared, verb: &Verb) -> Result<Option<Rollout>, Response> {
    if verb.verb != VerbKind::Retry {
        return Ok(None);
    }
    let rollout = shared.rollout(verb.rollout).ok_or_else(|| unknown(verb.rollout.0))?;
    Ok(match rollout.state {
        At::RolledBack | At::PreflightFailed => Some(rollout),
        At::Preflight
        | At::Progressing { .. }
        | At::Validating { .. }
        | At::Completed
        | At::Committed
        | At::RollingBack { .. }
        | At::NeedsAttention => None,
    })
}

fn again(rollout: &Rollout, verb: Verb) -> Result<(Wanted, Asked), Response> {
    let over = verb.override_freeze.map(|why| FreezeOverride { by: verb.by.clone(), why });
    let Some(wanted) = Wanted::like(&rollout.plan, over) else {
        let why = format!(
            "cannot retry rollout {}: an earlier version planned it, and kept no release; start it with `bellwether \
             rollout start --release FILE`",
            rollout.id
        );
        return Err(problem(StatusCode::CONFLICT, why, &[]));
    };
    let again = Again { rollout: rollout.id, reason: verb.reason, expect: verb.expect };
    Ok((wanted, Asked { by: verb.by, again: Some(again), once: verb.once }))
}
