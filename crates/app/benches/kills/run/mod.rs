//! Rounds of SIGKILL for the controller, the gateway and the supervisor of a fleet of real processes, under load, while
//! rollouts and rollbacks go on.
//!
//! Nothing in here judges by what the product says of itself: tasks are counted by the ledger of `bellwether load`, requests
//! by that of clients which never ask again, and a request may fail only if it was under way when something was killed.

mod fleet;
mod outcome;
mod requests;
mod rolling;
mod rounds;
mod world;

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

pub(crate) use outcome::Outcome;

use requests::Clients;
use rolling::Rolling;
use world::World;

/// What is run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) rounds: usize,
    /// Those that take tasks, and those that take pushed requests.
    pub(crate) agents: usize,
    pub(crate) pushed: usize,
    /// Tasks, pushed requests and model calls per second.
    pub(crate) tasks: f64,
    pub(crate) pushes: f64,
    pub(crate) calls: f64,
    /// Of the arrivals, and of whom is killed when.
    pub(crate) seed: u64,
    /// How long the simulated model takes for an answer.
    pub(crate) answer: Duration,
    pub(crate) baseline: Duration,
    pub(crate) bake: Duration,
    /// From one round to the next, on average.
    pub(crate) pause: Duration,
    /// How long tasks may take that are still open when the last was submitted.
    pub(crate) settle: Duration,
}

/// The agents that requests are pushed to are Python programs.
pub(crate) fn has_python() -> bool {
    let asked = Command::new("python3").arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).status();
    asked.is_ok_and(|status| status.success())
}

/// Errors are about the run itself; what it found is in the outcome.
pub(crate) fn run(plan: &Plan, say: &dyn Fn(&str)) -> Result<Outcome, String> {
    let began = Instant::now();
    let mut world = World::start(plan)?;
    say(&format!("{} agents are on blue after {:.1} s", plan.agents + plan.pushed, began.elapsed().as_secs_f64()));
    let mut load = world.load(plan)?;
    let clients = Clients::start(plan, &world.gateway)?;
    let rolling = Rolling::start(world.commands(), plan.seed);
    let killed = rounds::all(plan, &mut world, &mut load, say)?;
    let rolled = rolling.end()?;
    say("all rounds are over; waiting for the last task to end");
    let asked = clients.ledger()?;
    let account = load.account()?;
    let instances = world.instances()?;
    let outcome = Outcome::of(plan, killed, rolled, &asked, account, &instances);
    world.end(outcome.violations(plan).is_empty())?;
    Ok(outcome)
}
