//! A whole fleet of real processes under load, moved to green and back while its parts are killed.
//!
//! Nothing in here judges by what the product says of itself: tasks are counted by the ledger of `bellwether load`,
//! which submits open-loop and makes a submission again, under its id, only where the answer was lost.

mod fleet;
mod held;
mod kills;
mod outcome;
mod results;
mod world;

use std::time::{Duration, Instant};

pub(crate) use kills::Every;
pub(crate) use outcome::Outcome;

use kills::Killing;
use world::World;

/// What is run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) agents: usize,
    /// At least so many are submitted; more if fleet and rollback take longer.
    pub(crate) tasks: u64,
    /// Tasks per second.
    pub(crate) rate: f64,
    /// Of the arrivals, and of whom is killed when.
    pub(crate) seed: u64,
    pub(crate) kills: Every,
    /// How long the simulated model takes for an answer: for so long a task can be torn out of an agent's hands.
    pub(crate) answer: Duration,
    pub(crate) baseline: Duration,
    pub(crate) bake: Duration,
    /// How long tasks may take that are still open when the last was submitted.
    pub(crate) settle: Duration,
}

/// Shares of the tasks that are submitted before the rollout begins, and before the rollback does.
const BEFORE_ROLLOUT: f64 = 0.15;
const BEFORE_ROLLBACK: f64 = 0.55;

/// Errors are about the run itself; what it found is in the outcome.
pub(crate) fn run(plan: &Plan, say: &dyn Fn(&str)) -> Result<Outcome, String> {
    let began = Instant::now();
    let world = World::start(plan)?;
    say(&format!("{} agents are on blue after {:.1} s", plan.agents, began.elapsed().as_secs_f64()));
    let mut load = world.load(plan)?;
    load.window("before")?;
    let killing = Killing::start(plan, world.hunt());
    world.until_submitted(part(plan.tasks, BEFORE_ROLLOUT))?;

    load.window("rollout")?;
    let out = world.roll_out(plan)?;
    say(&format!("rollout: {} after {:.1} s", out.state, out.seconds));
    load.window("on green")?;
    world.until_submitted(part(plan.tasks, BEFORE_ROLLBACK))?;
    load.window("rollback")?;
    let back = world.roll_back()?;
    say(&format!("rollback: {} after {:.1} s", back.state, back.seconds));
    load.window("after")?;
    world.until_submitted(plan.tasks)?;

    let killed = killing.stop();
    say("all tasks are submitted; waiting for the last to end");
    let account = load.account()?;
    let held = world.counts()?;
    let results = world.results(&account)?;
    let outcome = Outcome { seed: plan.seed, agents: plan.agents, out, back, killed, account, held, results };
    world.end(outcome.violations(plan).is_empty())?;
    Ok(outcome)
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of some thousand tasks"
)]
fn part(tasks: u64, share: f64) -> u64 {
    (tasks as f64 * share) as u64
}
