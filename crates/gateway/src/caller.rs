//! Who makes a model call, as far as the gateway can tell.

use bellwether_core::id::{AgentName, InstanceId, Side};

use crate::work::CallSigns;

/// An identified caller of the model API.
pub(crate) struct Caller {
    /// The account that is charged. Blue and green of an agent share one; unidentified callers share one.
    pub(crate) agent: AgentName,
    /// None for named clients and for the unidentified.
    pub(crate) instance: Option<InstanceId>,
    pub(crate) side: Side,
    /// The task that the call works for, where it says so or where the instance holds just one.
    pub(crate) task: Option<String>,
    /// What the call says of the instance's work; none where it says nothing.
    pub(crate) signs: Option<CallSigns>,
    /// Must live as long as the response body.
    pub(crate) hold: Option<Box<dyn Hold>>,
}

/// Keeps the instance from counting as empty, and learns of each piece of the answer that it takes.
pub(crate) trait Hold: Send + Sync {
    fn passed(&self);
}

impl Caller {
    /// A caller that is no instance.
    pub(crate) fn outside(account: AgentName) -> Self {
        Self { agent: account, instance: None, side: Side::Blue, task: None, signs: None, hold: None }
    }
}
