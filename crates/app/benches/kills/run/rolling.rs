//! An operator who rolls the fleet out and back, again and again, whatever dies meanwhile.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde::Serialize;
use serde_json::Value;

use super::{
    rounds::{Kill, Victim},
    world::Commands,
};
use crate::common::control;

const TAKEN_MAX: Duration = Duration::from_secs(60);
const OVER_MAX: Duration = Duration::from_secs(300);
const BEAT: Duration = Duration::from_millis(100);

/// How the rollouts ended.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Rolled {
    /// Those that were taken back before their end, and those that had come to it.
    pub(crate) back_from_midway: usize,
    pub(crate) back_from_the_end: usize,
    /// Those that were refused, as seconds of their baseline were lost with a gateway that was killed meanwhile.
    pub(crate) without_baseline: usize,
    /// Those that were refused for their baseline, before it is known who was killed meanwhile.
    #[serde(skip)]
    pub(super) refused: Vec<Refused>,
    /// What ended otherwise.
    pub(crate) otherwise: Vec<String>,
}

#[derive(Clone, Debug)]
pub(super) struct Refused {
    began: Instant,
    ended: Instant,
    told: String,
}

impl Rolled {
    pub(super) fn explain_refused(&mut self, kills: &[Kill]) {
        for refused in std::mem::take(&mut self.refused) {
            let took_records = |kill: &Kill| {
                kill.victim != Victim::Controller && kill.at <= refused.ended && kill.back >= refused.began
            };
            if kills.iter().any(took_records) {
                self.without_baseline += 1;
            } else {
                self.otherwise.push(format!("no gateway was killed meanwhile: {}", refused.told));
            }
        }
    }
}

pub(super) struct Rolling {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Rolled, String>>,
}

impl Rolling {
    pub(super) fn start(commands: Commands, seed: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::spawn(move || roll(&commands, fastrand::Rng::with_seed(seed), &stopped));
        Self { stop, thread }
    }

    /// Lets the rollout that is under way come to its end, on blue.
    pub(super) fn end(self) -> Result<Rolled, String> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_panicked| "the operator panicked".to_owned())?
    }
}

fn roll(commands: &Commands, mut chance: fastrand::Rng, stop: &AtomicBool) -> Result<Rolled, String> {
    let mut rolled = Rolled::default();
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        let last = number(&status(commands, "an answer", TAKEN_MAX, |_| true)?);
        insist(|| commands.roll_out(), commands, "a rollout", |status| number(status) > last)?;
        // Half of them are taken back wherever they stand at the moment.
        let midway = chance.bool();
        let moment = Instant::now() + Duration::from_millis(chance.u64(1000..15_000));
        let reached = status(commands, "the rollout comes to its end", OVER_MAX, |status| {
            is_over(status) || midway && Instant::now() > moment
        })?;
        let state = control::state(&reached).to_owned();
        let left = |status: &Value| {
            !matches!(control::state(status), "preflight" | "progressing" | "validating" | "completed")
        };
        if !left(&reached) {
            insist(|| commands.roll_back(), commands, "a rollback", left)?;
        }
        let over =
            |status: &Value| matches!(control::state(status), "rolled_back" | "needs_attention" | "preflight_failed");
        let end = status(commands, "the rollback comes to its end", OVER_MAX, over)?;
        match (state.as_str(), control::state(&end)) {
            ("completed", "rolled_back") => rolled.back_from_the_end += 1,
            ("preflight" | "progressing" | "validating", "rolled_back") => rolled.back_from_midway += 1,
            (_, "preflight_failed") if lacks_baseline(&end["rollout"]) => {
                rolled.refused.push(Refused { began, ended: Instant::now(), told: end["rollout"].to_string() });
            }
            (from, to) => rolled.otherwise.push(format!("{to} from {from}: {}", end["rollout"])),
        }
    }
    Ok(rolled)
}

fn lacks_baseline(rollout: &Value) -> bool {
    rollout["refused"].as_str().is_some_and(|why| why.starts_with("the baseline has"))
}

fn is_over(status: &Value) -> bool {
    !matches!(control::state(status), "preflight" | "progressing" | "validating" | "rolling_back")
}

fn number(status: &Value) -> u64 {
    status["rollout"]["id"].as_u64().unwrap_or(0)
}

fn status(
    commands: &Commands,
    what: &str,
    within: Duration,
    will_do: impl FnMut(&Value) -> bool,
) -> Result<Value, String> {
    control::until(&commands.control, "/v1/status", within, what, will_do)
}

/// Gives the command again as long as the controller, killed in the middle of it, did not take it.
fn insist(
    give: impl Fn() -> Result<(), String>,
    commands: &Commands,
    what: &str,
    is_taken: impl Fn(&Value) -> bool,
) -> Result<(), String> {
    let deadline = Instant::now() + TAKEN_MAX;
    loop {
        let refused = give().err();
        if is_taken(&status(commands, "an answer", TAKEN_MAX, |_| true)?) {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("{what} was not taken: {}", refused.unwrap_or_else(|| "it was said to be".to_owned())));
        }
        thread::sleep(BEAT);
    }
}
