//! Who makes a model call, as far as the gateway can tell.

use bellwether_core::id::{AgentName, InstanceId, Side};

/// An identified caller of the model API.
pub(crate) struct Caller {
    /// The account that is charged. Blue and green of an agent share one; unidentified callers share one.
    pub(crate) agent: AgentName,
    /// None for named clients and for the unidentified.
    pub(crate) instance: Option<InstanceId>,
    pub(crate) side: Side,
    /// The task that the call works for, where it says so or where the instance holds just one.
    pub(crate) task: Option<String>,
    /// Keeps the instance from counting as empty. Must live as long as the response body.
    pub(crate) hold: Option<Box<dyn Send>>,
}
