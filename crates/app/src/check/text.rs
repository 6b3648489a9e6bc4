//! A report for people: what is well first, what is not last, where the eye is when the prompt comes back.

use std::fmt::Write;

use super::{Check, Report, Result};
use crate::wording::{counted, wrap};

const WIDTH: usize = 100;
const RESULT: usize = 9;
const NAME: usize = 18;

pub(crate) fn render(report: &Report) -> String {
    let mut text = match &report.fleet {
        Some(fleet) => format!("Before a rollout of {fleet}\n\n"),
        None => "Before a rollout\n\n".to_owned(),
    };
    for wanted in [Result::Ok, Result::Skipped, Result::Warning, Result::Failed] {
        let mut some = false;
        for check in report.checks.iter().filter(|check| check.result == wanted) {
            block(&mut text, check);
            some = true;
        }
        if some {
            text.push('\n');
        }
    }
    text.push_str(&report.verdict);
    text.push('\n');
    text
}

pub(super) fn verdict(all: usize, failed: usize, warnings: usize, skipped: usize) -> String {
    let aside = match (warnings, skipped) {
        (0, 0) => String::new(),
        (0, skipped) => format!(" ({skipped} skipped)"),
        (warnings, 0) => format!(" ({})", counted(warnings, "warning", "warnings")),
        (warnings, skipped) => format!(" ({}, {skipped} skipped)", counted(warnings, "warning", "warnings")),
    };
    match failed {
        0 => format!("ready: none of {all} checks failed{aside}"),
        _ => format!("not ready: {failed} of {all} checks failed{aside}"),
    }
}

fn block(text: &mut String, check: &Check) {
    let word = match check.result {
        Result::Ok => "ok",
        Result::Skipped => "skipped",
        Result::Warning => "warning",
        Result::Failed => "failed",
    };
    let indent = RESULT + NAME;
    let evidence = wrap(&check.evidence, WIDTH - indent);
    for (i, line) in evidence.iter().enumerate() {
        let (word, name) = if i == 0 { (word, check.name) } else { ("", "") };
        put(text, &format!("{word:<RESULT$}{name:<NAME$}{line}"));
    }
    for (i, line) in check.remedy.iter().flat_map(|remedy| wrap(remedy, WIDTH - indent - 2)).enumerate() {
        let arrow = if i == 0 { "→ " } else { "  " };
        put(text, &format!("{:indent$}{arrow}{line}", ""));
    }
}

fn put(text: &mut String, line: &str) {
    // Strings take everything.
    let _never_fails = writeln!(text, "{}", line.trim_end());
}
