//! The command line as a whole. Arguments of a command stand with the command.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{command, failure::Outcome};

/// Progressive delivery for fleets of LLM agents that share one model server.
#[derive(Parser)]
#[command(name = "bellwether", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// See it work: 131 agents, a simulated model server, and one whole rollout under load
    Demo(command::demo::Args),
    /// Start, watch and steer a rollout
    Rollout(command::rollout::Args),
    /// Show what a release would do to a fleet, before anything is touched
    Plan(command::plan::Args),
    /// Run a fleet: supervisor, gateway, controller and the agents themselves
    Serve(command::serve::Args),
    /// Run one asynchronous agent (the green base)
    Agent(command::agent::Args),
    /// Submit tasks at a steady rate and keep an account of every one
    Load(command::load::Args),
    /// A simulated Ollama: slots, model loads and queues, no model
    SimOllama(command::sim_ollama::Args),
    /// The blue base, as an agent of its own
    #[command(hide = true)]
    LegacyAgent(command::legacy_agent::Args),
    /// The processes that `serve` starts
    #[command(hide = true)]
    Internal(command::internal::Args),
}

pub(crate) fn main() -> ExitCode {
    let outcome: Outcome = match Cli::parse().command {
        Command::Demo(args) => command::demo::run(args),
        Command::Rollout(args) => command::rollout::run(args),
        Command::Plan(args) => command::plan::run(args),
        Command::Serve(args) => command::serve::run(args),
        Command::Agent(args) => command::agent::run(args),
        Command::Load(args) => command::load::run(args),
        Command::SimOllama(args) => command::sim_ollama::run(args),
        Command::LegacyAgent(args) => command::legacy_agent::run(args),
        Command::Internal(args) => command::internal::run(args),
    };
    match outcome {
        Ok(exit) => exit.into(),
        Err(failure) => {
            eprint!("{failure}");
            failure.exit.into()
        }
    }
}
