//! `bellwether tasks submit --from`: one task per line, several under way at once. A line that cannot be submitted keeps no
//! other from it, and where it stops every line that was not taken is named.

use std::{
    collections::VecDeque,
    io::{self, Write},
    sync::Arc,
    time::Duration,
};

use bellwether_core::diagnostic::Diagnostic;
use serde::Serialize;
use tokio::{
    select,
    task::{JoinError, JoinHandle},
    time::Instant,
};

use super::{
    gateway::Gateway,
    lines::Lines,
    pace::Pace,
    refusal::is_for_all,
    submit::{Taken, submit as submit_one},
};
use crate::{
    failure::{Exit, Failure, Outcome},
    output::cannot_write,
    wording::counted,
};

/// Lines under way at once: the gateway writes what comes together in one transaction.
const UNDER_WAY_MAX: usize = 32;
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

type Sent = Result<Taken, Failure>;

#[derive(Serialize)]
#[serde(untagged)]
enum Printed<'p> {
    Taken { line: u64, id: &'p str, agent: &'p str, known: bool },
    Refused { line: u64, error: &'p Diagnostic },
}

/// What became of the lines, in their order.
struct Account {
    file: String,
    json: bool,
    taken: usize,
    known: usize,
    /// Lines that are to blame themselves.
    refused: usize,
    /// Lines that were not taken for a reason that holds for all.
    left: Vec<u64>,
    told: Instant,
}

pub(super) async fn submit(gateway: Gateway, lines: &Lines, patience: Duration, json: bool) -> Outcome {
    let mut source = lines.read()?;
    let (gateway, pace) = (Arc::new(gateway), Arc::new(Pace::new(patience)));
    let mut account = Account::new(lines.name(), json);
    let mut under_way: VecDeque<(u64, JoinHandle<Sent>)> = VecDeque::new();
    let mut unsent = None;
    loop {
        let room = under_way.len() < UNDER_WAY_MAX;
        select! {
            biased;
            (number, sent) = first(&mut under_way) => {
                under_way.pop_front();
                account.enter(number, sent)?;
            }
            line = source.recv(), if room => {
                let Some(line) = line else { break };
                if !account.left.is_empty() {
                    unsent = Some(line.number);
                    break;
                }
                let (gateway, pace, task) = (gateway.clone(), pace.clone(), lines.task(&line));
                let sent = tokio::spawn(async move {
                    let (id, fields) = task?;
                    submit_one(&gateway, &pace, &id, fields).await
                });
                under_way.push_back((line.number, sent));
            }
        }
    }
    for (number, sent) in under_way {
        account.enter(number, sent.await)?;
    }
    account.close(unsent);
    Ok(if account.refused == 0 && account.left.is_empty() { Exit::Done } else { Exit::Error })
}

/// The line that was sent first, once it is answered.
async fn first(under_way: &mut VecDeque<(u64, JoinHandle<Sent>)>) -> (u64, Result<Sent, JoinError>) {
    match under_way.front_mut() {
        Some((number, sent)) => (*number, sent.await),
        None => std::future::pending().await,
    }
}

impl Account {
    fn new(file: String, json: bool) -> Self {
        Self { file, json, taken: 0, known: 0, refused: 0, left: Vec::new(), told: Instant::now() }
    }

    fn enter(&mut self, line: u64, sent: Result<Sent, JoinError>) -> Result<(), Failure> {
        match sent {
            Ok(Ok(taken)) => self.take(line, &taken),
            Ok(Err(failure)) => self.refuse(line, failure),
            Err(error) => {
                let told = Diagnostic::new("BW0396", "the line was not submitted").because(error);
                self.refuse(line, Failure::error(told.help("submit the line again")))
            }
        }
    }

    fn take(&mut self, line: u64, taken: &Taken) -> Result<(), Failure> {
        self.taken += 1;
        self.known += usize::from(taken.known);
        if self.json {
            let Taken { id, agent, known } = taken;
            self.print(&Printed::Taken { line, id, agent, known: *known })?;
        } else {
            writeln!(io::stdout().lock(), "{}", taken.id).map_err(cannot_write)?;
        }
        if self.told.elapsed() >= PROGRESS_EVERY {
            self.told = Instant::now();
            eprintln!("{} submitted", counted(self.taken, "task", "tasks"));
        }
        Ok(())
    }

    fn refuse(&mut self, line: u64, failure: Failure) -> Result<(), Failure> {
        let is_full = failure.diagnostics.iter().any(|told| told.code == "BW0397");
        let is_left = is_full || is_for_all(&failure);
        // What holds for all is said once.
        let say = !is_left || self.left.is_empty();
        if is_left {
            self.left.push(line);
        } else {
            self.refused += 1;
        }
        for told in failure.diagnostics {
            let told = if told.place.is_some() { told } else { told.at(&self.file, line, 1) };
            if say {
                eprintln!("{told}");
            }
            if self.json {
                self.print(&Printed::Refused { line, error: &told })?;
            }
        }
        Ok(())
    }

    fn print(&self, printed: &Printed<'_>) -> Result<(), Failure> {
        let text = serde_json::to_string(printed).map_err(|error| cannot_write(error.into()))?;
        writeln!(io::stdout().lock(), "{text}").map_err(cannot_write)
    }

    /// `unsent` is the line from which on nothing was sent.
    fn close(&self, unsent: Option<u64>) {
        let known = if self.known > 0 { format!(", {} of them there already", self.known) } else { String::new() };
        eprintln!("{} submitted{known}", counted(self.taken, "task", "tasks"));
        if self.refused > 0 {
            eprintln!("{} not submitted; the reasons are above", counted(self.refused, "line was", "lines were"));
        }
        if !self.left.is_empty() {
            let rest = unsent.map_or_else(String::new, |line| format!(", and nothing from line {line} on was sent"));
            eprintln!(
                "stopped: {} not taken{rest}. With --id the same command can be repeated, and nothing is queued twice",
                spans(&self.left)
            );
        }
    }
}

/// `line 7 was`, `lines 4–6, 9 were`.
fn spans(lines: &[u64]) -> String {
    let mut spans: Vec<(u64, u64)> = Vec::new();
    for &line in lines {
        match spans.last_mut() {
            Some((_, last)) if *last + 1 == line => *last = line,
            _ => spans.push((line, line)),
        }
    }
    let text =
        |&(first, last): &(u64, u64)| if first == last { first.to_string() } else { format!("{first}–{last}") };
    let text = spans.iter().map(text).collect::<Vec<_>>().join(", ");
    if lines.len() == 1 { format!("line {text} was") } else { format!("lines {text} were") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_named_as_people_would() {
        assert_eq!(spans(&[7]), "line 7 was");
        assert_eq!(spans(&[4, 5, 6, 9]), "lines 4–6, 9 were");
    }
}
