//! Lines on standard error, as many as `LOG_LEVEL` asks for.

use std::fmt;

use crate::clock;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Debug,
    Info,
    Warning,
    Error,
}

impl Level {
    /// By the names of Python's logging; what is not known is `Info`.
    pub(crate) fn named(name: &str) -> Self {
        match name.to_ascii_uppercase().as_str() {
            "DEBUG" => Self::Debug,
            "WARNING" | "WARN" => Self::Warning,
            "ERROR" | "CRITICAL" => Self::Error,
            _ => Self::Info,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Log {
    pub(crate) least: Level,
}

impl Log {
    pub(crate) fn write(self, level: Level, text: impl fmt::Display) {
        if level >= self.least {
            eprintln!("{} {level:?} {text}", clock::timestamp());
        }
    }
}
