//! What a rollout depends on, looked at before one begins (R60). Each check has a name, a result, the evidence
//! that it rests on, and where something is to be done, what.
//!
//! Nothing is changed: the only file that is written and stays is the backup, and that can be declined.

mod clock;
mod commands;
mod contexts;
mod controller;
mod files;
mod machine;
mod model_server;
mod ports;
mod slots;
mod state;
mod text;

use std::{net::SocketAddr, path::PathBuf};

use serde::Serialize;

pub(crate) use self::text::render;
use self::{clock::Clocks, controller::Controller, files::Files, model_server::ModelServer};

/// What is to be looked at.
pub(crate) struct Asked {
    pub(crate) fleet: PathBuf,
    pub(crate) release: Option<PathBuf>,
    pub(crate) control: String,
    pub(crate) listen: SocketAddr,
    pub(crate) state: PathBuf,
    /// In place of the model server in the fleet file.
    pub(crate) ollama: Option<String>,
    /// A model may be asked to generate a few words.
    pub(crate) generate: bool,
    pub(crate) backup: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Result {
    Ok,
    /// It could not be looked at; the evidence says why.
    Skipped,
    Warning,
    Failed,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Check {
    pub(crate) name: &'static str,
    pub(crate) result: Result,
    /// What was seen.
    pub(crate) evidence: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) remedy: Option<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// None where the fleet file cannot be read.
    pub(crate) fleet: Option<String>,
    /// No check failed.
    pub(crate) ready: bool,
    pub(crate) verdict: String,
    /// In the order in which they were made.
    pub(crate) checks: Vec<Check>,
}

impl Check {
    pub(crate) fn ok(name: &'static str, evidence: impl Into<String>) -> Self {
        Self { name, result: Result::Ok, evidence: evidence.into(), remedy: None }
    }

    pub(crate) fn skipped(name: &'static str, why: impl Into<String>) -> Self {
        Self { name, result: Result::Skipped, evidence: why.into(), remedy: None }
    }

    pub(crate) fn warning(name: &'static str, evidence: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, result: Result::Warning, evidence: evidence.into(), remedy: Some(remedy.into()) }
    }

    pub(crate) fn failed(name: &'static str, evidence: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, result: Result::Failed, evidence: evidence.into(), remedy: Some(remedy.into()) }
    }
}

impl Report {
    fn new(fleet: Option<String>, checks: Vec<Check>) -> Self {
        let count = |result| checks.iter().filter(|check| check.result == result).count();
        let (failed, warnings, skipped) = (count(Result::Failed), count(Result::Warning), count(Result::Skipped));
        let verdict = text::verdict(checks.len(), failed, warnings, skipped);
        Self { fleet, ready: failed == 0, verdict, checks }
    }
}

/// Looks at everything once. A check that depends on another which failed is skipped, and says so.
pub(crate) async fn run(asked: &Asked) -> Report {
    let clocks = Clocks::read();
    let controller = Controller::find(&asked.control).await;
    let files = Files::read(asked);
    let mut checks = vec![files.fleet_check()];
    let Some(spec) = &files.spec else {
        checks.extend(controller.checks_without_fleet());
        checks.extend(machine::checks(None, None));
        checks.push(clocks.check(&asked.state));
        return Report::new(None, checks);
    };
    let serving = controller.serving(spec);
    let revisions = files.revisions();
    let plan = files.plan_check(serving.as_ref()).await;
    checks.push(plan);
    checks.push(commands::check(&revisions));
    let server = ModelServer::find(&spec.ollama.url).await;
    checks.push(server.check());
    let models = server.models_check(&revisions).await;
    checks.push(models.check);
    checks.push(server.generation_check(asked, serving.is_some(), models.ask.as_deref()).await);
    checks.push(slots::check(asked, spec, &server, serving.as_ref(), models.ask.as_deref()).await);
    checks.push(contexts::check(&revisions));
    checks.push(ports::check(asked, serving.is_some()).await);
    checks.extend(machine::checks(Some(spec), serving));
    checks.push(state::check(&asked.state, &spec.fleet));
    checks.push(state::backup(asked, &files.sources));
    checks.extend(controller.checks(spec, files.release.as_ref(), serving));
    checks.push(clocks.check(&asked.state));
    Report::new(Some(spec.fleet.clone()), checks)
}

#[cfg(test)]
mod tests;
