//! Names and numbers that must not mix. Each is its own type, so that an agent's name can never stand where
//! a model's is wanted.

use std::{fmt, net::Ipv4Addr, sync::Arc};

use serde::{Deserialize, Serialize};

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            pub fn new(name: impl Into<Arc<str>>) -> Self {
                Self(name.into())
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &self.0)
            }
        }

        impl From<&str> for $name {
            fn from(name: &str) -> Self {
                Self::new(name)
            }
        }
    };
}

name!(
    /// An agent: one named role in the fleet, served by one active instance at a time.
    AgentName
);
name!(
    /// The kind of an agent; tasks can be submitted for a type instead of an agent.
    AgentType
);
name!(
    /// The name that a user gave to a revision, such as `v2`. Its identity is [`RevisionId`].
    RevisionName
);
name!(
    /// The content hash of a resolved revision.
    RevisionId
);
name!(
    /// A phase of a rollout.
    PhaseName
);
name!(
    /// The secret path segment by which an instance identifies itself to the gateway.
    InstanceToken
);

/// A model as the model server names it, always with its tag: `tinyllama` is `tinyllama:latest` (R95).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct ModelName(Arc<str>);

impl ModelName {
    pub fn new(name: &str) -> Self {
        let last = name.rsplit('/').next().unwrap_or(name);
        if last.contains(':') || name.is_empty() { Self(name.into()) } else { Self(format!("{name}:latest").into()) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for ModelName {
    fn from(name: String) -> Self {
        Self::new(&name)
    }
}

impl From<ModelName> for String {
    fn from(name: ModelName) -> Self {
        name.0.as_ref().to_owned()
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &self.0)
    }
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number!(
    /// A rollout, counted from 1 in the order in which they were started.
    RolloutId
);
number!(
    /// The version of the route table. Each cutover makes exactly one; the gateway's is the truth.
    Generation
);
number!(
    /// One running copy of an agent. Numbers are never used twice in one state directory.
    InstanceId
);
number!(
    /// Says which instance of an agent may take new leases and requests. Grows at each cutover of the agent.
    Fence
);

impl InstanceId {
    /// The loopback address that names this instance to the gateway: clients that drop a base path are
    /// known by the address they called. `127.64.0.0/10` leaves `127.0.0.1` and its neighbours alone.
    pub fn address(self) -> Ipv4Addr {
        self.address_from(0)
    }

    /// The same in a block that begins at `base`: each state directory has its own, so that two fleets on one
    /// machine do not meet.
    pub fn address_from(self, base: u32) -> Ipv4Addr {
        const FIRST: u32 = 0x7f40_0000;
        const MASK: u64 = 0x003f_ffff;
        let offset = (self.0.wrapping_add(u64::from(base)) & MASK) as u32;
        Ipv4Addr::from(FIRST | offset)
    }
}

/// Blue runs now, green is being rolled out. After commit green becomes the next rollout's blue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    Blue,
    Green,
}

impl Side {
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Blue => Self::Green,
            Self::Green => Self::Blue,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Blue => "blue",
            Self::Green => "green",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_without_tag_is_its_latest() {
        assert_eq!(ModelName::new("tinyllama"), ModelName::new("tinyllama:latest"));
        assert_ne!(ModelName::new("qwen2.5-coder:7b"), ModelName::new("qwen2.5-coder"));
        assert_eq!(ModelName::new("reg:5000/lib/phi").as_str(), "reg:5000/lib/phi:latest");
    }

    #[test]
    fn neighbouring_instances_have_addresses_of_their_own() {
        assert_eq!(InstanceId(1).address(), Ipv4Addr::new(127, 64, 0, 1));
        assert_eq!(InstanceId(300).address(), Ipv4Addr::new(127, 64, 1, 44));
        assert!(InstanceId(u64::MAX).address().is_loopback());
        assert_eq!(InstanceId(1).address_from(0x003f_ffff), Ipv4Addr::new(127, 64, 0, 0));
    }
}
