//! How urgent a model call is.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// In the order in which they are served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// A person waits.
    Interactive,
    /// An agent's work, and what does not say what it is.
    #[default]
    Task,
    /// Whenever there is room.
    Batch,
    /// Calls that only show whether something works.
    Probe,
    /// Copies of other calls, for comparison.
    Shadow,
}

/// Not the name of a class.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no class `{0}`; there is interactive, task, batch, probe and shadow")]
pub struct NoClass(String);

impl Class {
    pub const ALL: [Self; 5] = [Self::Interactive, Self::Task, Self::Batch, Self::Probe, Self::Shadow];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Task => "task",
            Self::Batch => "batch",
            Self::Probe => "probe",
            Self::Shadow => "shadow",
        }
    }

    /// Classes in front of this one: as often does a call of it have to age before nothing precedes it.
    pub fn rank(self) -> u64 {
        self as u64
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Class {
    type Err = NoClass;

    fn from_str(text: &str) -> Result<Self, NoClass> {
        let named = |class: &Self| text.eq_ignore_ascii_case(class.as_str());
        Self::ALL.into_iter().find(named).ok_or_else(|| NoClass(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_is_read_as_it_is_written_and_what_is_none_is_told() {
        for class in Class::ALL {
            assert_eq!(class.to_string().parse(), Ok(class));
        }
        assert_eq!("Interactive".parse(), Ok(Class::Interactive));
        assert!("urgent".parse::<Class>().unwrap_err().to_string().contains("`urgent`"));
    }

    #[test]
    fn they_rank_in_the_order_in_which_they_are_served() {
        assert_eq!(Class::ALL.map(Class::rank), [0, 1, 2, 3, 4]);
        assert!(Class::Interactive < Class::Task && Class::Probe < Class::Shadow);
    }
}
