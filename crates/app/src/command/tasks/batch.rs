//! `bellwether tasks submit --from`: one task per line, several under way at once. A line that cannot be submitted keeps no
//! other from it, and what was not sent at the end is named.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, BufRead, BufReader, Read, Write},
    path::PathBuf,
    sync::Arc,
    thread,
    time::Duration,
};

use bellwether_core::diagnostic::Diagnostic;
use serde::Serialize;
use tokio::{sync::mpsc, task::JoinHandle, time::Instant};

use super::{
    gateway::Gateway,
    pace::Pace,
    refusal::is_for_all,
    submit::{Taken, new_id, submit as submit_one, unreadable},
    task::Fields,
};
use crate::{
    failure::{Exit, Failure, Outcome},
    output::cannot_write,
    wording::counted,
};

/// Lines under way at once: the gateway writes what came together in one transaction.
const UNDER_WAY_MAX: usize = 32;
/// Longer than any task that a gateway takes; the rest of such a line is skipped, not kept.
const LINE_MAX: u64 = 4 << 20;
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

pub(super) struct Lines {
    pub(super) file: PathBuf,
    /// For what a line leaves out.
    pub(super) flags: Fields,
    /// What ids begin with, so that the same file can be submitted again.
    pub(super) ids: Option<String>,
    pub(super) patience: Duration,
    pub(super) json: bool,
}

struct Line {
    number: u64,
    text: io::Result<Vec<u8>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Printed<'p> {
    Taken { line: u64, id: &'p str, agent: &'p str, known: bool },
    Refused { line: u64, error: &'p Diagnostic },
}

struct Account {
    name: String,
    json: bool,
    taken: u64,
    known: u64,
    refused: u64,
    told: Instant,
}

pub(super) async fn submit(gateway: Gateway, lines: Lines) -> Outcome {
    let name = lines.file.display().to_string();
    let mut source = read(&lines)?;
    let gateway = Arc::new(gateway);
    let pace = Arc::new(Pace::new(lines.patience));
    let mut account = Account { name, json: lines.json, taken: 0, known: 0, refused: 0, told: Instant::now() };
    let mut under_way: VecDeque<(u64, JoinHandle<Result<Taken, Failure>>)> = VecDeque::new();
    let mut stopped = None;
    let mut unsent = None;
    while let Some(line) = source.recv().await {
        if under_way.len() >= UNDER_WAY_MAX
            && let Some((number, sent)) = under_way.pop_front()
        {
            stopped = account.settle(number, sent).await?;
        }
        if stopped.is_some() {
            unsent = Some(line.number);
            break;
        }
        let (gateway, pace) = (gateway.clone(), pace.clone());
        let prepared = task(&line, &lines, &account.name);
        let sent = tokio::spawn(async move {
            let (id, fields) = prepared?;
            submit_one(&gateway, &pace, &id, fields).await
        });
        under_way.push_back((line.number, sent));
    }
    for (number, sent) in under_way {
        let failure = account.settle(number, sent).await?;
        stopped = stopped.or(failure);
    }
    account.end(unsent);
    Ok(if account.refused == 0 && stopped.is_none() { Exit::Done } else { Exit::Error })
}

impl Account {
    /// Enters how one line ended, and says so. The failure, if all others would end like that.
    async fn settle(
        &mut self,
        number: u64,
        sent: JoinHandle<Result<Taken, Failure>>,
    ) -> Result<Option<Failure>, Failure> {
        let sent = sent.await.unwrap_or_else(|error| {
            Err(Failure::error(Diagnostic::new("BW0396", "the line was not submitted").because(error)))
        });
        match sent {
            Ok(taken) => {
                self.taken += 1;
                self.known += u64::from(taken.known);
                if self.json {
                    let Taken { id, agent, known } = &taken;
                    self.print(&Printed::Taken { line: number, id, agent, known: *known })?;
                } else {
                    writeln!(io::stdout().lock(), "{}", taken.id).map_err(cannot_write)?;
                }
                if self.told.elapsed() >= PROGRESS_EVERY {
                    self.told = Instant::now();
                    eprintln!("{} submitted", counted_tasks(self.taken));
                }
                Ok(None)
            }
            Err(failure) => {
                self.refused += 1;
                let for_all = is_for_all(&failure) || failure.diagnostics.iter().any(|told| told.code == "BW0397");
                for told in &failure.diagnostics {
                    let told = if told.place.is_some() { told.clone() } else { told.clone().at(&self.name, number, 1) };
                    eprintln!("{told}");
                    if self.json {
                        self.print(&Printed::Refused { line: number, error: &told })?;
                    }
                }
                Ok(for_all.then_some(failure))
            }
        }
    }

    fn print(&self, printed: &Printed<'_>) -> Result<(), Failure> {
        let text = serde_json::to_string(printed).map_err(|error| cannot_write(error.into()))?;
        writeln!(io::stdout().lock(), "{text}").map_err(cannot_write)
    }

    fn end(&self, unsent: Option<u64>) {
        let mut said = format!("{} submitted", counted_tasks(self.taken));
        if self.known > 0 {
            said.push_str(&format!(", {} of them there already", self.known));
        }
        if self.refused > 0 {
            said.push_str(&format!(
                "; {} not submitted, see above",
                if self.refused == 1 { "1 line was".to_owned() } else { format!("{} lines were", self.refused) }
            ));
        }
        eprintln!("{said}");
        if let Some(line) = unsent {
            eprintln!(
                "stopped: nothing from line {line} on was sent. With --id the same command can be repeated: what is there \
                 already is not queued twice"
            );
        }
    }
}

fn counted_tasks(count: u64) -> String {
    counted(usize::try_from(count).unwrap_or(usize::MAX), "task", "tasks")
}

/// A line as a task, with what it leaves out.
fn task(line: &Line, lines: &Lines, name: &str) -> Result<(String, Fields), Failure> {
    let wrong = |column: u64, why: String| {
        Failure::invalid(vec![
            Diagnostic::new("BW0396", "this line is no task").at(name, line.number, column).because(why).help(
                "write one JSON object per line, such as {\"agent\": \"builder\", \"prompt\": \"Summarise the log\"}",
            ),
        ])
    };
    let text = line.text.as_ref().map_err(|error| wrong(1, error.to_string()))?;
    let mut fields: Fields = serde_json::from_slice(text).map_err(|error| {
        let why = error.to_string();
        let why = why.split(" at line ").next().unwrap_or(&why).to_owned();
        wrong(u64::try_from(error.column()).unwrap_or(u64::MAX).max(1), why)
    })?;
    let is_addressed = fields.contains_key("agent") || fields.contains_key("type");
    for (key, value) in &lines.flags {
        if is_addressed && matches!(key.as_str(), "agent" | "type") {
            continue;
        }
        fields.entry(key.clone()).or_insert_with(|| value.clone());
    }
    if !fields.contains_key("agent") && !fields.contains_key("type") {
        return Err(wrong(1, "it names neither an agent nor a type, and neither does the command line".to_owned()));
    }
    let id = match (fields.get("id"), &lines.ids) {
        (Some(id), _) => serde_json::from_str(id.get()).map_err(|_other| wrong(1, "its id is not text".to_owned()))?,
        (None, Some(prefix)) => format!("{prefix}-{}", line.number),
        (None, None) => new_id(),
    };
    Ok((id, fields))
}

/// The lines that are not blank, with their numbers, from a thread that may block in a read.
fn read(lines: &Lines) -> Result<mpsc::Receiver<Line>, Failure> {
    let mut source: Box<dyn BufRead + Send> = if lines.file.as_os_str() == "-" {
        Box::new(BufReader::new(io::stdin()))
    } else {
        let file = File::open(&lines.file);
        let file =
            file.map_err(|error| unreadable(&format!("the file {:?}", lines.file.display().to_string()), &error))?;
        Box::new(BufReader::new(file))
    };
    let (tell, told) = mpsc::channel(UNDER_WAY_MAX);
    let reading = move || {
        for number in 1.. {
            let text = match line(&mut *source) {
                Ok(None) => return,
                Ok(Some(text)) if text.trim_ascii().is_empty() => continue,
                Ok(Some(text)) => Ok(text),
                Err(error) => Err(error),
            };
            // After an error of reading there is nothing more to be had; a line that is too long is skipped.
            let last = text.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::FileTooLarge);
            if tell.blocking_send(Line { number, text }).is_err() || last {
                return;
            }
        }
    };
    thread::Builder::new().name("lines".into()).spawn(reading).map_err(|error| unreadable("the input", &error))?;
    Ok(told)
}

fn line(source: &mut dyn BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut text = Vec::new();
    if source.take(LINE_MAX).read_until(b'\n', &mut text)? == 0 {
        return Ok(None);
    }
    if text.len() as u64 == LINE_MAX && text.last() != Some(&b'\n') {
        source.skip_until(b'\n')?;
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is longer than {} MiB", LINE_MAX >> 20)));
    }
    Ok(Some(text))
}
