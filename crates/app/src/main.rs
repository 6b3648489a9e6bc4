//! One binary: every command is a file of its own under `command/`.

mod cli;
mod command;
mod failure;

fn main() -> std::process::ExitCode {
    cli::main()
}
