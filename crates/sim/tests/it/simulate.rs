//! The example fleet as `simulate` plays it, at the pace and under the load of the demo.

use bellwether_core::{
    plan::{Measured, Plan, make},
    spec::{Sources, Spec, parse_fleet, parse_release},
    time::Millis,
};
use bellwether_sim::simulate::{Ending, Load, Run, Study, summarise};

const FLEET: &str = include_str!("../../../../examples/sutazai/fleet.yaml");
const AGENTS: &str = include_str!("../../../../examples/sutazai/agents.csv");
const RELEASE: &str = include_str!("../../../../examples/sutazai/release-v2.yaml");

const LOAD: Load = Load { rate: 30.0, call: Millis(60), model_load: Millis(0) };

fn example() -> (Spec, Plan) {
    let read = |_: &str| Ok(AGENTS.to_owned());
    let mut spec = parse_fleet(&Sources { name: "fleet.yaml", text: FLEET, read: &read }).expect("it is sound");
    spec.rollout.baseline = Millis::from_secs(25);
    // The load of the demo needs more than two slots of a real model server.
    spec.ollama.parallel = 8;
    let release = parse_release("release.yaml", RELEASE).expect("it is sound");
    let measured = Measured { present_memory_bytes: Some(48 << 30), ..Measured::default() };
    let plan = make(&spec, &release, &measured, 100.0).expect("it fits");
    (spec, plan)
}

fn run(faults: &[&str], seed: u64) -> Run {
    let (spec, plan) = example();
    let faults: Vec<_> = faults.iter().map(|fault| fault.parse().expect("it is a fault")).collect();
    Study::new(spec, plan, LOAD, &faults).run(seed).expect("it keeps every promise")
}

#[test]
fn a_sound_release_completes() {
    let run = run(&[], 1);
    assert_eq!((run.ending, run.why.as_deref(), run.back), (Ending::Completed, None, None));
    assert!(run.tasks > 5_000 && run.tasks_failed == 0, "{run:?}");
}

#[test]
fn each_fault_of_green_is_taken_back_by_what_is_there_to_see_it() {
    for (fault, by) in [
        ("errors:0.3@phase2", "errors"),
        ("latency:3@phase2", "latency"),
        ("swallow@phase2", ""),
        ("hang@phase2", "no progress"),
        ("ollama-down@phase2", ""),
        ("crash@phase2", "crash loop"),
        ("unfit@phase2", "crash loop"),
        ("leak:64@phase2", ""),
    ] {
        let run = run(&[fault], 3);
        assert_eq!(run.ending, Ending::RolledBack, "{fault}: {run:?}");
        assert!(run.why.as_ref().is_some_and(|why| why.contains(by)), "{fault}: {:?}", run.why);
        let entered = run.spent.iter().filter_map(|(phase, _, _)| *phase).max();
        assert!(entered >= Some(1), "{fault}: it was sound before the second phase");
        let execution = run.back.and_then(|back| back.execution);
        assert!(execution.is_some_and(|span| span < Millis::from_secs(60)), "R47, {fault}: {execution:?}");
    }
}

#[test]
fn what_dies_around_a_sound_release_costs_time_and_no_promise() {
    let run = run(&["controller-crashes:30s", "gateway-crashes:40s", "supervisor-crashes:90s", "driver-lies"], 2);
    assert!(run.crashes > 3, "{run:?}");
}

#[test]
fn a_summary_adds_up() {
    let (_, plan) = example();
    let runs: Vec<Run> = (1..4).map(|seed| run(&["errors:0.5@phase1"], seed)).collect();
    let summary = summarise(&runs, &plan);
    assert_eq!(summary.endings.values().sum::<usize>(), 3);
    assert_eq!(summary.ways_back, 3);
    assert!(summary.detection.is_some_and(|detection| detection.count == 3 && detection.p5 <= detection.max));
    assert_eq!(summary.phases.iter().map(|phase| phase.agents).sum::<usize>(), 131);
    assert_eq!(summary.phases[3].entered, 0);
}

#[test]
fn more_work_than_the_slots_can_do_is_told_and_breaks_nothing() {
    let (mut spec, plan) = example();
    spec.ollama.parallel = 1;
    let load = Load { rate: 30.0, call: Millis(500), model_load: Millis(500) };
    let run = Study::new(spec, plan, load, &[]).run(1).expect("it keeps every promise");
    assert!(run.tasks_refused > 100, "{run:?}");
}
