//! Faults on purpose: an agent that misbehaves in one known way, so that a rollout's way back can be rehearsed.
//!
//! A fault begins with the agent, or later where that is asked for, and changes nothing but what its kind says:
//! registration, heartbeats, the health server and the model calls stay as they are, because a real fault leaves
//! those alone too.

use std::{str::FromStr, time::Duration};

use serde_json::Value;
use tokio::time::{Instant, interval, sleep};

use crate::{ballast::Ballast, handler::TaskError};

/// What is wrong with the agent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// This share of the tasks, drawn independently, is reported as failed.
    Errors { share: f64 },
    /// A task takes this many times its own time. What its model calls waited for is not its own.
    Latency { times: f64 },
    /// Touched memory grows by `bytes_first` at once and then at this rate. Where no limit ends the agent it stops
    /// growing at `bytes_max`.
    Leak { bytes_per_second: u64, bytes_max: u64, bytes_first: u64 },
    /// The process ends with code 1 this long after its first task came.
    Crash { after: Duration },
    /// One task is taken and never finished, and no other is asked for. Heartbeats go on.
    Hang,
    /// Every task is reported as completed, with nothing in its result.
    Swallow,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a fault: errors[=30%], latency[=3], leak[=8MiB[:256MiB[:0]]], crash[=2], hang or swallow")]
pub struct BadFault(String);

const MIB: u64 = 1 << 20;
const SHARE: f64 = 0.3;
const TIMES: f64 = 3.0;
const LEAK_BYTES_PER_SECOND: u64 = 8 * MIB;
/// A phase of the largest fleet that is shipped still fits into an ordinary machine with this.
const LEAK_BYTES_MAX: u64 = 256 * MIB;
const CRASH_AFTER: Duration = Duration::from_secs(2);
const LEAK_BEAT: Duration = Duration::from_millis(250);

impl FromStr for Fault {
    type Err = BadFault;

    fn from_str(text: &str) -> Result<Self, BadFault> {
        let (kind, value) = match text.split_once('=') {
            Some((kind, value)) => (kind, Some(value.trim())),
            None => (text, None),
        };
        let parsed = match (kind.trim(), value) {
            ("errors", value) => value.map_or(Some(SHARE), share).map(|share| Self::Errors { share }),
            ("latency", value) => value.map_or(Some(TIMES), times).map(|times| Self::Latency { times }),
            ("leak", value) => leak(value),
            ("crash", value) => value.map_or(Some(CRASH_AFTER), seconds).map(|after| Self::Crash { after }),
            ("hang", None) => Some(Self::Hang),
            ("swallow", None) => Some(Self::Swallow),
            _ => None,
        };
        parsed.ok_or_else(|| BadFault(text.to_owned()))
    }
}

impl Fault {
    /// What becomes of a task that was done. `own` is the time it took, less what its model calls waited for.
    pub(crate) async fn spoil(self, outcome: Result<Value, TaskError>, own: Duration) -> Result<Value, TaskError> {
        match self {
            Self::Errors { share } if fastrand::f64() < share => {
                Err(TaskError::Other("a fault that was asked for: errors".to_owned()))
            }
            Self::Latency { times } => {
                sleep(own.mul_f64(times - 1.0)).await;
                outcome
            }
            Self::Hang => std::future::pending().await,
            Self::Swallow => Ok(Value::String(String::new())),
            Self::Errors { .. } | Self::Leak { .. } | Self::Crash { .. } => outcome,
        }
    }

    /// Called when the first task came. Ends the whole process without a word to anybody, for the kind that does so.
    pub(crate) async fn crash(self) {
        if let Self::Crash { after } = self {
            sleep(after).await;
            tracing::error!("a fault that was asked for: crash");
            std::process::exit(1);
        }
    }

    /// Runs as long as the agent; for the kind that leaks.
    pub(crate) async fn leak(self) {
        let Self::Leak { bytes_per_second, bytes_max, bytes_first } = self else { return };
        let began = Instant::now();
        let mut kept: Vec<Ballast> = Vec::new();
        let mut held = 0;
        let mut beat = interval(LEAK_BEAT);
        while held < bytes_max {
            beat.tick().await;
            let grown = (bytes_per_second as f64 * began.elapsed().as_secs_f64()) as u64;
            let more = bytes_first.saturating_add(grown).min(bytes_max).saturating_sub(held);
            kept.push(Ballast::of(more));
            held += more;
        }
        tracing::warn!(held, "the leak has reached its end");
        // What leaked stays.
        std::future::pending::<()>().await;
    }
}

/// `30%` or `0.3`.
fn share(text: &str) -> Option<f64> {
    let share = match text.strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>().ok()? / 100.0,
        None => text.parse().ok()?,
    };
    (0.0..=1.0).contains(&share).then_some(share)
}

/// `8MiB`, `8MiB:256MiB` or `8MiB:256MiB:32MiB`: each second, at most, and at once.
fn leak(text: Option<&str>) -> Option<Fault> {
    let mut parts = text.map(|text| text.splitn(3, ':')).into_iter().flatten();
    let mut next = |default| parts.next().map_or(Some(default), mebibytes);
    let (bytes_per_second, bytes_max) = (next(LEAK_BYTES_PER_SECOND)?, next(LEAK_BYTES_MAX)?);
    Some(Fault::Leak { bytes_per_second, bytes_max, bytes_first: next(0)? })
}

/// `3`, or `3x`.
fn times(text: &str) -> Option<f64> {
    text.trim_end_matches('x').parse().ok().filter(|times| (1.0..=1000.0).contains(times))
}

/// `8MiB` or `8`.
fn mebibytes(text: &str) -> Option<u64> {
    let count: u64 = text.trim().trim_end_matches("MiB").trim_end().parse().ok()?;
    (1..=1 << 20).contains(&count).then_some(count * MIB)
}

/// `2s` or `2`.
fn seconds(text: &str) -> Option<Duration> {
    let seconds: f64 = text.trim_end_matches('s').parse().ok()?;
    (0.0..=86_400.0).contains(&seconds).then(|| Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_alone_has_the_figures_of_a_rehearsal() {
        let fault = |text: &str| text.parse::<Fault>().unwrap();
        assert_eq!(fault("errors"), Fault::Errors { share: 0.3 });
        assert_eq!(fault("errors=5%"), Fault::Errors { share: 0.05 });
        assert_eq!(fault("latency"), Fault::Latency { times: 3.0 });
        assert_eq!(fault("latency=1.5x"), Fault::Latency { times: 1.5 });
        let leak = |rate, most, first| Fault::Leak {
            bytes_per_second: rate * MIB,
            bytes_max: most * MIB,
            bytes_first: first * MIB,
        };
        assert_eq!(fault("leak"), leak(8, 256, 0));
        assert_eq!(fault("leak=2MiB:400MiB"), leak(2, 400, 0));
        assert_eq!(fault("leak=2MiB:400MiB:30MiB"), leak(2, 400, 30));
        assert_eq!(fault("crash=0.5"), Fault::Crash { after: Duration::from_millis(500) });
        assert_eq!((fault("hang"), fault("swallow")), (Fault::Hang, Fault::Swallow));
    }

    #[test]
    fn what_is_no_fault_is_named_with_those_that_are() {
        let all = [
            "",
            "error",
            "errors=200%",
            "latency=0.5",
            "leak=0",
            "leak=fast",
            "leak=1:2:3:4",
            "crash=-1",
            "crash=inf",
            "hang=3",
        ];
        for text in all {
            let message = text.parse::<Fault>().unwrap_err().to_string();
            assert!(message.starts_with(&format!("{text:?} is not a fault: errors[=30%]")), "{message}");
        }
    }

    #[tokio::test]
    async fn errors_are_drawn_for_each_task() {
        let fault = Fault::Errors { share: 0.3 };
        let mut failed = 0;
        for _ in 0..2000 {
            failed += u32::from(fault.spoil(Ok(Value::Null), Duration::ZERO).await.is_err());
        }
        // Five standard deviations.
        assert!((500..=700).contains(&failed), "{failed} of 2000");
    }

    #[tokio::test]
    async fn a_slow_task_takes_a_multiple_of_its_own_time() {
        let began = Instant::now();
        let slow = Fault::Latency { times: 3.0 }.spoil(Ok("x".into()), Duration::from_millis(20)).await;
        assert_eq!(slow.unwrap(), "x");
        assert!(began.elapsed() >= Duration::from_millis(40));
    }
}
