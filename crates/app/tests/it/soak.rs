//! The soak in small: tasks through a fleet that is rolled out, rolled back and killed at random. The large one is
//! `cargo xtask bench soak`.

use std::time::Duration;

use crate::soak_run::{self, Every, Plan};

#[test]
fn no_task_is_lost_or_accepted_twice_while_everything_is_killed() {
    let plan = Plan {
        agents: 20,
        tasks: 1000,
        rate: 40.0,
        seed: fastrand::u64(1..1_000_000),
        kills: Every {
            // Seldom enough that an agent is not taken for one that ends again and again.
            agent: Some(Duration::from_millis(1500)),
            controller: Some(Duration::from_secs(8)),
            gateway: Some(Duration::from_secs(8)),
        },
        answer: Duration::from_millis(250),
        baseline: Duration::from_secs(2),
        bake: Duration::from_secs(1),
        settle: Duration::from_secs(120),
    };
    let outcome = soak_run::run(&plan, &|text| eprintln!("{text}"));
    let outcome = outcome.unwrap_or_else(|why| panic!("seed {}: {why}", plan.seed));
    let violations = outcome.violations(&plan);
    assert!(violations.is_empty(), "seed {}: {violations:#?} in {outcome:#?}", plan.seed);
    assert!(outcome.killed.gateways > 1 && outcome.killed.controllers > 1, "{outcome:#?}");
}
