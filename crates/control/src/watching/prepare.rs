//! Reads what a watch needs from the gateway's spool, off the reactor's loop.

use std::sync::Arc;

use bellwether_core::{
    analysis::Baseline,
    id::RolloutId,
    observation::Second,
    rollout::Rollout,
    spec::Spec,
    time::UnixMillis,
    watch::{Alarm, Watch, WatchSetup},
};
use tokio::{sync::mpsc, task::spawn_blocking};

use super::phase_at;
use crate::{
    evidence::{Evidence, Missing, insist},
    reactor::Input,
};

/// What has to be read.
#[derive(Debug)]
pub(crate) enum Job {
    /// The baseline, and everything after this record.
    Prepare { rollout: Box<Rollout>, after: u64 },
    /// What lies after this record.
    Fetch { rollout: RolloutId, after: u64 },
}

/// What came of reading for a watch.
pub(crate) enum Prepared {
    Ready {
        watch: Box<Watch>,
        /// The number of the last record that went in.
        fed: u64,
        /// What was raised on the way, each with the time of its record.
        alarms: Vec<(UnixMillis, Alarm)>,
    },
    /// What serves as the baseline does not suffice.
    NoBaseline(String),
    /// The gateway did not hand it out.
    Unreadable,
}

impl Job {
    /// `spec` is the fleet as it runs.
    pub(crate) async fn run(self, evidence: Evidence, spec: Arc<Spec>, inputs: mpsc::Sender<Input>) {
        let answer = match self {
            Self::Prepare { rollout, after } => {
                let rollout = Arc::new(*rollout);
                let read = insist("prepare the watch", || prepare(&evidence, &rollout, &spec, after)).await;
                Input::Watch { rollout: rollout.id, prepared: read.unwrap_or(Prepared::Unreadable) }
            }
            Self::Fetch { rollout, after } => {
                let records = insist("read what the link did not deliver", || all_after(&evidence, after)).await;
                Input::Missed { rollout, records }
            }
        };
        if inputs.send(answer).await.is_err() {
            tracing::debug!("the reactor is gone");
        }
    }
}

async fn prepare(
    evidence: &Evidence,
    rollout: &Arc<Rollout>,
    spec: &Arc<Spec>,
    after: u64,
) -> Result<Prepared, Missing> {
    let baseline = match evidence.baseline(rollout).await? {
        Ok(baseline) => baseline,
        Err(error) => return Ok(Prepared::NoBaseline(error.to_string())),
    };
    let (fleet, plan) = (spec.clone(), rollout.plan.clone());
    let mut watch = spawn_blocking(move || Box::new(set_up(&fleet, &plan, &baseline))).await?;
    let (mut fed, mut alarms) = (after, Vec::new());
    loop {
        let (records, last) = evidence.page(fed).await?;
        let Some(newest) = records.last().map(|record| record.number) else { break };
        let rollout = rollout.clone();
        // A page of a large fleet is a second of work, which the reactor must not wait for.
        let replay = move || {
            let raised = replay(&mut watch, &rollout, &records);
            (watch, raised)
        };
        let raised;
        (watch, raised) = spawn_blocking(replay).await?;
        alarms.extend(raised);
        fed = newest;
        if newest >= last {
            break;
        }
    }
    Ok(Prepared::Ready { watch, fed, alarms })
}

async fn all_after(evidence: &Evidence, after: u64) -> Result<Vec<Second>, Missing> {
    let mut all = Vec::new();
    let mut next = after;
    loop {
        let (records, last) = evidence.page(next).await?;
        let Some(newest) = records.last().map(|record| record.number) else { return Ok(all) };
        all.extend(records);
        next = newest;
        if newest >= last {
            return Ok(all);
        }
    }
}

pub(super) fn set_up(spec: &Spec, plan: &bellwether_core::plan::Plan, baseline: &Baseline) -> Watch {
    let agents = spec.agents.iter();
    Watch::new(&WatchSetup {
        agents: agents.clone().map(|a| (a.name.clone(), a.agent_type.clone(), a.revision.model.clone())).collect(),
        triggers: &plan.triggers,
        error_margin: plan.criteria.error_rise_max,
        baseline,
        memory_capacity_bytes: plan.budget.capacity_bytes,
        memory_limits: agents.filter_map(|agent| Some((agent.name.clone(), agent.memory_limit_bytes?))).collect(),
    })
}

pub(super) fn replay(watch: &mut Watch, rollout: &Rollout, records: &[Second]) -> Vec<(UnixMillis, Alarm)> {
    let seconds = records.iter().flat_map(|second| {
        let raised = watch.second(second, phase_at(rollout, second.at));
        raised.into_iter().map(|alarm| (second.at, alarm))
    });
    seconds.collect()
}
