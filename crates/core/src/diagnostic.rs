//! What a person reads when an input is refused: code, place, cause, next step.
//!
//! Codes are stable. `BW01xx` is about fleet and release files, `BW02xx` about plans, `BW03xx` about the
//! machine the product runs on, `BW04xx` about a running rollout.

use std::fmt;

use serde::Serialize;

/// Where in a file. Lines and columns count from 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    pub file: String,
    pub line: u64,
    pub column: u64,
}

/// One finding. Printed as
/// `error[BW0107]: phase "canary" selects no agent`, then `--> file:line:column`, then `= help: …`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    pub code: &'static str,
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl Diagnostic {
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), place: None, cause: None, help: None }
    }

    #[must_use]
    pub fn at(mut self, file: impl Into<String>, line: u64, column: u64) -> Self {
        self.place = Some(Place { file: file.into(), line, column });
        self
    }

    #[must_use]
    pub fn because(mut self, cause: impl fmt::Display) -> Self {
        self.cause = Some(cause.to_string());
        self
    }

    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error[{}]: {}", self.code, self.message)?;
        if let Some(Place { file, line, column }) = &self.place {
            write!(f, "\n  --> {file}:{line}:{column}")?;
        }
        if let Some(cause) = &self.cause {
            write!(f, "\n  = cause: {cause}")?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n  = help: {help}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostic {}

/// An error with its causes in one line: errors name what failed and never repeat their source.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_names_every_cause_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("the journal cannot be written")]
        struct Outer(#[source] std::io::Error);
        let error = Outer(std::io::Error::other("the disk is full"));
        assert_eq!(chain(&error), "the journal cannot be written: the disk is full");
    }
}
