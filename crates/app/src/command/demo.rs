//! `bellwether demo`.

use std::io::Write;

use bellwether_core::{spec, time::Millis};

use crate::{
    demo::Demo,
    failure::Outcome,
    output::{Output, cannot_write, print_json},
    runtime,
};

/// Exit codes: 0 completed, 3 rolled back, 4 paused or in need of attention, 1 anything else.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Divide bakes and validation by this; every other timer stays as it is
    #[arg(long, default_value_t = 100.0, value_name = "FACTOR")]
    speed: f64,
    /// Measure the baseline for this long
    #[arg(long, default_value = "25s", value_name = "DURATION", value_parser = spec::millis)]
    baseline: Millis,
    /// Tasks per second, at random intervals
    #[arg(long, default_value_t = 30.0, value_name = "PER_SECOND")]
    rate: f64,
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
    let demo = Demo {
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
