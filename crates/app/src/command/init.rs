//! `bellwether init`: a commented fleet file for what is found here.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use bellwether_core::diagnostic::Diagnostic;

use super::serve::model_server;
use crate::{
    failure::{Exit, Failure, Outcome},
    init::{Found, address_from},
    output::cannot_write,
    runtime,
};

/// Write a commented fleet file for what is found here.
///
/// Looks for a running Ollama and its models, for an inventory (a CSV file with a column `name`) and for a compose file
/// in the directory of the file that is to be written, and at memory and CPUs. Starts nothing and changes nothing else.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The file to write; `-` for standard output
    #[arg(long, value_name = "FILE", default_value = "fleet.yaml")]
    output: PathBuf,
    /// Where to look for Ollama; without it OLLAMA_HOST, else http://127.0.0.1:11434
    #[arg(long, value_name = "URL")]
    ollama: Option<String>,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
}

pub(crate) fn run(args: Args) -> Outcome {
    let printed = args.output == Path::new("-");
    if !printed && !args.force && args.output.exists() {
        return Err(taken(&args.output));
    }
    let folder = match args.output.parent() {
        Some(folder) if !printed && !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    let server = match &args.ollama {
        Some(url) => model_server(url)?,
        None => address_from(std::env::var("OLLAMA_HOST").ok().as_deref()),
    };
    let file = if printed { Path::new("fleet.yaml") } else { &args.output };
    let (found, text) = runtime::block_on(async {
        let found = Found::look(&folder, &file.display().to_string(), &server).await;
        found.write(&folder).map(|text| (found, text))
    })??;
    if printed {
        io::stdout().lock().write_all(text.as_bytes()).map_err(cannot_write)?;
    } else {
        write(&args.output, &text, args.force)?;
    }
    let mut told = io::stderr().lock();
    let mut say = |line: &str| writeln!(told, "{line}").map_err(cannot_write);
    for line in found.told() {
        say(&format!("found {line}"))?;
    }
    if !printed {
        let of = if file == Path::new("fleet.yaml") { String::new() } else { format!(" --fleet {}", file.display()) };
        say(&format!("wrote {}; read it, then `bellwether check{of}`", args.output.display()))?;
    }
    Ok(Exit::Done)
}

/// As a whole or not at all. Without `force` a file that appeared meanwhile is left alone too.
fn write(path: &Path, text: &str, force: bool) -> Result<(), Failure> {
    let written = if force {
        let partial = path.with_extension("partial");
        fs::write(&partial, text).and_then(|()| fs::rename(&partial, path))
    } else {
        OpenOptions::new().write(true).create_new(true).open(path).and_then(|mut file| file.write_all(text.as_bytes()))
    };
    written.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => taken(path),
        _ => Failure::error(
            Diagnostic::new("BW0322", format!("{} cannot be written", path.display()))
                .because(error)
                .help("name another file with --output, in a directory that is there and yours"),
        ),
    })
}

fn taken(path: &Path) -> Failure {
    Failure::invalid(vec![
        Diagnostic::new("BW0321", format!("{} is there already", path.display()))
            .because("what is in it would be lost")
            .help("name another file with --output, or replace it with --force"),
    ])
}
