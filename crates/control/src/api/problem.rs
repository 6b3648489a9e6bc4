//! Refusals as they are answered: RFC 9457, with a code where one stands for the refusal.

use axum::{
    Json,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use bellwether_core::{diagnostic::Diagnostic, rollout::Refusal};

use super::{
    freezes,
    types::{Problem, ProblemDiagnostic},
};

pub(super) fn problem(status: StatusCode, title: impl Into<String>, diagnostics: &[Diagnostic]) -> Response {
    let diagnostics = diagnostics.iter().map(ProblemDiagnostic::from).collect();
    let body = Json(Problem { title: title.into(), status: status.as_u16(), diagnostics });
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response()
}

pub(super) fn refused(refusal: &Refusal) -> Response {
    let diagnostics: Vec<Diagnostic> = told(refusal).into_iter().collect();
    problem(status(refusal), refusal.to_string(), &diagnostics)
}

fn status(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::NoSuchRollout(_) => StatusCode::NOT_FOUND,
        Refusal::Moved { .. } => StatusCode::PRECONDITION_FAILED,
        Refusal::NoRoom { .. } | Refusal::CannotRecord(_) => StatusCode::INSUFFICIENT_STORAGE,
        Refusal::RolloutActive(_)
        | Refusal::Frozen { .. }
        | Refusal::NeverFrozen(_)
        | Refusal::NotCommitted(_)
        | Refusal::StalePlan(_)
        | Refusal::EmptyPlan
        | Refusal::NotNow { .. }
        | Refusal::NoSuchPart(_)
        | Refusal::NotInPart(_)
        | Refusal::Declared
        | Refusal::OwnApproval { .. }
        | Refusal::KeyReused(_)
        | Refusal::Repeated(_) => StatusCode::CONFLICT,
    }
}

/// What has a code of its own.
fn told(refusal: &Refusal) -> Option<Diagnostic> {
    match refusal {
        Refusal::Moved { verb, rollout, expected, now } => Some(
            Diagnostic::new(
                "BW0410",
                format!("rollout {rollout} has moved on: it would not be the {verb} that was meant"),
            )
            .because(format!("it was at {expected} when it was looked at, and is at {now}"))
            .help(format!(
                "look at it with `bellwether rollout show {rollout}`, and ask again if that is still what you want"
            )),
        ),
        Refusal::KeyReused(key) => Some(
            Diagnostic::new("BW0411", format!("the idempotency key {key} stands for another request"))
                .because("something else was asked for under it")
                .help("make up a key for each thing that is asked for, and use it again only to ask for the same"),
        ),
        Refusal::OwnApproval { rollout, by } => Some(
            Diagnostic::new("BW0412", format!("{by} started rollout {rollout}, and cannot approve it as well"))
                .because("the fleet file says `approval: other` for this phase")
                .help(format!("have somebody else run `bellwether approve {rollout}`")),
        ),
        Refusal::NoRoom { .. } | Refusal::CannotRecord(_) => {
            let help = "`bellwether explain BW0345` says what is held back, and what goes on meanwhile";
            Some(Diagnostic::new("BW0345", refusal.to_string()).help(help))
        }
        Refusal::Frozen { what, name, ends } => Some(freezes::open(what, name, ends)),
        Refusal::RolloutActive(_)
        | Refusal::NeverFrozen(_)
        | Refusal::NotCommitted(_)
        | Refusal::NoSuchRollout(_)
        | Refusal::StalePlan(_)
        | Refusal::EmptyPlan
        | Refusal::NotNow { .. }
        | Refusal::NoSuchPart(_)
        | Refusal::NotInPart(_)
        | Refusal::Declared
        | Refusal::Repeated(_) => None,
    }
}
