//! Fetches what was seen and hands it to the analysis. Stateless: every judgement is made from the gateway's
//! spooled records and the stored samples, so that a controller that was away judges the same.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use bellwether_core::{
    analysis::{self, AgentUsage, Baseline, ClientAccount, GateReport, JudgeInput, Judgement, Looks, SummaryInput},
    diagnostic::chain,
    id::{AgentName, AgentType},
    observation::Second,
    port::gateway::{GatewayAnswer, GatewayIntent, InstanceView},
    rollout::{Event, Rollout, Window},
    spec::Spec,
    time::UnixMillis,
};
use tokio::{sync::mpsc, task::spawn_blocking};

use crate::{api::types::ReportQuery, effects::send, journal::Journal, links::Link, reactor::Input, usage::Beat};

#[derive(Clone)]
pub(crate) struct Evidence {
    pub(crate) spec: Arc<Spec>,
    pub(crate) gateway: Link<GatewayAnswer>,
    pub(crate) journal: PathBuf,
}

/// Why evidence could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Missing {
    #[error("the gateway did not hand out its records")]
    Link(#[from] bellwether_link::Error),
    #[error("the gateway answered something else than its records: {0}")]
    Answer(String),
    #[error("the samples of memory and CPU could not be read")]
    Usage(#[from] crate::error::Error),
    #[error("a sample of memory and CPU is not of the agreed form")]
    Sample(#[from] serde_json::Error),
    #[error("the rollout has no window of this kind yet")]
    NoWindow,
    #[error("the reading of samples was ended")]
    Ended(#[from] tokio::task::JoinError),
}

impl Evidence {
    /// What the gateway knows of each instance.
    pub(crate) async fn instances(&self) -> Result<Vec<InstanceView>, Missing> {
        match self.gateway.ask_now(&GatewayIntent::Observe).await? {
            GatewayAnswer::Observed(view) => Ok(view.instances),
            other => Err(Missing::Answer(format!("{other:?}"))),
        }
    }

    pub(crate) async fn measure_baseline(self, rollout: &Rollout, inputs: &mpsc::Sender<Input>) {
        let measured = insist("measure the baseline", || async {
            match self.baseline_window(rollout, u64::MAX).await {
                Ok(window) => {
                    let until = window.last_second();
                    Ok((until, Baseline::new(window, rollout.plan.baseline).err().map(|error| error.to_string())))
                }
                Err(Missing::NoWindow) => Ok((0, Some("the window of the baseline was never opened".to_owned()))),
                Err(error) => Err(error),
            }
        });
        if let Some((until_second, refused)) = measured.await {
            send(inputs, Event::BaselineMeasured { rollout: rollout.id, until_second, refused }).await;
        }
    }

    pub(crate) async fn judge(self, rollout: &Rollout, window: Window, look: u32, inputs: &mpsc::Sender<Input>) {
        if let Some(report) = insist("judge", || self.report(rollout, window, look)).await {
            tracing::info!(rollout = %rollout.id, ?window, look, verdict = ?report.verdict(), "judged");
            send(inputs, Event::Judged { rollout: rollout.id, look, report }).await;
        }
    }

    /// R30 … R39 over everything since the baseline. Empty as long as there is no baseline to compare with.
    pub(crate) async fn summary(&self, rollout: &Rollout, query: &ReportQuery) -> Result<Vec<Judgement>, Missing> {
        let Some(until_second) = rollout.baseline_until_second else { return Ok(Vec::new()) };
        let Ok(baseline) = self.baseline(rollout).await? else { return Ok(Vec::new()) };
        let began = rollout.phases.first().map_or(rollout.started, |phase| phase.began);
        let ended = rollout.ended.unwrap_or(UnixMillis(u64::MAX));
        let whole = self.window(until_second, u64::MAX, began, ended).await?;
        let green_agents = rollout.plan.agents().map(|planned| planned.agent.clone()).collect();
        let Some(last) = rollout.plan.phases.last() else { return Ok(Vec::new()) };
        Ok(analysis::summary(&SummaryInput {
            criteria: &rollout.plan.criteria,
            gate: &last.gate,
            baseline: &baseline,
            whole: &whole,
            green_agents: &green_agents,
            rollbacks: u32::from(rollout.rollback.is_some()),
            client: client_account(query),
        }))
    }

    async fn report(&self, rollout: &Rollout, window: Window, look: u32) -> Result<GateReport, Missing> {
        let (record, gate, phases) = match window {
            Window::Baseline => return Err(Missing::NoWindow),
            Window::Phase(phase) => (
                rollout.phases.get(phase).ok_or(Missing::NoWindow)?,
                &rollout.plan.phases.get(phase).ok_or(Missing::NoWindow)?.gate,
                phase + 1,
            ),
            // All agents have been on green since the last bake began, and that is what is validated.
            Window::Validation => (
                rollout.phases.last().ok_or(Missing::NoWindow)?,
                &rollout.plan.phases.last().ok_or(Missing::NoWindow)?.gate,
                rollout.plan.phases.len(),
            ),
        };
        let baseline = self.baseline(rollout).await?.map_err(|error| Missing::Answer(error.to_string()))?;
        let after = record.after_second.ok_or(Missing::NoWindow)?;
        let from = record.bake_began.unwrap_or(record.began);
        let phase = self.window(after, u64::MAX, from, UnixMillis(u64::MAX)).await?;
        let green_agents = rollout.plan.phases[..phases]
            .iter()
            .flat_map(|phase| phase.batches.iter().flat_map(|batch| &batch.agents))
            .map(|planned| planned.agent.clone())
            .collect();
        let gates = u32::try_from(rollout.plan.phases.len() + 1).unwrap_or(u32::MAX);
        let looks_max = if rollout.plan.extension > 1.0 { 2 } else { 1 };
        Ok(analysis::judge(&JudgeInput {
            criteria: &rollout.plan.criteria,
            gate,
            baseline: &baseline,
            phase: &phase,
            green_agents: &green_agents,
            looks: Looks { look, looks_max, gates },
        }))
    }

    pub(crate) async fn baseline(
        &self,
        rollout: &Rollout,
    ) -> Result<Result<Baseline, analysis::BaselineError>, Missing> {
        let window = self.baseline_window(rollout, u64::MAX).await?;
        Ok(Baseline::new(window, rollout.plan.baseline))
    }

    async fn baseline_window(&self, rollout: &Rollout, until_second: u64) -> Result<analysis::Window, Missing> {
        let after = rollout.baseline_after_second.ok_or(Missing::NoWindow)?;
        let until_wall = rollout.phases.first().map_or(UnixMillis(u64::MAX), |phase| phase.began);
        self.window(after, rollout.baseline_until_second.unwrap_or(until_second), rollout.started, until_wall).await
    }

    /// All records in `(after, until]` and all samples between the two moments, added up.
    async fn window(
        &self,
        after: u64,
        until: u64,
        from_wall: UnixMillis,
        until_wall: UnixMillis,
    ) -> Result<analysis::Window, Missing> {
        let types = self.spec.agents.iter().map(|agent| (agent.name.clone(), agent.agent_type.clone()));
        let types: Arc<BTreeMap<AgentName, AgentType>> = Arc::new(types.collect());
        let mut window = analysis::Window::default();
        let mut next = after;
        while next < until {
            let (records, last) = self.page(next).await?;
            let Some(newest) = records.last().map(|record| record.number) else { break };
            let types = types.clone();
            // A page of a large fleet is a second of work, which the reactor must not wait for.
            let add = move || {
                let type_of = |name: &AgentName| types.get(name).cloned();
                for record in records.iter().filter(|record| record.number <= until) {
                    window.second(record, &type_of);
                }
                window
            };
            window = spawn_blocking(add).await?;
            next = newest;
            if newest >= last {
                break;
            }
        }
        let agents = u32::try_from(self.spec.agents.len()).unwrap_or(u32::MAX);
        let samples_until = until_wall.0.min(i64::MAX.cast_unsigned());
        self.stored(move |journal| {
            for without_ready in journal.availability(after, until)? {
                window.availability(agents, without_ready);
            }
            for text in journal.usage(from_wall.0, samples_until)? {
                let beat: Beat = serde_json::from_str(&text)?;
                let sample = beat.agents.into_iter().filter(|agent| agent.serving).filter_map(|agent| {
                    let cpu_cores = agent.cpu_cores?;
                    Some(AgentUsage {
                        agent: agent.agent,
                        side: agent.side,
                        memory_bytes: agent.memory_bytes,
                        cpu_cores,
                    })
                });
                window.usage(&sample.collect::<Vec<_>>());
            }
            Ok(window)
        })
        .await
    }

    /// The oldest records after this number, as many as the gateway hands out at once, and the number of its newest.
    pub(crate) async fn page(&self, after: u64) -> Result<(Vec<Second>, u64), Missing> {
        match self.gateway.ask(&GatewayIntent::Seconds { after }).await? {
            GatewayAnswer::Seconds { records, last } => Ok((records, last)),
            other => Err(Missing::Answer(format!("{other:?}"))),
        }
    }

    async fn stored<T, F>(&self, read: F) -> Result<T, Missing>
    where
        T: Send + 'static,
        F: FnOnce(&Journal) -> Result<T, Missing> + Send + 'static,
    {
        let path = self.journal.clone();
        spawn_blocking(move || read(&Journal::reader(&path)?)).await?
    }
}

const TRY_AGAIN: Duration = Duration::from_secs(1);
/// After this many tries the question rests until the controller looks at the world again.
const TRIES_MAX: u32 = 60;

/// A gate must not wait for ever because one reading failed.
pub(crate) async fn insist<T, F: Future<Output = Result<T, Missing>>>(what: &str, read: impl Fn() -> F) -> Option<T> {
    for attempt in 1..=TRIES_MAX {
        match read().await {
            Ok(value) => return Some(value),
            Err(error) => tracing::error!(error = chain(&error), attempt, "cannot {what} yet"),
        }
        tokio::time::sleep(TRY_AGAIN).await;
    }
    None
}

/// Only a client that told its requests has an account; what it left out counts as none.
fn client_account(query: &ReportQuery) -> Option<ClientAccount> {
    Some(ClientAccount {
        requests: query.client_requests?,
        failed: query.client_failed?,
        slower_than_150_percent: query.client_slower?,
        cut_streams: query.client_cut_streams?,
    })
}
