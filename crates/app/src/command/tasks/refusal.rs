//! What the gateway refuses, or why it cannot be asked, as a person is told it: what failed, why, and what to do next.

use bellwether_core::diagnostic::Diagnostic;
use hyper::StatusCode;
use serde::Deserialize;

use super::gateway::{Answer, Gateway, Lost};
use crate::failure::{Exit, Failure};

/// What the gateway was asked to do.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asked<'a> {
    /// With the id that the task would have.
    Submit(&'a str),
    Show(&'a str),
    Cancel(&'a str),
    Retry(&'a str),
    /// Counts, lists, ends.
    Read,
}

/// The body of a refusal (RFC 9457).
#[derive(Deserialize)]
struct Problem {
    detail: String,
}

pub(super) fn no_address(given: &str) -> Failure {
    Failure::invalid(vec![
        Diagnostic::new("BW0390", format!("{given:?} is not the address of a gateway"))
            .help("write it as `bellwether serve` prints it: http://HOST:PORT"),
    ])
}

pub(super) fn lost(gateway: &Gateway, asked: Asked<'_>, lost: &Lost) -> Failure {
    let base = gateway.base();
    let (message, cause, help) = match lost {
        Lost::Unreachable(cause) => (
            format!("no gateway answers at {base}"),
            cause,
            "start a fleet with `bellwether serve --fleet FILE`, or name its gateway with --gateway or BELLWETHER_GATEWAY"
                .to_owned(),
        ),
        Lost::Broken(cause) => {
            let help = match asked {
                Asked::Submit(id) => format!(
                    "`bellwether tasks show {id}` says whether the task is there; submitted again with --id {id} it cannot \
                     be there twice"
                ),
                Asked::Retry(id) => format!("`bellwether tasks show {id}` says whether the task is queued again"),
                Asked::Show(_) | Asked::Cancel(_) | Asked::Read => {
                    "try again; gateway.log in the state directory of `serve` says what happened".to_owned()
                }
            };
            (format!("the gateway at {base} gave no answer"), cause, help)
        }
    };
    Failure::error(Diagnostic::new("BW0390", message).because(cause).help(help))
}

pub(super) fn strange(gateway: &Gateway, cause: &str) -> Failure {
    Failure::error(
        Diagnostic::new("BW0391", format!("what answers at {} is not a gateway of this version", gateway.base()))
            .because(cause)
            .help(
                "check the address: `bellwether serve` prints it behind `gateway`, and its version is that of `serve`",
            ),
    )
}

pub(super) fn unknown(id: &str) -> Diagnostic {
    Diagnostic::new("BW0392", format!("there is no task {id}")).help(
        "`bellwether tasks list` shows the tasks that are kept; one that has ended is forgotten after `tasks.retention` \
         of the fleet file",
    )
}

/// Whether every other task would be refused in the same way.
pub(super) fn is_for_all(failure: &Failure) -> bool {
    failure.diagnostics.iter().any(|told| matches!(told.code, "BW0390" | "BW0391" | "BW0393"))
}

pub(super) fn refused(gateway: &Gateway, asked: Asked<'_>, answer: &Answer) -> Failure {
    let status = answer.status;
    let Ok(Problem { detail }) = serde_json::from_slice(&answer.body) else {
        return strange(gateway, &format!("it answered with status {status}"));
    };
    let told = match status {
        StatusCode::NOT_FOUND if detail.contains("tasks.mode") => no_queue(gateway, &detail),
        StatusCode::NOT_FOUND => match asked {
            Asked::Submit(_) => not_taken(&detail),
            // The task is there, and the agent that it was for is not.
            Asked::Retry(_) if detail.contains("agent") => conflict(asked, &detail),
            Asked::Show(id) | Asked::Cancel(id) | Asked::Retry(id) => unknown(id),
            Asked::Read => return strange(gateway, &detail),
        },
        StatusCode::CONFLICT => conflict(asked, &detail),
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT => match asked {
            Asked::Submit(_) => not_taken(&detail),
            Asked::Show(_) | Asked::Cancel(_) | Asked::Retry(_) | Asked::Read => {
                Diagnostic::new("BW0395", "the gateway does not understand what it was asked")
                    .because(detail)
                    .help("`bellwether help tasks` shows the form of every command")
            }
        },
        StatusCode::TOO_MANY_REQUESTS => full(answer, &detail),
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::INSUFFICIENT_STORAGE => {
            Diagnostic::new("BW0397", "the gateway cannot take this for the moment")
                .because(detail)
                .help("check the free space of the state directory, then try again")
        }
        _ => return strange(gateway, &format!("it answered with status {status}: {detail}")),
    };
    Failure { exit: Exit::Error, diagnostics: vec![told], told: Vec::new() }
}

fn no_queue(gateway: &Gateway, detail: &str) -> Diagnostic {
    let (message, help) = if detail.contains("relay") {
        let help = "submit them to that backend; `bellwether tasks list` shows those that came through this gateway";
        ("this gateway takes no tasks of its own", help.to_owned())
    } else {
        let help = format!(
            "write `tasks: {{mode: queue}}` into the fleet file and start `serve` again; agents that serve HTTP are reached \
             at {}/a/AGENT/ without a queue",
            gateway.base()
        );
        ("this fleet keeps no tasks", help)
    };
    Diagnostic::new("BW0393", message).because(detail).help(help)
}

/// By the status alone it could be the addressee, the size or the form; the gateway's sentence says which.
fn not_taken(detail: &str) -> Diagnostic {
    let help = if detail.contains("no agent") {
        "the fleet file that `serve` runs names the agents and their types"
    } else if detail.contains("larger") {
        "put large inputs where the agent can read them, and their place into the task"
    } else {
        "`bellwether tasks submit --help` shows what a task can have"
    };
    Diagnostic::new("BW0395", "the gateway does not take this task").because(detail).help(help)
}

fn conflict(asked: Asked<'_>, detail: &str) -> Diagnostic {
    let (message, help) = match asked {
        Asked::Submit(id) => (
            format!("the id {id} belongs to another task"),
            format!("choose another --id, or leave it out; `bellwether tasks show {id}` shows the task that has it"),
        ),
        Asked::Cancel(id) => {
            (format!("task {id} cannot be cancelled"), format!("`bellwether tasks show {id}` shows how it ended"))
        }
        Asked::Retry(id) => (
            format!("task {id} cannot be queued again"),
            format!(
                "`bellwether tasks show {id}` shows how it stands; what failed, expired or was cancelled can be retried"
            ),
        ),
        Asked::Show(id) => (format!("task {id} cannot be shown"), "try again".to_owned()),
        Asked::Read => ("the tasks cannot be shown".to_owned(), "try again".to_owned()),
    };
    Diagnostic::new("BW0394", message).because(detail).help(help)
}

fn full(answer: &Answer, detail: &str) -> Diagnostic {
    let again = match answer.retry_after {
        Some(after) => format!("try again in {} s", after.as_secs().max(1)),
        None => "try again later".to_owned(),
    };
    Diagnostic::new("BW0397", "the gateway has no room for this now").because(detail).help(format!(
        "{again}; `bellwether tasks list` shows what waits, and `tasks.waiting` and `tasks.waiting_bytes` of the fleet file \
         are the bounds"
    ))
}
