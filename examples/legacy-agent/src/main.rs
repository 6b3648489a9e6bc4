//! A thin shell around the library, so that the agent can also be run by itself.

use std::process::ExitCode;

fn main() -> ExitCode {
    match legacy_agent::Config::from_env() {
        Ok(config) => legacy_agent::run(config),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}
