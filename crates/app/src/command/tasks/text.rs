//! Tasks as people read them. What agents wrote is data: it cannot move the cursor or colour the terminal.

use std::time::{SystemTime, UNIX_EPOCH};

use bellwether_core::{
    diagnostic::Diagnostic,
    time::{Millis, UnixMillis},
};
use serde_json::Value;

use super::task::{Counts, End, State, Task};
use crate::{
    view::moment,
    wording::{counted, grouped, wrap},
};

const WIDTH: usize = 100;
const LABEL: usize = 14;
/// A result is cut here when it is shown to people.
const LINES_MAX: usize = 40;
const CHARS_MAX: usize = 4000;
/// Where results carry their answer, in the order in which they are looked for.
const ANSWERS: [&str; 7] = ["response", "result", "output", "answer", "content", "text", "message"];

pub(super) fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// One line per task below a line of headings; nothing where there are no tasks.
pub(super) fn table(tasks: &[Task], now: UnixMillis) -> Vec<String> {
    if tasks.is_empty() {
        return Vec::new();
    }
    let headings = ["ID", "AGENT", "STATE", "PRIORITY", "TRIES", "AGE", "WHERE"].map(str::to_owned);
    let rows: Vec<[String; 7]> = [headings]
        .into_iter()
        .chain(tasks.iter().map(|task| {
            let priority = task.priority.clone().unwrap_or_else(|| "–".to_owned());
            let age = about(now.since(task.submitted_ms));
            [task.id.clone(), task.agent.clone(), task.state.to_string(), priority, tries(task), age, place(task, now)]
                .map(|cell| clean(&cell))
        }))
        .collect();
    let mut widths = [0; 7];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |row: &[String; 7]| {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// What is under way, then what has ended.
pub(super) fn counts(counts: &Counts) -> String {
    let Counts { delayed, queued, leased, completed, failed, expired, cancelled } = *counts;
    let all = |counts: &[(u64, &str)]| {
        counts.iter().map(|(count, what)| format!("{} {what}", grouped(*count))).collect::<Vec<_>>().join(", ")
    };
    format!(
        "{} · {}",
        all(&[(delayed, "delayed"), (queued, "queued"), (leased, "leased")]),
        all(&[(completed, "completed"), (failed, "failed"), (expired, "expired"), (cancelled, "cancelled")])
    )
}

/// Everything about one task.
pub(super) fn page(task: &Task, now: UnixMillis) -> Vec<String> {
    let mut lines = vec![format!("task {}", clean(&task.id))];
    let mut put = |label: &str, text: &str| {
        for (at, line) in wrap(&clean(text), WIDTH - LABEL - 2).iter().enumerate() {
            lines.push(format!("  {:<LABEL$}{line}", if at == 0 { label } else { "" }).trim_end().to_owned());
        }
    };
    put("state", &state(task, now));
    let drawn = task.drawn.map_or_else(String::new, |side| format!(", drawn by lot while {side} served it"));
    put("for", &format!("{} (type {}){drawn}", task.agent, task.agent_type));
    if let Some(priority) = &task.priority {
        put("priority", priority);
    }
    put("submitted", &at(task.submitted_ms, now));
    if let Some(from) = task.not_before_ms.filter(|_| !task.state.has_ended()) {
        put("not before", &at(from, now));
    }
    if let Some(by) = task.begin_by_ms {
        put("to begin by", &at(by, now));
    }
    if let Some(ended) = task.finished_ms {
        let took = about(ended.since(task.submitted_ms));
        put("ended", &format!("{}, {took} after it was submitted", at(ended, now)));
    }
    if let Some(side) = task.served {
        let by = task.served_agent.as_deref().unwrap_or(&task.agent);
        put(if task.state.has_ended() { "served by" } else { "with" }, &format!("{by}, {side}"));
    }
    if task.checkpoint {
        put("checkpoint", "kept: the next attempt begins with it");
    }
    if let Some(error) = &task.error {
        put("error", error);
    }
    let result = task.result.as_ref().map(|result| whole(result.get()));
    // What a failed attempt said is kept as its result too.
    if let Some(result) = result.filter(|result| task.error.as_ref() != Some(result)) {
        lines.push("  result".to_owned());
        lines.extend(cut(&result).into_iter().map(|line| format!("    {line}").trim_end().to_owned()));
    }
    if let Some(next) = next(task) {
        lines.extend([String::new(), next]);
    }
    lines
}

/// Each with its last error; what can be done with them stands last.
pub(super) fn dead(tasks: &[Task], now: UnixMillis) -> Vec<String> {
    if tasks.is_empty() {
        return vec!["there are no dead letters".to_owned()];
    }
    let mut lines = Vec::new();
    for task in tasks {
        let ended = task.finished_ms.unwrap_or(task.submitted_ms);
        lines.push(clean(&format!("{}  {}, {}, {}", task.id, task.agent, outcome(task), ago(now.since(ended)))));
        let error = task.error.as_deref().unwrap_or("it left no error");
        lines.extend(wrap(&clean(error), WIDTH - 4).into_iter().take(4).map(|line| format!("    {line}")));
    }
    lines.push(String::new());
    let count = counted(tasks.len(), "dead letter", "dead letters");
    lines.push(format!(
        "{count}; `bellwether tasks retry ID…` queues tasks again, `bellwether tasks retry --dead` all of them"
    ));
    lines
}

/// One end, as it comes.
pub(super) fn end(end: &End) -> String {
    let after = match end.attempt {
        0 => "never begun".to_owned(),
        attempt => format!("attempt {attempt}"),
    };
    clean(&format!("{}  {:<9}  {}  {}  {after}", moment(end.at_ms), end.status, end.agent, end.id))
}

/// A task's result as words: its answer where it has one, else all of it.
pub(super) fn answer(task: &Task) -> Option<String> {
    let result = task.result.as_ref()?;
    let answer = match serde_json::from_str(result.get()) {
        Ok(Value::String(text)) => Some(text),
        Ok(Value::Object(fields)) => ANSWERS.iter().find_map(|key| Some(fields.get(*key)?.as_str()?.to_owned())),
        Ok(_) | Err(_) => None,
    };
    Some(clean_lines(&answer.unwrap_or_else(|| whole(result.get()))))
}

/// Why there is nothing to print for a task that was waited for.
pub(super) fn without_result(task: &Task) -> Diagnostic {
    let id = &task.id;
    let told = Diagnostic::new("BW0398", format!("task {id} {}", ended_as(task)));
    let told = match &task.error {
        Some(error) => told.because(clean(error)),
        None => told,
    };
    told.help(format!("`bellwether tasks show {id}` shows all of it, `bellwether tasks retry {id}` queues it again"))
}

fn ended_as(task: &Task) -> String {
    match task.state {
        State::Failed => format!("failed, after {}", counted(task.attempts as usize, "attempt", "attempts")),
        State::Expired => "expired: it was not begun in time".to_owned(),
        State::Cancelled => "was cancelled".to_owned(),
        state @ (State::Delayed | State::Queued | State::Leased | State::Completed) => format!("is {state}"),
    }
}

fn state(task: &Task, now: UnixMillis) -> String {
    let tries = match task.attempts_max {
        Some(max) => format!("attempt {} of {max}", task.attempts),
        None => format!("attempt {}", task.attempts),
    };
    let begun = match (task.attempts, task.state.has_ended()) {
        (0, false) => "not begun yet".to_owned(),
        (0, true) => "never begun".to_owned(),
        _ => format!("after {tries}"),
    };
    match task.state {
        State::Delayed => match task.not_before_ms {
            Some(from) => format!("delayed for another {}, {begun}", about(from.since(now))),
            None => format!("delayed, {begun}"),
        },
        State::Queued => format!("queued, {begun}"),
        State::Leased => format!("leased: {tries} is under way"),
        State::Completed => format!("completed, {tries}"),
        State::Failed => format!("failed, {begun}: a dead letter"),
        State::Expired => format!("expired, {begun}: a dead letter"),
        State::Cancelled => format!("cancelled, {begun}"),
    }
}

fn outcome(task: &Task) -> String {
    match task.state {
        State::Failed => match task.attempts_max {
            Some(max) => format!("failed after {} of {}", task.attempts, counted(max as usize, "attempt", "attempts")),
            None => format!("failed after {}", counted(task.attempts as usize, "attempt", "attempts")),
        },
        state => state.to_string(),
    }
}

fn next(task: &Task) -> Option<String> {
    let id = clean(&task.id);
    match task.state {
        State::Failed | State::Expired | State::Cancelled => {
            Some(format!("`bellwether tasks retry {id}` queues it again"))
        }
        State::Delayed | State::Queued | State::Leased => Some(format!(
            "`bellwether tasks show {id} --wait` waits for its end, `bellwether tasks cancel {id}` ends it"
        )),
        State::Completed => None,
    }
}

fn tries(task: &Task) -> String {
    task.attempts_max.map_or_else(|| task.attempts.to_string(), |max| format!("{}/{max}", task.attempts))
}

/// The side that works on it or did, or what it waits for.
fn place(task: &Task, now: UnixMillis) -> String {
    let other = task.served_agent.as_deref().filter(|agent| *agent != task.agent);
    let side = task.served.map(|side| match other {
        Some(agent) => format!("{side}, {agent}"),
        None => side.to_string(),
    });
    match task.state {
        State::Delayed => {
            task.not_before_ms.map_or_else(String::new, |from| format!("due in {}", about(from.since(now))))
        }
        State::Queued => task.drawn.map_or_else(|| "waiting".to_owned(), |side| format!("waiting, drawn {side}")),
        State::Leased => side.map_or_else(|| "under way".to_owned(), |side| format!("on {side}")),
        State::Completed | State::Failed | State::Expired | State::Cancelled => side.unwrap_or_else(|| "–".to_owned()),
    }
}

/// `2026-11-24 03:10:00 UTC, 5m ago` or `…, in 5m`.
fn at(at: UnixMillis, now: UnixMillis) -> String {
    if at > now {
        format!("{}, in {}", moment(at), about(at.since(now)))
    } else {
        format!("{}, {}", moment(at), ago(now.since(at)))
    }
}

fn ago(span: Millis) -> String {
    format!("{} ago", about(span))
}

/// To the second.
fn about(span: Millis) -> String {
    match span {
        Millis(ms) if ms < 1000 => "<1s".to_owned(),
        Millis(ms) => Millis(ms / 1000 * 1000).to_string(),
    }
}

/// All of a JSON value, laid out; text as it is.
fn whole(json: &str) -> String {
    match serde_json::from_str(json) {
        Ok(Value::String(text)) => text,
        Ok(value) => serde_json::to_string_pretty(&value).unwrap_or_else(|_error| json.to_owned()),
        Err(_error) => json.to_owned(),
    }
}

fn cut(text: &str) -> Vec<String> {
    let all = text.chars().count();
    let kept: String = text.chars().take(CHARS_MAX).collect();
    let mut lines: Vec<String> = kept.lines().flat_map(|line| fold(&clean(line), WIDTH - 4)).take(LINES_MAX).collect();
    let shown: usize = lines.iter().map(|line| line.chars().count()).sum();
    let whole =
        all == kept.chars().count() && kept.lines().flat_map(|line| fold(&clean(line), WIDTH - 4)).count() <= LINES_MAX;
    if !whole {
        let left = all.saturating_sub(shown);
        lines.push(format!("… about {} characters more; `--output json` prints all of it", grouped(left as u64)));
    }
    lines
}

/// Broken where the line is full: indents stay, unlike in prose.
fn fold(line: &str, width: usize) -> Vec<String> {
    let characters: Vec<char> = line.chars().collect();
    if characters.is_empty() {
        return vec![String::new()];
    }
    characters.chunks(width).map(|chunk| chunk.iter().collect()).collect()
}

/// One line without characters that a terminal would obey.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_whitespace() { ' ' } else { harmless(c) }).collect()
}

fn clean_lines(text: &str) -> String {
    text.chars().map(|c| if matches!(c, '\n' | '\t') { c } else { harmless(c) }).collect()
}

/// Escapes could draw, and marks of direction could make text read as what it is not.
fn harmless(c: char) -> char {
    let is_obeyed = c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if is_obeyed { '\u{fffd}' } else { c }
}

#[cfg(test)]
mod tests;
