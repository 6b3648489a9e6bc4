//! Plans, as values and as people read them.

use std::collections::BTreeSet;

use bellwether_core::{
    id::AgentName,
    plan::{Measured, Plan, Standby, Traffic, drill_of, make, revision_of, text},
    spec::{Approval, parse_release},
    time::Millis,
};
use insta::assert_snapshot;

use crate::support::{GIB, MIB, fleet, machine, measured, of, planned, refused, release, shown, sutazai, v2};

fn batches(plan: &Plan) -> Vec<Vec<usize>> {
    plan.phases.iter().map(|phase| phase.batches.iter().map(|batch| batch.agents.len()).collect()).collect()
}

fn stopped(plan: &Plan) -> Vec<&str> {
    plan.agents().filter(|agent| agent.standby == Standby::Stopped).map(|agent| agent.agent.as_str()).collect()
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

/// What an operator sees once the fleet has run for a while: two slots, calls of 20 s.
#[test]
fn the_plan_of_the_example_when_it_was_measured() {
    let spec = sutazai();
    let mut known = measured(&spec, 48 * 1024, 40);
    known.boot_ms = spec.agents.iter().map(|agent| (agent.name.clone(), 4200)).collect();
    known.cpus = Some(2);
    known.blue_cpu_cores = spec.agents.iter().map(|agent| (agent.name.clone(), 0.004)).collect();
    known.traffic =
        Some(Traffic { tasks_per_second: 0.1, task_seconds: 20.0, task_seconds_max: 61.0, base_error_rate: 0.002 });
    let page = text::render(&planned(&spec, &known), &spec);
    assert_snapshot!(page);
    assert!(page.lines().count() <= 66, "{} lines", page.lines().count());
    let long: Vec<&str> = page.lines().filter(|line| line.chars().count() > 112).collect();
    assert!(long.is_empty(), "{long:?}");
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
fn the_last_phase_goes_in_halves_that_no_batch_spans_with_critical_agents_at_the_end() {
    let spec = sutazai();
    let plan = planned(&spec, &machine(64));
    let halves: Vec<_> = plan.phases.iter().map(|phase| phase.second_half).collect();
    assert_eq!(halves, [None, None, None, Some(2)]);
    let (first, second) = plan.phases[3].batches.split_at(2);
    let names = |batches: &[bellwether_core::plan::Batch]| -> Vec<AgentName> {
        batches.iter().flat_map(|batch| &batch.agents).map(|agent| agent.agent.clone()).collect()
    };
    let critical = |name: &AgentName| spec.agent(name).unwrap().critical;
    assert_eq!((names(first).len(), names(second).len()), (20, 46));
    assert!(!names(first).iter().any(critical));
    assert!(names(second).iter().map(critical).is_sorted());
    // The same again, and another draw for another release.
    assert_eq!(names(first), names(&planned(&spec, &machine(64)).phases[3].batches[..2]));
    let v3 = release("version: 1\nrelease: v3\nset: {http: true}\n");
    let other = make(&spec, &v3, &machine(64), 1.0).unwrap();
    assert_ne!(names(first), names(&other.phases[3].batches[..2]));
}

#[test]
fn a_drill_moves_the_first_batch_alone() {
    let spec = sutazai();
    let plan = planned(&spec, &measured(&spec, 48 * 1024, 3));
    let drill = drill_of(&plan);
    assert!(drill.drill && !plan.drill);
    assert_eq!(batches(&drill), [vec![13]]);
    assert_eq!(drill.phases[0].batches[0], plan.phases[0].batches[0]);
    assert_eq!((drill.baseline, drill.phases[0].agents_cumulative), (Millis::from_mins(2), 13));
    assert!(drill.budget.peak_bytes < plan.budget.peak_bytes);
    assert_snapshot!(text::render(&drill, &spec));
}

#[test]
fn what_a_green_must_show_is_said() {
    let text = |agents: &str| {
        let spec = fleet(&format!(
            "version: 1\nollama: {{parallel: 2}}\nagents:\n  defaults: {{command: [a]}}\n  list: [{agents}]\nrollout: {{phases: \
             [{{name: all, halves: false}}]}}\n"
        ));
        let traffic =
            Traffic { tasks_per_second: 0.1, task_seconds: 20.0, task_seconds_max: 30.0, base_error_rate: 0.0 };
        let measured = Measured { traffic: Some(traffic), ..machine(4) };
        let release = release("version: 1\nrelease: v2\nset: {env: {NEW: '1'}}\n");
        let plan = make(&spec, &release, &measured, 1.0).unwrap();
        let text = text::render(&plan, &spec);
        let from = text.find("at most\n").unwrap() + "at most\n".len();
        let section = text[from..text.find("  Blue is held").unwrap()].to_owned();
        (section, plan.outlook.schedule.moving)
    };
    let (all, with) = text("a, b, c");
    assert_snapshot!(all);
    let (none, without) = text("{name: a, ready: poll}, {name: b, ready: poll}, {name: c, ready: poll}");
    assert_snapshot!(none);
    assert_eq!(with - without, Millis::from_secs(40), "two rounds of 20 s");
    let mixed = "{name: a, ready: {within: 1m}}, {name: b, http: true, tasks: push}, {name: c, tasks: none}, {name: d, http: true, tasks: none}";
    assert_snapshot!(text(mixed).0);
}

#[test]
fn what_cannot_be_fenced_is_said() {
    let mut spec = of(2, "");
    assert_eq!(planned(&spec, &machine(4)).outlook.unfenced, None);
    spec.tasks.mode = bellwether_core::spec::TaskMode::None;
    let plan = planned(&spec, &machine(4));
    assert!(text::render(&plan, &spec).contains("Not fenced: tasks.mode is none"));
}

#[test]
fn the_schedule_is_the_seeds_five_hours_and_extensions_spend_its_buffer() {
    let schedule = planned(&sutazai(), &machine(64)).outlook.schedule;
    assert_eq!((schedule.planned, schedule.buffer), (Millis::from_mins(300), Millis::from_mins(105)));
    assert!(schedule.at_most() > Millis::from_mins(405));
}

#[test]
fn the_smaller_of_declared_and_present_memory_counts() {
    let spec = sutazai();
    assert_eq!(planned(&spec, &machine(64)).budget.capacity_bytes, 40 * GIB);
    assert_eq!(planned(&spec, &machine(24)).budget.capacity_bytes, 16 * GIB);
}

#[test]
fn the_ceiling_stays_below_the_memory_trigger_wherever_that_stands() {
    let mut spec = sutazai();
    for (trigger, percent) in [(Some(0.9), 89), (Some(0.7), 69), (None, 89)] {
        spec.rollout.triggers.memory = trigger;
        let budget = planned(&spec, &machine(64)).budget;
        assert_eq!(budget.ceiling_bytes / MIB, budget.capacity_bytes / 100 * percent / MIB);
    }
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

#[test]
fn a_phase_that_asks_for_an_approval_says_so_and_a_drill_asks_nobody() {
    let file = |word: &str| {
        format!(
            "version: 1\nagents: {{defaults: {{command: [old]}}, list: [a, b, c]}}\nrollout:\n  phases:\n    \
             - {{name: one, select: {{agents: [a]}}, approval: {word}}}\n    \
             - {{name: two, select: {{agents: [b]}}, approval: required}}\n    - {{name: three}}\n"
        )
    };
    let spec = fleet(&file("other"));
    let plan = planned(&spec, &machine(8));
    let asked: Vec<Approval> = plan.phases.iter().map(|phase| phase.approval).collect();
    assert_eq!(asked, [Approval::Other, Approval::Required, Approval::None]);
    let shown = text::render(&plan, &spec);
    let waits: Vec<&str> = shown.lines().filter(|line| line.contains("waits for")).map(str::trim).collect();
    assert_eq!(
        waits,
        [
            "waits for the approval of somebody else than who starts the rollout",
            "waits for an approval before it begins"
        ]
    );
    assert_eq!(drill_of(&plan).phases[0].approval, Approval::None);
    let told = refused(&file("othr"));
    assert!(told.contains("BW0127") && told.contains("did you mean \"other\"?"), "{told}");
}

#[test]
fn a_plan_keeps_what_it_was_made_from_so_that_it_can_be_made_anew() {
    let plan = planned(&of(2, ""), &machine(8));
    assert_eq!(plan.made_from.as_ref().map(|from| &from.release), Some(&v2()));
    let mut journaled = serde_json::to_value(&plan).unwrap();
    assert_eq!(serde_json::from_value::<Plan>(journaled.clone()).unwrap(), plan);
    // One of an earlier build has neither this nor approvals.
    journaled.as_object_mut().unwrap().remove("made_from");
    journaled["phases"][0].as_object_mut().unwrap().remove("approval");
    let read: Plan = serde_json::from_value(journaled).unwrap();
    assert_eq!((read.made_from, read.phases[0].approval), (None, Approval::None));
}
