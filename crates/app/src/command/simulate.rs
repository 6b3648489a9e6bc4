//! `bellwether simulate`: a release, many times, in virtual time.

use std::{
    io::Write,
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
};

use bellwether_core::{
    diagnostic::Diagnostic,
    plan::{Measured, make},
    spec::{self, Spec},
    time::Millis,
};
use bellwether_sim::simulate::{Broken, Fault, Load, Run, Study};

use crate::{
    failure::{Exit, Failure, Outcome},
    files::{load_fleet, load_release, present_memory},
    output::{Output, cannot_write, print_json},
    simulate::{Report, text},
};

/// Play a release many times in virtual time, with faults or without, before it is rolled out.
///
/// The real controller, traffic, gates and triggers, with made-up instances, tasks and model calls. Says how the runs
/// end, how long they and the ways back take, how much memory they need, and what the time goes to. Nobody decides
/// anything in them: where a rollout waits for a person, the run ends. The same seed gives the same run.
#[derive(clap::Args)]
#[command(
    after_help = "Faults of green, from a phase on: errors[:0.3], latency[:3], crash[:2s], leak[:8], hang, swallow, unfit, \
                  ollama-down; as in errors:0.1@phase2.\nFaults of the rest: deaths[:4m], controller-crashes[:10m], \
                  gateway-crashes[:10m], supervisor-crashes[:30m], link-breaks[:5m], driver-lies.\n\nExit codes: 0 done, however \
                  the runs ended; 1 a run broke an invariant; 2 wrong usage or an invalid file."
)]
pub(crate) struct Args {
    /// The fleet file: what runs
    #[arg(long, value_name = "FILE", default_value = "fleet.yaml")]
    fleet: PathBuf,
    /// The release file: what changes
    #[arg(long, value_name = "FILE")]
    release: PathBuf,
    /// How many runs
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    seeds: u64,
    /// Only the run of this seed
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
    /// What goes wrong, see below; can be given more than once
    #[arg(long = "fault", value_name = "FAULT")]
    faults: Vec<Fault>,
    /// Tasks per second, all agents together; without it, what keeps the inference slots 40 % busy
    #[arg(long, value_name = "TASKS_PER_SECOND")]
    rate: Option<f64>,
    /// The median time of a model call
    #[arg(long, value_name = "DURATION", default_value = "4s", value_parser = spec::millis)]
    call: Millis,
    /// Divide bakes and validation by this, as `rollout start --speed` does
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    speed: f64,
    #[command(flatten)]
    output: Output,
}

pub(crate) fn run(args: Args) -> Outcome {
    let spec = load_fleet(&args.fleet)?;
    let release = load_release(&args.release)?;
    let measured = Measured { present_memory_bytes: present_memory(), ..Measured::default() };
    let plan = make(&spec, &release, &measured, args.speed).map_err(Failure::invalid)?;
    let faults = checked(&args.faults, &spec, plan.phases.len())?;
    let load = load(&args, &spec)?;
    let study = Study::new(spec.clone(), plan.clone(), load, &faults);
    let seeds = args.seed.map_or_else(|| (1..=args.seeds).collect(), |seed| vec![seed]);
    let (runs, broken) = all(&study, &seeds);
    let report = Report::new(&spec, &plan, &faults, load, args.rate.is_none(), &runs, &broken);
    if args.output.is_json() {
        print_json(&report)?;
    } else {
        std::io::stdout().lock().write_all(text::render(&report).as_bytes()).map_err(cannot_write)?;
    }
    match broken.first() {
        None => Ok(Exit::Done),
        Some(first) => Err(broke(first, broken.len(), seeds.len())),
    }
}

fn load(args: &Args, spec: &Spec) -> Result<Load, Failure> {
    let usual = Load::usual(spec.ollama.slots(), args.call);
    match args.rate {
        None => Ok(usual),
        Some(rate) if rate.is_finite() && rate > 0.0 && rate <= 10_000.0 => Ok(Load { rate, ..usual }),
        Some(rate) => Err(Failure::invalid(vec![
            Diagnostic::new("BW0440", format!("tasks cannot come at {rate} a second"))
                .help("give a number above 0 and up to 10000, such as --rate 0.5"),
        ])),
    }
}

/// A phase that is there, and at most one thing that is wrong with green.
fn checked(faults: &[Fault], spec: &Spec, phases: usize) -> Result<Vec<Fault>, Failure> {
    let of_green: Vec<usize> = faults
        .iter()
        .filter_map(|fault| if let Fault::Green { phase, .. } = fault { Some(*phase) } else { None })
        .collect();
    if of_green.len() > 1 {
        return Err(Failure::invalid(vec![
            Diagnostic::new("BW0441", "one revision is rolled out, and more than one thing is to be wrong with it")
                .because("which of them a trigger saw could not be told")
                .help("give one fault of green at a time; those of the rest can be added to it"),
        ]));
    }
    if let Some(phase) = of_green.into_iter().find(|phase| *phase >= phases) {
        let names = spec.rollout.phases.iter().enumerate().map(|(at, phase)| format!("{} {}", at + 1, phase.name));
        return Err(Failure::invalid(vec![
            Diagnostic::new("BW0442", format!("the rollout has no phase {}", phase + 1))
                .help(format!("its phases are {}", names.collect::<Vec<_>>().join(", "))),
        ]));
    }
    Ok(faults.to_vec())
}

/// On all cores; results in the order of the seeds.
fn all(study: &Study, seeds: &[u64]) -> (Vec<Run>, Vec<Broken>) {
    let (next, done) = (AtomicU64::new(0), AtomicU64::new(0));
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(seeds.len());
    let work = || {
        let mut results = Vec::new();
        while let Some(&seed) = usize::try_from(next.fetch_add(1, Ordering::Relaxed)).ok().and_then(|at| seeds.get(at))
        {
            results.push((seed, study.run(seed)));
            progress(done.fetch_add(1, Ordering::Relaxed) + 1, seeds.len());
        }
        results
    };
    let mut results: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let joined = |thread: std::thread::ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().flat_map(joined).collect()
    });
    results.sort_by_key(|(seed, _)| *seed);
    let (mut runs, mut broken) = (Vec::new(), Vec::new());
    for (_, result) in results {
        match result {
            Ok(run) => runs.push(run),
            Err(failure) => broken.push(failure),
        }
    }
    (runs, broken)
}

/// A word at each tenth.
fn progress(done: u64, of: usize) {
    let of = of as u64;
    if of >= 10 && (done * 10 / of) != ((done - 1) * 10 / of) {
        eprintln!("{done} of {of} runs");
    }
}

fn broke(first: &Broken, broken: usize, runs: usize) -> Failure {
    Failure::error(
        Diagnostic::new("BW0443", format!("{broken} of {runs} runs broke an invariant")).because(first).help(format!(
            "this is a bug of Bellwether; report it with both files and the seed, which `--seed {}` plays again",
            first.seed
        )),
    )
}
