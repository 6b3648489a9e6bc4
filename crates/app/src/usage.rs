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
    let usage = paragraphs.find_map(|part| part.strip_prefix("Usage: ").map(|form| format!("the form is `{form}`")));
    let (message, cause) = match error.kind() {
        ErrorKind::MissingRequiredArgument => {
            (format!("{} is missing", wrong.rsplit("not provided: ").next().unwrap_or(&wrong)), None)
        }
        // What the parser of the value says stands behind the value.
        ErrorKind::ValueValidation => match wrong.split_once("': ") {
            Some((message, cause)) => (format!("{message}'"), Some(cause.to_owned())),
            None => (wrong, None),
        },
        ErrorKind::InvalidValue => (wrong.split(" [possible").next().unwrap_or(&wrong).to_owned(), None),
        ErrorKind::InvalidSubcommand => (wrong.replace("unrecognized subcommand", "there is no command"), None),
        _ => (wrong, None),
    };
    let told = Diagnostic::new("BW0319", message).help(help(error, usage));
    match cause {
        Some(cause) => told.because(cause),
        None => told,
    }
}

fn help(error: &clap::Error, usage: Option<String>) -> String {
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
    match (error.kind(), usage) {
        (ErrorKind::InvalidSubcommand, _) => format!("{near}`bellwether help` lists the commands"),
        (_, Some(usage)) => format!("{near}{usage}; --help tells more"),
        (_, None) => format!("{near}--help tells more"),
    }
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
