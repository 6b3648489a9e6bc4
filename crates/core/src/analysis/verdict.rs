//! What a verdict can be and what it rests on. No data is never a pass.

use serde::{Deserialize, Serialize};

/// ANALYSIS §2b, in the words that people read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// Evidence against green.
    Harm,
    /// The absence of harm beyond the margin is shown.
    Proved,
    /// No evidence of harm, and harm above what is tolerated would have been seen.
    NoHarmSeen,
    /// Everything else, no data included.
    CannotTellYet,
}

/// What a machine reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Pass,
    Fail,
    Inconclusive,
}

/// One criterion, judged, with the numbers it rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// `R30` … `R39`, or the name of a criterion of the fleet file.
    pub id: String,
    pub metric: String,
    pub unit: String,
    pub baseline: Option<f64>,
    pub value: Option<f64>,
    pub limit: f64,
    /// Observations of green that the value rests on.
    pub samples: u64,
    pub finding: Finding,
    pub verdict: Verdict,
    /// The smallest harm that would have been caught with 95 % probability, in `unit`.
    pub smallest_harm: Option<f64>,
    /// One plain sentence with the numbers.
    pub why: String,
}

/// All criteria of one gate, at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GateReport {
    pub judgements: Vec<Judgement>,
    /// The number of the last one-second record that went in.
    pub last_second: u64,
}

impl GateReport {
    /// The worst that any criterion says: a failure outweighs an open question, which outweighs a pass. An empty
    /// report is inconclusive.
    pub fn verdict(&self) -> Verdict {
        let of = |verdict| self.judgements.iter().any(|j| j.verdict == verdict);
        if of(Verdict::Fail) {
            Verdict::Fail
        } else if self.judgements.is_empty() || of(Verdict::Inconclusive) {
            Verdict::Inconclusive
        } else {
            Verdict::Pass
        }
    }

    pub fn failed(&self) -> impl Iterator<Item = &Judgement> {
        self.judgements.iter().filter(|j| j.verdict == Verdict::Fail)
    }
}
