//! `bellwether agent`: the asynchronous base with the handler that puts a task's prompt to the model.

use std::{env, fs, io, path::PathBuf, time::Duration};

use bellwether_agent::{Config, Ended, PromptHandler, StartError};
use bellwether_core::diagnostic::Diagnostic;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::Level;

use crate::{
    failure::{Exit, Failure, Outcome},
    runtime,
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Name of the agent
    #[arg(long, env = "AGENT_NAME", default_value = "agent")]
    name: String,
    /// Type of the agent: which tasks it asks for
    #[arg(long = "type", env = "AGENT_TYPE", default_value = "general")]
    agent_type: String,
    /// Model that answers the prompts
    #[arg(long, env = "MODEL_NAME", default_value = "tinyllama")]
    model: String,
    /// Tasks held at once
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=1000))]
    concurrency: u16,
    /// File whose text is given to the model as system prompt
    #[arg(long, value_name = "FILE")]
    prompt_file: Option<PathBuf>,
    /// Seconds that what is held may take to finish after SIGTERM
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    drain: u64,
}

pub(crate) fn run(args: Args) -> Outcome {
    log_to_stderr();
    let config = config(args)?;
    let ended = runtime::block_on(serve(config))??;
    Ok(if ended.unfinished == 0 { Exit::Done } else { Exit::Error })
}

fn config(args: Args) -> Result<Config, Failure> {
    let mut config = Config::from_lookup(|variable| env::var(variable).ok()).map_err(|error| {
        Failure::invalid(vec![
            Diagnostic::new("BW0360", error.to_string())
                .help("correct the variable, or leave it out to get its default"),
        ])
    })?;
    config.agent_name = args.name;
    config.agent_type = args.agent_type;
    config.model = args.model;
    config.concurrency = usize::from(args.concurrency);
    config.limits.drain = Duration::from_secs(args.drain);
    if let Some(file) = args.prompt_file {
        let text = fs::read_to_string(&file).map_err(|error| {
            let message = format!("the prompt file {} cannot be read", file.display());
            Failure::invalid(vec![Diagnostic::new("BW0361", message).because(error)])
        })?;
        config.system = Some(text);
    }
    Ok(config)
}

async fn serve(config: Config) -> Result<Ended, Failure> {
    let shutdown = CancellationToken::new();
    let mut terminate = on(SignalKind::terminate())?;
    let mut interrupt = on(SignalKind::interrupt())?;
    let agent = bellwether_agent::run(config, PromptHandler, shutdown.clone());
    tokio::pin!(agent);
    loop {
        tokio::select! {
            ended = &mut agent => return ended.map_err(|error| match error {
                StartError::Listen { address, source } => Failure::error(
                    Diagnostic::new("BW0362", format!("the agent cannot serve on {address}"))
                        .because(source)
                        .help("set PORT to a free port, or leave it out to serve nothing"),
                ),
                StartError::NoRoom => Failure::error(Diagnostic::new("BW0363", error.to_string())),
            }),
            _ = terminate.recv() => shutdown.cancel(),
            _ = interrupt.recv() => shutdown.cancel(),
        }
    }
}

fn on(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| {
        Failure::error(Diagnostic::new("BW0364", "the agent cannot listen for signals").because(error))
    })
}

/// `LOG_LEVEL` as the agents of the seed know it. A filter by module would cost each of hundreds of processes
/// a megabyte.
fn log_to_stderr() {
    let level = match env::var("LOG_LEVEL").unwrap_or_default().to_ascii_uppercase().as_str() {
        "TRACE" => Level::TRACE,
        "DEBUG" => Level::DEBUG,
        "WARNING" | "WARN" => Level::WARN,
        "ERROR" | "CRITICAL" => Level::ERROR,
        _ => Level::INFO,
    };
    tracing_subscriber::fmt().with_max_level(level).with_writer(io::stderr).with_ansi(false).init();
}
