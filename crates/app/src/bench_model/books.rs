//! What one connection counted: every call that ended in the window, by how it ended.

use std::{collections::BTreeMap, time::Duration};

use bellwether_core::histogram::Histogram;

use super::answer::{Cause, Told};

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
    pub(super) latency_max: Duration,
    /// Of answers that tell how long they were computed: all of them together, and the longest.
    pub(super) computed: Duration,
    pub(super) computed_max: Duration,
    pub(super) answers_with_computed: u64,
    /// The longest that a call was not computed, as far as its answer tells. Calls without an answer waited all their time.
    pub(super) wait_max: Duration,
    pub(super) given_up: u64,
    /// By a client that leaves.
    pub(super) left: u64,
    /// How much later it did than it meant to, of all together.
    pub(super) left_late: Duration,
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

    pub(super) fn answered(&mut self, model: usize, latency: Duration, first: Option<Duration>, told: Told) {
        self.answers[model] += 1;
        self.latency.record(micros(latency));
        if let Some(first) = first {
            self.first_piece.record(micros(first));
        }
        self.latency_max = self.latency_max.max(latency);
        if let Some(computed) = told.computed {
            self.computed += computed;
            self.computed_max = self.computed_max.max(computed);
            self.answers_with_computed += 1;
            self.waited(latency.saturating_sub(computed));
        }
        if let Some(tokens) = told.tokens {
            self.tokens += tokens;
            self.answers_with_tokens += 1;
        }
    }

    pub(super) fn left(&mut self, late: Duration) {
        self.left += 1;
        self.left_late += late;
    }

    pub(super) fn given_up(&mut self, after: Duration) {
        self.given_up += 1;
        self.waited(after);
    }

    /// When the window closed.
    pub(super) fn left_open(&mut self, after: Duration) {
        self.open += 1;
        self.waited(after);
    }

    fn waited(&mut self, wait: Duration) {
        self.wait_max = self.wait_max.max(wait);
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
        self.latency_max = self.latency_max.max(other.latency_max);
        self.computed += other.computed;
        self.computed_max = self.computed_max.max(other.computed_max);
        self.answers_with_computed += other.answers_with_computed;
        self.wait_max = self.wait_max.max(other.wait_max);
        self.given_up += other.given_up;
        self.left += other.left;
        self.left_late += other.left_late;
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
