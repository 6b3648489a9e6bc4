//! `bellwether check`: the automatic part of the preflight.

use std::{
    io::{self, Write},
    net::SocketAddr,
    path::PathBuf,
};

use super::serve::{address, model_server};
use crate::{
    check::{Asked, render, run as look},
    client::ControlArgs,
    failure::{Exit, Outcome},
    output::{Output, cannot_write, print_json},
    runtime,
};

/// Look at everything that a rollout depends on, before one begins.
///
/// Each check has a result (ok, warning, failed, or skipped with the reason), what was seen, and what to do about it.
/// Checks that need a running fleet are skipped without one. Exit code 5 if any check failed, else 0.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The fleet file: what runs
    #[arg(long, value_name = "FILE", default_value = "fleet.yaml")]
    fleet: PathBuf,
    /// The release file: what is to change; without it nothing is planned
    #[arg(long, value_name = "FILE")]
    release: Option<PathBuf>,
    /// The state directory that `serve` uses
    #[arg(long, value_name = "DIR", default_value = ".bellwether")]
    state: PathBuf,
    /// The address that `serve` gives to the gateway
    #[arg(long, value_name = "ADDRESS", value_parser = address, default_value = "127.0.0.1:7400")]
    listen: SocketAddr,
    /// Model server, in place of the one in the fleet file
    #[arg(long, value_name = "URL")]
    ollama: Option<String>,
    /// Ask no model to generate a few words; how many calls run at once is then not seen either
    #[arg(long)]
    no_generate: bool,
    /// Keep no copy of fleet and release file in the state directory
    #[arg(long)]
    no_backup: bool,
    #[command(flatten)]
    control: ControlArgs,
    #[command(flatten)]
    output: Output,
}

pub(crate) fn run(args: Args) -> Outcome {
    let asked = Asked {
        fleet: args.fleet,
        release: args.release,
        control: args.control.control,
        listen: args.listen,
        state: args.state,
        ollama: args.ollama.as_deref().map(model_server).transpose()?,
        generate: !args.no_generate,
        backup: !args.no_backup,
    };
    let report = runtime::block_on(look(&asked))?;
    if args.output.is_json() {
        print_json(&report)?;
    } else {
        io::stdout().lock().write_all(render(&report).as_bytes()).map_err(cannot_write)?;
    }
    Ok(if report.ready { Exit::Done } else { Exit::PreflightFailed })
}
