//! SIGKILL at random moments, drawn from the seed: for agents that have traffic, for the controller and the gateway.
//!
//! Only children of the run's own supervisor are killed. A victim is held by its pidfd before its parent is looked at,
//! so that a pid that was given to somebody else is never hit.

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

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::Serialize;
use serde_json::Value;

use super::{Plan, control};

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
    pub(super) supervisor: u32,
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
                Victim::Controller => hunt.child("controller"),
                Victim::Gateway => hunt.child("gateway"),
            };
            if pid.is_some_and(|pid| hunt.shoot(pid)) {
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

    /// What the supervisor has started in this role.
    fn child(&self, role: &str) -> Option<u32> {
        let threads = fs::read_dir(format!("/proc/{}/task", self.supervisor)).ok()?.flatten();
        let children = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
        let pids: Vec<u32> =
            children.flat_map(|pids| pids.split(' ').filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect();
        pids.into_iter().find(|pid| {
            let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            command.contains(&format!("internal\0{role}\0"))
        })
    }

    fn shoot(&self, pid: u32) -> bool {
        let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return false };
        let Ok(victim) = pidfd_open(pid, PidfdFlags::empty()) else { return false };
        self.is_ours(pid) && pidfd_send_signal(victim, Signal::KILL).is_ok()
    }

    /// The fourth field of `proc_pid_stat(5)`, behind a name that may hold anything, is the parent. The third tells a
    /// process that has ended already.
    fn is_ours(&self, pid: Pid) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
        let mut fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields).split(' ');
        fields.next().is_some_and(|state| state != "Z")
            && fields.next().and_then(|parent| parent.parse().ok()) == Some(self.supervisor)
    }
}
