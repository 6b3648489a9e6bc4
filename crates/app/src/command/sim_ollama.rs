//! `bellwether sim-ollama`: a simulated Ollama, for demonstrations and tests.

use std::{fs, io, io::Write, net::SocketAddr, path::PathBuf};

use bellwether_core::{diagnostic::Diagnostic, id::ModelName};
use serde_json::json;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

use crate::{
    failure::{Exit, Failure, Outcome},
    output::{Output, cannot_write},
    runtime,
    sim_ollama::{Params, Shape, serve},
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where to listen; port 0 takes any that is free
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:11434")]
    listen: SocketAddr,
    /// Calls that a loaded model computes at once, as OLLAMA_NUM_PARALLEL
    #[arg(long, value_name = "N", default_value_t = 2)]
    slots: usize,
    /// The models that it pretends to have
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        default_value = "tinyllama,qwen2.5-coder:7b,deepseek-r1:8b"
    )]
    models: Vec<String>,
    /// Models in memory at once, as OLLAMA_MAX_LOADED_MODELS
    #[arg(long, value_name = "N", default_value_t = 1)]
    resident: usize,
    /// Requests that may wait for a load, as OLLAMA_MAX_QUEUE
    #[arg(long, value_name = "N", default_value_t = 512)]
    queue_max: usize,
    /// A JSON file with other times than those that were measured
    #[arg(long, value_name = "FILE")]
    params: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

/// Says in its first line where it listens and that it is simulated. Ends on SIGINT or SIGTERM.
pub(crate) fn run(args: Args) -> Outcome {
    let params = params(&args)?;
    let models: Vec<ModelName> = args.models.iter().map(|name| ModelName::new(name)).collect();
    let shape = Shape { slots: args.slots, resident: args.resident, queue_max: args.queue_max };
    runtime::block_on(async {
        let listener = TcpListener::bind(args.listen).await.map_err(|error| cannot_serve(&args, &error))?;
        let address = listener.local_addr().map_err(|error| cannot_serve(&args, &error))?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| cannot_serve(&args, &error))?;
        let mut terminate = signal(SignalKind::terminate()).map_err(|error| cannot_serve(&args, &error))?;
        announce(&args, address).map_err(cannot_write)?;
        tokio::select! {
            served = serve(listener, shape, params, models) => served.map_err(|error| cannot_serve(&args, &error))?,
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        Ok(Exit::Done)
    })?
}

fn announce(args: &Args, address: SocketAddr) -> io::Result<()> {
    let url = format!("http://{address}");
    let mut out = io::stdout().lock();
    if args.output.is_json() {
        writeln!(out, "{}", json!({"url": url, "simulated": true, "slots": args.slots, "models": args.models}))?;
    } else {
        let models = args.models.join(", ");
        writeln!(out, "simulated Ollama at {url}: {} slots, {models}; it answers without any model", args.slots)?;
    }
    out.flush()
}

fn params(args: &Args) -> Result<Params, Failure> {
    let Some(file) = &args.params else { return Ok(Params::default()) };
    let unreadable = |cause: &dyn std::fmt::Display| {
        let message = format!("{} does not hold times for the simulated Ollama", file.display());
        let help = "write a JSON object such as {\"load_us\": 2000000}; what it leaves out stays as measured";
        Failure::invalid(vec![Diagnostic::new("BW0381", message).because(cause).help(help)])
    };
    let text = fs::read_to_string(file).map_err(|error| unreadable(&error))?;
    Params::replaced_by(&text).map_err(|error| unreadable(&error))
}

fn cannot_serve(args: &Args, error: &io::Error) -> Failure {
    let message = format!("the simulated Ollama cannot serve at {}", args.listen);
    let help = "name a free port with --listen; port 0 takes any";
    Failure::error(Diagnostic::new("BW0380", message).because(error).help(help))
}
