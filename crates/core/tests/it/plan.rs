//! Plans, as values and as people read them.

use std::collections::BTreeSet;

use bellwether_core::{
    id::{AgentName, Side},
    plan::{Ledger, Measured, Plan, Standby, make, revision_of, text},
    spec::{Spec, parse_release},
    time::Millis,
};
use insta::assert_snapshot;
use proptest::prelude::*;

use crate::support::{GIB, MIB, fleet, machine, planned, release, shown, sutazai, v2};

fn batches(plan: &Plan) -> Vec<Vec<usize>> {
    plan.phases.iter().map(|phase| phase.batches.iter().map(|batch| batch.agents.len()).collect()).collect()
}

fn stopped(plan: &Plan) -> Vec<&str> {
    plan.agents().filter(|agent| agent.standby == Standby::Stopped).map(|agent| agent.agent.as_str()).collect()
}

/// `n` agents whose blues were all measured at `mib`.
fn measured(spec: &Spec, memory_mib: u64, mib: u64) -> Measured {
    Measured {
        present_memory_bytes: Some(memory_mib * MIB),
        blue_peak_bytes: spec.agents.iter().map(|agent| (agent.name.clone(), mib * MIB)).collect(),
        ..Measured::default()
    }
}

fn of(count: usize, more: &str) -> Spec {
    let list: Vec<String> = (0..count).map(|i| format!("a{i}")).collect();
    fleet(&format!(
        "version: 1\nhost: {{reserve: 0}}\nagents: {{defaults: {{command: [old]}}, list: [{}]}}\nrollout:\n  phases: [{{name: all, halves: false}}]\n{more}",
        list.join(", ")
    ))
}

#[test]
fn the_plan_of_the_example() {
    let spec = sutazai();
    let file = include_str!("../../../../examples/sutazai/release-v2.yaml");
    let release = parse_release("release-v2.yaml", file).unwrap_or_else(|found| panic!("{}", shown(&found)));
    let plan = make(&spec, &release, &machine(64), 1.0).unwrap_or_else(|found| panic!("{}", shown(&found)));
    let cumulative: Vec<usize> = plan.phases.iter().map(|phase| phase.agents_cumulative).collect();
    assert_eq!(cumulative, [13, 32, 65, 131]);
    assert_snapshot!(text::render(&plan, &spec));
}

#[test]
fn a_plan_that_has_to_stop_blues() {
    let mut spec = of(6, "");
    spec.agents[1].critical = true;
    let mut known = measured(&spec, 800, 64);
    known.blue_peak_bytes.insert("a3".into(), 100 * MIB);
    known.green_peak_bytes.insert("a0".into(), 50 * MIB);
    let plan = planned(&spec, &known);
    assert_snapshot!(text::render(&plan, &spec));
}

#[test]
fn a_plan_that_leaves_agents_alone_and_runs_compressed() {
    let spec = fleet(
        "version: 1
fleet: mixed
agents:
  defaults: {command: [old], env: {LEVEL: info}}
  list:
    - a
    - {name: b, command: [bellwether, agent], http: true, env: {LEVEL: debug, TOKEN: secret}, model: phi}
    - {name: c, type: web}
rollout:
  phases:
    - {name: first, select: {agents: [b]}}
    - {name: rest, require: proof}
",
    );
    let release = release(
        "version: 1\nrelease: v2\nset: {command: [bellwether, agent], http: true, model: phi, env: {LEVEL: debug, TOKEN: secret}}\n",
    );
    let plan = make(&spec, &release, &machine(4), 100.0).unwrap();
    assert_eq!(plan.agents().count(), 2);
    assert_eq!((plan.baseline, plan.rollback_window), (Millis::from_mins(60), Millis::from_mins(240)));
    let page = text::render(&plan, &spec);
    assert!(!page.contains("secret"), "values of the environment may be secrets");
    assert_snapshot!(page);
}

#[test]
fn a_light_fleet_goes_in_batches_of_the_bound_and_keeps_every_blue_warm() {
    let spec = sutazai();
    let plan = planned(&spec, &measured(&spec, 48 * 1024, 3));
    assert_eq!(batches(&plan), [vec![13], vec![16, 3], vec![16, 16, 1], vec![16, 4, 16, 3, 16, 11]]);
    assert!(stopped(&plan).is_empty());
    assert_eq!(plan.budget.capacity_bytes, 40 * GIB);
}

#[test]
fn a_batch_never_mixes_critical_agents_with_others() {
    let spec = sutazai();
    for batch in planned(&spec, &machine(64)).phases.iter().flat_map(|phase| &phase.batches) {
        let risks: BTreeSet<bool> = batch.agents.iter().map(|a| spec.agent(&a.agent).unwrap().critical).collect();
        assert_eq!(risks.len(), 1);
    }
}

#[test]
fn as_few_blues_as_possible_are_stopped_the_largest_first_and_critical_ones_last() {
    let mut spec = of(4, "  batch_max: 1\n  undo_max: 10m\n");
    for (agent, critical) in spec.agents.iter_mut().zip([true, false, false, false]) {
        agent.critical = critical;
    }
    let mut known = measured(&spec, 0, 100);
    known.blue_peak_bytes.insert("a0".into(), 200 * MIB);
    for name in ["a0", "a1", "a2", "a3"] {
        known.green_peak_bytes.insert(name.into(), 100 * MIB);
    }
    spec.rollout.phases[0].agents.rotate_left(1);
    // Blues 220 + 3 × 110 and greens 4 × 110: 990 MiB keep everything warm, each 110 MiB less stop one more. The
    // critical one is the largest and still stays.
    for (ceiling_mib, expected) in
        [(990, vec![]), (880, vec!["a1"]), (770, vec!["a1", "a2"]), (660, vec!["a1", "a2", "a3"])]
    {
        known.present_memory_bytes = Some((ceiling_mib * MIB).div_ceil(89) * 100 + 100);
        assert_eq!(stopped(&planned(&spec, &known)), expected, "{ceiling_mib}");
    }
}

#[test]
fn the_smaller_of_declared_and_present_memory_counts() {
    let spec = sutazai();
    assert_eq!(planned(&spec, &machine(64)).budget.capacity_bytes, 40 * GIB);
    assert_eq!(planned(&spec, &machine(24)).budget.capacity_bytes, 16 * GIB);
}

#[test]
fn the_ceiling_stays_below_the_memory_trigger() {
    let budget = planned(&sutazai(), &machine(64)).budget;
    assert!(budget.ceiling_bytes < budget.capacity_bytes / 10 * 9);
}

#[test]
fn an_unmeasured_green_is_taken_to_need_what_the_criterion_would_let_pass() {
    let spec = of(1, "");
    let need = |known: &Measured| planned(&spec, known).budget.needs[&AgentName::from("a0")];
    let assumed = need(&machine(4));
    assert!(!assumed.blue_measured && !assumed.green_measured && assumed.green_bytes >= assumed.blue_bytes);
    let mut known = measured(&spec, 4096, 100);
    assert_eq!((need(&known).blue_bytes / MIB, need(&known).green_bytes / MIB), (110, 120));
    known.green_peak_bytes.insert("a0".into(), 50 * MIB);
    assert_eq!((need(&known).green_bytes / MIB, need(&known).green_measured), (55, true));
}

#[test]
fn a_declared_limit_caps_what_an_agent_is_given_room_for() {
    let mut spec = of(1, "");
    spec.agents[0].memory_limit_bytes = Some(20 * MIB);
    let need = planned(&spec, &measured(&spec, 4096, 100)).budget.needs[&AgentName::from("a0")];
    assert_eq!((need.blue_bytes, need.green_bytes), (20 * MIB, 20 * MIB));
}

#[test]
fn a_release_changes_what_it_names_and_nothing_else() {
    let spec = sutazai();
    let blue = &spec.agents[0];
    let green = revision_of(blue, &v2());
    assert_eq!((green.name.as_str(), green.command.len(), green.http), ("v2", 2, true));
    assert_eq!((&green.model, green.boot), (&blue.revision.model, blue.revision.boot));
    assert_ne!(green.id, blue.revision.id);
    let same = release("version: 1\nrelease: other\nset: {http: false}\n");
    assert_eq!(revision_of(blue, &same).id, blue.revision.id);
}

#[test]
fn a_plan_survives_being_written_down() {
    let plan = planned(&sutazai(), &machine(64));
    let text = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever the sizes, an accepted plan can be walked forward and back without ever passing its ceiling, and
    /// takes every agent once.
    #[test]
    fn an_accepted_plan_fits_on_the_way_there_and_on_the_way_back(
        sizes in prop::collection::vec((1u64..300, 1u64..300, any::<bool>()), 1..24),
        memory_mib in 100u64..8000,
        batch_max in 1u32..8,
    ) {
        let mut spec = of(sizes.len(), &format!("  batch_max: {batch_max}\n"));
        let mut known = measured(&spec, memory_mib, 0);
        for (agent, (blue, green, critical)) in spec.agents.iter_mut().zip(&sizes) {
            agent.critical = *critical;
            known.blue_peak_bytes.insert(agent.name.clone(), blue * MIB);
            known.green_peak_bytes.insert(agent.name.clone(), green * MIB);
        }
        spec.rollout.phases[0].agents.sort_by_key(|name| sizes[name.as_str()[1..].parse::<usize>().unwrap()].2);
        let Ok(plan) = make(&spec, &v2(), &known, 1.0) else { return Ok(()) };

        let once: BTreeSet<&AgentName> = plan.agents().map(|agent| &agent.agent).collect();
        prop_assert_eq!((once.len(), plan.agents().count()), (sizes.len(), sizes.len()));
        let needs = &plan.budget.needs;
        let mut ledger = Ledger::new(plan.budget.ceiling_bytes);
        for (agent, need) in needs {
            prop_assert!(ledger.reserve(agent, Side::Blue, need.blue_bytes).is_ok());
        }
        for batch in plan.phases.iter().flat_map(|phase| &phase.batches) {
            for planned in &batch.agents {
                prop_assert!(ledger.reserve(&planned.agent, Side::Green, needs[&planned.agent].green_bytes).is_ok());
            }
            prop_assert_eq!(ledger.used_bytes(), batch.memory_peak_bytes);
            for planned in batch.agents.iter().filter(|planned| planned.standby == Standby::Stopped) {
                ledger.release(&planned.agent, Side::Blue);
            }
        }
        prop_assert_eq!(ledger.peak_bytes(), plan.budget.peak_bytes);
        let forward: Vec<_> = plan.agents().collect();
        for planned in forward.into_iter().rev() {
            ledger.release(&planned.agent, Side::Green);
            prop_assert!(ledger.reserve(&planned.agent, Side::Blue, needs[&planned.agent].blue_bytes).is_ok());
        }
    }
}
