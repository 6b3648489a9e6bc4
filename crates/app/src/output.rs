//! Results go to stdout, as text or as JSON; progress goes to stderr.

use std::io::{self, Write};

use bellwether_core::diagnostic::Diagnostic;
use serde::Serialize;

use crate::failure::{Exit, Failure};

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Output {
    /// How results are printed
    #[arg(long, value_enum, default_value = "text")]
    output: Format,
}

impl Output {
    pub(crate) fn is_json(self) -> bool {
        self.output == Format::Json
    }
}

pub(crate) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| cannot_write(error.into()))?;
    writeln!(io::stdout().lock(), "{text}").map_err(cannot_write)
}

/// A reader that has seen enough, such as `head`, is told nothing more.
pub(crate) fn cannot_write(error: io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Failure::told(Exit::Error, Vec::new());
    }
    Failure::error(
        Diagnostic::new("BW0306", "the result could not be written")
            .because(error)
            .help("check the free space, and where the output leads"),
    )
}
