//! How a command ends: exit codes are documented and stable.

use std::{fmt, process::ExitCode};

use bellwether_core::diagnostic::Diagnostic;

/// DESIGN: 0 done, 1 error, 2 usage or invalid file, 3 rolled back, 4 paused or undecided, 5 preflight failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    Done = 0,
    Error = 1,
    Invalid = 2,
    RolledBack = 3,
    Undecided = 4,
    PreflightFailed = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command could not do what it was asked, as diagnostics for a person.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// Diagnostics that another process worded.
    pub(crate) told: Vec<String>,
}

impl Failure {
    pub(crate) fn error(diagnostic: Diagnostic) -> Self {
        Self { exit: Exit::Error, diagnostics: vec![diagnostic], told: Vec::new() }
    }

    pub(crate) fn invalid(diagnostics: Vec<Diagnostic>) -> Self {
        Self { exit: Exit::Invalid, diagnostics, told: Vec::new() }
    }

    pub(crate) fn told(exit: Exit, told: Vec<String>) -> Self {
        Self { exit, diagnostics: Vec::new(), told }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts = self.diagnostics.iter().map(ToString::to_string).chain(self.told.iter().cloned());
        for (i, text) in texts.enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            writeln!(f, "{text}")?;
        }
        Ok(())
    }
}

pub(crate) type Outcome = Result<Exit, Failure>;
