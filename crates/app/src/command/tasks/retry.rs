//! `bellwether tasks retry`.

use std::{
    collections::BTreeSet,
    io::{self, BufRead, IsTerminal},
    time::Duration,
};

use bellwether_core::diagnostic::Diagnostic;
use bytes::Bytes;
use serde::Serialize;

use super::{
    cancel::{Refused, refuse},
    gateway::{Gateway, GatewayArgs, escaped},
    list::{self, Filter},
    pace::{Pace, Wish},
    refusal::{Asked, is_for_all},
    task::Accepted,
};
use crate::{
    failure::{Exit, Failure, Outcome},
    output::{Output, print_json},
    wording::{counted, some},
};

/// Queue tasks again that failed, expired or were cancelled, with a fresh budget of attempts.
///
/// Either name them, or take all dead letters with --dead. Where the queue is full, it waits for room. Exit code 1 if one of
/// the tasks could not be queued again; the others are.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Their ids
    #[arg(required_unless_present = "dead", value_name = "ID")]
    ids: Vec<String>,
    /// All dead letters: tasks that failed or expired
    #[arg(long, conflicts_with = "ids")]
    dead: bool,
    /// With --dead: tasks of this agent alone
    #[arg(long, value_name = "NAME", requires = "dead", conflicts_with = "ids")]
    agent: Option<String>,
    /// With --dead: tasks of agents of this type alone
    #[arg(long = "type", value_name = "TYPE", requires = "dead", conflicts_with = "ids")]
    agent_type: Option<String>,
    /// With --dead: do not ask before
    #[arg(long, requires = "dead", conflicts_with = "ids")]
    yes: bool,
    /// Wait for room in a full queue, as long as something is taken at least this often
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = super::span)]
    patience: Duration,
    #[command(flatten)]
    gateway: GatewayArgs,
    #[command(flatten)]
    output: Output,
}

#[derive(Serialize)]
struct Report<'r> {
    retried: Vec<Retried>,
    refused: Vec<Refused<'r>>,
}

#[derive(Serialize)]
struct Retried {
    id: String,
    agent: String,
}

pub(super) async fn run(args: &Args) -> Outcome {
    let gateway = Gateway::new(&args.gateway)?;
    let ids = if args.dead { dead(&gateway, args).await? } else { args.ids.clone() };
    let pace = Pace::new(args.patience);
    let mut report = Report { retried: Vec::new(), refused: Vec::new() };
    for id in &ids {
        let path = format!("/tasks/{}/retry", escaped(id));
        let wish = Wish { path, body: Bytes::from_static(b"{}"), asked: Asked::Retry(id) };
        match pace.post(&gateway, &wish).await {
            Ok(answer) => {
                let Accepted { id, agent } = answer.json(&gateway)?;
                if !args.dead {
                    eprintln!("task {id} is queued again for {agent}");
                }
                report.retried.push(Retried { id, agent });
            }
            Err(failure) if is_for_all(&failure) && report.retried.is_empty() => return Err(failure),
            Err(failure) => {
                let stop = is_for_all(&failure) || failure.diagnostics.iter().any(|told| told.code == "BW0397");
                refuse(&mut report.refused, id, failure);
                if stop {
                    break;
                }
            }
        }
    }
    if args.dead && !ids.is_empty() {
        eprintln!("{} queued again", counted(report.retried.len(), "task is", "tasks are"));
    }
    let left = ids.len() - report.retried.len() - report.refused.len();
    if left > 0 {
        eprintln!("{} not tried; run the same command again", counted(left, "task was", "tasks were"));
    }
    if args.output.is_json() {
        print_json(&report)?;
    }
    Ok(if report.refused.is_empty() { Exit::Done } else { Exit::Error })
}

/// The dead letters that are meant, once somebody has said that they are.
async fn dead(gateway: &Gateway, args: &Args) -> Result<Vec<String>, Failure> {
    let filter = Filter { state: Some("dead"), agent: args.agent.as_deref(), agent_type: args.agent_type.as_deref() };
    let listed = list::read(gateway, &filter, None, usize::MAX).await?;
    if listed.tasks.is_empty() {
        eprintln!("there are no dead letters");
        return Ok(Vec::new());
    }
    let agents: BTreeSet<&str> = listed.tasks.iter().map(|task| task.agent.as_str()).collect();
    let what = format!("{} of {}", counted(listed.tasks.len(), "dead letter", "dead letters"), some(agents, 4));
    if !args.yes && !agreed(&what)? {
        return Err(Failure::told(Exit::Error, vec![format!("{what}: left as they are")]));
    }
    Ok(listed.tasks.into_iter().map(|task| task.id).collect())
}

fn agreed(what: &str) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Err(unasked("standard input is not a terminal, so that nobody can be asked"));
    }
    eprint!("queue {what} again? [y/N] ");
    let mut said = String::new();
    io::stdin().lock().read_line(&mut said).map_err(|error| unasked(&error.to_string()))?;
    Ok(matches!(said.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

fn unasked(why: &str) -> Failure {
    Failure::invalid(vec![
        Diagnostic::new("BW0319", "--yes is missing")
            .because(why)
            .help("`bellwether tasks dead` shows what would be queued again; --yes does it without asking"),
    ])
}
