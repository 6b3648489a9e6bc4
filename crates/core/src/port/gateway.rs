//! What the controller asks of the gateway and what the gateway reports.
//!
//! The gateway's generation is the truth. An intent that was already carried out is answered as it was the
//! first time; an older one is refused with the generation that stands.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

use crate::{
    id::{AgentName, AgentType, Fence, Generation, InstanceId, InstanceToken, ModelName, Side},
    observation::Second,
    spec::Delivery,
    time::Millis,
};

/// Name and version of the link between controller and gateway.
pub const PROTOCOL: (&str, u32) = ("bellwether-gateway", 1);

/// An instance that the gateway should know. It may pull and be pushed to only after a cutover to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceCard {
    pub instance: InstanceId,
    pub agent: AgentName,
    pub agent_type: AgentType,
    pub model: ModelName,
    pub side: Side,
    pub token: InstanceToken,
    /// The loopback address that names the instance (see [`InstanceId::address`]).
    pub address: Ipv4Addr,
    /// Where the instance serves HTTP, if it does.
    pub upstream: Option<SocketAddr>,
    #[serde(default)]
    pub delivery: Delivery,
}

/// One agent changes hands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Move {
    pub agent: AgentName,
    pub to: InstanceId,
    /// A warm instance that the gateway itself may fall back to if `to` dies while no controller is there.
    pub fallback: Option<InstanceId>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "intent", rename_all = "snake_case")]
pub enum GatewayIntent {
    /// Make these instances known. Knowing one twice is knowing it once.
    Enrol { cards: Vec<InstanceCard> },
    /// One transaction, one generation, a new fence for each agent concerned. `generation` must be one more than the one that stands.
    CutOver {
        generation: Generation,
        moves: Vec<Move>,
        /// What the retired instances hold is revoked after this.
        drain: Millis,
        /// Revoke their leases at once: the trigger blames them.
        revoke: bool,
    },
    /// Forget instances that have ended: their tokens stop working, their leases return to the queue.
    Retire { instances: Vec<InstanceId> },
    /// The rollout is committed: these instances count as blue from here on.
    Settle { instances: Vec<InstanceId> },
    /// The instance's process is gone, expectedly or not: its leases return to the queue, and the route falls back where it can.
    /// `asked` says that it was told to end, so that its end is no failure of the tasks that it held.
    Lost {
        instance: InstanceId,
        #[serde(default)]
        asked: bool,
    },
    /// Give the instance a synthetic task with these fields, and another after a pause as long as none was answered well.
    /// It belongs to nobody, is not counted, and ends with the instance or with the gateway.
    TryOut { instance: InstanceId, fields: BTreeMap<String, String> },
    /// Everything, for a controller that has just started or missed events.
    Observe,
    /// One-second records after this number, at most 600 at a time.
    Seconds { after: u64 },
    /// Write what the store holds at this moment to a file of its own. No question is answered meanwhile.
    Copy { to: PathBuf },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum GatewayAnswer {
    Done {
        generation: Generation,
    },
    /// The intent's generation does not follow the one that stands.
    Stale {
        standing: Generation,
    },
    Refused {
        reason: String,
    },
    Observed(Box<GatewayView>),
    Seconds {
        records: Vec<Second>,
        last: u64,
    },
}

/// The state of the gateway as far as the controller has to know it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GatewayView {
    pub generation: Generation,
    pub routes: Vec<RouteView>,
    pub instances: Vec<InstanceView>,
    pub last_second: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RouteView {
    pub agent: AgentName,
    pub active: InstanceId,
    pub fence: Fence,
    pub fallback: Option<InstanceId>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceView {
    pub instance: InstanceId,
    pub agent: AgentName,
    /// It has asked for a task at least once.
    pub polled: bool,
    /// It has answered a synthetic task well.
    #[serde(default)]
    pub tried: bool,
    /// Since its last heartbeat. To be shown, and no more: heartbeats go on while everything else hangs (R90).
    #[serde(default)]
    pub heartbeat_age: Option<Millis>,
    /// No new claim can be granted to it.
    pub quiesced: bool,
    /// Requests, leases and model calls that it still holds.
    pub held: u64,
}

/// Pushed to the controller as it happens. After a reconnect the controller observes instead of guessing
/// what it missed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum GatewayEvent {
    /// First request for a task by this instance: its main loop runs.
    Polled { instance: InstanceId },
    /// An answer to a synthetic task. `fault` says what was wrong with it.
    TriedOut { instance: InstanceId, fault: Option<String> },
    /// The retired instance holds nothing any more: no request, no lease, no model call.
    Empty { instance: InstanceId, revoked: u64 },
    /// The gateway itself moved the agent to its fallback. This made a generation.
    FellBack { agent: AgentName, from: InstanceId, to: InstanceId, generation: Generation },
    /// A one-second record was closed.
    Second { record: Box<Second> },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::{Calls, Cell, Pushes, Signs, Tasks};

    #[test]
    fn a_second_with_times_in_it_survives_the_wire() {
        let mut tasks = Tasks { completed: 2, ..Tasks::default() };
        tasks.own_time.record(1_234);
        tasks.lease_time.record(98_765);
        let cell = Cell {
            agent: "a".into(),
            model: ModelName::new("m"),
            drawn: Side::Blue,
            served: Side::Green,
            tasks,
            calls: Calls::default(),
            pushes: Pushes::default(),
            signs: Signs::default(),
        };
        let record = Second { number: 7, cells: vec![cell], ..Second::default() };
        let answer = GatewayAnswer::Seconds { records: vec![record.clone()], last: 7 };
        let event = GatewayEvent::Second { record: Box::new(record) };
        let back = |text: String| serde_json::from_str(&text).unwrap();
        assert_eq!(answer, back(serde_json::to_string(&answer).unwrap()));
        let text = serde_json::to_string(&event).unwrap();
        assert_eq!(event, serde_json::from_str(&text).unwrap());
    }
}
