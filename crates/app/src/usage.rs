//! A command line that cannot be read, told as every other error is: with a code, a cause and a next step.

use std::error::Error;

use bellwether_core::{diagnostic::Diagnostic, spec::unit::BadFigure};
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::failure::Failure;

/// `None` where clap has something to show that is no error: help, a version.
pub(crate) fn refused(error: &clap::Error) -> Option<Failure> {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            None
        }
        _ => Some(Failure::invalid(vec![diagnostic(error)])),
    }
}

fn diagnostic(error: &clap::Error) -> Diagnostic {
    let text = error.render().to_string();
    let mut paragraphs = text.trim_start_matches("error: ").split("\n\n").map(one_line);
    let wrong = paragraphs.next().unwrap_or_default();
    let usage = paragraphs.find_map(|part| part.strip_prefix("Usage: ").map(str::to_owned));
    let mut told = Diagnostic::new("BW0319", String::new());
    told.message = match error.kind() {
        ErrorKind::MissingRequiredArgument => {
            format!("{} is missing", wrong.rsplit("not provided: ").next().unwrap_or(&wrong))
        }
        ErrorKind::ValueValidation => {
            // What the parser of the value says stands behind the value: why not, and what instead.
            let (message, why) = wrong.split_once("': ").unwrap_or((&wrong, ""));
            let (cause, instead) = why.split_once("; ").unwrap_or((why, ""));
            told.cause = Some(cause.to_owned()).filter(|cause| !cause.is_empty());
            told.help = Some(instead.to_owned()).filter(|instead| !instead.is_empty());
            format!("{message}'")
        }
        ErrorKind::InvalidValue => wrong.split(" [possible").next().unwrap_or(&wrong).to_owned(),
        ErrorKind::InvalidSubcommand => wrong.replace("unrecognized subcommand", "there is no command"),
        _ => wrong,
    };
    match told.help {
        Some(_) => told,
        None => told.help(help(error, usage.as_deref())),
    }
}

fn help(error: &clap::Error, usage: Option<&str>) -> String {
    let figure = Error::source(error).and_then(|source| source.downcast_ref::<BadFigure>());
    if let Some(figure) = figure {
        return figure.help.clone();
    }
    let known = words(error, &[ContextKind::ValidValue]);
    if !known.is_empty() {
        return format!("it can be {}", known.join(" or "));
    }
    let near =
        words(error, &[ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg, ContextKind::SuggestedValue]);
    let near = if near.is_empty() { String::new() } else { format!("did you mean {}? ", near.join(" or ")) };
    let command = usage.map_or("bellwether".to_owned(), command);
    match error.kind() {
        ErrorKind::InvalidSubcommand => format!("{near}`{command} --help` lists what there is"),
        _ => format!("{near}`{command} --help` shows its form and every flag"),
    }
}

/// The words of a usage line before its first argument.
fn command(usage: &str) -> String {
    let is_word = |word: &&str| word.starts_with(|c: char| c.is_ascii_alphanumeric());
    usage.split_whitespace().take_while(is_word).collect::<Vec<_>>().join(" ")
}

fn words(error: &clap::Error, kinds: &[ContextKind]) -> Vec<String> {
    let found = kinds.iter().filter_map(|kind| error.get(*kind)).flat_map(|value| match value {
        ContextValue::String(word) => vec![word.clone()],
        ContextValue::Strings(words) => words.clone(),
        _ => Vec::new(),
    });
    found.map(|word| format!("`{word}`")).collect()
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
