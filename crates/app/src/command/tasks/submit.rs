//! `bellwether tasks submit`.

use std::{
    fs,
    io::{self, Read, Write},
    path::PathBuf,
    time::Duration,
};

use bellwether_core::diagnostic::Diagnostic;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::{
    batch,
    gateway::{Gateway, GatewayArgs},
    lines::Lines,
    pace::{Pace, Wish},
    refusal::Asked,
    show,
    task::{Accepted, Fields, State, Task},
    text, wait,
};
use crate::{
    failure::{Exit, Failure, Outcome},
    output::{Output, cannot_write, print_json},
};

/// Submit one task, or with --from many.
///
/// Prints the task's id, or with --wait its result. The task is on the disk when this command returns; it runs at least once
/// and ends once. Its fields are passed to the agent as they are written here: `prompt`, `payload` and whatever --field adds.
///
/// With --wait the exit code tells how it ended: 0 completed, 1 failed, expired or cancelled, 4 not ended when the time was
/// over (the task goes on).
#[derive(clap::Args)]
#[command(
    group = clap::ArgGroup::new("whom").multiple(false),
    group = clap::ArgGroup::new("words").multiple(false),
    group = clap::ArgGroup::new("content").multiple(true),
    after_help = "Examples:\n  \
        bellwether tasks submit --agent builder --prompt 'Summarise the log' --wait 2m\n  \
        git diff | bellwether tasks submit --type review - --field language=en --priority high\n  \
        bellwether tasks submit --type research --from prompts.ndjson --id nightly"
)]
pub(crate) struct Args {
    /// Give it to this agent
    #[arg(long, value_name = "NAME", group = "whom")]
    agent: Option<String>,
    /// Give it to any agent of this type
    #[arg(long = "type", value_name = "TYPE", group = "whom")]
    agent_type: Option<String>,
    /// What is to be done
    #[arg(long, value_name = "TEXT", groups = ["words", "content"])]
    prompt: Option<String>,
    /// Read the prompt from a file
    #[arg(long, value_name = "FILE", groups = ["words", "content"])]
    prompt_file: Option<PathBuf>,
    /// Read the prompt from standard input
    #[arg(value_name = "-", value_parser = ["-"], groups = ["words", "content"], hide_possible_values = true)]
    stdin: Option<String>,
    /// Data for the agent: JSON, or @FILE to read it from a file (@- from standard input)
    #[arg(long, value_name = "JSON|@FILE", group = "content")]
    payload: Option<String>,
    /// A further field: a JSON value, or else text
    #[arg(long = "field", value_name = "KEY=VALUE", value_parser = field, group = "content")]
    fields: Vec<(String, Box<RawValue>)>,
    /// What comes first where several tasks wait [default: normal]
    #[arg(long, value_name = "PRIORITY", value_parser = ["critical", "high", "normal", "low", "background"])]
    priority: Option<String>,
    /// Not to be begun before this time is over, such as 30s or 2h
    #[arg(long, value_name = "DURATION", value_parser = span_text)]
    delay: Option<String>,
    /// To be begun within this time; else it ends as expired
    #[arg(long, value_name = "DURATION", value_parser = span_text)]
    deadline: Option<String>,
    /// How often it is tried before it counts as failed; else what the fleet file says
    #[arg(long, value_name = "N", value_parser = attempts)]
    attempts: Option<u8>,
    /// An id of your choice: submitted twice, the task is there once. With --from, the lines get ID-1, ID-2 and so on
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Submit one task per line of this file (NDJSON, - for standard input); what a line leaves out is taken from the flags
    #[arg(long, value_name = "FILE", conflicts_with_all = ["words", "payload", "wait"])]
    from: Option<PathBuf>,
    /// With --from: wait for room in a full queue, as long as something is taken at least this often
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = super::span)]
    patience: Duration,
    /// Wait for its end; at most for this long if a span such as 30s follows
    #[arg(long, value_name = "DURATION", num_args = 0..=1, value_parser = super::wait_span)]
    #[expect(clippy::option_option, reason = "clap: not given, given, given with a value")]
    wait: Option<Option<Duration>>,
    #[command(flatten)]
    gateway: GatewayArgs,
    #[command(flatten)]
    output: Output,
}

#[derive(Serialize)]
struct Submitted<'a> {
    id: &'a str,
    agent: &'a str,
}

pub(super) async fn run(args: Args) -> Outcome {
    let gateway = Gateway::new(&args.gateway)?;
    let flags = args.flags()?;
    if let Some(file) = args.from {
        let lines = Lines { file, flags, ids: args.id };
        return batch::submit(gateway, &lines, args.patience, args.output.is_json()).await;
    }
    let fields = args.task(flags)?;
    let id = args.id.clone().unwrap_or_else(new_id);
    let accepted = submit(&gateway, &Pace::new(Duration::ZERO), &id, fields).await?;
    let Some(limit) = args.wait else {
        if args.output.is_json() {
            print_json(&Submitted { id: &accepted.id, agent: &accepted.agent })?;
        } else {
            eprintln!("{}; `bellwether tasks show {id} --wait` waits for its end", accepted.told());
            writeln!(io::stdout().lock(), "{id}").map_err(cannot_write)?;
        }
        return Ok(Exit::Done);
    };
    eprintln!("task {id}: {}; waiting for its end, and Ctrl-C leaves it to go on", accepted.told());
    let seen = wait::until_ended(&mut wait::Watch::new(&gateway, true), &id, limit).await?;
    if args.output.is_json() {
        print_json(&seen.fields)?;
    }
    tell(&seen.task, args.output.is_json())
}

/// How a task ended that was waited for.
fn tell(task: &Task, json: bool) -> Outcome {
    match task.state {
        State::Completed => match text::answer(task) {
            Some(answer) if !json => writeln!(io::stdout().lock(), "{answer}").map_err(cannot_write)?,
            Some(_) => {}
            None => eprintln!("task {} completed without a result", task.id),
        },
        State::Failed | State::Expired | State::Cancelled => {
            return Err(Failure::error(text::without_result(task)));
        }
        State::Delayed | State::Queued | State::Leased => {
            eprintln!(
                "task {0} has not ended: it is {1}; `bellwether tasks show {0} --wait` goes on waiting",
                task.id, task.state
            );
        }
    }
    Ok(show::exit(task.state))
}

pub(super) struct Taken {
    pub(super) id: String,
    pub(super) agent: String,
    /// It was there before.
    pub(super) known: bool,
}

impl Taken {
    fn told(&self) -> String {
        if self.known {
            format!("there already, submitted before for {}", self.agent)
        } else {
            format!("queued for {}", self.agent)
        }
    }
}

/// Under an id of ours, so that it can be sent again where no answer came.
pub(super) async fn submit(gateway: &Gateway, pace: &Pace, id: &str, mut fields: Fields) -> Result<Taken, Failure> {
    fields.insert("id".to_owned(), raw(id)?);
    let body = serde_json::to_vec(&fields).map_err(|error| unfit(&error.to_string()))?;
    let wish = Wish { path: "/tasks".to_owned(), body: body.into(), asked: Asked::Submit(id) };
    let answer = pace.post(gateway, &wish).await?;
    let known = answer.status == hyper::StatusCode::OK;
    let Accepted { id, agent } = answer.json(gateway)?;
    Ok(Taken { id, agent, known })
}

/// As the gateway makes them.
pub(super) fn new_id() -> String {
    format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..))
}

impl Args {
    /// What the flags say of a task, or of each line of a file.
    fn flags(&self) -> Result<Fields, Failure> {
        let mut fields = Fields::new();
        for (key, value) in [
            ("agent", &self.agent),
            ("type", &self.agent_type),
            ("priority", &self.priority),
            ("delay", &self.delay),
            ("deadline", &self.deadline),
        ] {
            if let Some(value) = value {
                fields.insert(key.to_owned(), raw(value)?);
            }
        }
        if let Some(attempts) = self.attempts {
            fields.insert("attempts".to_owned(), raw(&attempts)?);
        }
        for (key, value) in &self.fields {
            add(&mut fields, key, value.clone())?;
        }
        Ok(fields)
    }

    fn task(&self, mut fields: Fields) -> Result<Fields, Failure> {
        if self.agent.is_none() && self.agent_type.is_none() {
            return Err(incomplete("nobody is named to do the task", "name an --agent, or any of a --type"));
        }
        let words = match (&self.prompt, &self.prompt_file, &self.stdin) {
            (Some(prompt), ..) => Some(prompt.clone()),
            (None, Some(file), _) => Some(read(file)?),
            (None, None, Some(_)) => Some(read_stdin()?),
            (None, None, None) => None,
        };
        if let Some(words) = words {
            add(&mut fields, "prompt", raw(&words)?)?;
        }
        if let Some(payload) = &self.payload {
            add(&mut fields, "payload", data(payload)?)?;
        }
        if self.fields.is_empty() && !fields.contains_key("prompt") && !fields.contains_key("payload") {
            let help =
                "give a --prompt, a --prompt-file, a --payload, a --field, or - to read the prompt from standard input";
            return Err(incomplete("there is nothing to do in this task", help));
        }
        Ok(fields)
    }
}

fn add(fields: &mut Fields, key: &str, value: Box<RawValue>) -> Result<(), Failure> {
    if fields.insert(key.to_owned(), value).is_some() || key == "id" {
        return Err(incomplete(
            &format!("the field {key:?} is given twice"),
            "give it once; some fields have flags of their own",
        ));
    }
    Ok(())
}

fn raw(value: &(impl Serialize + ?Sized)) -> Result<Box<RawValue>, Failure> {
    to_raw_value(value).map_err(|error| unfit(&error.to_string()))
}

fn data(given: &str) -> Result<Box<RawValue>, Failure> {
    let text = match given.strip_prefix('@') {
        Some("-") => read_stdin()?,
        Some(file) => read(&PathBuf::from(file))?,
        None => given.to_owned(),
    };
    serde_json::from_str(&text).map_err(|error| unfit(&format!("--payload is not JSON: {error}")))
}

fn read(file: &PathBuf) -> Result<String, Failure> {
    if file.as_os_str() == "-" {
        return read_stdin();
    }
    fs::read_to_string(file).map_err(|error| unreadable(&format!("the file {:?}", file.display().to_string()), &error))
}

fn read_stdin() -> Result<String, Failure> {
    let mut text = String::new();
    io::stdin().lock().read_to_string(&mut text).map_err(|error| unreadable("standard input", &error))?;
    Ok(text)
}

pub(super) fn unreadable(what: &str, error: &io::Error) -> Failure {
    Failure::invalid(vec![
        Diagnostic::new("BW0396", format!("{what} cannot be read")).because(error).help(
            "check the path, from the directory in which the command was started; what is submitted is UTF-8 text",
        ),
    ])
}

fn unfit(why: &str) -> Failure {
    Failure::invalid(vec![
        Diagnostic::new("BW0396", "what is to be submitted is not in the form of a task")
            .because(why)
            .help("text goes in with --prompt or --field KEY=TEXT; --payload takes JSON, such as '{\"lines\": 20}'"),
    ])
}

fn incomplete(message: &str, help: &str) -> Failure {
    Failure::invalid(vec![Diagnostic::new("BW0396", message).help(help)])
}

/// `KEY=VALUE`, where the value is JSON if it can be read as that.
fn field(text: &str) -> Result<(String, Box<RawValue>), String> {
    let (key, value) = text
        .split_once('=')
        .filter(|(key, _)| !key.is_empty())
        .ok_or("it has no key; write KEY=VALUE, such as language=en or lines=20")?;
    let value = match serde_json::from_str::<Box<RawValue>>(value) {
        Ok(json) => json,
        Err(_text) => to_raw_value(value).map_err(|error| error.to_string())?,
    };
    Ok((key.to_owned(), value))
}

fn attempts(text: &str) -> Result<u8, &'static str> {
    let number = text.parse().ok().filter(|attempts| (1..=100).contains(attempts));
    number.ok_or("it is no number from 1 to 100; leave it out, and `tasks.attempts` of the fleet file counts")
}

/// A span that the gateway will read, as it was written.
fn span_text(text: &str) -> Result<String, bellwether_core::spec::unit::BadFigure> {
    super::span(text).map(|_readable| text.to_owned())
}
