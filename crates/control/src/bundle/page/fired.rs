//! What began the rollback, with the figures that it rests on.

use bellwether_core::{
    rollout::Trigger,
    watch::{Alarm, Figure},
};

use super::super::{
    document::{Block, Cell, Table, Tone},
    facts::Facts,
    words::{clock, names, number},
};

const NAMES_MAX: usize = 12;

pub(super) fn blocks(facts: &Facts) -> Vec<Block> {
    let mut blocks = vec![Block::Text(sentence(&facts.record.trigger))];
    blocks.extend(figures(&facts.record.trigger));
    if let Trigger::Gate { .. } = facts.record.trigger
        && let Some(report) = facts.rollout.phases.iter().rev().find_map(|phase| phase.report.as_ref())
    {
        blocks.push(super::gates::table(report.failed()));
    }
    if !facts.record.also.is_empty() {
        blocks.push(Block::Text("While it was under way, or to begin it again, came on top:".to_owned()));
    }
    for also in &facts.record.also {
        blocks.push(Block::Text(sentence(also)));
        blocks.extend(figures(also));
    }
    blocks
}

fn sentence(trigger: &Trigger) -> String {
    let text = trigger.to_string();
    let mut chars = text.chars();
    let text = chars.next().map(|first| first.to_uppercase().chain(chars).collect::<String>()).unwrap_or_default();
    let text = format!("{}.", text.trim_end_matches('.'));
    let Trigger::Alarm(alarm) = trigger else { return text };
    format!("{text} {}", pointed_at(alarm))
}

fn pointed_at(alarm: &Alarm) -> String {
    let began = clock(alarm.harm_began);
    let whom = match (alarm.agents.as_slice(), alarm.types.as_slice()) {
        ([], []) => "It points at nobody in particular.".to_owned(),
        ([], types) => format!("It points at type {}.", names(types, NAMES_MAX)),
        (agents, []) => format!("It points at {}.", names(agents, NAMES_MAX)),
        (agents, types) => {
            format!("It points at {} (type {}).", names(agents, NAMES_MAX), names(types, NAMES_MAX))
        }
    };
    let shared = if alarm.shared { " Blue suffered as well." } else { " Blue did not suffer from it." };
    format!("{whom}{shared} The harm began at {began} UTC.")
}

fn figures(trigger: &Trigger) -> Option<Block> {
    let Trigger::Alarm(alarm) = trigger else { return None };
    let mut table = Table::new(&["Figure", "Measured", "Limit"]);
    for figure in &alarm.figures {
        let value = Cell::number(with_unit(figure, figure.value));
        let limit = figure.limit.map_or_else(|| "–".to_owned(), |limit| with_unit(figure, limit));
        let over = figure.limit.is_some_and(|limit| figure.value >= limit);
        let tone = if over { Tone::Bad } else { Tone::Plain };
        table.rows.push(vec![Cell::text(&figure.name), value.with(tone), Cell::number(limit)]);
    }
    (!table.rows.is_empty()).then_some(Block::Table(table))
}

fn with_unit(figure: &Figure, value: f64) -> String {
    match figure.unit.as_str() {
        "" => number(value),
        // Odds.
        ":1" => format!("{}:1", number(value)),
        unit => format!("{} {unit}", number(value)),
    }
}
