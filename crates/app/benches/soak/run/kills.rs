//! SIGKILL at random moments, drawn from the seed: for agents that have traffic, for the controller and the gateway.

use std::{
    fmt, fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde::Serialize;
use serde_json::Value;

use super::Plan;
use crate::common::{control, hunt::Family};

/// How long on average from one kill to the next. None: never.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Every {
    pub(crate) agent: Option<Duration>,
    pub(crate) controller: Option<Duration>,
    pub(crate) gateway: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Victim {
    Agent,
    Controller,
    Gateway,
}

/// Who was killed when.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Killed {
    pub(crate) agents: usize,
    pub(crate) controllers: usize,
    pub(crate) gateways: usize,
    moments: Vec<Kill>,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Kill {
    /// Since the load began.
    pub(crate) at_ms: u64,
    pub(crate) victim: Victim,
}

/// Where the victims are.
pub(super) struct Hunt {
    pub(super) family: Family,
    pub(super) instances: PathBuf,
    pub(super) control: String,
}

pub(super) struct Killing {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<Kill>>>,
}

const BEAT: Duration = Duration::from_millis(20);
/// A child that is just being started again is there soon.
const AGAIN: Duration = Duration::from_millis(250);

impl Killed {
    pub(super) fn count(&self, victim: Victim) -> usize {
        self.moments.iter().filter(|kill| kill.victim == victim).count()
    }
}

impl Every {
    pub(super) fn victims(&self) -> impl Iterator<Item = (Victim, Duration)> {
        let all = [(Victim::Agent, self.agent), (Victim::Controller, self.controller), (Victim::Gateway, self.gateway)];
        all.into_iter().filter_map(|(victim, every)| Some((victim, every?)))
    }
}

impl fmt::Display for Victim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Agent => "agent",
            Self::Controller => "controller",
            Self::Gateway => "gateway",
        })
    }
}

impl Killing {
    pub(super) fn start(plan: &Plan, hunt: Hunt) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, every, chance) = (stop.clone(), plan.kills, fastrand::Rng::with_seed(plan.seed));
        Self { stop, thread: Some(thread::spawn(move || kill(&hunt, every, chance, &stopped))) }
    }

    pub(super) fn stop(mut self) -> Killed {
        self.stop.store(true, Ordering::Relaxed);
        // It panics only with a bug of its own; then no kill counts, which the outcome tells.
        let moments = self.thread.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        let of = |victim| moments.iter().filter(|kill| kill.victim == victim).count();
        Killed {
            agents: of(Victim::Agent),
            controllers: of(Victim::Controller),
            gateways: of(Victim::Gateway),
            moments,
        }
    }
}

impl Drop for Killing {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn kill(hunt: &Hunt, every: Every, mut chance: fastrand::Rng, stop: &AtomicBool) -> Vec<Kill> {
    let began = Instant::now();
    let mut due: Vec<_> =
        every.victims().map(|(victim, every)| (began + gap(every, &mut chance), victim, every)).collect();
    let mut killed = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        for (at, victim, every) in &mut due {
            if Instant::now() < *at {
                continue;
            }
            let pid = match victim {
                Victim::Agent => hunt.agent(&mut chance),
                Victim::Controller => hunt.family.child("controller"),
                Victim::Gateway => hunt.family.child("gateway"),
            };
            if pid.and_then(|pid| hunt.family.hold(pid)).is_some_and(|victim| victim.kill() && victim.dead().is_ok()) {
                let at_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                killed.push(Kill { at_ms, victim: *victim });
                *at += gap(*every, &mut chance);
            } else {
                *at += AGAIN;
            }
        }
        thread::sleep(BEAT);
    }
    killed
}

/// Half to one and a half of the mean.
fn gap(mean: Duration, chance: &mut fastrand::Rng) -> Duration {
    mean.mul_f64(0.5 + chance.f64())
}

impl Hunt {
    /// An instance that its agent's traffic goes to.
    fn agent(&self, chance: &mut fastrand::Rng) -> Option<u32> {
        let status: Value = control::get(&self.control, "/v1/status").ok()?;
        let agent = chance.choice(status["agents"].as_array()?)?;
        let (name, side) = (&agent["name"], &agent["serving"]);
        let records = fs::read_dir(&self.instances).ok()?.flatten();
        let records = records.filter_map(|entry| serde_json::from_slice::<Value>(&fs::read(entry.path()).ok()?).ok());
        let mut of_it = records
            .filter(|it| it["agent"] == *name && it["side"] == *side && it["ended"].is_null() && !side.is_null());
        u32::try_from(of_it.next()?["pid"].as_u64()?).ok()
    }
}
