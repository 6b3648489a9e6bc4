//! The last lines that the instances to blame wrote. Foreign text: the renderers make it harmless.

use super::super::{
    document::{Block, Log},
    facts::{Facts, Tail},
    words::{plural, tame},
};

/// The folder has the logs of more instances, and more of each.
const LOGS_MAX: usize = 8;
const LINES_MAX: usize = 40;
const LINE_MAX: usize = 400;

pub(super) fn blocks(facts: &Facts) -> Vec<Block> {
    let mut blocks: Vec<Block> = facts.tails.iter().take(LOGS_MAX).map(|tail| Block::Log(log(tail))).collect();
    if blocks.is_empty() {
        let why = if facts.missing.iter().any(|missing| missing.what.starts_with("logs/")) {
            "None could be read; see what is named as missing above."
        } else {
            "Nobody in particular is to blame, so no log was taken. All logs are in the state directory's `logs`."
        };
        blocks.push(Block::Text(why.to_owned()));
    }
    if let more @ 1.. = facts.tails.len().saturating_sub(LOGS_MAX) {
        blocks.push(Block::Text(format!(
            "The logs of {} are in the folder only.",
            plural(more, "more instance", "more instances")
        )));
    }
    blocks
}

fn log(tail: &Tail) -> Log {
    let text = String::from_utf8_lossy(&tail.bytes);
    let lines: Vec<&str> = text.lines().collect();
    let shown = lines.len().min(LINES_MAX);
    let before = match tail.left_out {
        0 => String::new(),
        bytes => format!("; {} KiB before them were left out", bytes.div_ceil(1024)),
    };
    let note = match lines.len() {
        0 => "it wrote nothing".to_owned(),
        all if all == shown => format!("{}{before}", plural(all, "line", "lines")),
        all => format!("the last {shown} of {all} lines in logs/{}{before}", tail.file_name()),
    };
    Log {
        title: format!("{} ({}), instance {}", tail.member.agent, tail.member.side, tail.instance),
        note,
        lines: lines[lines.len() - shown..].iter().map(|line| tame(line, LINE_MAX)).collect(),
    }
}
