//! Measured times against their limits (R46 to R49).

use bellwether_core::{rollout::RollbackRecord, time::UnixMillis};

use super::{
    super::{
        document::{Block, Cell, Table, Tone},
        facts::Facts,
        words::{clock, seconds},
    },
    summary::{Stand, stand},
};

pub(super) fn blocks(facts: &Facts) -> Vec<Block> {
    let mut blocks = vec![Block::Table(moments(facts)), Block::Table(limits(facts))];
    if facts.record.detection().is_some_and(|took| took >= RollbackRecord::DETECTION_MAX) {
        blocks.push(Block::Text(
            "The limit of detection holds where the plan says that the traffic suffices; `bellwether plan` names the agents for which it does not.".to_owned(),
        ));
    }
    blocks
}

fn moments(facts: &Facts) -> Table {
    let record = &facts.record;
    let zero = record.harm_began.unwrap_or(record.began);
    let mut table = Table::new(&["Moment", "UTC", "From the start", "What that means"]);
    let mut row = |name: &str, at: Option<UnixMillis>, about: &str| {
        let (clock, after) = match at {
            Some(at) if at >= zero => (clock(at), format!("+{}", seconds(at.since(zero)))),
            Some(at) => (clock(at), format!("-{}", seconds(zero.since(at)))),
            None => ("–".to_owned(), String::new()),
        };
        table.rows.push(vec![Cell::text(name), Cell::number(clock), Cell::number(after), Cell::text(about)]);
    };
    if facts.slice.from < zero {
        row("phase began", Some(facts.slice.from), "the phase in which it happened");
    }
    if record.harm_began.is_some() {
        row("harm began", record.harm_began, "the first harmful outcome at the gateway, or a gauge over its limit");
        row("detected", Some(record.began), "the decision to go back is in the journal");
    } else {
        row("decided", Some(record.began), "the decision to go back is in the journal");
    }
    row("traffic on blue", record.shifted, "new tasks and requests of every agent go to blue");
    row("green gone", record.swapped, "green's instances have ended");
    row("validated", record.validated, "every blue is ready, and nothing stands against it");
    table
}

fn limits(facts: &Facts) -> Table {
    let record = &facts.record;
    let now = facts.written;
    let mut table = Table::new(&["Span", "Measured", "Limit", "Met"]);
    let harm = record.harm_began.unwrap_or(record.began);
    let from_harm = if record.harm_began.is_some() { "harm to validated" } else { "decision to validated" };
    let rows = [
        ("detection (R46)", record.harm_began.map(|_| harm), record.detection(), RollbackRecord::DETECTION_MAX),
        ("decision to traffic on blue (R47)", Some(record.began), record.execution(), RollbackRecord::EXECUTION_MAX),
        ("traffic on blue to validated (R48)", record.shifted, record.validation(), RollbackRecord::VALIDATION_MAX),
        (from_harm, Some(harm), record.end_to_end(), RollbackRecord::END_TO_END_MAX),
    ];
    for (name, from, took, limit) in rows {
        let name = if limit == RollbackRecord::END_TO_END_MAX { format!("{name} (R49)") } else { name.to_owned() };
        let (measured, met) = match (took, from) {
            (Some(took), _) if took < limit => (seconds(took), Cell::toned("met", Tone::Good)),
            (Some(took), _) => (seconds(took), Cell::toned("not met", Tone::Bad)),
            (None, None) => ("–".to_owned(), Cell::text("has no start")),
            (None, Some(from)) if now.since(from) >= limit => {
                (format!("over {}", seconds(now.since(from))), Cell::toned("not met", Tone::Bad))
            }
            (None, Some(_)) if stand(facts) == Stand::UnderWay => {
                ("–".to_owned(), Cell::toned("under way", Tone::Open))
            }
            (None, Some(_)) => ("–".to_owned(), Cell::toned("did not come to its end", Tone::Bad)),
        };
        table.rows.push(vec![
            Cell::text(name),
            Cell::number(measured),
            Cell::number(format!("< {}", seconds(limit))),
            met,
        ]);
    }
    table
}
