//! One binary: every command is a file of its own under `command/`.

mod ask;
mod bench_model;
mod check;
mod cli;
mod client;
mod command;
mod demo;
mod failure;
mod files;
mod formats;
mod init;
mod limits;
mod load;
mod output;
mod runtime;
mod sim_ollama;
mod simulate;
mod supervisor;
mod usage;
mod view;
mod wording;

fn main() -> std::process::ExitCode {
    cli::main()
}
