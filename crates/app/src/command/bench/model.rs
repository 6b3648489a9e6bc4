//! `bellwether bench model`: model endpoints side by side, under the load of many clients.

use std::{
    fmt::Display,
    io::{self, Write},
    ops::RangeInclusive,
    time::Duration,
};

use bellwether_core::{diagnostic::Diagnostic, spec::unit};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    bench_model::{Api, Endpoint, Header, Options, Unfit, measure},
    failure::{Exit, Failure, Outcome},
    output::{Output, cannot_write, print_json},
    runtime,
};

const ENDPOINTS_MAX: usize = 16;
const CONNECTIONS_MAX: usize = 10_000;
const SPAN_MAX: Duration = Duration::from_secs(24 * 3600);
/// Open files beside the connections.
const OTHER_FILES: u64 = 64;

/// Measure model endpoints side by side, counted from outside: goodput, success within patience, times, fairness.
///
/// Each client asks, waits until it is answered or its patience is over, and asks again; for which of the models is drawn at
/// random each time. Several addresses take turns, round by round, and are compared with the first. Before anything is
/// measured each of them is asked once for each model.
///
/// Exit code 0 if every address gave answers; else 1.
#[derive(clap::Args)]
#[command(after_help = "Example, a gateway beside the server behind it:\n  \
                  bellwether bench model --clients 131 --models llama3.2,qwen2.5-coder:7b --rounds 3 \\\n    \
                  http://127.0.0.1:11434 http://127.0.0.1:7400/m/{client}")]
pub(crate) struct Args {
    /// What is measured, such as http://127.0.0.1:11434; {client} in its path stands for the name of the client
    #[arg(value_name = "URL", required = true)]
    urls: Vec<String>,
    /// Clients with one connection each
    #[arg(long, visible_alias = "client", value_name = "N", default_value_t = 16)]
    clients: usize,
    /// One client more, with so many connections
    #[arg(long, value_name = "CONNECTIONS")]
    greedy: Option<usize>,
    /// The models that are asked for
    #[arg(long, value_name = "NAMES", value_delimiter = ',', required = true)]
    models: Vec<String>,
    /// How long a client waits for its answer before it gives up
    #[arg(long, value_name = "SPAN", default_value = "10s", value_parser = span)]
    patience: Duration,
    /// What a client waits between an answer and its next question, on average
    #[arg(long, value_name = "SPAN", default_value = "0s", value_parser = span)]
    think: Duration,
    /// How long each address is measured in each round
    #[arg(long = "for", value_name = "SPAN", default_value = "30s", value_parser = span)]
    duration: Duration,
    /// Load before that which is not measured; as long as the patience unless it is said, so that those who give up have their
    /// share from the beginning
    #[arg(long, value_name = "SPAN", value_parser = span)]
    warm_up: Option<Duration>,
    /// How often each address has its turn
    #[arg(long, value_name = "N", default_value_t = 1)]
    rounds: u32,
    /// The dialect
    #[arg(long, value_enum, default_value_t = Api::Native)]
    api: Api,
    /// Ask for streams, and measure when the first token comes
    #[arg(long)]
    stream: bool,
    /// Length of the answers that are asked for, in tokens
    #[arg(long, value_name = "N", default_value_t = 8)]
    tokens: u32,
    /// Length of the prompts, in words
    #[arg(long, value_name = "N", default_value_t = 20)]
    prompt_tokens: usize,
    /// Share of the clients that leave before they are answered, such as 30%
    #[arg(long, value_name = "SHARE", default_value = "0", value_parser = unit::share)]
    leave: f64,
    /// Each client says who it is, as in `X-Agent: client-7`
    #[arg(long)]
    name_clients: bool,
    /// Goes with every call, as 'NAME: VALUE'; {client} in it stands for the name of the client
    #[arg(long = "header", value_name = "HEADER", value_parser = Header::parse)]
    headers: Vec<Header>,
    /// Seed of models, prompts and moments
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    output: Output,
}

/// Ends with 0 if every address gave answers, and with 1 else.
pub(crate) fn run(args: Args) -> Outcome {
    let output = args.output;
    let options = options(args)?;
    room_for(&options)?;
    let report = runtime::block_on(async {
        let stop = CancellationToken::new();
        let _signals = stops_on_signal(stop.clone())?;
        measure(&options, &stop, |line| eprintln!("{line}")).await.map_err(|why| unfit(&why))
    })??;
    if output.is_json() {
        print_json(&report)?;
    } else {
        write!(io::stdout().lock(), "{report}").map_err(cannot_write)?;
    }
    Ok(if report.is_whole() { Exit::Done } else { Exit::Error })
}

fn options(args: Args) -> Result<Options, Failure> {
    let mut wrong = Vec::new();
    let mut endpoints = Vec::new();
    for url in &args.urls {
        match Endpoint::parse(url) {
            Ok(endpoint) => endpoints.push(endpoint),
            Err(bad) => wrong.push(
                Diagnostic::new("BW0444", bad.to_string())
                    .because(bad.why)
                    .help("write it as http://HOST:PORT, with a path if the API stands below one"),
            ),
        }
    }
    let connections = args.clients.saturating_add(args.greedy.unwrap_or(0));
    let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let warm_up = args.warm_up.unwrap_or(args.patience);
    let day = millis(SPAN_MAX);
    within(&mut wrong, "URL", args.urls.len(), 1..=ENDPOINTS_MAX, "the number of addresses");
    within(&mut wrong, "--clients", args.clients, 1..=CONNECTIONS_MAX, "the number of clients");
    within(&mut wrong, "--greedy", args.greedy.unwrap_or(1), 1..=CONNECTIONS_MAX, "the connections of one client");
    if args.clients > 0 {
        within(&mut wrong, "--clients with --greedy", connections, 1..=CONNECTIONS_MAX, "the connections of all");
    }
    within(&mut wrong, "--rounds", args.rounds, 1..=1000, "the number of rounds");
    within(&mut wrong, "--tokens", args.tokens, 1..=100_000, "the length of an answer");
    within(&mut wrong, "--prompt-tokens", args.prompt_tokens, 1..=100_000, "the words of a prompt");
    within(&mut wrong, "--models", args.models.len(), 1..=64, "the number of models");
    within(&mut wrong, "--for", millis(args.duration), 100..=day, "the time to measure in milliseconds");
    within(&mut wrong, "--patience", millis(args.patience), 1..=day, "the patience of a client in milliseconds");
    within(&mut wrong, "--warm-up", millis(warm_up), 0..=day, "the time to warm up in milliseconds");
    within(&mut wrong, "--think", millis(args.think), 0..=day, "the time to think in milliseconds");
    within(&mut wrong, "--leave", args.leave, 0.0..=1.0, "the share of the clients that leave");
    if args.models.iter().any(String::is_empty) {
        wrong.push(
            Diagnostic::new("BW0445", "a model has no name")
                .help("write --models as names with commas between, such as llama3.2,qwen2.5-coder:7b"),
        );
    }
    let twice = args.models.iter().enumerate().find(|(at, model)| args.models[..*at].contains(model));
    if let Some((_, model)) = twice.filter(|(_, model)| !model.is_empty()) {
        wrong.push(
            Diagnostic::new("BW0445", format!("--models: {model} is named twice"))
                .help("name each model once; all of them are asked for equally often"),
        );
    }
    if !wrong.is_empty() {
        return Err(Failure::invalid(wrong));
    }
    let mut headers = args.headers;
    if args.name_clients {
        headers.push(Header::names_clients());
    }
    Ok(Options {
        endpoints,
        clients: args.clients,
        greedy: args.greedy,
        models: args.models,
        patience: args.patience,
        think: args.think,
        span: args.duration,
        warm_up,
        rounds: args.rounds,
        api: args.api,
        stream: args.stream,
        tokens: args.tokens,
        prompt_tokens: args.prompt_tokens,
        leave: args.leave,
        headers,
        seed: args.seed,
    })
}

fn within<T: PartialOrd + Display>(
    wrong: &mut Vec<Diagnostic>,
    flag: &str,
    value: T,
    range: RangeInclusive<T>,
    what: &str,
) {
    if !range.contains(&value) {
        let (least, most) = range.into_inner();
        wrong.push(
            Diagnostic::new("BW0445", format!("{flag}: {value} is out of range"))
                .help(format!("it is {what}, from {least} to {most}")),
        );
    }
}

/// Each connection is an open file, and the usual soft limit is 1024.
fn room_for(options: &Options) -> Result<(), Failure> {
    let connections = options.clients + options.greedy.unwrap_or(0);
    let wanted = u64::try_from(connections).unwrap_or(u64::MAX).saturating_add(OTHER_FILES);
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })
        .map_err(io::Error::from)
        .and_then(|()| match limit.maximum {
            Some(maximum) if maximum < wanted => Err(io::Error::other(format!("{maximum} are allowed"))),
            Some(_) | None => Ok(()),
        })
        .map_err(|cause| {
            Failure::error(
                Diagnostic::new("BW0449", format!("{connections} connections need {wanted} open files"))
                    .because(cause)
                    .help("raise the limit with `ulimit -n`, or ask for fewer clients"),
            )
        })
}

/// The first signal ends the measurement with what there is.
fn stops_on_signal(stop: CancellationToken) -> Result<AbortOnDropHandle<()>, Failure> {
    let on = |kind| {
        signal(kind).map_err(|error| {
            Failure::error(
                Diagnostic::new("BW0449", "the load client cannot listen for signals")
                    .because(error)
                    .help("check the limits of open files and threads with `ulimit -a`"),
            )
        })
    };
    let (mut interrupt, mut terminate) = (on(SignalKind::interrupt())?, on(SignalKind::terminate())?);
    Ok(AbortOnDropHandle::new(tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        stop.cancel();
    })))
}

fn unfit(unfit: &Unfit) -> Failure {
    let message = unfit.to_string();
    Failure::error(match unfit {
        Unfit::Unreachable { why, .. } => Diagnostic::new("BW0446", message)
            .because(why)
            .help("check that the server runs, and that the address is the one it says it listens at"),
        Unfit::NoModel { why, .. } => Diagnostic::new("BW0447", message)
            .because(why)
            .help("name models that it has (`ollama list`), or the --api that it speaks; nothing was measured"),
        Unfit::NoAnswer { why, .. } => Diagnostic::new("BW0448", message)
            .because(why)
            .help("see to it that one call alone is answered; nothing was measured"),
        Unfit::Stopped => Diagnostic::new("BW0449", message)
            .because("it was interrupted")
            .help("let it run past the warm-up of the first round, and what was measured is shown"),
    })
}

fn span(text: &str) -> Result<Duration, String> {
    unit::millis(text).map(|span| span.to_std()).map_err(|bad| format!("{}; {}", bad.cause, bad.help))
}
