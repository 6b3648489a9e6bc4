//! The loads of `bench admission`, straight to a simulated Ollama and through a gateway in front of another one like it.

mod adversary;
mod bound;
pub(crate) mod figure;
mod groups;
mod leaving;
mod ledger;
mod many;
mod one;
mod stage;

use std::time::Duration;

use clap::ValueEnum;

use figure::Figure;

/// How long each load is measured.
#[derive(Clone, Copy)]
pub(crate) struct Spans {
    /// Several models, from the first question on.
    pub(crate) cold: Duration,
    /// Several models, after as long as somebody is patient.
    pub(crate) steady: Duration,
    /// One model, each of the rounds in which direct and gateway take turns.
    pub(crate) round: Duration,
    pub(crate) rounds: u32,
    /// One model, clients of different weight or number of connections.
    pub(crate) shares: Duration,
    pub(crate) leaving: Duration,
    pub(crate) adversary: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Point {
    Models,
    Steady,
    One,
    Greedy,
    Weights,
    Leaving,
    Longest,
}

impl Point {
    pub(crate) const fn load(self) -> &'static str {
        match self {
            Self::Models => "131 clients, 3 models, from the first question",
            Self::Steady => "131 clients, 3 models, after a warm-up of 10 s",
            Self::One => "131 clients, one model",
            Self::Greedy => "one client with 60 connections beside ten with one",
            Self::Weights => "clients of weight 1, 2 and 4, 20 connections each",
            Self::Leaving => "131 clients, 3 models, 30 % leave",
            Self::Longest => "one client alone on its model beside four with 20 connections",
        }
    }

    pub(crate) fn measured(self, spans: &Spans) -> Result<Vec<Figure>, String> {
        match self {
            Self::Models => many::cold(spans),
            Self::Steady => many::steady(spans),
            Self::One => one::one(spans),
            Self::Greedy => groups::greedy(spans),
            Self::Weights => groups::weights(spans),
            Self::Leaving => leaving::leaving(spans),
            Self::Longest => adversary::longest(spans),
        }
        .map_err(|why| format!("{}: {why}", self.load()))
    }
}
