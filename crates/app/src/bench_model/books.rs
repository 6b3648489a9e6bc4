//! What one connection counted: every call that ended in the window, by how it ended.

use std::{collections::BTreeMap, time::Duration};

use bellwether_core::histogram::Histogram;

use super::answer::Cause;

#[derive(Clone, Debug, Default)]
pub(super) struct Books {
    /// Within patience, by model.
    pub(super) answers: Vec<u64>,
    /// Of answers, in microseconds: until the whole of it was there, and until its first piece was.
    pub(super) latency: Histogram,
    pub(super) first_piece: Histogram,
    /// Generated in answers that tell it.
    pub(super) tokens: u64,
    pub(super) answers_with_tokens: u64,
    pub(super) given_up: u64,
    /// By a client that leaves.
    pub(super) left: u64,
    pub(super) troubles: BTreeMap<Cause, u64>,
    /// Calls that met a connection which the server was closing, and were made again on another.
    pub(super) redialled: u64,
    /// Neither answered nor given up when the window closed.
    pub(super) open: u64,
}

impl Books {
    pub(super) fn new(models: usize) -> Self {
        Self { answers: vec![0; models], ..Self::default() }
    }

    pub(super) fn answered(&mut self, model: usize, latency: Duration, first: Option<Duration>, tokens: Option<u64>) {
        self.answers[model] += 1;
        self.latency.record(micros(latency));
        if let Some(first) = first {
            self.first_piece.record(micros(first));
        }
        if let Some(tokens) = tokens {
            self.tokens += tokens;
            self.answers_with_tokens += 1;
        }
    }

    pub(super) fn troubled(&mut self, cause: Cause) {
        *self.troubles.entry(cause).or_default() += 1;
    }

    pub(super) fn total(&self) -> u64 {
        self.answers.iter().sum()
    }

    pub(super) fn refused(&self) -> u64 {
        self.troubles.iter().filter(|(cause, _)| cause.is_refusal()).map(|(_, count)| count).sum()
    }

    pub(super) fn failed(&self) -> u64 {
        self.troubles.iter().filter(|(cause, _)| !cause.is_refusal()).map(|(_, count)| count).sum()
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.answers.resize(self.answers.len().max(other.answers.len()), 0);
        self.answers.iter_mut().zip(&other.answers).for_each(|(all, more)| *all += more);
        self.latency.merge(&other.latency);
        self.first_piece.merge(&other.first_piece);
        self.tokens += other.tokens;
        self.answers_with_tokens += other.answers_with_tokens;
        self.given_up += other.given_up;
        self.left += other.left;
        self.open += other.open;
        self.redialled += other.redialled;
        for (&cause, count) in &other.troubles {
            *self.troubles.entry(cause).or_default() += count;
        }
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}
