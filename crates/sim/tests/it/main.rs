//! A few dozen seeds of every scenario with a small fleet; `cargo xtask sim` runs the whole one.

mod simulate;

use bellwether_sim::{Campaign, Death, End, Job, PLAYS, Party, SCENARIOS, Scenario, Simulator};

fn run(scenario: &'static Scenario, seeds: std::ops::Range<u64>, agents: usize) -> Vec<bellwether_sim::Outcome> {
    let simulator = Simulator::default();
    seeds
        .map(|seed| {
            let result =
                simulator.run(&Job { scenario, seed, agents, deaths: Vec::new() }).expect("the example can be planned");
            result.unwrap_or_else(|failure| {
                let told = failure.last.join("\n");
                panic!("seed {seed} of {:?}: {}\n{told}", scenario.name, failure.violation)
            })
        })
        .collect()
}

fn small(name: &str, seeds: u64) -> Vec<bellwether_sim::Outcome> {
    run(Scenario::named(name).expect("there is such a scenario"), 1..seeds + 1, 9)
}

#[test]
fn every_scenario_comes_to_an_end_and_keeps_every_promise() {
    for scenario in &SCENARIOS {
        run(scenario, 1..4, 6);
    }
}

#[test]
fn a_healthy_rollout_is_never_away_and_loses_no_lease() {
    let outcomes = small("healthy", 5);
    assert!(outcomes.iter().filter(|outcome| outcome.end == End::Committed).count() >= 4);
    for outcome in outcomes {
        assert_eq!((outcome.unavailable.0, outcome.leases_lost, outcome.crashes), (0, 0, 0));
        assert!(outcome.tasks > 1_000);
    }
}

#[test]
fn crashes_of_the_controller_cost_nothing_but_time() {
    let outcomes = small("crashes", 12);
    assert!(outcomes.iter().map(|outcome| outcome.crashes).sum::<u64>() > 20, "nothing crashed");
}

#[test]
fn lossy_links_and_a_dying_gateway() {
    small("lossy", 6);
    let outcomes = small("gateway-dies", 6);
    assert!(outcomes.iter().any(|outcome| outcome.crashes > 10));
}

#[test]
fn operators_who_press_everything() {
    small("operator", 10);
}

#[test]
fn scarce_memory_is_never_exceeded_on_the_way_there_and_back() {
    let outcomes = small("scarce-memory", 12);
    for end in [End::Committed, End::RolledBack] {
        assert!(outcomes.iter().any(|outcome| outcome.end == end), "never {end:?}");
    }
}

#[test]
fn freezes_and_windows_hold_nothing_up_for_ever() {
    let outcomes = small("windows", 12);
    for end in [End::Committed, End::RolledBack] {
        assert!(outcomes.iter().any(|outcome| outcome.end == end), "never {end:?}");
    }
    assert!(outcomes.iter().any(|outcome| outcome.trigger == Some("window closed")), "no window closed");
}

#[test]
fn all_of_it_together() {
    small("chaos", 12);
}

#[test]
fn a_seed_gives_the_same_run_again() {
    let scenario = Scenario::named("chaos").expect("there is such a scenario");
    let tell = || {
        let mut told = Vec::new();
        let job = Job { scenario, seed: 11, agents: 6, deaths: Vec::new() };
        let result = Simulator::default().tell(&job, &mut |line| told.push(line)).expect("the example can be planned");
        assert!(result.is_ok());
        told
    };
    assert!(tell() == tell());
}

#[test]
fn whoever_dies_at_whichever_place_the_end_is_on_or_back() {
    let simulator = Simulator::default();
    for play in &PLAYS {
        let campaign = Campaign { play, agents: 6, seed: 1, sample: Some(70), twice: 20 };
        let trials = campaign.trials(&simulator).expect("it can be planned").expect("nobody dies, and all is well");
        assert_eq!(trials.jobs.len(), 90);
        for job in trials.jobs {
            if let Err(failure) = simulator.run(&job).expect("it can be planned") {
                panic!("{}, {:?}: {}\n{}", play.name, job.deaths, failure.violation, failure.last.join("\n"));
            }
        }
    }
}

#[test]
fn a_planned_death_is_the_one_that_happens() {
    let simulator = Simulator::default();
    let play = Scenario::play("healthy").expect("there is such a play");
    for (party, deaths) in [(Party::Controller, 1), (Party::ControllerAndGateway, 2), (Party::Supervisor, 2)] {
        let job = Job { scenario: play, seed: 1, agents: 6, deaths: vec![Death { at: 200, party }] };
        let outcome = simulator.run(&job).expect("it can be planned").expect("it keeps every promise");
        assert_eq!((outcome.end, outcome.crashes), (End::Committed, deaths), "{party:?}");
    }
}

#[test]
fn a_supervisor_that_dies_leaves_orphans_that_are_adopted() {
    let outcomes = small("supervisor", 6);
    assert!(outcomes.iter().map(|outcome| outcome.crashes).sum::<u64>() > 20, "nothing crashed");
}

#[test]
fn a_driver_that_lies_is_found_out() {
    let outcomes = small("lies", 8);
    assert!(outcomes.iter().any(|outcome| outcome.end == End::Committed), "some go through all the same");
}

#[test]
fn late_answers_cost_time_and_nothing_else() {
    small("slow-links", 6);
}
