//! `bellwether tasks cancel`.

use bellwether_core::diagnostic::Diagnostic;
use hyper::Method;
use serde::Serialize;

use super::{
    gateway::{Gateway, GatewayArgs, escaped},
    refusal::{Asked, is_for_all},
    task::{Fields, Task},
};
use crate::{
    failure::{Exit, Failure, Outcome},
    output::{Output, print_json},
};

/// End tasks before they are done.
///
/// A task that waits is never begun. What an agent works on at this moment is not interrupted: its report is refused when it
/// comes. Cancelling a task twice does nothing more. Exit code 1 if one of the tasks could not be cancelled; the others are.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Their ids
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    #[command(flatten)]
    gateway: GatewayArgs,
    #[command(flatten)]
    output: Output,
}

#[derive(Serialize)]
struct Report<'r> {
    cancelled: Vec<Fields>,
    refused: Vec<Refused<'r>>,
}

/// One of several that could not be done.
#[derive(Serialize)]
pub(super) struct Refused<'r> {
    pub(super) id: &'r str,
    pub(super) error: Diagnostic,
}

pub(super) async fn run(args: &Args) -> Outcome {
    let gateway = Gateway::new(&args.gateway)?;
    let mut report = Report { cancelled: Vec::new(), refused: Vec::new() };
    for id in &args.ids {
        let asked = gateway.ask(Method::DELETE, &format!("/tasks/{}", escaped(id)), Asked::Cancel(id)).await;
        match asked {
            Ok(answer) => {
                let task: Task = answer.json(&gateway)?;
                let begun = if task.attempts > 0 { ", which had begun it" } else { "" };
                eprintln!("task {id} of {}{begun} is cancelled", task.agent);
                report.cancelled.push(answer.json(&gateway)?);
            }
            Err(failure) if is_for_all(&failure) => return Err(failure),
            Err(failure) => refuse(&mut report.refused, id, failure),
        }
    }
    if args.output.is_json() {
        print_json(&report)?;
    }
    Ok(if report.refused.is_empty() { Exit::Done } else { Exit::Error })
}

/// Told at once, and kept for the account.
pub(super) fn refuse<'r>(refused: &mut Vec<Refused<'r>>, id: &'r str, failure: Failure) {
    eprint!("{failure}");
    refused.extend(failure.diagnostics.into_iter().map(|error| Refused { id, error }));
}
