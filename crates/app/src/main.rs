//! One binary: every command is a file of its own under `command/`.

mod cli;
mod client;
mod command;
mod demo;
mod failure;
mod files;
mod load;
mod output;
mod runtime;
mod sim_ollama;
mod supervisor;
mod view;

fn main() -> std::process::ExitCode {
    cli::main()
}
