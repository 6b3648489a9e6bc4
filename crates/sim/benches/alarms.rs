//! `cargo xtask bench alarms`: how often the watch cries wolf, and how soon it sees what is wrong.

use std::{
    collections::BTreeMap,
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
};

use bellwether_sim::watched::{FLEETS, Fault, FleetKind, Seen, Trial, run};

const USAGE: &str = "\
bench alarms: the watch on made-up traffic of the example fleet, in virtual time

  --healthy N      healthy rollouts for each fleet (default 400)
  --faulty N       rollouts for each fault (default 40)
  --seed S         of the first run (default 1)
  --fleet NAME     this fleet only
  --why            tell the sentence of each false alarm
";

struct Options {
    healthy: u64,
    faulty: u64,
    seed: u64,
    fleet: Option<&'static FleetKind>,
    why: bool,
}

fn main() -> ExitCode {
    let options = match read(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(wrong) => {
            eprint!("bench alarms: {wrong}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    println!(
        "{:<14} {:<16} {:>5} {:>6} {:>9} {:>9} {:>9} {:>9}  by",
        "fleet", "fault", "phase", "runs", "alarmed", "median s", "p95 s", "max s"
    );
    for fleet in FLEETS.iter().filter(|fleet| options.fleet.is_none_or(|only| only.name == fleet.name)) {
        row(&Trial { fleet, fault: Fault::None, phase: 0 }, options.healthy, &options);
        for (fault, phase) in [
            (Fault::Errors(0.055), 1),
            (Fault::Errors(0.3), 0),
            (Fault::Errors(0.3), 3),
            (Fault::Latency(3.0), 0),
            (Fault::Latency(3.0), 3),
            (Fault::Swallow, 0),
            (Fault::Hang, 0),
            (Fault::Hang, 3),
            (Fault::ModelServerDown, 0),
        ] {
            row(&Trial { fleet, fault, phase }, options.faulty, &options);
        }
    }
    ExitCode::SUCCESS
}

fn read(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options { healthy: 400, faulty: 40, seed: 1, fleet: None, why: false };
    while let Some(argument) = arguments.next() {
        let mut number = |name: &str| {
            let value = arguments.next().unwrap_or_default();
            value.parse::<u64>().map_err(|_| format!("{name} wants a number, not {value:?}"))
        };
        match argument.as_str() {
            "--healthy" => options.healthy = number("--healthy")?,
            "--faulty" => options.faulty = number("--faulty")?,
            "--seed" => options.seed = number("--seed")?,
            "--fleet" => {
                let name = arguments.next().unwrap_or_default();
                let known = || FLEETS.iter().map(|fleet| fleet.name).collect::<Vec<_>>().join(", ");
                let found = FLEETS.iter().find(|fleet| fleet.name == name);
                options.fleet =
                    Some(found.ok_or_else(|| format!("there is no fleet {name:?}; there are {}", known()))?);
            }
            "--why" => options.why = true,
            // What `cargo bench` adds.
            "--bench" => {}
            other => return Err(format!("{other:?} is not known")),
        }
    }
    Ok(options)
}

fn row(trial: &Trial, runs: u64, options: &Options) {
    let seen = all(trial, options.seed, runs);
    let mut delays: Vec<f64> = seen.iter().filter_map(|seen| seen.delay).map(|delay| delay.as_secs_f64()).collect();
    delays.sort_by(f64::total_cmp);
    let at = |share: f64| {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an index"
        )]
        let index = (share * delays.len() as f64) as usize;
        delays
            .get(index.min(delays.len().saturating_sub(1)))
            .map_or_else(|| "-".to_owned(), |delay| format!("{delay:.0}"))
    };
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    seen.iter().for_each(|seen| *kinds.entry(seen.kind.name()).or_default() += 1);
    let kinds: Vec<String> = kinds.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    #[expect(clippy::cast_precision_loss, reason = "counts of runs")]
    let share = 100.0 * seen.len() as f64 / runs.max(1) as f64;
    println!(
        "{:<14} {:<16} {:>5} {runs:>6} {share:>8.2}% {:>9} {:>9} {:>9}  {}",
        trial.fleet.name,
        name(trial.fault),
        trial.phase + 1,
        at(0.5),
        at(0.95),
        at(1.0),
        kinds.join(", ")
    );
    if trial.fault == Fault::None && options.why {
        seen.iter().for_each(|seen| println!("    phase {}, {}: {}", seen.phase + 1, seen.kind.name(), seen.why));
    }
}

fn name(fault: Fault) -> String {
    match fault {
        Fault::None => "healthy".to_owned(),
        Fault::Errors(share) => format!("errors {:.1} %", share * 100.0),
        Fault::Latency(times) => format!("latency x{times}"),
        Fault::Swallow => "swallow".to_owned(),
        Fault::Hang => "hang".to_owned(),
        Fault::ModelServerDown => "ollama-down".to_owned(),
    }
}

/// On all cores.
fn all(trial: &Trial, first: u64, runs: u64) -> Vec<Seen> {
    let next = AtomicU64::new(0);
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let work = || {
            let mut seen = Vec::new();
            while let Some(index) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|&index| index < runs) {
                seen.extend(run(trial, first + index));
            }
            seen
        };
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}
