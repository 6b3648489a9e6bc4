//! The command line as a whole. Arguments of a command stand with the command.

use std::process::ExitCode;

use bellwether_core::rollout::VerbKind;
use clap::{Parser, Subcommand};

use crate::{command, failure::Outcome, usage};

/// Moves a fleet of LLM agents from one revision to the next, with no downtime, on one machine
/// with one model server.
///
/// A fleet file says what runs (`bellwether init` writes one); a release file says what changes.
/// `serve` runs the fleet, `plan` shows what a release would do, `rollout start` does it.
#[derive(Parser)]
#[command(
    name = "bellwether",
    version,
    max_term_width = 100,
    after_help = "Exit codes: 0 done, 1 error, 2 wrong usage or an invalid file, 3 rolled back, 4 paused or undecided, \
                  5 preflight failed.\nErrors carry a code; `bellwether explain CODE` says what is behind it."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// See it work: 131 agents, a simulated model server, and one whole rollout under load
    #[command(
        after_help = "Exit codes: 0 completed, 3 rolled back, 4 paused or in need of attention, 1 anything else."
    )]
    Demo(command::demo::Args),
    Init(command::init::Args),
    Check(command::check::Args),
    Plan(command::plan::Args),
    Simulate(command::simulate::Args),
    Serve(command::serve::Args),
    Upgrade(command::upgrade::Args),
    Rollout(command::rollout::Args),
    /// Let a phase begin that waits for an approval
    Approve(command::rollout::AnswerArgs),
    /// Go back instead of letting a phase begin that waits for an approval
    Reject(command::rollout::AnswerArgs),
    Drill(command::drill::Args),
    Tasks(command::tasks::Args),
    Backup(command::backup::Args),
    Restore(command::restore::Args),
    Explain(command::explain::Args),
    Gateway(command::gateway::Args),
    Load(command::load::Args),
    Bench(command::bench::Args),
    /// Run one asynchronous agent (the green base)
    Agent(command::agent::Args),
    /// A simulated Ollama: slots, model loads and queues, no model
    SimOllama(command::sim_ollama::Args),
    /// The blue base, as an agent of its own
    #[command(hide = true)]
    LegacyAgent(command::legacy_agent::Args),
    /// The processes that `serve` starts
    #[command(hide = true)]
    Internal(command::internal::Args),
}

/// What `serve` starts by the hundred. To build the whole command line for each would take memory that never comes back
/// from between what stays, and most of the time of its start.
#[derive(Parser)]
#[command(name = "bellwether", version, max_term_width = 100)]
struct Agents {
    #[command(subcommand)]
    command: AgentCommand,
}

#[derive(Subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one of it, and a box would be made by every agent")]
enum AgentCommand {
    /// Run one asynchronous agent (the green base)
    Agent(command::agent::Args),
    #[command(hide = true)]
    LegacyAgent(command::legacy_agent::Args),
}

fn parse() -> Result<Command, clap::Error> {
    let first = std::env::args_os().nth(1);
    if first.is_none_or(|word| word != "agent" && word != "legacy-agent") {
        return Ok(Cli::try_parse()?.command);
    }
    Ok(match Agents::try_parse()?.command {
        AgentCommand::Agent(args) => Command::Agent(args),
        AgentCommand::LegacyAgent(args) => Command::LegacyAgent(args),
    })
}

pub(crate) fn main() -> ExitCode {
    let outcome = match parse() {
        Ok(command) => run(command),
        Err(shown) => match usage::refused(&shown) {
            Some(failure) => Err(failure),
            None => shown.exit(),
        },
    };
    match outcome {
        Ok(exit) => exit.into(),
        Err(failure) => {
            eprint!("{failure}");
            failure.exit.into()
        }
    }
}

fn run(command: Command) -> Outcome {
    match command {
        Command::Demo(args) => command::demo::run(args),
        Command::Init(args) => command::init::run(args),
        Command::Check(args) => command::check::run(args),
        Command::Plan(args) => command::plan::run(args),
        Command::Simulate(args) => command::simulate::run(args),
        Command::Serve(args) => command::serve::run(args),
        Command::Upgrade(args) => command::upgrade::run(args),
        Command::Rollout(args) => command::rollout::run(args),
        Command::Approve(args) => command::rollout::answer(VerbKind::Approve, &args),
        Command::Reject(args) => command::rollout::answer(VerbKind::Reject, &args),
        Command::Drill(args) => command::drill::run(args),
        Command::Tasks(args) => command::tasks::run(args),
        Command::Backup(args) => command::backup::run(args),
        Command::Restore(args) => command::restore::run(args),
        Command::Explain(args) => command::explain::run(args),
        Command::Gateway(args) => command::gateway::run(args),
        Command::Load(args) => command::load::run(args),
        Command::Bench(args) => command::bench::run(args),
        Command::Agent(args) => command::agent::run(args),
        Command::SimOllama(args) => command::sim_ollama::run(args),
        Command::LegacyAgent(args) => command::legacy_agent::run(args),
        Command::Internal(args) => command::internal::run(args),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
        Agents::command().debug_assert();
    }

    #[test]
    fn an_agent_s_own_command_line_is_the_same() {
        let help = |mut whole: clap::Command| {
            whole.build();
            whole.find_subcommand_mut("agent").expect("it is there").render_long_help().to_string()
        };
        assert_eq!(help(Agents::command()), help(Cli::command()));
    }

    fn told(words: &[&str]) -> String {
        let error = Cli::try_parse_from(["bellwether"].iter().chain(words)).err().expect("it is wrong");
        usage::refused(&error).expect("it is no help").to_string()
    }

    #[test]
    fn a_command_line_that_cannot_be_read_has_a_code_and_a_way_on() {
        insta::assert_snapshot!(told(&["rolout"]), @r"
        error[BW0319]: there is no command 'rolout'
          = help: did you mean `rollout`? `bellwether --help` lists what there is
        ");
        insta::assert_snapshot!(told(&["plan", "--flet", "f.yaml"]), @r"
        error[BW0319]: unexpected argument '--flet' found
          = help: did you mean `--fleet`? `bellwether plan --help` shows its form and every flag
        ");
        insta::assert_snapshot!(told(&["plan", "--fleet", "f.yaml"]), @r"
        error[BW0319]: --release <FILE> is missing
          = help: `bellwether plan --help` shows its form and every flag
        ");
        insta::assert_snapshot!(told(&["demo", "--baseline", "25"]), @r"
        error[BW0319]: invalid value '25' for '--baseline <DURATION>'
          = cause: it has no unit
          = help: write the unit: 25s for seconds, 25m for minutes, 25h for hours
        ");
        insta::assert_snapshot!(told(&["plan", "--output", "yaml"]), @r"
        error[BW0319]: invalid value 'yaml' for '--output <OUTPUT>'
          = help: it can be `text` or `json`
        ");
    }
}
