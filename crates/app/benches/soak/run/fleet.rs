//! The files of the run.

use std::{fmt::Write, time::Duration};

use super::Plan;
use crate::common::policy::POLICY;

/// A task may be torn out of so many hands. None that this run kills that often is at fault itself.
const ATTEMPTS: u32 = 60;
const TYPES: [&str; 4] = ["monitoring", "development", "business", "infrastructure"];
/// Words of an answer: the model is paid by the word.
const ANSWER_WORDS: u128 = 8;
/// No agent waits for another's call: the slots are not what is under test.
pub(super) const SLOTS_MAX: usize = 256;

pub(super) fn fleet(plan: &Plan) -> String {
    let mut text = format!(
        "version: 1\nfleet: soak\nhost: {{reserve: 1GiB}}\nollama: {{parallel: {}}}\n\
         tasks: {{lease: 30s, attempts: {ATTEMPTS}, takeover: 5s, waiting: 1000000}}\nagents:\n  defaults:\n    \
         command: [bellwether, legacy-agent]\n    model: tinyllama\n    drain: 10s\n    standby: warm\n    \
         env: {{LEGACY_IDLE_MS: '500'}}\n  list:\n",
        slots(plan)
    );
    // Nothing fails that is written to a string.
    for number in 0..plan.agents {
        let (kind, phase) = (TYPES[number % TYPES.len()], phase(number, plan.agents));
        writeln!(text, "    - {{name: agent-{number:03}, type: {kind}, phase: {phase}}}").ok();
    }
    let Plan { baseline, bake, .. } = plan;
    write!(text, "rollout:\n  baseline: {}\n  validation: 2s\n{POLICY}  phases:\n", span(*baseline)).ok();
    for phase in 1..=PHASES.len() {
        let bake = span(*bake);
        writeln!(
            text,
            "    - {{name: phase-{phase}, select: {{phase: {phase}}}, bake: {bake}, halves: false, thin_evidence: accept}}"
        )
        .ok();
    }
    text
}

pub(super) fn release() -> &'static str {
    "version: 1\nrelease: v2\nset:\n  command: [bellwether, agent]\n  http: true\n  env: {BELLWETHER_IDLE_MS: '500'}\n"
}

/// Times of the simulated model server.
pub(super) fn model_times(plan: &Plan) -> String {
    let word = plan.answer.as_micros() / ANSWER_WORDS;
    format!(
        "{{\"load_us\": 1000, \"output_tokens\": {ANSWER_WORDS}, \"output_token_us\": {word}, \"seed\": {}}}",
        plan.seed
    )
}

pub(super) fn slots(plan: &Plan) -> usize {
    plan.agents.min(SLOTS_MAX)
}

/// Shares of the fleet that are on green after each phase, in percent.
const PHASES: [usize; 4] = [10, 25, 50, 100];

fn phase(number: usize, agents: usize) -> usize {
    let share = number * 100 / agents;
    PHASES.iter().take_while(|up_to| **up_to <= share).count() + 1
}

fn span(span: Duration) -> String {
    format!("{}ms", span.as_millis())
}
