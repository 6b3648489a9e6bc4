//! `bellwether tasks dead`.

use std::io::Write;

use super::{
    gateway::{Gateway, GatewayArgs},
    list::{self, Filter},
    text,
};
use crate::{
    failure::{Exit, Outcome},
    output::{Output, cannot_write},
};

/// List the dead letters: tasks that failed for good or expired, each with its last error.
///
/// They are kept for `tasks.retention` of the fleet file. `bellwether tasks retry` queues them again.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Tasks of this agent alone
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,
    /// Tasks of agents of this type alone
    #[arg(long = "type", value_name = "TYPE")]
    agent_type: Option<String>,
    /// Show at most so many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = super::limit)]
    limit: usize,
    /// Go on behind the page that ended with this cursor
    #[arg(long, value_name = "CURSOR")]
    after: Option<String>,
    #[command(flatten)]
    gateway: GatewayArgs,
    #[command(flatten)]
    output: Output,
}

pub(super) async fn run(args: &Args) -> Outcome {
    let gateway = Gateway::new(&args.gateway)?;
    let filter = Filter { state: Some("dead"), agent: args.agent.as_deref(), agent_type: args.agent_type.as_deref() };
    let listed = list::read(&gateway, &filter, args.after.clone(), args.limit).await?;
    if args.output.is_json() {
        list::print(&listed)?;
        return Ok(Exit::Done);
    }
    let mut out = std::io::stdout().lock();
    for line in text::dead(&listed.tasks, text::now()) {
        writeln!(out, "{line}").map_err(cannot_write)?;
    }
    list::more(&listed);
    Ok(Exit::Done)
}
