//! `bellwether-sim`: many seeds of every scenario, or every place where somebody can die, on all cores.

mod args;
mod report;

use std::{
    io::Write,
    process::ExitCode,
    sync::atomic::{AtomicUsize, Ordering},
    time::Instant,
};

use args::{Options, USAGE};
use bellwether_sim::{Campaign, Failure, Job, Outcome, PLAYS, SCENARIOS, Scenario, Simulator, Trials, Unplannable};

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
    let simulator = Simulator::default();
    let failed = match options.crash_points {
        _ if options.verbose => tell_one(&simulator, &options),
        true => crash_points(&simulator, &options),
        false => seeds(&simulator, &options),
    };
    match failed {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(unplannable) => {
            eprintln!("bellwether-sim: {unplannable}");
            ExitCode::FAILURE
        }
    }
}

const AGENTS: usize = 131;
/// Few enough that every place can be tried.
const AGENTS_OF_PLAYS: usize = 8;

/// How many runs failed.
fn seeds(simulator: &Simulator, options: &Options) -> Result<usize, Unplannable> {
    let agents = options.agents.unwrap_or(AGENTS);
    let scenarios: Vec<&'static Scenario> =
        options.scenario.map_or_else(|| SCENARIOS.iter().collect(), |scenario| vec![scenario]);
    let turns = if options.each { 1 } else { scenarios.len() as u64 };
    let (began, mut passed, mut failed) = (Instant::now(), 0, 0);
    report::head();
    for (turn, scenario) in (1..).zip(scenarios) {
        let began = Instant::now();
        let all = 1..=options.seeds;
        let seeds: Vec<u64> = match options.seed {
            Some(seed) => vec![seed],
            None => all.filter(|seed| options.each || seed % turns == turn % turns).collect(),
        };
        let job = |&seed: &u64| Job { scenario, seed, agents, deaths: Vec::new() };
        let jobs: Vec<Job> = seeds.iter().map(job).collect();
        let (outcomes, failures) = play(simulator, &jobs)?;
        report::row(scenario, &outcomes, failures.len(), began.elapsed());
        report::failures(&failures);
        passed += outcomes.len();
        failed += failures.len();
    }
    report::sum(passed, failed, began.elapsed());
    Ok(failed)
}

fn crash_points(simulator: &Simulator, options: &Options) -> Result<usize, Unplannable> {
    let agents = options.agents.unwrap_or(AGENTS_OF_PLAYS);
    let seed = options.seed.unwrap_or(1);
    let plays: Vec<&'static Scenario> = options.play.map_or_else(|| PLAYS.iter().collect(), |play| vec![play]);
    let (began, mut passed, mut failed) = (Instant::now(), 0, 0);
    report::points_head();
    for play in plays {
        let began = Instant::now();
        let campaign = Campaign { play, agents, seed, sample: options.sample, twice: options.twice };
        let trials = if options.dies.is_empty() {
            campaign.trials(simulator)?
        } else {
            let job = Job { scenario: play, seed, agents, deaths: options.dies.clone() };
            Ok(Trials { spots: 0, possible: 1, jobs: vec![job] })
        };
        let trials = match trials {
            Ok(trials) => trials,
            Err(violation) => {
                println!("{}: FAILED although nobody died: {violation}", play.name);
                failed += 1;
                continue;
            }
        };
        let (outcomes, failures) = self::play(simulator, &trials.jobs)?;
        report::points_row(play, &trials, &outcomes, failures.len(), began.elapsed());
        report::failures(&failures);
        passed += outcomes.len();
        failed += failures.len();
    }
    report::sum(passed, failed, began.elapsed());
    Ok(failed)
}

/// On all cores; results in the order of the jobs.
fn play(simulator: &Simulator, jobs: &[Job]) -> Result<(Vec<Outcome>, Vec<Failure>), Unplannable> {
    let next = AtomicUsize::new(0);
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(jobs.len().max(1));
    let mut done = std::thread::scope(|scope| {
        let work = || {
            let mut done = Vec::new();
            while let Some(index) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|&index| index < jobs.len()) {
                done.push((index, simulator.run(&jobs[index])));
            }
            done
        };
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect::<Vec<_>>()
    });
    done.sort_by_key(|(index, _)| *index);
    let (mut outcomes, mut failures) = (Vec::new(), Vec::new());
    for (_, result) in done {
        match result? {
            Ok(outcome) => outcomes.push(outcome),
            Err(failure) => failures.push(failure),
        }
    }
    Ok((outcomes, failures))
}

fn tell_one(simulator: &Simulator, options: &Options) -> Result<usize, Unplannable> {
    let Some(scenario) = options.scenario.or(options.play) else { return Ok(0) };
    let of_all = if options.crash_points { AGENTS_OF_PLAYS } else { AGENTS };
    let (seed, agents) = (options.seed.unwrap_or(1), options.agents.unwrap_or(of_all));
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let job = Job { scenario, seed, agents, deaths: options.dies.clone() };
    // A reader that went away, as `head` does, ends nothing but the telling.
    let result = simulator.tell(&job, &mut |line| drop(writeln!(out, "{line}")))?;
    let (line, failed) = match result {
        Ok(outcome) => (format!("{outcome:?}\n1 passed, 0 failed"), 0),
        Err(violation) => (format!("{violation}\n0 passed, 1 failed"), 1),
    };
    drop(writeln!(out, "{line}"));
    Ok(failed)
}
