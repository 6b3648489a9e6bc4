//! One seed from its beginning to its end, and what came of it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use bellwether_core::{
    rollout::{State, Trigger},
    time::Millis,
};

use crate::{
    fleet::{Fleet, Unplannable},
    referee::Violation,
    scenario::{Expect, Scenario},
    world::{
        Happening, World,
        deaths::{Death, Deaths, Spot},
    },
};

/// Runs jobs; the plans that they share are made once.
#[derive(Default)]
pub struct Simulator {
    fleets: Mutex<BTreeMap<(usize, bool, bool), Arc<Fleet>>>,
}

#[derive(Clone, Debug)]
pub struct Job {
    pub scenario: &'static Scenario,
    pub seed: u64,
    pub agents: usize,
    /// Who dies at which places, besides what the scenario brings.
    pub deaths: Vec<Death>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Committed,
    RolledBack,
    /// The baseline was refused, and nothing touched.
    Refused,
}

#[derive(Clone, Debug)]
pub struct Outcome {
    pub end: End,
    /// What undid it, as the machine names it.
    pub trigger: Option<&'static str>,
    /// A rollback came to its end only when somebody asked for it again.
    pub needed_attention: bool,
    pub took: Millis,
    /// Sum over agents of the time without a serving instance, all of it after deaths on purpose.
    pub unavailable: Millis,
    pub crashes: u64,
    pub happened: u64,
    pub tasks: u64,
    pub leases_lost: u64,
    pub memory_peak_bytes: u64,
}

#[derive(Clone, Debug)]
pub struct Failure {
    pub job: Job,
    pub violation: Violation,
    /// The last happenings before it, oldest first.
    pub last: Vec<String>,
}

/// Happenings that a failure shows.
const SHOWN: u64 = 20;

impl Simulator {
    pub fn run(&self, job: &Job) -> Result<Result<Outcome, Failure>, Unplannable> {
        let fleet = self.fleet(job)?;
        let (violation, happened) = match play(&fleet, job, &mut |_, _| {}) {
            Ok(outcome) => return Ok(Ok(outcome)),
            Err(broken) => broken,
        };
        // The same once more, written down towards the end: what goes well is not slowed down by writing.
        let mut last = VecDeque::new();
        let outcome = play(&fleet, job, &mut |world, happening| {
            if world.happened + SHOWN > happened {
                last.push_back(told(world, happening));
            }
        });
        let again = outcome.err().map(|(violation, _)| violation.to_string());
        if again.as_deref() != Some(&violation.to_string()) {
            last.push_back(format!("the second run ended in another way, which is a bug of the simulator: {again:?}"));
        }
        Ok(Err(Failure { job: job.clone(), violation, last: last.into() }))
    }

    /// The same, telling everything.
    pub fn tell(&self, job: &Job, tell: &mut dyn FnMut(String)) -> Result<Result<Outcome, Violation>, Unplannable> {
        let fleet = self.fleet(job)?;
        Ok(play(&fleet, job, &mut |world, happening| tell(told(world, happening))).map_err(|(violation, _)| violation))
    }

    /// The places that a run of this scenario passes when nobody dies at any of them.
    pub fn spots(&self, job: &Job) -> Result<Result<Vec<Spot>, Violation>, Unplannable> {
        let fleet = self.fleet(job)?;
        let mut world = World::new(&fleet, *job.scenario, job.seed, Deaths::that_counts());
        loop {
            match world.next(&mut |_, _| {}) {
                Ok(Some(())) => {}
                Ok(None) => break,
                Err(violation) => return Ok(Err(violation)),
            }
        }
        Ok(world.check_the_end().map(|()| world.into_deaths().into_spots()))
    }

    fn fleet(&self, job: &Job) -> Result<Arc<Fleet>, Unplannable> {
        let mut fleets = self.fleets.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (job.agents, job.scenario.scarce_memory, job.scenario.brisk);
        if let Some(fleet) = fleets.get(&key) {
            return Ok(fleet.clone());
        }
        let fleet = Arc::new(Fleet::new(job.agents, job.scenario.scarce_memory, job.scenario.brisk)?);
        fleets.insert(key, fleet.clone());
        Ok(fleet)
    }
}

type Teller<'a> = dyn FnMut(&World, &Happening) + 'a;

fn play(fleet: &Fleet, job: &Job, tell: &mut Teller<'_>) -> Result<Outcome, (Violation, u64)> {
    let mut world = World::new(fleet, *job.scenario, job.seed, Deaths::at(&job.deaths));
    let mut needed_attention = false;
    loop {
        let next = world.next(tell).map_err(|violation| (violation, world.happened))?;
        needed_attention |= world.state() == Some(State::NeedsAttention);
        if next.is_none() {
            break;
        }
    }
    world
        .check_the_end()
        .and_then(|()| expected(&world, job.scenario, needed_attention))
        .map_err(|v| (v, world.happened))?;
    let rollout = world.shell.machine.rollout();
    Ok(Outcome {
        end: match rollout.map(|rollout| rollout.state) {
            Some(State::Committed) => End::Committed,
            Some(State::PreflightFailed) => End::Refused,
            _ => End::RolledBack,
        },
        trigger: rollout.and_then(|rollout| rollout.rollback.as_ref()).map(|undone| match undone.trigger {
            Trigger::Operator { .. } => "operator",
            Trigger::Gate { .. } => "gate",
            Trigger::CrashLoop { .. } => "crash loop",
            Trigger::Alarm(_) => "alarm",
            Trigger::OutOfMemory { .. } => "out of memory",
            Trigger::Drill => "drill",
            Trigger::Unrecorded { .. } => "unrecorded",
            Trigger::WindowClosed { .. } => "window closed",
        }),
        needed_attention,
        took: world.now().since(bellwether_core::time::Nanos(0)),
        unavailable: world.referee.unavailable,
        crashes: world.crashes,
        happened: world.happened,
        tasks: world.referee.tasks(),
        leases_lost: world.referee.leases_lost,
        memory_peak_bytes: world.memory_peak_bytes(),
    })
}

fn expected(world: &World, scenario: &Scenario, needed_attention: bool) -> Result<(), Violation> {
    let Some(rollout) = world.shell.machine.rollout() else { return Ok(()) };
    let by_gate = rollout.rollback.as_ref().is_some_and(|undone| matches!(undone.trigger, Trigger::Gate { .. }));
    let met = match scenario.expect {
        Expect::Any => true,
        Expect::CommittedOrFalseAlarm => rollout.state == State::Committed || by_gate,
        Expect::RolledBack => rollout.state == State::RolledBack && !needed_attention,
        Expect::CommittedOrRefused => matches!(rollout.state, State::Committed | State::PreflightFailed),
        Expect::RolledBackOrRefused => {
            matches!(rollout.state, State::RolledBack | State::PreflightFailed) && !needed_attention
        }
    };
    if met {
        return Ok(());
    }
    let detail = format!("{:?} ended in {:?}, by {:?}", scenario.name, rollout.state, rollout.rollback);
    crate::referee::violated("the scenario ends as it must", detail)
}

fn told(world: &World, happening: &Happening) -> String {
    const WIDTH: usize = 240;
    let mut text = format!("{:>12.3}s  {happening:?}", world.now().secs_f64_since(bellwether_core::time::Nanos(0)));
    if text.len() > WIDTH {
        let cut = (0..=WIDTH).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        text.truncate(cut);
        text.push('…');
    }
    text
}
