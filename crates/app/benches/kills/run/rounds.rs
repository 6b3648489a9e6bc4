//! Whom SIGKILL hits, at which moment, and how long it takes until somebody answers again.

use std::{
    fmt,
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use serde::Serialize;
use serde_json::Value;

use super::{
    Plan,
    world::{Load, World},
};
use crate::common::{control, hunt::Held};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Victim {
    Controller,
    Gateway,
    Supervisor,
}

/// One round.
#[derive(Clone, Debug)]
pub(super) struct Kill {
    pub(super) victim: Victim,
    /// A state of a rollout had begun in the milliseconds before.
    pub(super) at_boundary: bool,
    pub(super) at: Instant,
    /// All that died of it had.
    pub(super) dead: Instant,
    /// Somebody answered in its place.
    pub(super) back: Instant,
}

const BACK_MAX: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(1);
/// A rollout may stand in one state for so long; then the round takes what comes.
const BOUNDARY_MAX: Duration = Duration::from_secs(12);
/// What a controller writes when a rollout has come from one state into another, before that is in its journal.
const MOVED: &str = "rollout moved";

pub(super) const VICTIMS: [Victim; 3] = [Victim::Controller, Victim::Gateway, Victim::Supervisor];

impl fmt::Display for Victim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Controller => "controller",
            Self::Gateway => "gateway",
            Self::Supervisor => "supervisor",
        })
    }
}

pub(super) fn all(plan: &Plan, world: &mut World, load: &mut Load, say: &dyn Fn(&str)) -> Result<Vec<Kill>, String> {
    let mut chance = fastrand::Rng::with_seed(plan.seed);
    let mut kills = Vec::new();
    let mut turn = Vec::new();
    for round in 0..plan.rounds {
        if turn.is_empty() {
            // All of them in turn, each turn in an order of its own.
            turn = VICTIMS.to_vec();
            chance.shuffle(&mut turn);
        }
        let Some(victim) = turn.pop() else { continue };
        load.window(&format!("{round} {victim}"))?;
        thread::sleep(plan.pause.mul_f64(0.5 + chance.f64()));
        let wants_boundary = chance.bool();
        let at_boundary = wants_boundary && boundary(&world.controller_log());
        if at_boundary {
            thread::sleep(Duration::from_micros(chance.u64(..5000)));
        }
        let kill = kill(world, victim, at_boundary)?;
        let took = kill.back.duration_since(kill.at).as_millis();
        say(&format!(
            "round {round}: {victim}{}, back after {took} ms",
            if at_boundary { " at a boundary" } else { "" }
        ));
        kills.push(kill);
    }
    load.window("after")?;
    Ok(kills)
}

fn kill(world: &mut World, victim: Victim, at_boundary: bool) -> Result<Kill, String> {
    let family = world.family();
    let child = |role: &str| {
        let deadline = Instant::now() + BACK_MAX;
        loop {
            if let Some(held) = family.child(role).and_then(|pid| family.hold(pid)) {
                return Ok(held);
            }
            if Instant::now() > deadline {
                return Err(format!("there is no {role} to kill"));
            }
            thread::sleep(LOOK);
        }
    };
    // Whoever holds connections or the socket is seen to be dead before the moment of death is taken.
    let (prey, witnesses) = match victim {
        Victim::Controller => (child("controller")?, Vec::new()),
        Victim::Gateway => (child("gateway")?, Vec::new()),
        Victim::Supervisor => {
            (world.supervisor().ok_or("there is no supervisor to kill")?, vec![child("gateway")?, child("controller")?])
        }
    };
    let before = if victim == Victim::Supervisor { Some(world.instances()?) } else { None };
    let at = Instant::now();
    if !prey.kill() {
        return Err(format!("the {victim} had ended by itself"));
    }
    let dead = std::iter::once(&prey).chain(&witnesses).map(Held::dead).collect::<Result<Vec<_>, _>>();
    let dead = dead.map_err(|error| error.to_string())?.into_iter().max().unwrap_or(at);
    if victim == Victim::Supervisor {
        world.serve_again()?;
    }
    let base = if victim == Victim::Controller {
        (world.control.as_str(), "/v1/status")
    } else {
        (world.gateway.as_str(), "/tasks")
    };
    let back = answered(base)?;
    if let Some(before) = before {
        world.is_served()?;
        let after = world.instances()?;
        for (number, was) in before.iter().filter(|(_, instance)| !instance.ended) {
            let adopted = after.get(number).is_some_and(|is| is.pid == was.pid && (is.asked || !is.ended));
            if !adopted {
                return Err(format!("instance {number} was not adopted: {was:?} became {:?}", after.get(number)));
            }
        }
    }
    Ok(Kill { victim, at_boundary, at, dead, back })
}

/// On a connection of its own, so that it waits in the backlog like that of anybody who comes at that moment.
fn answered((base, path): (&str, &str)) -> Result<Instant, String> {
    let deadline = Instant::now() + BACK_MAX;
    loop {
        match control::get::<Value>(base, path) {
            Ok(_) => return Ok(Instant::now()),
            Err(why) if Instant::now() > deadline => return Err(format!("nobody answers at {base}: {why}")),
            Err(_) => thread::sleep(LOOK),
        }
    }
}

/// Waits until a rollout comes into another state. False if none does for long.
fn boundary(log: &Path) -> bool {
    let deadline = Instant::now() + BOUNDARY_MAX;
    let end = |file: &mut File| file.seek(SeekFrom::End(0));
    let Ok(mut file) = File::open(log) else { return false };
    let Ok(mut read) = end(&mut file) else { return false };
    let mut text = String::new();
    while Instant::now() < deadline {
        let Ok(length) = end(&mut file) else { return false };
        // The log is cut when it has grown long.
        read = read.min(length);
        text.clear();
        let fresh = file.seek(SeekFrom::Start(read)).and_then(|_| file.read_to_string(&mut text));
        if let Ok(bytes) = fresh {
            read += bytes as u64;
            if text.contains(MOVED) {
                return true;
            }
        }
        thread::sleep(LOOK);
    }
    false
}
