//! Plans, and the rollouts that begin with one.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use bellwether_core::{
    diagnostic::Diagnostic,
    plan::{self, FreezeOverride, MadeFrom, Plan},
    rollout::{Again, Event, Once, Refusal},
    spec::{DrillPolicy, Release, Spec, parse_release},
    time::Millis,
};
use tokio::sync::oneshot;

use super::{
    Shared, ask, drill, freezes,
    problem::{problem, refused},
    terms,
    types::{DryRun, StartRequest, Started},
};
use crate::{calendar, clock, edits, fleet, reactor::Input};

/// What a plan is made from, beside the fleet and what was measured.
pub(super) struct Wanted {
    pub(super) release: Release,
    pub(super) speed: f64,
    /// Instead of the fleet file's.
    pub(super) baseline: Option<Millis>,
    pub(super) drill: bool,
    /// Also where the fleet file is not what runs.
    pub(super) with_running_fleet: bool,
    /// Who answers for it that freeze windows do not count, and why.
    pub(super) freeze_override: Option<FreezeOverride>,
}

/// How a rollout is asked for.
pub(super) struct Asked {
    pub(super) by: String,
    pub(super) again: Option<Again>,
    pub(super) once: Option<Once>,
}

pub(super) async fn plan(State(shared): State<Arc<Shared>>, Json(request): Json<StartRequest>) -> Response {
    first_sample(&shared).await;
    match Wanted::of(&request).and_then(|wanted| plan_for(&shared, &wanted)) {
        Ok((plan, _)) => Json(plan).into_response(),
        Err(diagnostics) => refused_file(&diagnostics),
    }
}

pub(super) async fn start(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Json(request): Json<StartRequest>,
) -> Response {
    let once = match terms::once(&headers, &("start", &request)) {
        Ok(once) => once,
        Err(response) => return response,
    };
    let wanted = match Wanted::of(&request) {
        Ok(wanted) => wanted,
        Err(diagnostics) => return refused_file(&diagnostics),
    };
    let asked = Asked { by: request.by, again: None, once };
    if request.dry_run {
        return match preview(&shared, &wanted, asked).await {
            Ok(preview) => Json(preview).into_response(),
            Err(response) => response,
        };
    }
    match begin(&shared, &wanted, asked).await {
        Ok(started) => (StatusCode::ACCEPTED, Json(started)).into_response(),
        Err(response) => response,
    }
}

/// Makes the plan against what runs and was measured, and starts it.
pub(super) async fn begin(shared: &Shared, wanted: &Wanted, asked: Asked) -> Result<Started, Response> {
    // What was done already is not planned once more: the release may be what runs by now.
    match shared.published().machine.check_key(asked.once.as_ref()) {
        Ok(()) => {}
        Err(Refusal::Repeated(rollout)) => return Ok(Started { rollout }),
        Err(refusal) => return Err(refused(&refusal)),
    }
    let (plan, _) = allowed_plan(shared, wanted).await?;
    let Asked { by, again, once } = asked;
    let (reply, replied) = oneshot::channel();
    ask(shared, Input::Start { plan: Box::new(plan), by, again, once, reply }, replied).await
}

/// What [`begin`] would do.
pub(super) async fn preview(shared: &Shared, wanted: &Wanted, asked: Asked) -> Result<DryRun, Response> {
    let (plan, spec) = allowed_plan(shared, wanted).await?;
    let plan_text = Some(plan::text::render(&plan, &spec));
    let plan = Box::new(plan);
    let published = shared.published();
    let event = Event::Planned { plan: plan.clone(), by: asked.by, again: asked.again, once: None };
    let preview = published.machine.preview(published.at, event).map_err(|refusal| refused(&refusal))?;
    Ok(DryRun { preview, plan: Some(plan), plan_text })
}

impl Wanted {
    fn of(request: &StartRequest) -> Result<Self, Vec<Diagnostic>> {
        let release = parse_release(&request.file, &request.release)?;
        freezes::answered_for(request.override_freeze.as_deref()).map_err(|refused| vec![refused])?;
        let over = request.override_freeze.clone();
        Ok(Self {
            release,
            speed: request.speed,
            baseline: request.baseline,
            drill: request.drill,
            with_running_fleet: request.with_running_fleet,
            freeze_override: over.map(|why| FreezeOverride { by: request.by.clone(), why }),
        })
    }

    /// What an earlier plan was made from, if it is known.
    pub(super) fn like(plan: &Plan, freeze_override: Option<FreezeOverride>) -> Option<Self> {
        let MadeFrom { release, baseline } = plan.made_from.clone()?;
        let (speed, drill) = (plan.speed, plan.drill);
        Some(Self { release, speed, baseline, drill, with_running_fleet: false, freeze_override })
    }
}

async fn allowed_plan(shared: &Shared, wanted: &Wanted) -> Result<(Plan, Spec), Response> {
    first_sample(shared).await;
    let (plan, spec) = plan_for(shared, wanted).map_err(|diagnostics| refused_file(&diagnostics))?;
    match allowed(shared, wanted, &plan) {
        Ok(()) => Ok((plan, spec)),
        Err(refused) => Err(problem(StatusCode::CONFLICT, "the rollout cannot begin", &[refused])),
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

/// The release against the fleet as it stands, with the needs measured so far. With the plan comes that fleet.
fn plan_for(shared: &Shared, wanted: &Wanted) -> Result<(Plan, Spec), Vec<Diagnostic>> {
    let Wanted { release, speed, baseline, drill, with_running_fleet: _, freeze_override } = wanted;
    let published = shared.published();
    let mut spec = fleet::as_it_runs(&shared.spec, &published.machine);
    if let Some(baseline) = *baseline {
        spec.rollout.baseline = baseline;
    }
    let measured = published.seen.measured(&spec, release);
    let mut plan = plan::make(&spec, release, &measured, *speed)?;
    plan.made_from = Some(MadeFrom { release: release.clone(), baseline: *baseline });
    let mut plan = if *drill { plan::drill_of(&plan) } else { plan };
    plan.freeze_override.clone_from(freeze_override);
    let plan = calendar::among(plan, &spec.rollout, clock::wall()).map_err(|refused| vec![refused])?;
    Ok((plan, spec))
}

/// Whether the policy lets this plan be carried out now.
fn allowed(shared: &Shared, wanted: &Wanted, plan: &Plan) -> Result<(), Diagnostic> {
    if !wanted.with_running_fleet {
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

fn refused_file(diagnostics: &[Diagnostic]) -> Response {
    problem(StatusCode::UNPROCESSABLE_ENTITY, "the release cannot be planned", diagnostics)
}
