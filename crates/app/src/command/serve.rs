//! `bellwether serve`.

use std::{net::SocketAddr, path::PathBuf};

use bellwether_core::diagnostic::Diagnostic;
use bellwether_drivers::linux::{self, Signal};

use crate::{
    failure::{Failure, Outcome},
    output, runtime,
    supervisor::{self, FleetFile, Options},
};

/// Run a fleet: supervisor, gateway, controller and the agents themselves.
///
/// Runs in the foreground until it is interrupted. Prints where gateway and controller listen once both answer; with
/// `--output json` as one line. If the gateway or the controller dies it is started again, and agents notice neither.
/// An edit of the fleet file is told at once, and taken by the next start with no rollout under way.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The fleet file: what runs
    #[arg(long, value_name = "FILE", default_value = "fleet.yaml")]
    fleet: PathBuf,
    /// Directory for stores, logs, sockets and evidence; one per fleet
    #[arg(long, value_name = "DIR", default_value = ".bellwether")]
    state: PathBuf,
    /// Address of the gateway: tasks, pushed requests and model calls
    #[arg(long, value_name = "ADDRESS", value_parser = address, default_value = "127.0.0.1:7400")]
    listen: SocketAddr,
    /// Address of the control API
    #[arg(long, value_name = "ADDRESS", value_parser = address, default_value = "127.0.0.1:7401")]
    control: SocketAddr,
    /// Model server, in place of the one in the fleet file
    #[arg(long, value_name = "URL")]
    ollama: Option<String>,
    /// Stop the agents when this ends; without it they run on, and the next `serve` adopts them
    #[arg(long)]
    stop_agents: bool,
    /// If another supervisor uses this state directory, end it and adopt its agents
    #[arg(long)]
    take_over: bool,
    /// End when the process that started this one ends
    #[arg(long, hide = true)]
    end_with_parent: bool,
    #[command(flatten)]
    output: output::Output,
}

pub(crate) fn run(args: Args) -> Outcome {
    if args.end_with_parent {
        let parent = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get().unsigned_abs());
        linux::end_with_parent(parent, Signal::TERM)
            .map_err(|error| Failure::error(Diagnostic::new("BW0315", "the parent is gone").because(error)))?;
    }
    let ollama = args.ollama.as_deref().map(model_server).transpose()?;
    let options = Options {
        fleet: FleetFile { path: args.fleet, ollama },
        state: args.state,
        listen: args.listen,
        control: args.control,
        stop_agents: args.stop_agents,
        take_over: args.take_over,
        json: args.output.is_json(),
    };
    runtime::block_on(supervisor::serve(options))?
}

/// An address and a port, as an argument.
pub(crate) fn address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_neither| "it is not an address with a port; write it as 127.0.0.1:7400")
}

/// As the fleet file has it: `http://host:port`, nothing behind.
pub(crate) fn model_server(url: &str) -> Result<String, Failure> {
    let plain = url.trim_end_matches('/');
    let uri = plain.parse::<hyper::Uri>().ok().filter(|uri| {
        uri.scheme_str() == Some("http")
            && uri.port().is_some()
            && matches!(uri.path(), "" | "/")
            && uri.query().is_none()
    });
    if uri.is_some() {
        return Ok(plain.to_owned());
    }
    Err(Failure::invalid(vec![
        Diagnostic::new("BW0316", format!("--ollama {url:?} is not the address of a model server"))
            .help("write it as http://HOST:PORT, without a path"),
    ]))
}
