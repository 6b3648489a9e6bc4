//! `bellwether-sim`: many seeds of every scenario on all cores, one line per scenario.

use std::{
    io::Write,
    process::ExitCode,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use bellwether_sim::{End, Failure, Job, Outcome, SCENARIOS, Scenario, Simulator, Unplannable};

const USAGE: &str = "\
bellwether-sim: rollouts of the example fleet in a simulated world

  --seeds N        seeds for each scenario (default 20)
  --seed S         this seed only
  --scenario NAME  this scenario only
  --agents N       of the example's 131 agents (default all)
  --verbose        tell everything that happens; needs --seed and --scenario
";

struct Options {
    seeds: u64,
    seed: Option<u64>,
    scenario: Option<&'static Scenario>,
    agents: usize,
    verbose: bool,
}

fn main() -> ExitCode {
    let options = match Options::read(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(wrong) => {
            eprint!("bellwether-sim: {wrong}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(unplannable) => {
            eprintln!("bellwether-sim: {unplannable}");
            ExitCode::FAILURE
        }
    }
}

impl Options {
    fn read(mut arguments: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let mut options = Self { seeds: 20, seed: None, scenario: None, agents: 131, verbose: false };
        while let Some(argument) = arguments.next() {
            let mut number = |name: &str| {
                let value = arguments.next().unwrap_or_default();
                value.parse::<u64>().map_err(|_| format!("{name} wants a number, not {value:?}"))
            };
            match argument.as_str() {
                "--seeds" => options.seeds = number("--seeds")?,
                "--seed" => options.seed = Some(number("--seed")?),
                "--agents" => options.agents = usize::try_from(number("--agents")?).unwrap_or(usize::MAX),
                "--scenario" => {
                    let name = arguments.next().unwrap_or_default();
                    let known: Vec<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
                    let unknown = || format!("there is no scenario {name:?}; there are {}", known.join(", "));
                    options.scenario = Some(Scenario::named(&name).ok_or_else(unknown)?);
                }
                "--verbose" => options.verbose = true,
                "--help" | "-h" => return Ok(None),
                other => return Err(format!("{other:?} is not known")),
            }
        }
        if options.verbose && (options.seed.is_none() || options.scenario.is_none()) {
            return Err("--verbose needs --seed and --scenario".into());
        }
        Ok(Some(options))
    }
}

/// How many runs failed.
fn run(options: &Options) -> Result<usize, Unplannable> {
    let simulator = Simulator::default();
    if options.verbose {
        return tell_one(&simulator, options);
    }
    let seeds: Vec<u64> = options.seed.map_or_else(|| (1..=options.seeds).collect(), |seed| vec![seed]);
    let scenarios: Vec<&'static Scenario> =
        options.scenario.map_or_else(|| SCENARIOS.iter().collect(), |scenario| vec![scenario]);
    println!(
        "{:<14} {:>5} {:>9} {:>11} {:>9} {:>8} {:>9} {:>11} {:>9}",
        "scenario", "runs", "completed", "rolled back", "attention", "crashes", "hours p50", "unavailable", "wall"
    );
    let (mut passed, mut failed) = (0, 0);
    for scenario in scenarios {
        let began = Instant::now();
        let jobs: Vec<Job> = seeds.iter().map(|&seed| Job { scenario, seed, agents: options.agents }).collect();
        let results = all(&simulator, &jobs)?;
        let (outcomes, failures): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
        let outcomes: Vec<Outcome> = outcomes.into_iter().flatten().collect();
        let failures: Vec<Failure> = failures.into_iter().filter_map(Result::err).collect();
        print_row(scenario, &outcomes, failures.len(), began.elapsed());
        failures.iter().take(3).for_each(|failure| print_failure(failure, options.agents));
        if failures.len() > 3 {
            println!("  … and {} more failures of this scenario", failures.len() - 3);
        }
        passed += outcomes.len();
        failed += failures.len();
    }
    println!("{passed} passed, {failed} failed");
    Ok(failed)
}

/// On all cores; results in the order of the jobs.
fn all(simulator: &Simulator, jobs: &[Job]) -> Result<Vec<Result<Outcome, Failure>>, Unplannable> {
    let next = AtomicUsize::new(0);
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(jobs.len().max(1));
    let done = std::thread::scope(|scope| {
        let work = || {
            let mut done = Vec::new();
            while let Some(index) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|&index| index < jobs.len()) {
                done.push((index, simulator.run(jobs[index])));
            }
            done
        };
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect::<Vec<_>>()
    });
    let mut done = done;
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

fn print_row(scenario: &Scenario, outcomes: &[Outcome], failed: usize, wall: Duration) {
    let count = |end| outcomes.iter().filter(|outcome| outcome.end == end).count();
    let mut took: Vec<f64> = outcomes.iter().map(|outcome| outcome.took.as_secs_f64() / 3600.0).collect();
    took.sort_by(f64::total_cmp);
    let median = took.get(took.len() / 2).copied().unwrap_or(0.0);
    let unavailable: f64 = outcomes.iter().map(|outcome| outcome.unavailable.as_secs_f64()).sum();
    println!(
        "{:<14} {:>5} {:>9} {:>11} {:>9} {:>8} {:>9.1} {:>10.0}s {:>8.1}s{}",
        scenario.name,
        outcomes.len() + failed,
        count(End::Committed),
        count(End::RolledBack),
        outcomes.iter().filter(|outcome| outcome.needed_attention).count(),
        outcomes.iter().map(|outcome| outcome.crashes).sum::<u64>(),
        median,
        unavailable,
        wall.as_secs_f64(),
        if failed > 0 { format!("  {failed} FAILED") } else { String::new() },
    );
    std::io::stdout().flush().ok();
}

fn print_failure(failure: &Failure, agents: usize) {
    let Failure { job, violation, last } = failure;
    println!("\nFAILED  seed {}, scenario {}: {violation}", job.seed, job.scenario.name);
    for line in last {
        println!("  {line}");
    }
    let agents = if agents == 131 { String::new() } else { format!(" --agents {agents}") };
    println!("again with: cargo xtask sim --seed {} --scenario {}{agents}\n", job.seed, job.scenario.name);
}

fn tell_one(simulator: &Simulator, options: &Options) -> Result<usize, Unplannable> {
    let (Some(seed), Some(scenario)) = (options.seed, options.scenario) else { return Ok(0) };
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let job = Job { scenario, seed, agents: options.agents };
    // A reader that went away, as `head` does, ends nothing but the telling.
    let result = simulator.tell(job, &mut |line| drop(writeln!(out, "{line}")))?;
    let (line, failed) = match result {
        Ok(outcome) => (format!("{outcome:?}\n1 passed, 0 failed"), 0),
        Err(violation) => (format!("{violation}\n0 passed, 1 failed"), 1),
    };
    drop(writeln!(out, "{line}"));
    Ok(failed)
}
