//! `cargo xtask`: the front door of the project. One file per subcommand; nothing of it ships.
//!
//! It needs cargo and git. What else is useful and missing is skipped, and says so.

mod bench;
mod cargo;
mod check;
mod fuzz;
mod lint;
mod mutants;
mod python;
mod sim;
mod test;
mod text;
mod weight;

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;

struct Subcommand {
    name: &'static str,
    arguments: &'static str,
    about: &'static str,
    run: fn(&[String]) -> anyhow::Result<ExitCode>,
}

const SUBCOMMANDS: [Subcommand; 7] = [
    Subcommand { name: "check", arguments: "", about: "Compile everything without building it", run: check::run },
    Subcommand {
        name: "lint",
        arguments: "",
        about: "Formatting, text, weight of the first build, clippy with warnings denied",
        run: lint::run,
    },
    Subcommand {
        name: "test",
        arguments: "[ARGS]",
        about: "All tests; with ARGS, what they select (as for nextest)",
        run: test::run,
    },
    Subcommand {
        name: "sim",
        arguments: "[--seeds N] [--seed S]",
        about: "Whole rollouts in the simulated world",
        run: sim::run,
    },
    Subcommand {
        name: "mutants",
        arguments: "[ARGS]",
        about: "Small changes of the code that decides, which a test must notice (as for cargo-mutants)",
        run: mutants::run,
    },
    Subcommand {
        name: "fuzz",
        arguments: "[TARGET] [--for 10m] [--keep]",
        about: "Invented inputs for what reads bytes from outside; --keep keeps the least of what was found",
        run: fuzz::run,
    },
    Subcommand {
        name: "bench",
        arguments: "NAME [ARGS]",
        about: "One benchmark; without NAME, their names",
        run: bench::run,
    },
];

fn main() -> ExitCode {
    run().unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn run() -> anyhow::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, rest)) = arguments.split_first() else {
        eprint!("{}", help());
        return Ok(ExitCode::from(2));
    };
    if matches!(name.as_str(), "help" | "-h" | "--help") {
        print!("{}", help());
        return Ok(ExitCode::SUCCESS);
    }
    match SUBCOMMANDS.iter().find(|subcommand| subcommand.name == name) {
        Some(subcommand) => (subcommand.run)(rest),
        None => {
            eprint!("error: there is no `cargo xtask {name}`\n\n{}", help());
            Ok(ExitCode::from(2))
        }
    }
}

fn help() -> String {
    let mut text = String::from("Usage: cargo xtask SUBCOMMAND\n\n");
    for Subcommand { name, arguments, about, .. } in &SUBCOMMANDS {
        let call = format!("{name} {arguments}");
        text.push_str(&format!("  {call:<30}  {about}\n"));
    }
    text
}

/// The checkout. Every path and every command is relative to it, wherever it was called from.
fn root() -> anyhow::Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().map(Path::to_owned).context("the manifest of xtask lies in no workspace")
}

fn entries(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let read = || fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>();
    read().with_context(|| format!("cannot list {}", directory.display()))
}

fn refuse(arguments: &[String]) -> anyhow::Result<()> {
    match arguments.first() {
        Some(surplus) => anyhow::bail!("`{surplus}` is not understood here; `cargo xtask help` lists what is"),
        None => Ok(()),
    }
}
