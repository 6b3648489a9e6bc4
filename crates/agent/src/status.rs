//! What an agent says of itself, in the words of the protocol.

use serde::Serialize;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    #[default]
    Initializing,
    Registering,
    Active,
    /// Holds as many tasks as it may.
    Busy,
    /// The model server failed so often in a row that no task is taken until a probe succeeds; or the main loop hangs.
    Error,
    ShuttingDown,
    Stopped,
}

impl Status {
    pub const ALL: [Self; 7] = [
        Self::Initializing,
        Self::Registering,
        Self::Active,
        Self::Busy,
        Self::Error,
        Self::ShuttingDown,
        Self::Stopped,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Initializing => "initializing",
            Self::Registering => "registering",
            Self::Active => "active",
            Self::Busy => "busy",
            Self::Error => "error",
            Self::ShuttingDown => "shutting_down",
            Self::Stopped => "stopped",
        }
    }

    /// It takes tasks, or would if it had room.
    pub fn is_ready(self) -> bool {
        match self {
            Self::Active | Self::Busy => true,
            Self::Initializing | Self::Registering | Self::Error | Self::ShuttingDown | Self::Stopped => false,
        }
    }

    pub fn is_healthy(self) -> bool {
        match self {
            Self::Initializing | Self::Registering | Self::Active | Self::Busy | Self::ShuttingDown => true,
            Self::Error | Self::Stopped => false,
        }
    }
}
