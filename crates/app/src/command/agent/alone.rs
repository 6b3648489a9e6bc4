//! `bellwether agent --once TEXT` and `--lines`: the agent's prompt and model without any backend.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, Write},
    sync::Arc,
};

use bellwether_agent::{Alone, Config, ModelError, PromptHandler, Task, TaskError};
use bellwether_core::diagnostic::Diagnostic;
use serde_json::{Value, json};
use tokio::{sync::mpsc, task::JoinSet};

use crate::{
    failure::{Exit, Failure, Outcome},
    output::cannot_write,
};

type Agent = Alone<PromptHandler>;

/// One text, `-` for all of standard input. The answer is all that is printed.
pub(super) async fn once(config: &Config, text: String) -> Outcome {
    let text = if text == "-" { io::read_to_string(io::stdin()).map_err(|error| unreadable(&error))? } else { text };
    let answer = Agent::new(config, PromptHandler).run(Task::of_prompt("once", text)).await;
    let answer = answer.map_err(|error| refused(config, &error))?;
    writeln!(io::stdout().lock(), "{}", shown(&answer)).map_err(cannot_write)?;
    Ok(Exit::Done)
}

/// Each line of standard input that is not blank. The answers come in the order of the lines, as soon as they can.
pub(super) async fn lines(config: &Config) -> Outcome {
    let agent = Arc::new(Agent::new(config, PromptHandler));
    let mut given = read_lines();
    let mut running = JoinSet::new();
    let (mut ended, mut next, mut failed) = (BTreeMap::new(), 1, 0);
    let mut is_open = true;
    while is_open || !running.is_empty() {
        tokio::select! {
            line = given.recv(), if is_open && running.len() + ended.len() < config.concurrency * 2 => match line {
                None => is_open = false,
                Some(line) => {
                    let (number, text) = line.map_err(|error| unreadable(&error))?;
                    let agent = agent.clone();
                    running.spawn(async move { (number, agent.run(Task::of_prompt(number, text)).await) });
                }
            },
            Some(done) = running.join_next() => {
                let (number, outcome) = done.map_err(|error| {
                    Failure::error(Diagnostic::new("BW0368", "the agent could not do a task").because(error))
                })?;
                ended.insert(number, outcome);
            }
        }
        while let Some(outcome) = ended.remove(&next) {
            failed += u32::from(outcome.is_err());
            print(next, outcome)?;
            next += 1;
        }
    }
    Ok(if failed == 0 { Exit::Done } else { Exit::Error })
}

fn print(number: u64, outcome: Result<Value, TaskError>) -> Result<(), Failure> {
    let line = match outcome {
        Ok(result) => json!({ "line": number, "status": "completed", "result": result }),
        Err(error) => json!({ "line": number, "status": "failed", "error": error.to_string() }),
    };
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(cannot_write)
}

/// Counts only those that are not blank. Reading waits, so it has a thread of its own.
fn read_lines() -> mpsc::Receiver<io::Result<(u64, String)>> {
    let (tell, told) = mpsc::channel(1);
    tokio::task::spawn_blocking(move || {
        let mut number = 0;
        for line in io::stdin().lock().lines() {
            if line.as_ref().is_ok_and(|line| line.trim().is_empty()) {
                continue;
            }
            number += 1;
            let line = line.map(|text| (number, text));
            let was_last = line.is_err();
            if tell.blocking_send(line).is_err() || was_last {
                return;
            }
        }
    });
    told
}

fn shown(answer: &Value) -> String {
    answer.as_str().map_or_else(|| answer.to_string(), str::to_owned)
}

fn refused(config: &Config, error: &TaskError) -> Failure {
    let (ollama, model) = (&config.ollama, &config.model);
    let diagnostic = match error {
        TaskError::Model(ModelError::Unanswered(cause)) => {
            Diagnostic::new("BW0366", format!("no model server answers at {ollama}"))
                .because(cause)
                .help("start it with `ollama serve`, or say where it is with --ollama or OLLAMA_HOST")
        }
        TaskError::Model(ModelError::Status { status: 404, message }) => {
            Diagnostic::new("BW0367", format!("the model server at {ollama} does not have the model {model}"))
                .because(message)
                .help(format!(
                    "get it with `ollama pull {model}`, or name another with --model; `ollama list` shows what is there"
                ))
        }
        _ => Diagnostic::new("BW0368", "the agent could not do the task").because(error),
    };
    Failure::error(diagnostic)
}

fn unreadable(error: &io::Error) -> Failure {
    Failure::error(Diagnostic::new("BW0369", "standard input cannot be read").because(error).help("give it UTF-8 text"))
}
