//! `cargo xtask bench rollback`: a whole fleet goes back, light and heavy, from each kind of standby.
//!
//! Real processes and the commands of a user: `serve`, `load`, `rollout start`, and, once all agents are on green,
//! `rollout rollback`. Times are those that the journal keeps: from the decision to the last agent on blue, and to
//! the validation.

mod fleet;
mod world;

use std::process::ExitCode;

use fleet::{HEAVY, Kind, LIGHT, STANDBYS};
use world::World;

const USAGE: &str = "\
bench rollback: time to the last agent on blue, and to blue validated

  --fleet light|heavy            this fleet only
  --standby warm|frozen|stopped  this standby only
  --agents N                     of the light fleet (default 131)
";

fn main() -> ExitCode {
    match options().and_then(|options| run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("bench rollback: {why}");
            ExitCode::FAILURE
        }
    }
}

struct Options {
    fleet: Option<String>,
    standby: Option<String>,
    agents: usize,
}

fn options() -> Result<Options, String> {
    let mut options = Options { fleet: None, standby: None, agents: LIGHT.agents };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} wants a value\n\n{USAGE}"));
        match argument.as_str() {
            "--fleet" => options.fleet = Some(value()?),
            "--standby" => options.standby = Some(value()?),
            "--agents" => {
                options.agents = value()?.parse().map_err(|_| format!("--agents wants a number\n\n{USAGE}"))?;
            }
            // What `cargo bench` adds.
            "--bench" => {}
            other => return Err(format!("{other:?} is not known\n\n{USAGE}")),
        }
    }
    Ok(options)
}

fn run(options: &Options) -> Result<(), String> {
    println!(
        "{:<7} {:<8} {:>6} {:>12} {:>14} {:>14} {:>7} {:>6} {:>5} {:>7}",
        "fleet", "standby", "agents", "peak MiB", "on blue s", "validated s", "failed", "lost", "twice", "tasks"
    );
    let light = Kind { agents: options.agents, ..LIGHT };
    let mut refused = 0;
    for kind in [light, HEAVY] {
        for standby in STANDBYS {
            let skipped = options.fleet.as_deref().is_some_and(|only| only != kind.name)
                || options.standby.as_deref().is_some_and(|only| only != standby);
            if skipped {
                continue;
            }
            if let Err(why) = measure(&kind, standby) {
                refused += 1;
                println!("{:<7} {standby:<8} {:>6}  {why}", kind.name, kind.agents);
            }
        }
    }
    if refused > 0 { Err(format!("{refused} cases could not be measured")) } else { Ok(()) }
}

fn measure(kind: &Kind, standby: &str) -> Result<(), String> {
    let mut world = World::start(kind, standby)?;
    let load = world.load(kind.rate)?;
    world.rolled_out()?;
    let back = world.rolled_back()?;
    let account = load.account()?;
    let count = |path: &str| account.pointer(path).and_then(serde_json::Value::as_u64).unwrap_or(u64::MAX);
    println!(
        "{:<7} {standby:<8} {:>6} {:>12} {:>14.2} {:>14.2} {:>7} {:>6} {:>5} {:>7}",
        kind.name,
        kind.agents,
        back.memory_peak_mib,
        back.on_blue_s,
        back.validated_s,
        count("/requests/failed"),
        count("/tasks/lost"),
        count("/tasks/duplicated"),
        count("/tasks/completed"),
    );
    world.end()
}
