//! What traffic it takes to see a fault within the limit of detection (R46), for the plan to say before anything is
//! touched. Estimates: meant for choosing bakes and expectations, used by no trigger.

use serde::{Deserialize, Serialize};
use statrs::function::erf::erf;

use super::progress::borne;
use crate::{
    analysis::words::{count, number},
    spec::Triggers,
    time::Millis,
};

/// R46.
const LIMIT: Millis = Millis::from_secs(30);
/// A record closes at the end of its second.
const RECORD_SECONDS: f64 = 1.0;
/// An instance's health is asked for after a pause of up to 3.3 s, and an answer is waited for up to 2 s.
const HEALTH_ROUND_SECONDS: f64 = 5.3;
/// A connection that is not refused at once is given up after this.
const CONNECT_SECONDS: f64 = 2.0;
/// The pauses between the restarts of a crashing instance begin with the first of these, double, and end at the last.
const BACKOFF_SECONDS: (f64, f64) = (0.2, 30.0);
/// Odds at which errors and slow responses act: their shares of the level 0.008, and of that a quarter, because the
/// evidence is spread over the fleet and its types, over the whole and the time since the phase began (ANALYSIS §3).
const LN_ODDS_ERRORS: f64 = 6.907_755_278_982_137;
const LN_ODDS_LATENCY: f64 = 8.111_728_083_308_073;
/// The 95th percentile of the calls that are needed, over the information bound (ANALYSIS §5): errors are rare events,
/// response times come with every call.
const OVER_BOUND_ERRORS: f64 = 3.3;
const OVER_BOUND_LATENCY: f64 = 2.5;
/// The longest streak that chance was seen to need (ANALYSIS §3.4).
const STREAK: f64 = 26.0;
/// Where hardly any blue is left the baseline stands in, as a control as large as green.
const GREEN_SHARE_MAX: f64 = 0.5;
/// Times by which a faulty revision is slower, and the spread of generation times (σ of their logarithm).
const SLOWER: f64 = 3.0;
const SPREAD: f64 = 0.6;

/// What is measured or expected of a phase.
#[derive(Clone, Debug, PartialEq)]
pub struct Traffic {
    /// Tasks and pushed requests of the whole fleet that end in a second.
    pub calls_per_second: f64,
    /// The part of them that green serves.
    pub green_share: f64,
    /// Agents that are on green.
    pub green_agents: u32,
    pub base_error_rate: f64,
    /// R32: the rise that is borne.
    pub error_margin: f64,
    /// The median from lease to end, and the longest in the baseline.
    pub task_time: Millis,
    pub task_time_max: Millis,
    /// The longest that a green takes from its start until it is ready.
    pub boot: Millis,
    /// Exits of one green that end the rollout.
    pub crash_loop: u32,
}

/// What can be wrong with a revision, or with what it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultClass {
    /// Instances end.
    Crash,
    /// Health checks fail.
    Health,
    ModelServer,
    /// Three of ten tasks fail.
    Errors,
    /// Three times as slow.
    Latency,
    /// The main loop hangs.
    Hang,
    /// Every answer carries nothing.
    EmptyAnswers,
}

/// Whether a fault is seen within R46, and what that takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reach {
    pub class: FaultClass,
    /// From the first harm to the alarm, in 95 of 100 cases or more; none if it would not be seen.
    pub seconds: Option<f64>,
    /// Within the 30 s of R46.
    pub reached: bool,
    /// Calls of green that it takes, where it takes any.
    pub green_calls: Option<u64>,
    /// One plain sentence with the numbers.
    pub why: String,
}

impl FaultClass {
    pub fn name(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::Health => "failed health checks",
            Self::ModelServer => "model server down",
            Self::Errors => "errors of 30 %",
            Self::Latency => "three times as slow",
            Self::Hang => "hang",
            Self::EmptyAnswers => "empty answers",
        }
    }
}

/// One answer for each fault class, in the order of [`FaultClass`].
pub fn reach(triggers: &Triggers, traffic: &Traffic) -> Vec<Reach> {
    let rate = Rate::new(traffic);
    vec![
        crash(traffic),
        health(triggers),
        model_server(triggers),
        errors(triggers, traffic, &rate),
        latency(triggers, traffic, &rate),
        hang(triggers, traffic),
        empty_answers(triggers, traffic, &rate),
    ]
}

/// The `n`-th exit acts: `n` − 1 restarts, each a pause and a boot.
fn crash(traffic: &Traffic) -> Reach {
    let (first, last) = BACKOFF_SECONDS;
    let restarts = traffic.crash_loop.saturating_sub(1);
    // Beyond the doublings that reach the longest pause, all are as long.
    let doubling = restarts.min(8);
    let pauses: f64 = (0..doubling).map(|n| (first * f64::from(n).exp2()).min(last)).sum();
    let pauses = pauses + f64::from(restarts - doubling) * last;
    let seconds = pauses + f64::from(restarts) * traffic.boot.as_secs_f64();
    let why =
        format!("the exit number {} of one agent acts; each restart takes up to {}", traffic.crash_loop, traffic.boot);
    found(FaultClass::Crash, seconds, None, why)
}

fn health(triggers: &Triggers) -> Reach {
    let Some(borne) = triggers.health_failures else { return off(FaultClass::Health) };
    let seconds = f64::from(borne) * HEALTH_ROUND_SECONDS;
    let why =
        format!("the failure after {borne} in a row acts; a check takes up to {} s", number(HEALTH_ROUND_SECONDS));
    found(FaultClass::Health, seconds, None, why)
}

/// The gateway probes each second: failures in three seconds, and above the share of the 10 s that are looked at.
fn model_server(triggers: &Triggers) -> Reach {
    let Some(share) = triggers.model_failures else { return off(FaultClass::ModelServer) };
    let failing = (share.max(0.0) * 10.0 + 1.0).floor().max(3.0);
    if failing > 10.0 {
        return never(FaultClass::ModelServer, "the limit is more than all connections".to_owned());
    }
    let why = format!("the gateway asks once a second; {} s of failures act", number(failing));
    found(FaultClass::ModelServer, failing + CONNECT_SECONDS, None, why)
}

fn errors(triggers: &Triggers, traffic: &Traffic, rate: &Rate) -> Reach {
    const BAD: f64 = 0.3;
    if triggers.errors.is_none() {
        return off(FaultClass::Errors);
    }
    let Some(onsets) =
        rate.outcomes_needed(BAD, traffic.base_error_rate, traffic.error_margin, OVER_BOUND_ERRORS * LN_ODDS_ERRORS)
    else {
        return never(FaultClass::Errors, "green's errors would be no more than blue's".to_owned());
    };
    // A failure that follows another is no evidence.
    rate.after(FaultClass::Errors, onsets / (1.0 - BAD), traffic.task_time.as_secs_f64())
}

/// Counts responses above the ratio times blue's median.
fn latency(triggers: &Triggers, traffic: &Traffic, rate: &Rate) -> Reach {
    let Some(ratio) = triggers.latency else { return off(FaultClass::Latency) };
    let slow = normal_below((SLOWER / ratio.max(f64::MIN_POSITIVE)).ln() / SPREAD);
    match rate.outcomes_needed(slow, 0.5, 0.0, OVER_BOUND_LATENCY * LN_ODDS_LATENCY) {
        Some(calls) => rate.after(FaultClass::Latency, calls, SLOWER * traffic.task_time.as_secs_f64()),
        None => never(FaultClass::Latency, format!("only more than {} times as slow is harm", number(ratio))),
    }
}

fn hang(triggers: &Triggers, traffic: &Traffic) -> Reach {
    let Some(limit) = borne(triggers, traffic.task_time_max) else { return off(FaultClass::Hang) };
    let why = format!("an agent may be silent for {limit}, because tasks take up to {}", traffic.task_time_max);
    found(FaultClass::Hang, limit.as_secs_f64() + RECORD_SECONDS, None, why)
}

/// An agent that fails for ever is one piece of evidence to the error test, so it takes several agents; or one that
/// fails often enough in a row.
fn empty_answers(triggers: &Triggers, traffic: &Traffic, rate: &Rate) -> Reach {
    const BAD: f64 = 0.97;
    if triggers.errors.is_none() {
        return off(FaultClass::EmptyAnswers);
    }
    let agents = f64::from(traffic.green_agents.max(1));
    let by_streak = STREAK * agents;
    let needed =
        rate.outcomes_needed(BAD, traffic.base_error_rate, traffic.error_margin, OVER_BOUND_ERRORS * LN_ODDS_ERRORS);
    // Calls until so many different agents were called, if each is called as often.
    let by_agents = needed
        .filter(|&onsets| onsets < agents)
        .map(|onsets| agents * (agents / (agents - onsets)).ln())
        .unwrap_or(f64::INFINITY);
    rate.after(FaultClass::EmptyAnswers, by_streak.min(by_agents), traffic.task_time.as_secs_f64())
}

/// Green's calls per second, and blue's for each of them.
struct Rate {
    green: f64,
    blue_per_green: f64,
}

impl Rate {
    fn new(traffic: &Traffic) -> Self {
        let share = within(traffic.green_share, 0.0, 1.0);
        let control = share.min(GREEN_SHARE_MAX);
        Self {
            green: traffic.calls_per_second.max(0.0) * share,
            blue_per_green: if control > 0.0 { (1.0 - control) / control } else { 0.0 },
        }
    }

    /// Green outcomes until the logarithm of the odds reaches `ln_odds`: that over the information per outcome, which is the least over
    /// all rates that both sides could share (the reverse information projection of ANALYSIS §2).
    fn outcomes_needed(&self, bad: f64, base: f64, margin: f64, ln_odds: f64) -> Option<f64> {
        let (margin, base) = (margin.max(0.0), within(base, 1e-6, 1.0 - 1e-6));
        let (mut low, mut high) = (base, bad - margin);
        if low >= high {
            return None;
        }
        let information =
            |common: f64| divergence(bad, common + margin) + self.blue_per_green * divergence(base, common);
        // Convex in the rate, so thirds close in on the least.
        for _ in 0..80 {
            let third = (high - low) / 3.0;
            if information(low + third) < information(high - third) {
                high -= third;
            } else {
                low += third;
            }
        }
        let least = information((low + high) / 2.0);
        let needed = ln_odds / least;
        (least > 0.0 && needed.is_finite()).then(|| needed.max(1.0))
    }

    fn after(&self, class: FaultClass, calls: f64, until_first: f64) -> Reach {
        let calls = calls.ceil();
        let seconds = calls / self.green + until_first + RECORD_SECONDS;
        let needed = calls as u64;
        if !seconds.is_finite() {
            return never(class, format!("it takes about {} calls of green, and there is no traffic", count(needed)));
        }
        let why = format!("it takes about {} calls of green, which has {} a second", count(needed), number(self.green));
        found(class, seconds, Some(needed), why)
    }
}

fn found(class: FaultClass, seconds: f64, green_calls: Option<u64>, why: String) -> Reach {
    let reached = seconds < LIMIT.as_secs_f64();
    Reach { class, seconds: Some(seconds), reached, green_calls, why }
}

fn never(class: FaultClass, why: String) -> Reach {
    Reach { class, seconds: None, reached: false, green_calls: None, why }
}

fn off(class: FaultClass) -> Reach {
    never(class, "its trigger is switched off".to_owned())
}

/// Of one yes-or-no outcome with chance `p` against `q` (Kullback and Leibler 1951).
fn divergence(p: f64, q: f64) -> f64 {
    let q = q.clamp(1e-12, 1.0 - 1e-12);
    p * (p / q).ln() + (1.0 - p) * ((1.0 - p) / (1.0 - q)).ln()
}

/// What is no number is the least.
fn within(x: f64, least: f64, most: f64) -> f64 {
    if x.is_nan() { least } else { x.clamp(least, most) }
}

fn normal_below(x: f64) -> f64 {
    (0.5 * (1.0 + erf(x / std::f64::consts::SQRT_2))).clamp(1e-9, 1.0 - 1e-9)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::spec::Progress;

    /// The demo in its first phase.
    fn demo() -> Traffic {
        Traffic {
            calls_per_second: 30.0,
            green_share: 13.0 / 131.0,
            green_agents: 13,
            base_error_rate: 0.002,
            error_margin: 0.001,
            task_time: Millis(60),
            task_time_max: Millis(900),
            boot: Millis::from_secs(1),
            crash_loop: 3,
        }
    }

    /// Two slots of 20 s.
    fn crowded() -> Traffic {
        Traffic {
            calls_per_second: 0.1,
            task_time: Millis::from_secs(20),
            task_time_max: Millis::from_secs(60),
            boot: Millis::from_secs(8),
            ..demo()
        }
    }

    fn reached(traffic: &Traffic) -> Vec<FaultClass> {
        let all = reach(&Triggers::default(), traffic);
        all.into_iter().filter(|reach| reach.reached).map(|reach| reach.class).collect()
    }

    #[test]
    fn the_demos_traffic_suffices_for_everything() {
        use FaultClass::{Crash, EmptyAnswers, Errors, Hang, Health, Latency, ModelServer};
        assert_eq!(reached(&demo()), [Crash, Health, ModelServer, Errors, Latency, Hang, EmptyAnswers]);
        assert_eq!(reached(&crowded()), [Crash, Health, ModelServer], "these need no traffic");
    }

    #[test]
    fn the_odds_are_those_of_the_levels() {
        assert!((LN_ODDS_ERRORS - (1.0_f64 / (0.008 * 0.5 * 0.25)).ln()).abs() < 1e-9);
        assert!((LN_ODDS_LATENCY - (1.0_f64 / (0.008 * 0.15 * 0.25)).ln()).abs() < 1e-9);
    }

    #[test]
    fn the_error_test_alone_needs_what_the_prototypes_showed() {
        // 20 calls/s, 30 % errors, odds of 100: 95 of 100 runs within 12 s.
        let rate = Rate::new(&Traffic { calls_per_second: 20.0, ..demo() });
        let seconds = rate.outcomes_needed(0.3, 0.002, 0.001, OVER_BOUND_ERRORS * 100.0_f64.ln()).unwrap() / rate.green;
        assert!((10.0..13.0).contains(&seconds), "{seconds}");
    }

    #[test]
    fn less_traffic_never_is_quicker_and_none_says_so() {
        let quiet = Traffic { calls_per_second: 0.0, ..demo() };
        let errors = &reach(&Triggers::default(), &quiet)[3];
        assert_eq!((errors.seconds, errors.reached), (None, false));
        assert!(errors.why.ends_with("and there is no traffic"), "{}", errors.why);
        let seconds =
            |calls_per_second| reach(&Triggers::default(), &Traffic { calls_per_second, ..demo() })[3].seconds;
        assert!(seconds(3.0) > seconds(30.0));
    }

    #[test]
    fn what_is_off_or_out_of_bounds_is_never_seen() {
        let triggers = Triggers {
            errors: None,
            latency: Some(3.5),
            model_failures: Some(1.0),
            health_failures: None,
            progress: Progress::Off,
            ..Triggers::default()
        };
        let seen =
            reach(&triggers, &demo()).into_iter().filter(|reach| reach.seconds.is_some()).map(|reach| reach.class);
        assert_eq!(seen.collect::<Vec<_>>(), [FaultClass::Crash]);
    }

    proptest! {
        #[test]
        fn any_traffic_has_an_answer(
            (calls_per_second, green_share, base_error_rate, error_margin) in any::<(f64, f64, f64, f64)>(),
            (task, longest, boot) in any::<(u64, u64, u64)>(), green_agents: u32, crash_loop: u32,
        ) {
            let traffic = Traffic {
                calls_per_second, green_share, green_agents, base_error_rate, error_margin, crash_loop,
                task_time: Millis(task), task_time_max: Millis(longest), boot: Millis(boot),
            };
            let all = reach(&Triggers::default(), &traffic);
            prop_assert_eq!(all.len(), 7);
            prop_assert!(all.iter().all(|reach| reach.seconds.is_none_or(|s| s.is_finite() && s >= 0.0)));
        }
    }
}
