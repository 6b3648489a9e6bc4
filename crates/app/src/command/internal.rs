//! `bellwether internal`: the processes that `serve` starts. Not for people.

use std::{fs, path::PathBuf, time::Duration};

use bellwether_core::{
    diagnostic::{Diagnostic, chain},
    spec::Spec,
};
use bellwether_store::Remedy;
use clap::{Parser, Subcommand};

use crate::{
    failure::{Exit, Failure, Outcome},
    formats,
    output::print_json,
    supervisor::{child::Inherited, succession::heir_socket},
};

#[derive(Parser)]
pub(crate) struct Args {
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    /// The data plane, on the listener that is its standard input
    Gateway {
        #[command(flatten)]
        common: Common,
        /// The port of the listener
        #[arg(long)]
        port: u16,
        /// What a gateway that gives way to this one may take to finish what it has in flight
        #[arg(long, default_value_t = 600_000)]
        finish_within_ms: u64,
    },
    /// What this program reads, writes and speaks, as JSON
    Formats,
    /// The controller, with the API's listener as its standard input
    Controller {
        #[command(flatten)]
        common: Common,
        /// Where instances find the gateway
        #[arg(long)]
        gateway_port: u16,
        /// The addresses of instances lead to the gateway
        #[arg(long)]
        by_address: bool,
    },
}

#[derive(clap::Args)]
struct Common {
    /// State directory
    #[arg(long)]
    state: PathBuf,
    /// The supervisor
    #[arg(long)]
    parent: u32,
}

/// The gateway's threads: beyond this the model server and not the gateway is the limit.
const THREADS_MAX: usize = 4;

pub(crate) fn gateway_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cpus| cpus.get().min(THREADS_MAX))
}

pub(crate) fn run(args: Args) -> Outcome {
    match args.role {
        Role::Gateway { common, port, finish_within_ms } => {
            gateway(common, port, Duration::from_millis(finish_within_ms))
        }
        Role::Formats => {
            print_json(&formats::ours())?;
            Ok(Exit::Done)
        }
        Role::Controller { common, gateway_port, by_address } => controller(common, gateway_port, by_address),
    }
}

fn gateway(common: Common, port: u16, finish_within: Duration) -> Outcome {
    let Inherited { listener, shutdown, lock: _held } = inherit(common.parent)?;
    let config = bellwether_gateway::Config {
        listener,
        store: common.state.join("gateway.sqlite"),
        link: common.state.join("gateway.sock"),
        heir: heir_socket(&common.state, std::process::id()),
        finish_within,
        port,
        spec: spec(&common)?,
        threads: gateway_threads(),
    };
    bellwether_gateway::run(config, shutdown).map_err(|error| stopped("gateway", error.remedy(), &error))?;
    Ok(Exit::Done)
}

fn controller(common: Common, gateway_port: u16, by_address: bool) -> Outcome {
    let Inherited { listener: api, shutdown, lock: _held } = inherit(common.parent)?;
    let spec = spec(&common)?;
    let config = bellwether_control::Config { spec, state: common.state, api, gateway_port, by_address };
    bellwether_control::run(config, shutdown).map_err(|error| stopped("controller", error.remedy(), &error))?;
    Ok(Exit::Done)
}

fn inherit(parent: u32) -> Result<Inherited, Failure> {
    Inherited::take(parent).map_err(|error| {
        Failure::error(
            Diagnostic::new("BW0317", "this process was not started by a supervisor")
                .because(error)
                .help("use `bellwether serve`, which starts it as it should be"),
        )
    })
}

/// As the supervisor resolved it.
fn spec(common: &Common) -> Result<Spec, Failure> {
    let path = common.state.join("spec.json");
    let read = fs::read(&path).and_then(|text| serde_json::from_slice(&text).map_err(std::io::Error::from));
    read.map_err(|error| stopped("reader of spec.json", Remedy::Named, &error))
}

/// With the exit code of an error that goes away, or of one that stays until a person has done something.
fn stopped(what: &str, remedy: Remedy, error: &dyn std::error::Error) -> Failure {
    let (code, message, help) = match remedy {
        Remedy::Room => (
            "BW0345",
            format!("the {what} stops: the disk is full"),
            "make room on the disk of the state directory; the supervisor starts it again, and agents run on meanwhile",
        ),
        Remedy::Version => (
            "BW0346",
            format!("the {what} stops: its store is not one that this version can use"),
            "do as the cause says; nothing was changed",
        ),
        Remedy::Restore => (
            "BW0347",
            format!("the {what} stops: its store is damaged"),
            "end `serve` and put back a backup with `bellwether restore DIR`; without one, move the file that is named \
             to another place, which begins its history anew; agents run on meanwhile",
        ),
        Remedy::Named => (
            "BW0318",
            format!("the {what} stops"),
            "mend what the cause names; the supervisor starts it again, and agents run on meanwhile",
        ),
    };
    let told = Diagnostic::new(code, message).because(chain(error)).help(help);
    match remedy {
        Remedy::Room | Remedy::Named => Failure::error(told),
        Remedy::Version | Remedy::Restore => Failure::invalid(vec![told]),
    }
}
