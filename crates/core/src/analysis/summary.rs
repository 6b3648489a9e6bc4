//! The final table, R30 to R39: the whole rollout against the baseline.
//!
//! It reports; it does not act. Blue's work during a rollout is earlier than most of green's, so the control here
//! is the baseline alone.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{
    Baseline, Finding, Judgement, Tally, Window, errors,
    exact::{at_least, critical_count, lower_limit, real, upper_limit},
    judge::{self, ALPHA, Draft, Terms},
    latency,
    matched::Matched,
    rate, share, usage,
    words::{count, percent},
};
use crate::{
    id::AgentName,
    spec::{Criteria, GatePolicy},
};

/// The share of requests that are slower than 150 % of the p95 they had before, above which a client notices.
const SLOWER_MAX: f64 = 0.05;
const SURE: f64 = 0.95;

/// What a client counted for itself over the whole rollout (R39).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientAccount {
    pub requests: u64,
    pub failed: u64,
    /// Requests that took longer than 150 % of the p95 that the client saw during the baseline.
    pub slower_than_150_percent: u64,
    pub cut_streams: u64,
}

pub struct SummaryInput<'a> {
    pub criteria: &'a Criteria,
    /// Whose tolerances and requirement the table is read under: the last phase's.
    pub gate: &'a GatePolicy,
    pub baseline: &'a Baseline,
    /// From the end of the baseline to the end of the rollout.
    pub whole: &'a Window,
    pub green_agents: &'a BTreeSet<AgentName>,
    /// Rollbacks that were not rehearsed (R38).
    pub rollbacks: u32,
    pub client: Option<ClientAccount>,
}

/// R30 to R39, in this order, each exactly once.
pub fn summary(input: &SummaryInput<'_>) -> Vec<Judgement> {
    let SummaryInput { criteria, gate, baseline, whole, green_agents, rollbacks, client } = *input;
    let terms = Terms { criteria, gate, alpha: ALPHA };
    let before = baseline.window();
    let by_outcomes = Matched::new(before, whole, false, Tally::outcomes);
    let by_responses = Matched::new(before, whole, false, Tally::responses);
    let (all, control) = (whole.total(), before.total());
    let completed = judge::tasks(&all, whole.tasks_given_up());
    let completed_before = judge::tasks(&control, before.tasks_given_up());
    vec![
        rate::judge(&terms, baseline, whole),
        latency::judge(&terms, &by_responses, &judge::p95(criteria)),
        errors::judge(&terms, &by_outcomes),
        usage::judge(&terms, baseline, whole, green_agents, &judge::memory(criteria)),
        usage::judge(&terms, baseline, whole, green_agents, &judge::cpu(criteria)),
        share::judge(&terms, judge::calls(&all), judge::calls(&control), &judge::model_success(criteria)),
        share::availability(&terms, before, whole),
        share::judge(&terms, completed, completed_before, &judge::completion(criteria)),
        stability(&terms, rollbacks),
        experience(&terms, client),
    ]
}

/// R38: a count, not a sample.
fn stability(terms: &Terms<'_>, rollbacks: u32) -> Judgement {
    let finding = if rollbacks == 0 { Finding::Proved } else { Finding::Harm };
    let why = match rollbacks {
        0 => "no emergency rollback".to_owned(),
        1 => "1 emergency rollback".to_owned(),
        more => format!("{more} emergency rollbacks"),
    };
    Draft::new("R38", "system stability").samples(1).limit(0.0, "rollbacks").value(f64::from(rollbacks)).find(
        terms.gate.require,
        finding,
        why,
    )
}

/// R39: nothing failed, nothing was cut, and few requests were slower than a client would notice.
fn experience(terms: &Terms<'_>, client: Option<ClientAccount>) -> Judgement {
    let alpha = terms.alpha(0.05);
    let draft = Draft::new("R39", "user experience").limit(SLOWER_MAX * 100.0, "% of requests");
    let Some(account) = client else {
        return draft.open("not measured here: no client reported");
    };
    let ClientAccount { requests, failed, slower_than_150_percent: slower, cut_streams } = account;
    let draft = draft.samples(requests);
    if requests == 0 {
        return draft.open("the client sent no request");
    }
    let slower = slower.min(requests);
    let broken = failed.saturating_add(cut_streams);
    let caught = critical_count(requests, SLOWER_MAX, alpha).map(|hits| lower_limit(hits, requests, SURE));
    let smallest = caught.map(|share| (share - SLOWER_MAX).max(0.0));
    let finding = if broken > 0 || at_least(slower, requests, SLOWER_MAX) <= alpha {
        Finding::Harm
    } else if upper_limit(slower, requests, alpha) <= SLOWER_MAX {
        Finding::Proved
    } else if smallest.is_some_and(|more| more <= terms.gate.tolerated_error_rise) {
        Finding::NoHarmSeen
    } else {
        Finding::CannotTellYet
    };
    let noticed = broken.saturating_add(slower).min(requests);
    let why = format!(
        "of {} requests {} failed, {} were cut and {} took longer than 150 % of the p95 before",
        count(requests),
        count(failed),
        count(cut_streams),
        percent(real(slower) / real(requests))
    );
    draft.value(real(noticed) / real(requests) * 100.0).smallest(smallest.map(|more| more * 100.0)).find(
        terms.gate.require,
        finding,
        why,
    )
}
