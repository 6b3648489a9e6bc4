//! The rounds of SIGKILL in small. The large ones are `cargo xtask bench kills`.

use std::time::Duration;

use crate::kills_run::{self, Plan};

#[test]
fn nothing_is_lost_and_no_agent_ends_when_controller_gateway_and_supervisor_are_killed() {
    let pushed = if kills_run::has_python() { 2 } else { 0 };
    if pushed == 0 {
        eprintln!("skipped: pushed requests (the agents that take them are Python programs, and there is no python3)");
    }
    let plan = Plan {
        rounds: 6,
        agents: 6,
        pushed,
        tasks: 8.0,
        pushes: 15.0,
        calls: 8.0,
        seed: fastrand::u64(1..1_000_000),
        answer: Duration::from_millis(300),
        baseline: Duration::from_secs(2),
        bake: Duration::from_secs(1),
        pause: Duration::from_secs(1),
        settle: Duration::from_secs(120),
    };
    let outcome = kills_run::run(&plan, &|text| eprintln!("{text}"));
    let outcome = outcome.unwrap_or_else(|why| panic!("seed {}: {why}", plan.seed));
    let violations = outcome.violations(&plan);
    let shown: Vec<&String> = outcome.unaccounted_shown().collect();
    assert!(violations.is_empty(), "seed {}: {violations:#?}, {shown:#?} in {outcome:#?}", plan.seed);
    for sum in outcome.sums() {
        assert!(sum.rounds == 2, "{sum:?}");
        eprintln!("{}: {} failed of {} in flight", sum.victim, sum.failed, sum.in_flight);
    }
}
