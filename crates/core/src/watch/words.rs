//! What the sentences of alarms have in common.

use std::collections::BTreeSet;

use super::Figure;
use crate::{
    analysis::{
        exact::real,
        words::{count, number},
    },
    id::AgentName,
};

/// Names beyond these are counted: nobody reads a hundred.
const NAMES_MAX: usize = 3;
/// Of a text that came from outside.
const QUOTE_MAX: usize = 160;

pub(super) fn names(agents: &BTreeSet<AgentName>) -> String {
    let shown: Vec<&str> = agents.iter().take(NAMES_MAX).map(AgentName::as_str).collect();
    let more = agents.len().saturating_sub(shown.len());
    match (shown.as_slice(), more) {
        ([], _) => "nobody".to_owned(),
        ([only], 0) => (*only).to_owned(),
        ([first @ .., last], 0) => format!("{} and {last}", first.join(", ")),
        (shown, more) => format!("{} and {} more", shown.join(", "), count(more as u64)),
    }
}

/// `agent x` or `agents x and y`.
pub(super) fn agents(agents: &BTreeSet<AgentName>) -> String {
    format!("{} {}", if agents.len() == 1 { "agent" } else { "agents" }, names(agents))
}

pub(super) fn bytes(bytes: u64) -> String {
    let mib = mib(bytes);
    if mib < 10_240.0 { format!("{} MiB", number(mib)) } else { format!("{} GiB", number(mib / 1024.0)) }
}

pub(super) fn mib(bytes: u64) -> f64 {
    real(bytes) / f64::from(1 << 20)
}

pub(super) fn seconds(millis: u64) -> String {
    format!("{} s", number(real(millis) / 1e3))
}

/// `3 of 20`.
pub(super) fn of((hits, all): (u64, u64)) -> String {
    format!("{} of {}", count(hits), count(all))
}

pub(super) fn share((hits, all): (u64, u64)) -> f64 {
    if all == 0 { 0.0 } else { real(hits.min(all)) / real(all) }
}

pub(super) fn add((a, b): (u64, u64), (c, d): (u64, u64)) -> (u64, u64) {
    (a.saturating_add(c), b.saturating_add(d))
}

/// What somebody else said, short and on one line.
pub(super) fn quote(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(QUOTE_MAX).collect();
    line.trim().to_owned()
}

pub(super) fn figure(name: impl Into<String>, value: f64, limit: Option<f64>, unit: &str) -> Figure {
    Figure { name: name.into(), value, limit, unit: unit.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_names_are_counted() {
        let of = |n: usize| names(&["a", "b", "c", "d", "e"].into_iter().take(n).map(AgentName::from).collect());
        assert_eq!([1, 2, 3, 5].map(of), ["a", "a and b", "a, b and c", "a, b, c and 2 more"]);
    }

    #[test]
    fn sizes_and_quotes_read_well() {
        assert_eq!([bytes(232 << 20), bytes(43 << 30)], ["232 MiB", "43 GiB"]);
        assert_eq!(quote("line\nline \u{1b}[31m"), "line line  [31m");
        assert_eq!(quote(&"x".repeat(500)).len(), QUOTE_MAX);
    }
}
