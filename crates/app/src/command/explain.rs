//! `bellwether explain`: what stands behind a code, and what to do about it.

use std::io::{self, Write};

use bellwether_core::{
    diagnostic::Diagnostic,
    explain::{all, nearest},
};
use serde::Serialize;

use crate::{
    failure::{Exit, Failure, Outcome},
    output::{Output, cannot_write, print_json},
    wording::wrap,
};

/// Say what is behind the code of an error, and what to do.
///
/// Every error begins with a code such as `error[BW0107]`. Codes are stable, so they can be searched for.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The code, as an error shows it in brackets; without one, every code is listed
    #[arg(value_name = "CODE")]
    code: Option<String>,
    #[command(flatten)]
    output: Output,
}

#[derive(Serialize)]
struct Explained {
    code: &'static str,
    text: &'static str,
}

const WIDTH: usize = 96;
/// What the first two digits stand for.
const SERIES: [(&str, &str); 4] = [
    ("BW01", "fleet and release files"),
    ("BW02", "plans"),
    ("BW03", "the machine, and the programs on it"),
    ("BW04", "a rollout that is under way"),
];

pub(crate) fn run(args: Args) -> Outcome {
    let codes = || all().iter().map(|&(code, text)| Explained { code, text });
    let text = match &args.code {
        Some(given) => {
            let code = normal(given);
            let known = codes().find(|known| known.code == code).ok_or_else(|| unknown(given, &code))?;
            if args.output.is_json() {
                print_json(&known)?;
                return Ok(Exit::Done);
            }
            paragraph(&known)
        }
        None if args.output.is_json() => {
            print_json(&codes().collect::<Vec<_>>())?;
            return Ok(Exit::Done);
        }
        None => list(),
    };
    io::stdout().lock().write_all(text.as_bytes()).map_err(cannot_write)?;
    Ok(Exit::Done)
}

fn paragraph(known: &Explained) -> String {
    let mut lines = vec![known.code.to_owned(), String::new()];
    lines.extend(wrap(known.text, WIDTH));
    lines.join("\n") + "\n"
}

/// The first sentence of each.
fn list() -> String {
    let mut lines = Vec::new();
    for (series, about) in SERIES {
        if !lines.is_empty() {
            lines.push(String::new());
        }
        lines.push(format!("{series}xx: {about}"));
        for (code, text) in all().iter().filter(|(code, _)| code.starts_with(series)) {
            for (i, line) in wrap(first_sentence(text), WIDTH - 10).into_iter().enumerate() {
                lines.push(format!("  {:<6}  {line}", if i == 0 { code } else { "" }));
            }
        }
    }
    lines.join("\n") + "\n"
}

/// A full stop inside of a name or a number ends no sentence.
fn first_sentence(text: &str) -> &str {
    text.find(". ").map_or(text, |at| &text[..=at])
}

/// `107`, `bw0107` and `error[BW0107]` are BW0107.
fn normal(given: &str) -> String {
    let inner = given.rsplit('[').next().unwrap_or(given).trim_end_matches([']', ':']).trim().to_ascii_uppercase();
    match inner.parse::<u16>() {
        Ok(number) => format!("BW{number:04}"),
        Err(_a_full_code) => inner,
    }
}

fn unknown(given: &str, code: &str) -> Failure {
    let help = match nearest(code) {
        Some(near) => format!("the nearest is {near}; `bellwether explain` lists all {}", all().len()),
        None => "a code looks like BW0107; `bellwether explain` lists them all".to_owned(),
    };
    Failure::invalid(vec![Diagnostic::new("BW0320", format!("there is no code {given:?}")).help(help)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_found_however_it_was_copied() {
        for given in ["BW0107", "bw0107", "107", "0107", "error[BW0107]", "[BW0107]:"] {
            assert_eq!(normal(given), "BW0107", "{given}");
        }
    }

    #[test]
    fn one_code_reads_as_a_paragraph() {
        let (code, text) = all()[7];
        insta::assert_snapshot!(paragraph(&Explained { code, text }), @r"
        BW0107

        A phase selects no agent. Either its selection names a phase number or type that no agent has,
        or other phases already took every agent that `rest` would have taken. An empty phase would bake
        and pass its gate without having tried anything.
        ");
    }

    #[test]
    fn every_code_is_listed_once_with_its_first_sentence() {
        let list = list();
        for (code, _) in all() {
            assert_eq!(list.matches(code).count(), 1, "{code}\n{list}");
        }
        let start: Vec<&str> = list.lines().take(8).collect();
        insta::assert_snapshot!(start.join("\n"), @r"
        BW01xx: fleet and release files
          BW0100  A fleet or release file could not be read.
          BW0101  The file is not YAML that can be read here.
          BW0102  Fleet and release files start with `version: 1`, the version of their format.
          BW0103  A key is not known at this place.
          BW0104  A value is of the wrong kind: a list where a word belongs, a word where a table of
                  keys belongs, or the like.
          BW0105  A figure is not written as a person and a program can both read it.
        ");
    }

    #[test]
    fn an_unknown_code_is_told_the_nearest() {
        let told = unknown("bw0170", &normal("bw0170")).to_string();
        insta::assert_snapshot!(told.replace(&all().len().to_string(), "N"), @r#"
        error[BW0320]: there is no code "bw0170"
          = help: the nearest is BW0107; `bellwether explain` lists all N
        "#);
        insta::assert_snapshot!(unknown("what", "WHAT"), @r#"
        error[BW0320]: there is no code "what"
          = help: a code looks like BW0107; `bellwether explain` lists them all
        "#);
    }
}
