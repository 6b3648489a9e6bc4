//! What a plan says of the way back: standby, memory, CPU and time, and that it holds.

use std::collections::BTreeSet;

use bellwether_core::{
    diagnostic::Diagnostic,
    id::{AgentName, Side},
    plan::{Ledger, Margin, Measured, Plan, PlannedAgent, Standby, make, text},
    spec::{Spec, StandbyPolicy},
    time::Millis,
};
use insta::assert_snapshot;
use proptest::prelude::*;

use crate::support::{MIB, fleet, machine, measured, of, planned, shown, sutazai, v2};

fn refusal(spec: &Spec, known: &Measured) -> Diagnostic {
    let mut found = make(spec, &v2(), known, 1.0).expect_err("the plan is accepted");
    assert_eq!(found.len(), 1);
    found.remove(0)
}

fn standby(plan: &Plan) -> Vec<Standby> {
    let mut agents: Vec<&PlannedAgent> = plan.agents().collect();
    agents.sort_by_key(|planned| planned.agent.as_str()[1..].parse::<u32>().unwrap_or(0));
    agents.iter().map(|planned| planned.standby).collect()
}

fn declare(spec: &mut Spec, policy: StandbyPolicy) {
    spec.agents.iter_mut().for_each(|agent| agent.standby = policy);
}

/// The figure at the start of a piece of advice, and what remains of it.
fn size(help: &str) -> u64 {
    let mut words = help.split(' ');
    let figure: f64 = words.next().and_then(|word| word.parse().ok()).expect("it starts with a figure");
    let unit = match words.next() {
        Some("GiB") => 1024.0,
        Some("MiB") => 1.0,
        other => panic!("{other:?} is no unit"),
    };
    (figure * unit).ceil() as u64 * MIB
}

/// 20 agents of 250 MB that take 8 s to boot, and `percent` of the memory that their blues need.
fn heavy(percent: u64) -> (Spec, Measured) {
    let mut spec = fleet(
        "version: 1
fleet: heavy
host: {reserve: 0}
agents:
  defaults: {command: [old], boot: 30s, standby: stopped}
  list: [a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16, a17, a18, a19]
rollout:
  phases:
    - {name: canary, select: {agents: [a0, a1]}}
    - {name: full}
",
    );
    spec.fleet = "heavy".into();
    let blue = 251_700_000;
    let known = Measured {
        present_memory_bytes: Some(20 * blue / 100 * percent),
        blue_peak_bytes: spec.agents.iter().map(|agent| (agent.name.clone(), blue)).collect(),
        boot_ms: spec.agents.iter().map(|agent| (agent.name.clone(), 8300)).collect(),
        ..Measured::default()
    };
    (spec, known)
}

#[test]
fn a_heavy_fleet_is_planned_in_little_more_memory_than_it_takes() {
    let (spec, known) = heavy(120);
    let plan = planned(&spec, &known);
    assert_eq!(plan.budget.margin, Margin::Close);
    assert!(plan.agents().all(|planned| planned.standby == Standby::Stopped));
    assert!(plan.phases.iter().flat_map(|phase| &phase.batches).all(|batch| batch.agents.len() == 1));
    assert!(plan.outlook.undo_longest < Millis::from_secs(30), "{}", plan.outlook.undo_longest);
    assert!(plan.budget.peak_bytes * 100 < plan.budget.capacity_bytes * 90, "below the memory trigger");
    assert_snapshot!(text::render(&plan, &spec));
}

/// What the smallest machine is: 20 blues and a green, close to what was measured, in 89 % of it.
#[test]
fn a_heavy_fleet_that_leaves_no_room_for_a_single_green_is_refused() {
    let (spec, known) = heavy(119);
    assert!(make(&spec, &v2(), &known, 1.0).is_ok());
    for percent in [100, 110, 118] {
        let (spec, mut known) = heavy(percent);
        let refused = refusal(&spec, &known);
        if percent != 118 {
            assert_snapshot!(format!("heavy_fleet_at_{percent}_percent"), shown(std::slice::from_ref(&refused)));
        }
        let more = size(&refused.help.unwrap());
        known.present_memory_bytes = known.present_memory_bytes.map(|bytes| bytes + more);
        assert!(make(&spec, &v2(), &known, 1.0).is_ok(), "{percent}");
    }
}

#[test]
fn headroom_is_ample_where_it_fits() {
    let (spec, known) = heavy(300);
    let plan = planned(&spec, &known);
    let need = plan.budget.needs[&AgentName::from("a0")];
    assert_eq!(plan.budget.margin, Margin::Ample);
    assert_eq!(need.blue_bytes, 251_700_000 * 11 / 10);
    assert_eq!(need.green_bytes, 251_700_000 / 10 * 12);
}

#[test]
fn what_is_declared_is_kept() {
    let mut spec = of(4, "");
    for (agent, policy) in spec.agents.iter_mut().zip([
        StandbyPolicy::Warm,
        StandbyPolicy::Frozen,
        StandbyPolicy::Stopped,
        StandbyPolicy::Auto,
    ]) {
        agent.standby = policy;
    }
    let plan = planned(&spec, &measured(&spec, 4096, 50));
    assert_eq!(standby(&plan), [Standby::Warm, Standby::Frozen, Standby::Stopped, Standby::Warm]);
    // One cutover for the warm, a second to thaw, two for green to leave and 20 s for a boot that nobody has measured.
    assert_eq!(plan.outlook.undo_longest, Millis::from_secs(1 + 1 + 22));
    assert_eq!(plan.outlook.undo_assumed, 1);
}

#[test]
fn a_frozen_blue_keeps_its_memory() {
    let mut spec = of(4, "  batch_max: 1\n  undo_max: 10m\n");
    let memory_mib = |spec: &Spec| planned(spec, &measured(spec, 4096, 100)).budget.peak_bytes / MIB;
    let warm = memory_mib(&spec);
    declare(&mut spec, StandbyPolicy::Frozen);
    assert_eq!(memory_mib(&spec), warm);
    declare(&mut spec, StandbyPolicy::Stopped);
    assert!(memory_mib(&spec) < warm);
}

#[test]
fn blues_that_must_stay_and_do_not_fit_are_refused_and_every_advice_helps() {
    for policy in [StandbyPolicy::Warm, StandbyPolicy::Frozen] {
        let mut spec = of(6, "");
        declare(&mut spec, policy);
        let mut known = measured(&spec, 1000, 100);
        let refused = refusal(&spec, &known);
        if policy == StandbyPolicy::Warm {
            assert_snapshot!(shown(std::slice::from_ref(&refused)));
        }
        let help = refused.help.unwrap();
        assert!(help.contains("write standby: auto for 6 agents"), "{help}");
        let mut left = spec.clone();
        declare(&mut left, StandbyPolicy::Auto);
        assert!(make(&left, &v2(), &known, 1.0).is_ok());
        known.present_memory_bytes = Some(1000 * MIB + size(&help));
        assert!(make(&spec, &v2(), &known, 1.0).is_ok(), "{help}");
    }
}

fn idling(spec: &Spec, cpus: u32, working: f64, idle: f64) -> Measured {
    let each = |cores: f64| spec.agents.iter().map(move |agent| (agent.name.clone(), cores)).collect();
    Measured {
        cpus: Some(cpus),
        blue_cpu_cores: each(working),
        blue_idle_cores: each(idle),
        ..measured(spec, 64 * 1024, 10)
    }
}

#[test]
fn as_few_blues_are_frozen_as_idle_too_much_the_busiest_first_and_critical_ones_last() {
    let mut spec = of(10, "");
    spec.agents[0].critical = true;
    spec.rollout.phases[0].agents.rotate_left(1);
    // 1.2 cores of 1.7 work, so that 0.5 are left for blues that would use 0.9 more while they idle.
    let mut known = idling(&spec, 2, 0.12, 0.09);
    known.blue_idle_cores.insert("a0".into(), 0.2);
    known.blue_idle_cores.insert("a5".into(), 0.15);
    let plan = planned(&spec, &known);
    let frozen: Vec<usize> =
        standby(&plan).iter().enumerate().filter(|(_, s)| **s == Standby::Frozen).map(|(i, _)| i).collect();
    assert_eq!(frozen, [1, 2, 3, 4, 5, 6]);
    let cpu = plan.budget.cpu.unwrap();
    assert!(cpu.working_cores + cpu.idle_cores <= cpu.ceiling_cores, "{cpu:?}");
    assert!(text::render(&plan, &spec).contains("1.2 of 2 cores for agents that work"));
    // Nothing measured, nothing frozen.
    known.blue_cpu_cores.clear();
    assert!(standby(&planned(&spec, &known)).iter().all(|standby| *standby == Standby::Warm));
}

#[test]
fn blues_that_must_stay_warm_and_idle_too_much_are_refused() {
    let mut spec = of(10, "");
    declare(&mut spec, StandbyPolicy::Warm);
    let known = idling(&spec, 2, 0.12, 0.09);
    let refused = refusal(&spec, &known);
    assert_snapshot!(shown(&[refused]));
    for policy in [StandbyPolicy::Auto, StandbyPolicy::Frozen] {
        declare(&mut spec, policy);
        assert!(make(&spec, &v2(), &known, 1.0).is_ok());
    }
}

/// A fleet that is busy before anything moves is not the old instances' fault.
#[test]
fn a_fleet_that_is_too_busy_already_is_planned_and_told() {
    let mut spec = of(10, "");
    let known = idling(&spec, 2, 0.18, 0.01);
    let plan = planned(&spec, &known);
    assert!(standby(&plan).iter().all(|standby| *standby == Standby::Frozen));
    assert!(text::render(&plan, &spec).contains("the CPU trigger may fire"));
    declare(&mut spec, StandbyPolicy::Warm);
    assert!(make(&spec, &v2(), &known, 1.0).is_ok());
}

#[test]
fn a_way_back_that_takes_too_long_is_refused_and_every_advice_helps() {
    let spec = of(64, "");
    let mut known = measured(&spec, 7600, 100);
    known.boot_ms = spec.agents.iter().map(|agent| (agent.name.clone(), 25_000)).collect();
    let refused = refusal(&spec, &known);
    assert_snapshot!(shown(std::slice::from_ref(&refused)));
    let help = refused.help.unwrap();
    let mut longer = spec.clone();
    let allowed = help.split("undo_max: ").nth(1).and_then(|rest| rest.split('s').next()).unwrap();
    longer.rollout.undo_max = Millis::from_secs(allowed.parse().unwrap());
    let plan = planned(&longer, &known);
    assert!(plan.outlook.undo_longest > Millis::from_secs(60));
    assert_eq!(plan.outlook.undo_max, longer.rollout.undo_max);
    known.present_memory_bytes = Some(7600 * MIB + size(&help));
    assert!(planned(&spec, &known).outlook.undo_longest <= Millis::from_secs(60));
}

#[test]
fn blues_that_are_declared_stopped_and_boot_too_slowly_are_refused() {
    let mut spec = sutazai();
    declare(&mut spec, StandbyPolicy::Stopped);
    let refused = refusal(&spec, &machine(64));
    assert_snapshot!(shown(&[refused]));
    declare(&mut spec, StandbyPolicy::Auto);
    assert!(make(&spec, &v2(), &machine(64), 1.0).is_ok());
}

#[test]
fn each_step_says_how_far_it_is_from_blue() {
    let mut spec = of(6, "  batch_max: 2\n  undo_max: 2m\n");
    declare(&mut spec, StandbyPolicy::Stopped);
    spec.agents[1].standby = StandbyPolicy::Warm;
    let mut known = measured(&spec, 4096, 10);
    known.boot_ms = spec.agents.iter().zip(1..).map(|(agent, n)| (agent.name.clone(), n * 1000)).collect();
    let undo: Vec<u64> = planned(&spec, &known).phases[0].batches.iter().map(|batch| batch.undo.0 / 1000).collect();
    // A cutover; then rounds of two boots, from the last that moved, two seconds for green to go before each.
    assert_eq!(undo, [1 + 2 + 1, 1 + (2 + 4) + (2 + 1), 1 + (2 + 6) + (2 + 4) + (2 + 1)]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever the sizes and whatever is declared, an accepted plan can be walked forward and back, in rounds with
    /// green out first, without ever passing its ceiling; it takes every agent once and keeps its word.
    #[test]
    fn an_accepted_plan_fits_on_the_way_there_and_on_the_way_back(
        sizes in prop::collection::vec((1u64..300, prop::option::of(1u64..300), any::<bool>(), 0usize..6), 1..24),
        memory_mib in 100u64..8000,
        batch_max in 1u32..8,
        halves in any::<bool>(),
    ) {
        let policies = [StandbyPolicy::Warm, StandbyPolicy::Frozen, StandbyPolicy::Stopped];
        let mut spec = of(sizes.len(), &format!("  batch_max: {batch_max}\n  undo_max: 2m\n"));
        let mut known = measured(&spec, memory_mib, 0);
        for (agent, (blue, green, critical, policy)) in spec.agents.iter_mut().zip(&sizes) {
            agent.critical = *critical;
            agent.standby = policies.get(*policy).copied().unwrap_or_default();
            known.blue_peak_bytes.insert(agent.name.clone(), blue * MIB);
            if let Some(green) = green {
                known.green_peak_bytes.insert(agent.name.clone(), green * MIB);
            }
        }
        let size = |name: &AgentName| sizes[name.as_str()[1..].parse::<usize>().unwrap()];
        spec.rollout.phases[0].agents.sort_by_key(|name| size(name).2);
        spec.rollout.phases[0].halves = halves;
        let Ok(plan) = make(&spec, &v2(), &known, 1.0) else { return Ok(()) };

        let forward: Vec<&PlannedAgent> = plan.agents().collect();
        let once: BTreeSet<&AgentName> = forward.iter().map(|agent| &agent.agent).collect();
        prop_assert_eq!((once.len(), forward.len()), (sizes.len(), sizes.len()));
        prop_assert!(forward.iter().map(|planned| size(&planned.agent).2).is_sorted(), "risk");
        for planned in &forward {
            let declared = policies.get(size(&planned.agent).3);
            let kept = match planned.standby {
                Standby::Warm => StandbyPolicy::Warm,
                Standby::Frozen => StandbyPolicy::Frozen,
                Standby::Stopped => StandbyPolicy::Stopped,
            };
            prop_assert!(declared.is_none_or(|declared| *declared == kept));
        }
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
            prop_assert!(batch.undo <= plan.outlook.undo_longest && batch.undo <= plan.outlook.undo_max);
            for planned in batch.agents.iter().filter(|planned| planned.standby == Standby::Stopped) {
                ledger.release(&planned.agent, Side::Blue);
            }
        }
        prop_assert_eq!(ledger.peak_bytes(), plan.budget.peak_bytes);
        for round in forward.rchunks(plan.budget.boots_max as usize) {
            for planned in round {
                ledger.release(&planned.agent, Side::Green);
            }
            for planned in round {
                prop_assert!(ledger.reserve(&planned.agent, Side::Blue, needs[&planned.agent].blue_bytes).is_ok());
            }
        }
    }

    /// Following the advice has to help, whatever stood in the way.
    #[test]
    fn more_memory_helps_where_a_refusal_says_so(
        sizes in prop::collection::vec((1u64..300, any::<bool>(), 0usize..6), 1..16),
        memory_mib in 100u64..4000,
        batch_max in 1u32..8,
        boot_ms in 1_000u64..30_000,
    ) {
        let policies = [StandbyPolicy::Warm, StandbyPolicy::Frozen, StandbyPolicy::Stopped];
        let mut spec = of(sizes.len(), &format!("  batch_max: {batch_max}\n"));
        let mut known = measured(&spec, memory_mib, 0);
        for (agent, (blue, critical, policy)) in spec.agents.iter_mut().zip(&sizes) {
            agent.critical = *critical;
            agent.standby = policies.get(*policy).copied().unwrap_or_default();
            known.blue_peak_bytes.insert(agent.name.clone(), blue * MIB);
            known.boot_ms.insert(agent.name.clone(), boot_ms);
        }
        let Err(found) = make(&spec, &v2(), &known, 1.0) else { return Ok(()) };
        let help = found[0].help.clone().unwrap();
        if help.contains("more would do") {
            known.present_memory_bytes = Some(memory_mib * MIB + size(&help));
            let then = make(&spec, &v2(), &known, 1.0);
            prop_assert!(then.is_ok(), "{}\n{}", shown(&found), shown(&then.unwrap_err()));
        }
    }
}
