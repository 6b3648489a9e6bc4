//! What a controller wants done. The reactor carries these out after the event that caused them is journaled.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    id::{AgentName, Generation, InstanceId, RevisionId, RolloutId, Side},
    port::gateway::Move,
    time::Millis,
};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// Make the instance known to the gateway, then answer [`super::Event::Enrolled`].
    Enrol {
        instance: InstanceId,
        agent: AgentName,
        side: Side,
        revision: RevisionId,
    },
    Start {
        instance: InstanceId,
        agent: AgentName,
        side: Side,
        revision: RevisionId,
    },
    Stop {
        instance: InstanceId,
        grace: Millis,
    },
    Freeze {
        instance: InstanceId,
    },
    Thaw {
        instance: InstanceId,
    },
    /// Ask its health endpoint until it answers 200 or the instance is gone.
    Probe {
        instance: InstanceId,
    },
    /// Have the gateway give it a synthetic task, and then another until one was answered well. Each answer is told as
    /// [`super::Event::TriedOut`].
    TryOut {
        instance: InstanceId,
        fields: BTreeMap<String, String>,
    },
    CutOver {
        generation: Generation,
        moves: Vec<Move>,
        drain: Millis,
        revoke: bool,
    },
    /// Its process is gone; `asked` says that it was told to end.
    Lost {
        instance: InstanceId,
        asked: bool,
    },
    Retire {
        instances: Vec<InstanceId>,
    },
    Settle {
        instances: Vec<InstanceId>,
    },
    /// Look at the gateway and the driver, then answer [`super::Event::Converge`].
    Observe,
    /// Begin to count for this window, then answer [`super::Event::WindowOpened`].
    OpenWindow {
        rollout: RolloutId,
        window: Window,
    },
    MeasureBaseline {
        rollout: RolloutId,
    },
    /// Look whether blue works now that it has the traffic again, and answer [`super::Event::RollbackChecked`], once
    /// something can be said and whenever that changes.
    CheckBlue {
        rollout: RolloutId,
    },
    Judge {
        rollout: RolloutId,
        window: Window,
        look: u32,
    },
}

/// A span that is judged as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    Baseline,
    Phase(usize),
    Validation,
}
