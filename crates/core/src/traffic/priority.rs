//! How urgent a task is, and what place in line that gives it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::time::{Millis, UnixMillis};

/// The classes of the seed's newer base, most urgent first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    Critical,
    High,
    #[default]
    Normal,
    Low,
    Background,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a priority is critical, high, normal, low or background, not {0:?}")]
pub struct BadPriority(String);

impl Priority {
    pub const ALL: [Self; 5] = [Self::Critical, Self::High, Self::Normal, Self::Low, Self::Background];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
            Self::Background => "background",
        }
    }

    /// Smaller is sooner. A class is a head start of one `ageing` over the next: what waits longer than that is
    /// overtaken no more, so nothing starves, and a place never changes.
    pub(super) fn rank(self, arrived: UnixMillis, ageing: Millis) -> u64 {
        let class = self as u64;
        arrived.0.saturating_add(ageing.0.saturating_mul(class))
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Priority {
    type Err = BadPriority;

    fn from_str(text: &str) -> Result<Self, BadPriority> {
        Self::ALL.into_iter().find(|priority| priority.as_str() == text).ok_or_else(|| BadPriority(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_a_head_start_and_no_more() {
        let ageing = Millis::from_secs(60);
        let rank = |priority: Priority, secs: u64| priority.rank(UnixMillis(secs * 1000), ageing);
        assert!(rank(Priority::High, 59) < rank(Priority::Normal, 0));
        assert!(rank(Priority::High, 61) > rank(Priority::Normal, 0), "it has waited longer than a head start");
        assert!(rank(Priority::Critical, 239) < rank(Priority::Background, 0));
        assert!(rank(Priority::Low, 0) < rank(Priority::Low, 1));
    }

    #[test]
    fn names_are_those_of_the_protocol() {
        for priority in Priority::ALL {
            assert_eq!(priority.as_str().parse(), Ok(priority));
            assert_eq!(priority.to_string(), priority.as_str());
            assert_eq!(serde_json::to_value(priority).unwrap(), priority.as_str());
        }
        let error = "urgent".parse::<Priority>().unwrap_err().to_string();
        assert!(error.contains("critical, high, normal, low or background"), "{error}");
    }
}
