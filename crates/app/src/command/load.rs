//! `bellwether load`: an open-loop load generator that keeps an account of every task.

use std::{
    io::{self, BufRead, Write},
    path::PathBuf,
    thread,
    time::Duration,
};

use bellwether_core::{diagnostic::Diagnostic, spec::unit};
use tokio::{
    select,
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    time::{MissedTickBehavior, interval, sleep},
};

use crate::{
    failure::{Exit, Failure, Outcome},
    files,
    load::{Handle, Load, Options, Report, Target, Targets},
    output::{Output, cannot_write, print_json},
    runtime,
};

const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// Submit tasks at a steady rate and keep an account of every one.
///
/// Exit code 0 if no request failed, no task was lost and none was accepted twice; else 1.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The gateway's address
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7400")]
    gateway: String,
    /// Tasks per second, on average; arrivals are a Poisson process
    #[arg(long, default_value_t = 10.0)]
    rate: f64,
    /// How long to submit, such as 60s or 5m; without it until Ctrl-C
    #[arg(long = "for", value_name = "SPAN", value_parser = span)]
    duration: Option<Duration>,
    /// Submit so many tasks
    #[arg(long, value_name = "N")]
    tasks: Option<u64>,
    /// Submit until standard input is closed; each line that is written to it opens a window of that name in the account
    #[arg(long)]
    until_stdin_closes: bool,
    /// Repeat a submission whose answer was lost, under the same id, for so long; without it, it has failed
    #[arg(long, value_name = "SPAN", default_value = "0s", value_parser = span)]
    repeat_for: Duration,
    /// How long to wait at the end for tasks that are still open
    #[arg(long, value_name = "SPAN", default_value = "30s", value_parser = span)]
    settle: Duration,
    /// Submit for this type, with a weight if there are several
    #[arg(long = "type", value_name = "TYPE[:WEIGHT]", value_parser = weighted)]
    types: Vec<(String, f64)>,
    /// Submit for this agent, with a weight if there are several
    #[arg(long = "agent", value_name = "NAME[:WEIGHT]", value_parser = weighted)]
    agents: Vec<(String, f64)>,
    /// Submit for the agents of this fleet, in proportion
    #[arg(long, value_name = "FILE", conflicts_with_all = ["types", "agents"])]
    fleet: Option<PathBuf>,
    /// With --fleet: address each task to an agent, or to a type by the number of its agents
    #[arg(long, value_enum, default_value_t = By::Type, requires = "fleet")]
    by: By,
    /// Words in each prompt
    #[arg(long, value_name = "N", default_value_t = 24)]
    prompt_tokens: usize,
    /// Words that each prompt asks for in the answer
    #[arg(long, value_name = "N")]
    output_tokens: Option<usize>,
    /// Seed of arrivals, targets and prompts
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    output: Output,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum By {
    Agent,
    Type,
}

/// Ends with 0 if no request failed, no task was lost and none was accepted twice, and with 1 else.
pub(crate) fn run(args: Args) -> Outcome {
    if !(args.rate > 0.0 && args.rate.is_finite()) {
        let message = format!("{} tasks per second cannot be submitted", args.rate);
        return Err(invalid(
            Diagnostic::new("BW0370", message).help("give --rate a number above 0, such as 10 or 0.5"),
        ));
    }
    let targets = targets(&args)?;
    let report = runtime::block_on(drive(&args, targets))??;
    if args.output.is_json() {
        print_json(&report)?;
    } else {
        write!(io::stdout().lock(), "{report}").map_err(cannot_write)?;
    }
    Ok(if report.is_clean() { Exit::Done } else { Exit::Error })
}

async fn drive(args: &Args, targets: Targets) -> Result<Report, Failure> {
    let options = Options {
        gateway: args.gateway.clone(),
        targets,
        rate: args.rate,
        prompt_tokens: args.prompt_tokens,
        output_tokens: args.output_tokens,
        seed: args.seed,
        tasks: args.tasks,
        repeat_for: args.repeat_for,
        settle: args.settle,
        first_window: "load".to_owned(),
    };
    let mut interrupt = on(SignalKind::interrupt())?;
    let mut terminate = on(SignalKind::terminate())?;
    let load = Load::start(options)
        .map_err(|error| invalid(Diagnostic::new("BW0371", error.to_string()).help("write it as http://host:port")))?;
    select! {
        () = progress(&load) => {}
        () = elapsed(args.duration) => {}
        () = load.submitted() => {}
        () = stdin_closed(&load, args.until_stdin_closes) => {}
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    let settling = load.stop();
    select! {
        report = settling => Ok(report),
        _ = interrupt.recv() => Err(unsettled()),
    }
}

fn unsettled() -> Failure {
    Failure::error(
        Diagnostic::new("BW0372", "stopped before all tasks were settled")
            .because("it was interrupted a second time")
            .help("wait after the first Ctrl-C for as long as --settle says, and the account is whole"),
    )
}

/// Lines on standard error, for ever.
async fn progress(load: &Handle) {
    let mut beat = interval(PROGRESS_EVERY);
    beat.set_missed_tick_behavior(MissedTickBehavior::Skip);
    beat.tick().await;
    loop {
        beat.tick().await;
        eprintln!("{}", load.snapshot());
    }
}

async fn elapsed(duration: Option<Duration>) {
    match duration {
        Some(duration) => sleep(duration).await,
        None => std::future::pending().await,
    }
}

async fn stdin_closed(load: &Handle, wanted: bool) {
    if !wanted {
        std::future::pending::<()>().await;
    }
    let (tell, mut lines) = mpsc::channel(1);
    // A thread that may sit in a read until the process ends; the runtime must not wait for it.
    let reader = thread::Builder::new().name("stdin".into()).spawn(move || {
        // An error ends it as the end does: nobody can close it any more.
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if tell.blocking_send(line).is_err() {
                return;
            }
        }
    });
    match reader {
        Ok(_detached) => {
            while let Some(name) = lines.recv().await {
                load.mark(&name);
            }
        }
        Err(error) => tracing::warn!(%error, "standard input cannot be watched"),
    }
}

fn targets(args: &Args) -> Result<Targets, Failure> {
    let targets = match &args.fleet {
        Some(file) => {
            let spec = files::load_fleet(file)?;
            match args.by {
                By::Agent => Targets::by_agent(&spec),
                By::Type => Targets::by_type(&spec),
            }
        }
        None => {
            let agents = args.agents.iter().map(|(name, weight)| (Target::Agent(name.as_str().into()), *weight));
            let types = args.types.iter().map(|(name, weight)| (Target::Type(name.as_str().into()), *weight));
            Targets::new(agents.chain(types))
        }
    };
    targets.ok_or_else(|| {
        invalid(Diagnostic::new("BW0373", "nobody to submit tasks for").help("name a --fleet, a --type or an --agent"))
    })
}

fn span(text: &str) -> Result<Duration, String> {
    unit::millis(text).map(|span| span.to_std()).map_err(|bad| format!("{}; {}", bad.cause, bad.help))
}

/// `name` or `name:weight`.
fn weighted(text: &str) -> Result<(String, f64), String> {
    let (name, weight) = text.rsplit_once(':').unwrap_or((text, "1"));
    match weight.parse::<f64>() {
        Ok(weight) if weight > 0.0 && weight.is_finite() && !name.is_empty() => Ok((name.to_owned(), weight)),
        _ => Err("write a name, or a name and a weight above 0 such as security:2".to_owned()),
    }
}

fn on(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| {
        Failure::error(
            Diagnostic::new("BW0375", "the load generator cannot listen for signals")
                .because(error)
                .help("check the limits of open files and threads with `ulimit -a`"),
        )
    })
}

fn invalid(diagnostic: Diagnostic) -> Failure {
    Failure::invalid(vec![diagnostic])
}
