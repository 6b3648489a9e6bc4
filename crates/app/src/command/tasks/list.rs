//! `bellwether tasks list`.

use std::io::Write;

use hyper::Method;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    ends,
    gateway::{Gateway, GatewayArgs, escaped},
    refusal::{Asked, strange},
    task::{Counts, Task},
    text,
};
use crate::{
    failure::{Exit, Failure, Outcome},
    output::{Output, cannot_write, print_json},
};

/// The gateway gives no more in one answer.
const PAGE_MAX: usize = 1000;
const STATES: [&str; 8] = ["delayed", "queued", "leased", "completed", "failed", "expired", "cancelled", "dead"];

/// List tasks, and count them; with --follow print each end as it comes.
///
/// The last line counts all tasks that are kept, whatever was asked for. Those that have ended are kept for
/// `tasks.retention` of the fleet file.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Tasks in this state alone; `dead` means failed or expired
    #[arg(long, value_name = "STATE", value_parser = STATES)]
    state: Option<String>,
    /// Tasks of this agent alone
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,
    /// Tasks of agents of this type alone
    #[arg(long = "type", value_name = "TYPE", conflicts_with = "follow")]
    agent_type: Option<String>,
    /// Show at most so many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = super::limit, conflicts_with = "follow")]
    limit: usize,
    /// Go on behind the page that ended with this cursor
    #[arg(long, value_name = "CURSOR", conflicts_with = "follow")]
    after: Option<String>,
    /// Print each task that ends from here on, until Ctrl-C
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    gateway: GatewayArgs,
    #[command(flatten)]
    output: Output,
}

/// Which tasks are meant.
#[derive(Default)]
pub(super) struct Filter<'a> {
    pub(super) state: Option<&'a str>,
    pub(super) agent: Option<&'a str>,
    pub(super) agent_type: Option<&'a str>,
}

/// Tasks as they were listed, and what the gateway counts in all.
pub(super) struct Listed {
    pub(super) counts: Counts,
    pub(super) tasks: Vec<Task>,
    pub(super) raw: Vec<Box<RawValue>>,
    /// Where the next page begins, if there is one.
    pub(super) next: Option<String>,
}

#[derive(Deserialize)]
struct Page {
    tasks: Option<Vec<Box<RawValue>>>,
    next: Option<Cursor>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Cursor {
    Text(String),
    Number(u64),
}

#[derive(Serialize)]
struct Printed<'l> {
    counts: Counts,
    tasks: &'l [Box<RawValue>],
    next: Option<&'l str>,
}

pub(super) async fn run(args: &Args) -> Outcome {
    let gateway = Gateway::new(&args.gateway)?;
    let filter =
        Filter { state: args.state.as_deref(), agent: args.agent.as_deref(), agent_type: args.agent_type.as_deref() };
    if args.follow {
        return ends::follow(&gateway, &filter, args.output).await;
    }
    let listed = read(&gateway, &filter, args.after.clone(), args.limit).await?;
    if args.output.is_json() {
        print(&listed)?;
        return Ok(Exit::Done);
    }
    let mut out = std::io::stdout().lock();
    for line in text::table(&listed.tasks, text::now()).into_iter().chain([text::counts(&listed.counts)]) {
        writeln!(out, "{line}").map_err(cannot_write)?;
    }
    more(&listed);
    Ok(Exit::Done)
}

pub(super) fn print(listed: &Listed) -> Result<(), Failure> {
    print_json(&Printed { counts: listed.counts, tasks: &listed.raw, next: listed.next.as_deref() })
}

/// Says that there may be more than was shown.
pub(super) fn more(listed: &Listed) {
    if let Some(next) = &listed.next {
        eprintln!("these are the oldest; `--after {next}` goes on behind them, and --state, --agent and --type choose");
    }
}

/// Page after page, until there are as many as wanted.
pub(super) async fn read(
    gateway: &Gateway,
    filter: &Filter<'_>,
    mut after: Option<String>,
    wanted: usize,
) -> Result<Listed, Failure> {
    let mut listed: Option<Listed> = None;
    loop {
        let had = listed.as_ref().map_or(0, |listed| listed.tasks.len());
        let path = query(filter, after.as_deref(), (wanted - had).min(PAGE_MAX));
        let answer = gateway.ask(Method::GET, &path, Asked::Read).await?;
        let page: Page = answer.json(gateway)?;
        let raw = page.tasks.ok_or_else(|| strange(gateway, "it counts its tasks, and cannot list them"))?;
        let tasks = raw
            .iter()
            .map(|raw| serde_json::from_str(raw.get()).map_err(|error| strange(gateway, &error.to_string())))
            .collect::<Result<Vec<Task>, _>>()?;
        let next = page.next.map(|cursor| match cursor {
            Cursor::Text(text) => text,
            Cursor::Number(number) => number.to_string(),
        });
        let mut all = match listed.take() {
            Some(all) => all,
            None => Listed { counts: answer.json(gateway)?, tasks: Vec::new(), raw: Vec::new(), next: None },
        };
        all.tasks.extend(tasks);
        all.raw.extend(raw);
        all.next = next.clone();
        // A page may have nothing on it where what is wanted is rare. The same page again would have no end.
        if next.is_none() || next == after || all.tasks.len() >= wanted {
            return Ok(all);
        }
        after = next;
        listed = Some(all);
    }
}

fn query(filter: &Filter<'_>, after: Option<&str>, limit: usize) -> String {
    let mut path = format!("/tasks?limit={limit}");
    for (key, value) in
        [("state", filter.state), ("agent", filter.agent), ("type", filter.agent_type), ("after", after)]
    {
        if let Some(value) = value {
            path.push_str(&format!("&{key}={}", escaped(value)));
        }
    }
    path
}
