//! `bellwether demo`.

use std::io::Write;

use bellwether_core::{diagnostic::Diagnostic, spec, time::Millis};

use crate::{
    demo::{Demo, Fault, Planted},
    failure::{Failure, Outcome},
    output::{Output, cannot_write, print_json},
    runtime,
};

/// Exit codes: 0 completed, 3 rolled back, 4 paused or in need of attention, 1 anything else.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Roll out something that is bad in this way, and see it come back by itself
    #[arg(long, value_enum, value_name = "KIND")]
    fault: Option<Fault>,
    /// The first phase whose agents are bad, counted from 1
    #[arg(long, value_name = "N", default_value_t = 1, requires = "fault",
        value_parser = clap::value_parser!(u32).range(1..))]
    fault_phase: u32,
    /// Heavy agents, calls of 20 s on two slots, nothing compressed: what a crowded box really sees
    #[arg(long, conflicts_with_all = ["fault", "ollama"])]
    realistic: bool,
    /// Divide bakes and validation by this; every other timer stays as it is [default: 100; realistic: 1]
    #[arg(long, value_name = "FACTOR")]
    speed: Option<f64>,
    /// Measure the baseline for this long [default: 25s; realistic: 2m]
    #[arg(long, value_name = "DURATION", value_parser = spec::millis)]
    baseline: Option<Millis>,
    /// Tasks per second, at random intervals [default: 30; realistic: 0.04]
    #[arg(long, value_name = "PER_SECOND")]
    rate: Option<f64>,
    /// A real Ollama instead of the simulated one
    #[arg(long, value_name = "URL")]
    ollama: Option<String>,
    /// Of the random arrivals
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    seed: u64,
    /// Keep state and logs
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    output: Output,
}

pub(crate) fn run(args: Args) -> Outcome {
    if args.fault == Some(Fault::OllamaDown) && args.ollama.is_some() {
        return Err(Failure::invalid(vec![
            Diagnostic::new("BW0331", "the demo can only take away a model server of its own")
                .help("leave out --ollama, so that the demo starts the simulated one"),
        ]));
    }
    let demo = Demo {
        realistic: args.realistic,
        planted: args.fault.map(|fault| Planted { fault, phase: args.fault_phase as usize - 1 }),
        speed: args.speed,
        baseline: args.baseline,
        rate: args.rate,
        ollama: args.ollama,
        seed: args.seed,
        keep: args.keep,
        quiet: args.output.is_json(),
    };
    let summary = runtime::block_on(demo.run())??;
    if args.output.is_json() {
        print_json(&summary)?;
    } else {
        let mut out = std::io::stdout().lock();
        for line in summary.text() {
            writeln!(out, "{line}").map_err(cannot_write)?;
        }
    }
    Ok(summary.outcome.exit())
}
