//! `bellwether agent`: the asynchronous base with the handler that puts a task's prompt to the model.

mod alone;
mod log;

use std::{env, fs, path::PathBuf, time::Duration};

use bellwether_agent::{BadConfig, BadFault, Config, Ended, Fault, PromptHandler, StartError};
use bellwether_core::diagnostic::Diagnostic;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::Level;

use crate::{
    failure::{Exit, Failure, Outcome},
    runtime,
};

const HELP: &str = "\
Examples:
  Take tasks from a backend until SIGTERM:
    bellwether agent --name auditor --type security --backend http://127.0.0.1:7400
  Without any backend:
    bellwether agent --model phi3:mini --prompt-file reviewer.txt --once - < patch.diff
    bellwether agent --model phi3:mini --lines < questions.txt

Environment:
  OLLAMA_BASE_URL, OLLAMA_URL, OLLAMA_HOST  the model server, where --ollama does not say
  PORT or HEALTH_PORT, BELLWETHER_ADDRESS   to serve /health, /ready, /stats and /metrics
  LOG_LEVEL                                 debug, info, warning or error
  LOG_FORMAT                                json: one object a line

Exit codes: 0 finished, or answered; 1 something failed or was cut; 2 a wrong flag or variable.";

#[derive(clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// Name of the agent
    #[arg(long, env = "AGENT_NAME", default_value = "agent")]
    name: String,
    /// Type of the agent: which tasks it asks for
    #[arg(long = "type", env = "AGENT_TYPE", value_name = "TYPE", default_value = "general")]
    agent_type: String,
    /// Model that answers the prompts
    #[arg(long, env = "MODEL_NAME", default_value = "tinyllama")]
    model: String,
    /// Where the model server is
    #[arg(long, value_name = "URL")]
    ollama: Option<String>,
    /// Where tasks come from
    #[arg(long, env = "BACKEND_URL", value_name = "URL", default_value = "http://127.0.0.1:8000")]
    backend: String,
    /// Put this text to the model, print the answer and end; `-` reads the text from standard input
    #[arg(long, value_name = "TEXT", conflicts_with = "lines")]
    once: Option<String>,
    /// Put each line of standard input to the model and print the answers as JSON, a line each, in the same order
    #[arg(long)]
    lines: bool,
    /// Tasks held at once
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=1000))]
    concurrency: u16,
    /// File whose text is given to the model as system prompt
    #[arg(long, value_name = "FILE")]
    prompt_file: Option<PathBuf>,
    /// Load the model before the first task, and have the model server keep it for so long after each: 30m, or -1 for
    /// ever
    #[arg(long, env = "BELLWETHER_AGENT_PRELOAD", value_name = "SPAN", allow_hyphen_values = true)]
    preload: Option<String>,
    /// Seconds that what is held may take to finish after SIGTERM
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    drain: u64,
    /// Be faulty on purpose, for rehearsals: errors[=30%], latency[=3], leak[=8MiB[:256MiB[:0]]], crash[=2], hang or
    /// swallow
    #[arg(
        long,
        env = "BELLWETHER_FAULT",
        value_name = "KIND",
        help_heading = "To rehearse what goes wrong",
        hide_short_help = true
    )]
    fault: Option<String>,
    /// Only agents of these names or types are faulty
    #[arg(
        long,
        env = "BELLWETHER_FAULT_AGENTS",
        value_name = "NAMES",
        value_delimiter = ',',
        help_heading = "To rehearse what goes wrong",
        hide_short_help = true,
        hide_env_values = true
    )]
    fault_agents: Vec<String>,
    /// The fault sleeps until this file is there
    #[arg(
        long,
        env = "BELLWETHER_FAULT_FROM",
        value_name = "FILE",
        help_heading = "To rehearse what goes wrong",
        hide_short_help = true
    )]
    fault_from: Option<PathBuf>,
    /// Seconds in which it does nothing before it registers, to stand for an agent that loads much
    #[arg(
        long,
        env = "BELLWETHER_AGENT_BOOT",
        value_name = "SECONDS",
        default_value_t = 0.0,
        help_heading = "To rehearse what goes wrong",
        hide_short_help = true
    )]
    boot_delay: f64,
    /// MiB of memory that it holds for nothing, to stand for a heavy agent
    #[arg(
        long,
        env = "BELLWETHER_AGENT_BALLAST_MB",
        value_name = "MIB",
        default_value_t = 0,
        help_heading = "To rehearse what goes wrong", hide_short_help = true,
        value_parser = clap::value_parser!(u64).range(..=1 << 20)
    )]
    ballast: u64,
}

impl Args {
    /// What is wrong with this agent, if it is one of those that shall be faulty.
    fn fault(&self) -> Result<Option<Fault>, Failure> {
        let Some(text) = self.fault.as_deref().filter(|text| !text.is_empty()) else { return Ok(None) };
        let fault = text.parse().map_err(|error: BadFault| {
            Failure::invalid(vec![
                Diagnostic::new("BW0365", "the agent is to be faulty in a way that is not known").because(error),
            ])
        })?;
        let chosen = self.fault_agents.is_empty()
            || self.fault_agents.iter().any(|one| *one == self.name || *one == self.agent_type);
        Ok(chosen.then_some(fault))
    }
}

pub(crate) fn run(mut args: Args) -> Outcome {
    let (once, lines) = (args.once.take(), args.lines);
    let config = config(args)?;
    // What is asked by hand is answered by hand.
    let level = if once.is_some() || lines { Level::ERROR } else { Level::INFO };
    log::start(&config.agent_name, level);
    if let Some(text) = once {
        return runtime::block_on(alone::once(&config, text))?;
    }
    if lines {
        return runtime::block_on(alone::lines(&config))?;
    }
    let ended = runtime::block_on(serve(config))??;
    Ok(if ended.unfinished == 0 { Exit::Done } else { Exit::Error })
}

fn config(args: Args) -> Result<Config, Failure> {
    let lookup = |variable: &str| match variable {
        "BACKEND_URL" => Some(args.backend.clone()),
        "OLLAMA_BASE_URL" if args.ollama.is_some() => args.ollama.clone(),
        _ => env::var(variable).ok(),
    };
    let mut config = Config::from_lookup(lookup).map_err(|error| unusable(&error, &args))?;
    config.preload = args.preload.clone();
    config.fault = args.fault()?;
    config.fault_from = args.fault_from.clone();
    config.boot_delay = Duration::try_from_secs_f64(args.boot_delay).map_err(|error| {
        let message = format!("the agent cannot wait for {} seconds", args.boot_delay);
        Failure::invalid(vec![Diagnostic::new("BW0360", message).because(error)])
    })?;
    config.ballast_bytes = args.ballast << 20;
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

fn unusable(error: &BadConfig, args: &Args) -> Failure {
    let is_address = error.variable == "BACKEND_URL" || error.variable.starts_with("OLLAMA");
    let flag = match error.variable {
        "BACKEND_URL" => Some("--backend"),
        "OLLAMA_BASE_URL" if args.ollama.is_some() => Some("--ollama"),
        _ => None,
    };
    // What the environment does not hold was a flag's.
    let flag = flag.filter(|_| env::var(error.variable).ok().as_ref() != Some(&error.value));
    let message =
        flag.map_or_else(|| error.to_string(), |flag| format!("{flag} has the unusable value {:?}", error.value));
    let help = if is_address {
        "write it as http://HOST:PORT; agents speak to what is near them, without TLS"
    } else {
        "correct the variable, or leave it out to get its default"
    };
    Failure::invalid(vec![Diagnostic::new("BW0360", message).help(help)])
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
