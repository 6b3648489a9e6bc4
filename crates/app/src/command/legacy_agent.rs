//! `bellwether legacy-agent`: the blue base under this binary's name, so that one build can start a fleet.

use bellwether_core::diagnostic::Diagnostic;

use crate::failure::{Failure, Outcome};

/// Everything comes from the environment, as with the agents that it stands for.
#[derive(clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: Args) -> Outcome {
    match legacy_agent::Config::from_env() {
        Ok(config) => {
            // Agents of its kind are small scripts. What reading this binary's command line took is not theirs.
            bellwether_agent::release_idle_memory();
            legacy_agent::run(config)
        }
        Err(error) => Err(Failure::invalid(vec![
            Diagnostic::new("BW0360", error.to_string())
                .help("correct the variable, or leave it out to get its default"),
        ])),
    }
}
