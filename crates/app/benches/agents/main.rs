//! `cargo xtask bench agents`: what a fleet of agents holds of the machine's memory, idle and busy.
//!
//! Real processes: first the synchronous base, then ours, each against the same small backend and model server in this
//! process. What each process holds is read from the kernel every second.

mod backend;
mod fleet;
mod report;

use std::{
    process::ExitCode,
    sync::atomic::Ordering::Relaxed,
    thread::sleep,
    time::{Duration, Instant},
};

use backend::Backend;
use fleet::{Fleet, Kind};
use report::{Row, Wake};
use serde_json::json;

const USAGE: &str = "\
bench agents: memory and processor time of a fleet of agents, idle and busy

  --agents N       processes of each kind (default 131)
  --seconds N      how long each state is watched (default 40: a heartbeat is every 30 s)
  --output json    one object
";

/// What is claimed of ours.
const IDLE_RESIDENT_MAX: u64 = 3_500_000;
const PROPORTIONAL_MAX: u64 = 120_000_000;

const START_MAX: Duration = Duration::from_secs(60);
/// Between two looks. Looking costs the kernel a walk through each process's tables.
const BEAT: Duration = Duration::from_secs(1);
/// After the last of them asked for its first task.
const SETTLE: Duration = Duration::from_secs(3);
const WAKES: usize = 50;

struct Options {
    agents: usize,
    watch: Duration,
    is_json: bool,
}

fn main() -> ExitCode {
    match options().and_then(|options| run(&options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("bench agents: {why}");
            ExitCode::FAILURE
        }
    }
}

fn options() -> Result<Options, String> {
    let mut options = Options { agents: 131, watch: Duration::from_secs(40), is_json: false };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} wants a value\n\n{USAGE}"));
        let number = |text: String| text.parse::<u32>().map_err(|_| format!("{text:?} is no number\n\n{USAGE}"));
        match argument.as_str() {
            "--agents" => options.agents = number(value()?)? as usize,
            "--seconds" => options.watch = Duration::from_secs(number(value()?)?.into()),
            "--output" => options.is_json = value()? == "json",
            // What `cargo bench` adds.
            "--bench" => {}
            other => return Err(format!("{other:?} is not known\n\n{USAGE}")),
        }
    }
    Ok(options)
}

/// Whether what is claimed holds.
fn run(options: &Options) -> Result<bool, String> {
    let (mut rows, mut wakes) = (Vec::new(), Vec::new());
    for kind in [Kind::Blue, Kind::Green] {
        let (of_kind, wake) = measure(kind, options)?;
        rows.extend(of_kind);
        wakes.push(wake);
    }
    let ours = || rows.iter().filter(|row| row.kind == Kind::Green);
    let is_small = ours().all(|row| row.state != "idle" || row.resident_max() <= IDLE_RESIDENT_MAX);
    let passed = is_small && ours().all(|row| row.proportional <= PROPORTIONAL_MAX);
    if options.is_json {
        let wakes: Vec<_> = wakes
            .iter()
            .map(|wake| json!({ "agent": wake.kind.name(), "task_to_call_us_median": wake.median().as_micros() }))
            .collect();
        let rows: Vec<_> = rows.iter().map(Row::json).collect();
        println!("{}", json!({ "rows": rows, "wakes": wakes, "passed": passed }));
    } else {
        report::print(&rows, &wakes);
        println!("{}", if passed { "passed" } else { "not passed: idle RSS above 3.5 MB, or PSS above 120 MB" });
    }
    Ok(passed)
}

fn measure(kind: Kind, options: &Options) -> Result<([Row; 2], Wake), String> {
    let backend = Backend::start()?;
    let fleet = Fleet::start(kind, options.agents, backend.address)?;
    eprintln!("{} × {}", options.agents, kind.name());
    until("all agents ask for a task", || {
        let all = options.agents as u64;
        backend.seen.registered.load(Relaxed) >= all && backend.seen.asked.load(Relaxed) >= all
    })?;
    sleep(SETTLE);
    let idle = watch(kind, "idle", &fleet, &backend, options)?;
    let wake = Wake { kind, times: wakes(&backend)? };
    backend.seen.keep_busy(true);
    let before = backend.seen.completed.load(Relaxed);
    until("all agents work", || backend.seen.completed.load(Relaxed) >= before + options.agents as u64)?;
    let busy = watch(kind, "busy", &fleet, &backend, options)?;
    Ok(([idle, busy], wake))
}

fn watch(kind: Kind, state: &'static str, fleet: &Fleet, backend: &Backend, options: &Options) -> Result<Row, String> {
    let mut row = Row::new(kind, state, options.agents);
    let counts = || (backend.seen.requests.load(Relaxed), backend.seen.completed.load(Relaxed));
    let (began, busy, (requests, completed)) = (Instant::now(), fleet.busy()?, counts());
    while began.elapsed() < options.watch {
        row.note(&fleet.held()?);
        sleep(BEAT);
    }
    let seconds = began.elapsed().as_secs_f64();
    let (requests_after, completed_after) = counts();
    row.cores = (fleet.busy()? - busy).as_secs_f64() / seconds;
    row.requests_per_second = (requests_after - requests) as f64 / seconds;
    row.tasks_per_second = (completed_after - completed) as f64 / seconds;
    Ok(row)
}

/// One at a time, so that none waits for another.
fn wakes(backend: &Backend) -> Result<Vec<Duration>, String> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(|error| error.to_string())?;
    let one = || runtime.block_on(backend.seen.wake_one()).ok_or("no agent took a task".to_owned());
    (0..WAKES).map(|_| one()).collect()
}

fn until(what: &str, holds: impl Fn() -> bool) -> Result<(), String> {
    let deadline = Instant::now() + START_MAX;
    while !holds() {
        if Instant::now() > deadline {
            return Err(format!("not within {} s: {what}", START_MAX.as_secs()));
        }
        sleep(Duration::from_millis(50));
    }
    Ok(())
}
