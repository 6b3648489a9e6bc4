//! What only a running controller can tell: whether it is reachable, whether its agents work, whether there is
//! traffic to measure a baseline from, and whether a rollback was ever rehearsed.

use std::time::Duration;

use bellwether_control::types::Status;
use bellwether_core::{
    rollout::{RolloutView, State, Trigger},
    spec::{DrillPolicy, Release, Spec},
};
use tokio::time::timeout;

use super::Check;
use crate::{
    client::Control,
    limits,
    view::stage,
    wording::{counted, some},
};

const PATIENCE: Duration = Duration::from_secs(10);
/// Fewer outcomes than this cannot rule out that one of twenty fails: 0.95^59 is below 5 %.
const OUTCOMES_MIN: f64 = 59.0;
const API: &str = "control API";
const AGENTS: &str = "agents";
const BASELINE: &str = "baseline";
const DRILL: &str = "rollback drill";

pub(super) struct Controller {
    url: String,
    control: Control,
    found: Result<(Status, Vec<RolloutView>), Absent>,
}

enum Absent {
    /// Nobody listens.
    Nobody,
    /// Somebody does, and it is not a controller of ours.
    Strange(String),
}

/// A controller that runs the fleet which is being checked.
#[derive(Clone, Copy)]
pub(super) struct Serving<'c> {
    pub(super) control: &'c Control,
    pub(super) status: &'c Status,
    rollouts: &'c [RolloutView],
}

impl Controller {
    pub(super) async fn find(url: &str) -> Self {
        let control = Control::new(url);
        let ask = async {
            let status = control.get::<Status>("/v1/status").await?;
            Ok((status, control.get::<Vec<RolloutView>>("/v1/rollouts").await?))
        };
        let found = match timeout(PATIENCE, ask).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(failure)) => {
                let failure: crate::failure::Failure = failure;
                match failure.diagnostics.first() {
                    Some(diagnostic) if diagnostic.code == "BW0304" => Err(Absent::Nobody),
                    Some(diagnostic) => Err(Absent::Strange(diagnostic.cause.clone().unwrap_or_default())),
                    None => Err(Absent::Strange(failure.to_string())),
                }
            }
            Err(_elapsed) => Err(Absent::Strange(format!("no answer within {} s", PATIENCE.as_secs()))),
        };
        Self { url: url.to_owned(), control, found }
    }

    pub(super) fn serving(&self, spec: &Spec) -> Option<Serving<'_>> {
        let (status, rollouts) = self.found.as_ref().ok()?;
        (status.fleet == spec.fleet).then_some(Serving { control: &self.control, status, rollouts })
    }

    pub(super) fn checks_without_fleet(&self) -> Vec<Check> {
        vec![self.api_check(None)]
    }

    pub(super) fn checks(&self, spec: &Spec, release: Option<&Release>, serving: Option<Serving<'_>>) -> Vec<Check> {
        let mut checks = vec![self.api_check(Some(spec))];
        let Some(serving) = serving else {
            let why = "no controller of this fleet runs";
            checks.push(Check::skipped(AGENTS, why));
            checks.push(Check::skipped(BASELINE, why));
            checks.push(no_drill_known(spec));
            return checks;
        };
        checks.push(agents(serving.status));
        checks.push(baseline(spec, serving.status));
        checks.push(drill(spec, release, serving.rollouts));
        checks
    }

    fn api_check(&self, spec: Option<&Spec>) -> Check {
        match &self.found {
            Err(Absent::Nobody) => Check::skipped(
                API,
                format!("no controller answers at {}: what only a running fleet can show is not checked", self.url),
            ),
            Err(Absent::Strange(why)) => Check::failed(
                API,
                format!("{} does not answer as a controller of this version does: {why}", self.url),
                "name the controller's address with --control, or end what uses that port",
            ),
            Ok((status, _)) if spec.is_some_and(|spec| spec.fleet != status.fleet) => Check::failed(
                API,
                format!("{} runs the fleet {:?}, and not the one in the file", self.url, status.fleet),
                "name the right controller with --control, or the right file with --fleet",
            ),
            Ok((Status { disk: Some(why), .. }, _)) => Check::failed(
                API,
                format!("{} cannot record anything: {why}", self.url),
                "make room on the disk of the state directory; `bellwether explain BW0345` says what goes on meanwhile",
            ),
            Ok((status, rollouts)) => {
                let evidence = format!("{} runs {}", self.url, status.fleet);
                match rollouts.last().filter(|last| !last.state.is_over()) {
                    None => Check::ok(API, evidence),
                    Some(last) => Check::warning(
                        API,
                        format!("{evidence}; rollout {} is not over: {}", last.id, stage(last)),
                        match last.state {
                            State::Completed => {
                                "`bellwether rollout commit` or `rollback` ends it; only then another begins"
                            }
                            _ => {
                                "another rollout begins only when this one is over; `bellwether rollout watch` follows it"
                            }
                        },
                    ),
                }
            }
        }
    }
}

fn agents(status: &Status) -> Check {
    let all = &status.controller.agents;
    let without: Vec<&str> =
        all.iter().filter(|agent| agent.serving.is_none()).map(|agent| agent.name.as_str()).collect();
    if without.is_empty() {
        return Check::ok(AGENTS, format!("all {} have a ready instance with their traffic", all.len()));
    }
    Check::failed(
        AGENTS,
        format!("{} of {} have no ready instance: {}", without.len(), all.len(), some(without.iter().copied(), 5)),
        "read their logs under logs/ in the state directory; what does not work before a rollout cannot be judged after it",
    )
}

fn baseline(spec: &Spec, status: &Status) -> Check {
    let live = &status.live;
    let rate = live.blue.tasks_per_second + live.green.tasks_per_second;
    let span = spec.rollout.baseline;
    let expected = rate * span.as_secs_f64();
    let seen = format!("{rate:.1} tasks/s in the last {}", counted(seconds(live.seconds), "second", "seconds"));
    if live.seconds == 0 || rate <= 0.0 {
        return Check::warning(
            BASELINE,
            format!("{seen}: a baseline of {span} without traffic has nothing to compare with"),
            "begin when the fleet has its usual traffic; pushed requests count too, and are not in this figure",
        );
    }
    let evidence = format!("{seen}: about {expected:.0} outcomes in a baseline of {span}");
    if expected < OUTCOMES_MIN {
        let remedy = "begin when there is more traffic, or measure longer: `rollout start --baseline`; below 59 outcomes \
                      nothing can show that fewer than one of twenty fails";
        return Check::warning(BASELINE, evidence, remedy);
    }
    Check::ok(BASELINE, evidence)
}

fn seconds(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

fn drill(spec: &Spec, release: Option<&Release>, rollouts: &[RolloutView]) -> Check {
    let of_release = |rollout: &&RolloutView| release.is_none_or(|release| release.revision == rollout.release);
    let last = rollouts.iter().rev().filter(|rollout| rollout.drill).find(of_release);
    let Some(last) = last else { return none_yet(spec, "no drill of this release was made here") };
    let record = last.rollback.as_ref().filter(|record| record.trigger == Trigger::Drill);
    match record.and_then(|record| record.end_to_end()) {
        Some(took) if last.state == State::RolledBack && record.is_some_and(limits::kept) => {
            Check::ok(DRILL, format!("rollout {}, of {}: back on validated blue after {took}", last.id, last.release))
        }
        Some(took) => none_yet(spec, &format!("the drill in rollout {} missed a limit; it took {took}", last.id)),
        None => none_yet(spec, &format!("the drill in rollout {} did not come to its end: {}", last.id, stage(last))),
    }
}

fn no_drill_known(spec: &Spec) -> Check {
    match spec.rollout.drill {
        DrillPolicy::Optional => Check::skipped(DRILL, "no controller of this fleet runs, which would know of drills"),
        DrillPolicy::Required => none_yet(spec, "no controller of this fleet runs, which would know of drills"),
    }
}

fn none_yet(spec: &Spec, evidence: &str) -> Check {
    let remedy = "rehearse it on the first agents: `bellwether drill --release FILE`";
    match spec.rollout.drill {
        DrillPolicy::Optional => Check::warning(DRILL, evidence, remedy),
        DrillPolicy::Required => {
            Check::failed(DRILL, format!("{evidence}, and the fleet file requires one (`rollout.drill`)"), remedy)
        }
    }
}
