//! What a cutover costs: a fleet that is moved one agent at a time and all at once, under open-loop load whose
//! clients repeat nothing and keep a ledger of everything they sent.
//!
//! The gateway runs in a process of its own; targets, load and conductor have a thread each in this one. Every
//! figure but the use of the processors is from the client's side. `docs/benchmarks.md` says what each means.

mod conductor;
mod cutovers;
mod fleet;
#[path = "../common/gateway.rs"]
mod gateway;
mod ledger;
mod load;
mod machine;
mod options;
mod report;
mod targets;

use std::{process::ExitCode, time::Duration};

use anyhow::Context;
use clap::Parser;

use conductor::{Conductor, Part};
use gateway::{Gateway, Setup};
use ledger::Clock;
use load::Load;
use options::{Options, Output};
use report::{Evidence, Report};
use targets::Targets;

/// As many threads as the product gives its gateway on this kind of machine.
const THREADS_MAX: usize = 4;
/// How long what has ended for the client may take to be let go of by the gateway.
const LET_GO: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let options = Options::parse();
    let passed = match &options.as_gateway {
        Some(state) => gateway::serve(state).map(|()| true),
        None => bench(&options),
    };
    match passed {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// True if nothing failed, was cut or stale.
fn bench(options: &Options) -> anyhow::Result<bool> {
    machine::raise_open_files();
    let evidence = measure(options)?;
    let report = Report::of(options, &evidence);
    match options.output {
        Output::Text => print!("{report}"),
        Output::Json => println!("{}", serde_json::to_string_pretty(&report)?),
    }
    Ok(report.passed)
}

fn measure(options: &Options) -> anyhow::Result<Evidence> {
    let clock = Clock::start();
    let targets = Targets::start(options.agents)?;
    let gateway =
        Gateway::start(&Setup { spec: fleet::spec(options.agents)?, threads: machine::cores().min(THREADS_MAX) })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut conductor = runtime.block_on(async {
        let mut conductor = Conductor::connect(gateway.link(), options.agents, clock).await?;
        conductor.enrol(targets.addresses()).await?;
        anyhow::Ok(conductor)
    })?;
    let load = Load::start(gateway.address(), options, clock)?;

    let busy_before = machine::Busy::of(gateway.pid())?;
    let (part, swaps) = (Duration::from_secs_f64(options.seconds), options.swaps);
    runtime.block_on(async {
        conductor.pass(Part::Before, part).await;
        conductor.one_by_one(part).await?;
        conductor.all_at_once(part, swaps).await?;
        conductor.pass(Part::After, part).await;
        anyhow::Ok(())
    })?;
    let busy = machine::Busy::of(gateway.pid())?.since(&busy_before);

    load.stop_arrivals();
    targets.end_streams();
    let ledger = load.join()?;
    let claims_left = runtime.block_on(conductor.claims_left(LET_GO))?;
    gateway.stop().context("the gateway did not stop as it should")?;
    let executed = targets.stop()?;
    let (cutovers, parts) = conductor.account();
    Ok(Evidence { ledger, cutovers, parts, executed, claims_left, busy })
}
