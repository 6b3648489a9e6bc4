//! One size of the fleet, through every stage of a rollout.

use std::time::Instant;

use bellwether_core::{
    id::AgentName,
    rollout::{Event, State, Step, VerbKind},
    time::Millis,
};
use serde::Serialize;

use crate::{
    fleet::Fleet,
    memory::{self, Replayed},
    world::{Taken, World},
};

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Size {
    pub(crate) agents: usize,
    /// A tick for which nothing is due, in microseconds like all that follows to the next remark. The median, as everywhere.
    pub(crate) idle_tick: f64,
    /// Per event while instances die and come back one after the other: without a rollout, and while a phase bakes.
    pub(crate) steady: f64,
    pub(crate) baking: f64,
    /// The tick at which a timer of one agent is due, while a phase bakes.
    pub(crate) baking_tick: f64,
    /// Per event while a phase is warmed and cut over, and while everything goes back.
    pub(crate) cutting_over: f64,
    pub(crate) rolling_back: f64,
    /// What the API reads, made after a batch of events; and what a client of it is sent.
    pub(crate) publish: f64,
    pub(crate) view: f64,
    /// All of these together, in milliseconds, and the longest of them.
    pub(crate) cutting_over_ms: f64,
    pub(crate) cutting_over_max_ms: f64,
    pub(crate) rolling_back_ms: f64,
    pub(crate) rolling_back_max_ms: f64,
    /// Events of a rollout of five hours.
    pub(crate) events: usize,
    pub(crate) journal_bytes: u64,
    pub(crate) replayed: Replayed,
}

const TICKS: u32 = 2_000;
const DEATHS: usize = 100;

pub(crate) fn size(agents: usize) -> Result<Size, String> {
    let fleet = Fleet::new(agents)?;
    let mut world = World::new(&fleet)?;
    let some = some_agents(&fleet);

    let idle_tick = idle_ticks(&mut world)?;
    let steady = deaths(&mut world, &some)?;

    let began = world.journal.len();
    world.feed(Event::start(fleet.plan, "bench"))?;
    world.until("the second phase bakes", |machine| bakes(machine.rollout().map(|rollout| rollout.state), 1))?;
    // Those of the last phase are on blue, and their deaths are no rollout's fault.
    let last: Vec<AgentName> = some.iter().rev().take(some.len() / 4).cloned().collect();
    let baking = deaths(&mut world, &last)?;
    let baking_tick = idle_ticks(&mut world)?;

    world.until("the second phase is over", |machine| !bakes(machine.rollout().map(|rollout| rollout.state), 1))?;
    world.taken = Taken::default();
    world.until("the last phase bakes", |machine| bakes(machine.rollout().map(|rollout| rollout.state), 3))?;
    let cutting = std::mem::take(&mut world.taken);
    world.until("the end", |machine| machine.rollout().is_some_and(|rollout| rollout.state == State::Completed))?;

    let (publish, view) = publishing(&world);
    let journal = world.journal.clone();
    world.taken = Taken::default();
    world.verb(VerbKind::Rollback)?;
    world
        .until("the way back", |machine| machine.rollout().is_some_and(|rollout| rollout.state == State::RolledBack))?;
    let back = std::mem::take(&mut world.taken);

    let (replayed, journal_bytes) = memory::of(&journal)?;
    Ok(Size {
        agents,
        idle_tick,
        steady,
        baking,
        baking_tick,
        cutting_over_ms: cutting.total_ms(),
        cutting_over_max_ms: cutting.longest_ms(),
        rolling_back_ms: back.total_ms(),
        rolling_back_max_ms: back.longest_ms(),
        cutting_over: cutting.median_us(),
        rolling_back: back.median_us(),
        publish,
        view,
        events: journal.len() - began,
        journal_bytes,
        replayed,
    })
}

fn bakes(state: Option<State>, wanted: usize) -> bool {
    matches!(state, Some(State::Progressing { phase, step: Step::Baking { .. } }) if phase == wanted)
}

/// Spread over the whole fleet.
fn some_agents(fleet: &Fleet) -> Vec<AgentName> {
    let step = (fleet.declared.len() / DEATHS).max(1);
    fleet.declared.iter().step_by(step).take(DEATHS).map(|agent| agent.name.clone()).collect()
}

fn idle_ticks(world: &mut World) -> Result<f64, String> {
    let journal = world.journal.len();
    world.taken = Taken::default();
    for _ in 0..TICKS {
        world.feed(Event::Tick)?;
    }
    // No controller is woken for nothing so often.
    world.journal.truncate(journal);
    Ok(std::mem::take(&mut world.taken).median_us())
}

fn deaths(world: &mut World, agents: &[AgentName]) -> Result<f64, String> {
    world.taken = Taken::default();
    for agent in agents {
        world.die_and_come_back(agent)?;
    }
    world.pass(Millis::from_secs(1));
    Ok(std::mem::take(&mut world.taken).median_us())
}

fn publishing(world: &World) -> (f64, f64) {
    const TIMES: u32 = 20;
    let mut times = [0.0; 2];
    for _ in 0..TIMES {
        let began = Instant::now();
        let published = world.machine.clone();
        times[0] += began.elapsed().as_secs_f64();
        let began = Instant::now();
        let view = published.view(world.now());
        times[1] += began.elapsed().as_secs_f64();
        std::hint::black_box((&published, &view));
    }
    let [publish, view] = times.map(|seconds| seconds * 1e6 / f64::from(TIMES));
    (publish, view)
}
