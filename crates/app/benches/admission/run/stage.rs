//! Two simulated servers alike, and a gateway in front of the second.

use std::time::Duration;

use serde_json::json;

use super::ledger::Ledger;
use crate::model_load::{Load, Report, Server};

/// As the real server had on which the loads were measured first.
pub(crate) const SLOTS: u32 = 2;
/// So is its patience.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
pub(crate) const CLIENTS: usize = 131;
pub(crate) const MODELS: &str = "a,b,c";

pub(crate) struct Stage {
    direct: Server,
    behind: Server,
    gateway: Server,
}

/// Direct, and through the gateway.
pub(crate) struct Both {
    pub(crate) direct: Report,
    pub(crate) gateway: Report,
}

impl Stage {
    /// `more` is said to the gateway.
    pub(crate) fn new(models: &str, more: &[&str]) -> Result<Self, String> {
        let simulated = || Server::simulated(models, &json!({}));
        let (direct, behind) = (simulated()?, simulated()?);
        let slots = SLOTS.to_string();
        let arguments = [&["gateway", "--ollama", &behind.url, "--slots", &slots], more].concat();
        let gateway = Server::start(&arguments, "")?;
        Ok(Self { direct, behind, gateway })
    }

    /// Each client has its own account at the gateway.
    pub(crate) fn both(&self, load: &Load<'_>) -> Result<Both, String> {
        let reports = load.run(&[&self.direct.url, &self.client("{client}")])?;
        let [direct, gateway] = <[Report; 2]>::try_from(reports).map_err(|_| "not both were measured")?;
        Ok(Both { direct, gateway })
    }

    /// Where a client of this name calls. All who call there are one client to the gateway.
    pub(crate) fn client(&self, name: &str) -> String {
        format!("{}/m/{name}", self.gateway.url)
    }

    pub(crate) fn ledger_direct(&self) -> Result<Ledger, String> {
        Ledger::of(&self.direct.url)
    }

    pub(crate) fn ledger_behind(&self) -> Result<Ledger, String> {
        Ledger::of(&self.behind.url)
    }
}

/// Everybody asks in the same class, the first, so that the bound of a wait has no time in it until others are passed.
pub(crate) fn load(clients: usize, models: &str, warm_up: Duration, span: Duration) -> Load<'_> {
    let more = vec!["--header".to_owned(), "X-Bellwether-Class: interactive".to_owned()];
    Load { clients, models, patience: PATIENCE, warm_up, span, seed: 1, more }
}
