//! Fleet and release file, and whether the two make a plan.

use bellwether_control::types::StartRequest;
use bellwether_core::{
    plan::{self, Measured, Plan},
    spec::{AgentSpec, Release, Revision, Spec, unit::Size},
};

use super::{Asked, Check, controller::Serving};
use crate::{
    failure::Failure,
    files::{SourceFile, load_fleet_and_sources, load_release, now, present_memory, read_release},
    wording::counted,
};

/// What the files say, as far as they could be read.
pub(super) struct Files {
    pub(super) spec: Option<Spec>,
    pub(super) release: Option<Release>,
    /// Everything that was read, for the backup.
    pub(super) sources: Vec<SourceFile>,
    fleet: String,
    fleet_refused: Option<Failure>,
    release_refused: Option<Failure>,
}

impl Files {
    pub(super) fn read(asked: &Asked) -> Self {
        let mut files = Self {
            spec: None,
            release: None,
            sources: Vec::new(),
            fleet: asked.fleet.display().to_string(),
            fleet_refused: None,
            release_refused: None,
        };
        match load_fleet_and_sources(&asked.fleet) {
            Ok((mut spec, sources)) => {
                if let Some(url) = &asked.ollama {
                    spec.ollama.url.clone_from(url);
                }
                files.spec = Some(spec);
                files.sources = sources;
            }
            Err(failure) => files.fleet_refused = Some(failure),
        }
        if let Some(path) = &asked.release {
            match load_release(path).and_then(|release| Ok((release, read_release(path)?))) {
                Ok((release, (_name, text))) => {
                    files.release = Some(release);
                    files.sources.push(SourceFile { path: path.clone(), text });
                }
                Err(failure) => files.release_refused = Some(failure),
            }
        }
        files
    }

    pub(super) fn fleet_check(&self) -> Check {
        const NAME: &str = "fleet file";
        match (&self.spec, &self.fleet_refused) {
            (Some(spec), _) => {
                let phases = counted(spec.rollout.phases.len(), "phase", "phases");
                Check::ok(NAME, format!("{}: {}, {phases}", self.fleet, agents(spec.agents.len())))
            }
            (None, Some(failure)) => refused(NAME, failure),
            (None, None) => Check::skipped(NAME, "it was not read"),
        }
    }

    /// Asks the controller where one runs: it knows what the agents were measured to need.
    pub(super) async fn plan_check(&self, serving: Option<&Serving<'_>>) -> Check {
        const NAME: &str = "release and plan";
        if let Some(failure) = &self.release_refused {
            return refused(NAME, failure);
        }
        let (Some(spec), Some(release)) = (&self.spec, &self.release) else {
            return Check::skipped(NAME, "no release was named; --release FILE has it checked and planned");
        };
        let planned = match (serving, self.sources.last()) {
            (Some(serving), Some(source)) => {
                let request = StartRequest {
                    file: source.path.display().to_string(),
                    release: source.text.clone(),
                    speed: 1.0,
                    baseline: None,
                    drill: false,
                    with_running_fleet: false,
                    override_freeze: None,
                    dry_run: false,
                    by: "check".to_owned(),
                };
                serving.control.post::<Plan>("/v1/plans", &request).await.map(|plan| (plan, "with measured needs"))
            }
            _ => {
                let measured = Measured { present_memory_bytes: present_memory(), ..Measured::default() };
                let made = plan::make(spec, release, &measured, 1.0);
                let made = made.and_then(|plan| now(plan, spec)).map_err(Failure::invalid);
                made.map(|plan| (plan, "with assumed needs"))
            }
        };
        match planned {
            Ok((plan, how)) => Check::ok(
                NAME,
                format!(
                    "{}: {} in {}; memory peak {} below a ceiling of {}, {how}",
                    plan.release,
                    agents(plan.agents().count()),
                    counted(plan.phases.len(), "phase", "phases"),
                    Size(plan.budget.peak_bytes),
                    Size(plan.budget.ceiling_bytes),
                ),
            ),
            Err(failure) => refused(NAME, &failure),
        }
    }

    /// Every agent with what it runs, and with what the release makes of it.
    pub(super) fn revisions(&self) -> Vec<(&AgentSpec, Revision)> {
        let agents = self.spec.iter().flat_map(|spec| &spec.agents);
        agents
            .flat_map(|agent| {
                let blue = agent.revision.clone();
                let green = self.release.as_ref().map(|release| plan::revision_of(agent, release));
                let green = green.filter(|green| green.id != blue.id);
                std::iter::once(blue).chain(green).map(move |revision| (agent, revision))
            })
            .collect()
    }
}

fn refused(name: &'static str, failure: &Failure) -> Check {
    let codes = failure.diagnostics.iter().map(|diagnostic| diagnostic.code).next();
    let more = codes.map_or(String::new(), |code| format!("; `bellwether explain {code}` says more"));
    Check::failed(name, failure.to_string().trim_end(), format!("correct what is named{more}"))
}

fn agents(count: usize) -> String {
    counted(count, "agent", "agents")
}
