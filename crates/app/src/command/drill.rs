//! `bellwether drill`: the rollback, rehearsed.

use std::io::Write;

use bellwether_core::{
    rollout::{RolloutView, State},
    time::Millis,
};
use serde::Serialize;

use super::rollout::{Wanted, follow, show_dry_run};
use crate::{
    client::Control,
    failure::{Exit, Outcome},
    limits,
    output::{Output, cannot_write, print_json},
    runtime,
    view::stage,
};

/// Rehearse the rollback on the first agents of a release, and time it.
///
/// The first batch of the release is started, proven and cut over as in a rollout, and then taken back at once: traffic to
/// blue, green ended, blue validated. Each step is timed against its limit. Exit code 0 if all were kept, 1 if one was
/// missed or the drill did not come to its end, 5 if the preflight failed.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    wanted: Wanted,
    /// Say what would happen, with the plan of the drill, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Serialize)]
struct Drill {
    rollout: u64,
    release: String,
    /// It came to its end, and every step kept its limit.
    succeeded: bool,
    state: String,
    steps: Vec<Step>,
    /// What stood against blue, or against the baseline.
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<String>,
}

#[derive(Debug, Serialize)]
struct Step {
    name: &'static str,
    seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    requirement: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kept: Option<bool>,
}

pub(crate) fn run(args: Args) -> Outcome {
    runtime::block_on(async {
        let control = Control::new(&args.wanted.control.control);
        if args.dry_run {
            return show_dry_run(&args.wanted.rehearse(&control, true).await?, args.output);
        }
        let started = args.wanted.begin(&control, true).await?;
        eprintln!("rollout {} is a drill: its first agents move to green and back", started.rollout);
        let (rollout, _exit) = follow(&control, started.rollout.0, args.output).await?;
        let drill = Drill::of(&rollout);
        if args.output.is_json() {
            print_json(&drill)?;
        } else {
            let mut out = std::io::stdout().lock();
            for line in drill.text() {
                writeln!(out, "{line}").map_err(cannot_write)?;
            }
        }
        Ok(match rollout.state {
            State::PreflightFailed => Exit::PreflightFailed,
            _ if drill.succeeded => Exit::Done,
            _ => Exit::Error,
        })
    })?
}

impl Drill {
    fn of(rollout: &RolloutView) -> Self {
        let record = rollout.rollback.as_ref();
        let began = rollout.phases.first().and_then(|phase| phase.record.as_ref()).map(|record| record.began);
        let moved = began.and_then(|began| Some(record?.began.since(began)));
        let there = Step { name: "on green", seconds: moved.map(Millis::as_secs_f64), ..Step::unlimited() };
        // Nobody is harmed in a drill, so there is nothing to detect.
        let spans = record.map(|record| limits::spans(record).into_iter().skip(1)).into_iter().flatten();
        let back = spans.map(|span| Step {
            name: span.name,
            seconds: span.took.map(Millis::as_secs_f64),
            requirement: Some(span.requirement),
            limit_seconds: Some(span.limit.as_secs_f64()),
            kept: Some(span.is_kept() == Some(true)),
        });
        Self {
            rollout: rollout.id.0,
            release: rollout.release.to_string(),
            succeeded: rollout.state == State::RolledBack && record.is_some_and(limits::kept),
            state: stage(rollout),
            steps: std::iter::once(there).chain(back).collect(),
            fault: rollout.refused.clone().or_else(|| record.and_then(|record| record.fault.clone())),
        }
    }

    fn text(&self) -> Vec<String> {
        let mut lines = vec![format!("drill of release {}, as rollout {}", self.release, self.rollout), String::new()];
        for step in &self.steps {
            let took = step.seconds.map_or_else(|| "–".to_owned(), |seconds| format!("{seconds:.1} s"));
            let limit = match (step.requirement, step.limit_seconds, step.kept) {
                (Some(requirement), Some(limit), Some(kept)) => {
                    let kept = match (kept, step.seconds) {
                        (true, _) => "kept",
                        (false, Some(_)) => "missed",
                        (false, None) => "not reached",
                    };
                    format!("  {requirement}: below {limit:.0} s, {kept}")
                }
                _ => String::new(),
            };
            lines.push(format!("  {:<16}{took:>9}{limit}", step.name));
        }
        lines.push(String::new());
        lines.push(match (self.succeeded, &self.fault) {
            (true, _) => "the rollback works: every step kept its limit".to_owned(),
            (false, Some(fault)) => format!("the drill failed ({}): {fault}", self.state),
            (false, None) if self.steps.iter().all(|step| step.seconds.is_some()) => {
                "the drill failed: a limit was missed".to_owned()
            }
            (false, None) => format!("the drill failed: {}", self.state),
        });
        lines
    }
}

impl Step {
    fn unlimited() -> Self {
        Self { name: "", seconds: None, requirement: None, limit_seconds: None, kept: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(name: &'static str, requirement: &'static str, seconds: Option<f64>, limit: f64) -> Step {
        let kept = Some(seconds.is_some_and(|seconds| seconds < limit));
        Step { name, seconds, requirement: Some(requirement), limit_seconds: Some(limit), kept }
    }

    fn drill(validated: Option<f64>) -> Drill {
        Drill {
            rollout: 3,
            release: "v2".to_owned(),
            succeeded: validated.is_some_and(|seconds| seconds < 120.0),
            state: "rolled back".to_owned(),
            steps: vec![
                Step { name: "on green", seconds: Some(9.31), ..Step::unlimited() },
                step("traffic on blue", "R47", Some(0.04), 60.0),
                step("blue validated", "R48", validated, 120.0),
                step("in all", "R49", validated.map(|seconds| seconds + 0.04), 210.0),
            ],
            fault: validated.is_none().then(|| "health checks of billing fail".to_owned()),
        }
    }

    #[test]
    fn every_step_is_told_beside_its_limit() {
        insta::assert_snapshot!(drill(Some(1.4)).text().join("\n"), @r"
        drill of release v2, as rollout 3

          on green            9.3 s
          traffic on blue     0.0 s  R47: below 60 s, kept
          blue validated      1.4 s  R48: below 120 s, kept
          in all              1.4 s  R49: below 210 s, kept

        the rollback works: every step kept its limit
        ");
        insta::assert_snapshot!(drill(Some(150.0)).text().join("\n"), @r"
        drill of release v2, as rollout 3

          on green            9.3 s
          traffic on blue     0.0 s  R47: below 60 s, kept
          blue validated    150.0 s  R48: below 120 s, missed
          in all            150.0 s  R49: below 210 s, kept

        the drill failed: a limit was missed
        ");
        insta::assert_snapshot!(drill(None).text().join("\n"), @r"
        drill of release v2, as rollout 3

          on green            9.3 s
          traffic on blue     0.0 s  R47: below 60 s, kept
          blue validated          –  R48: below 120 s, not reached
          in all                  –  R49: below 210 s, not reached

        the drill failed (rolled back): health checks of billing fail
        ");
    }
}
