//! Messages as a stranger reads them.

use bellwether_core::spec::{Sources, parse_fleet_in};
use insta::assert_snapshot;

use crate::support::{refused, refused_release, refused_with, shown};

/// A sound fleet of three to which a test adds what is wrong.
const FLEET: &str = "version: 1
agents:
  defaults: {command: [agent]}
  list:
    - {name: a, phase: 1}
    - {name: b, phase: 2}
    - {name: c, phase: 2}
";

fn fleet(more: &str) -> String {
    refused(&format!("{FLEET}{more}"))
}

fn csv(text: &str) -> String {
    refused_with(
        "version: 1\nagents: {from_csv: lists/agents.csv, defaults: {command: [a]}}\n",
        &[("lists/agents.csv", text)],
    )
}

#[test]
fn syntax() {
    assert_snapshot!(refused("version: 1\nagents:\n  list: [a, b\nrollout:\n"));
    assert_snapshot!(refused("version: 1\nagents:\n\tlist: [a]\n"));
}

#[test]
fn wrong_key() {
    assert_snapshot!(fleet(
        "rollout:\n  phases:\n    - {name: canary, slect: {phase: 1}, bakes: 30m}\n    - {name: rest, select: rest}\ntimeout: 3s\n"
    ));
}

#[test]
fn wrong_kind_and_unit() {
    assert_snapshot!(refused(
        "version: 1
host: {memory: 48, reserve: 2 gigs}
agents:
  defaults: {command: python agent.py --fast, drain: 30, critical: maybe, env: [A]}
  list: [a]
rollout: {extension: 0.5, batch_max: lots, criteria: {memory_max: high}}
"
    ));
}

#[test]
fn triggers_that_are_no_limits() {
    assert_snapshot!(fleet(
        "rollout:
  drill: maybe
  undo_max: 60
  triggers:
    memory: false
    cpu: {above: 3%, during: 60s}
    errors: 5 percent
    latency: 1
    model_failures: none
    breaker_trips: 3/min
    health_failures: two
    progress: sometimes
    on_shared_fault: ignore
    scope: phases
    error: 5%
"
    ));
}

#[test]
fn results_and_standby_that_cannot_be() {
    assert_snapshot!(refused(
        "version: 1
agents:
  defaults: {command: [a], standby: hot, result: {field: [answer], chars_min: -1}}
  list: [a, {name: b, result: answer, standby: warmed}, {name: c, result: {fields: answer}}]
rollout: {phases: [{name: all, halves: half}]}
"
    ));
}

#[test]
fn task_queues_that_cannot_be() {
    assert_snapshot!(fleet(
        "tasks: {mode: relay, attempts: 101, backoff: 2m, hold: 61s, kept: 0, waiting_bytes: 0B, ageing: 0}\n"
    ));
    assert_snapshot!(fleet("tasks: {mode: queue, backend: \"http://127.0.0.1:8000\", backoff_max: 10ms}\n"));
    assert_snapshot!(fleet("tasks: {mode: relay, backend: \"http://127.0.0.1/api\"}\n"));
    // One slip is one finding.
    assert_snapshot!(fleet("tasks: {mode: rely, backnd: \"http://127.0.0.1:8000\"}\n"));
}

#[test]
fn deliveries_that_cannot_be() {
    assert_snapshot!(refused(
        "version: 1
agents:
  defaults: {command: [a], places: 3}
  list: [a, b, {name: c, tasks: push}, {name: d, tasks: psh}, {name: e, tasks: push, places: 65, http: maybe}]
"
    ));
    assert_snapshot!(refused(
        "version: 1\ntasks: {mode: none}\nagents: {defaults: {command: [a], tasks: push}, list: [a, b]}\n"
    ));
    assert_snapshot!(refused_release("version: 1\nrelease: v2\nset: {places: 3}\n"));
    assert_snapshot!(refused_release("version: 1\nrelease: v2\nset: {tasks: push, http: false}\n"));
}

#[test]
fn synthetic_tasks_that_cannot_be() {
    assert_snapshot!(refused(
        "version: 1
agents:
  defaults: {command: [a], ready: tasks}
  list:
    - {name: a, ready: {prompt: hi, fields: {prompt: hi}}}
    - {name: b, ready: {fields: {id: x, prompt: hi}, within: 0}}
    - {name: c, ready: {fields: {}}}
    - {name: d, ready: {promt: hi}}
    - {name: e, ready: [task]}
"
    ));
}

#[test]
fn version() {
    assert_snapshot!(refused("version: 2\nagents: {defaults: {command: [a]}, list: [a]}\n"));
    assert_snapshot!(refused("agents: {defaults: {command: [a]}, list: [a]}\n"));
}

#[test]
fn duplicate_agent() {
    assert_snapshot!(refused(
        "version: 1\nagents:\n  defaults: {command: [x]}\n  list:\n    - a\n    - b\n    - {name: a, critical: true}\n"
    ));
}

#[test]
fn bad_agent_name() {
    assert_snapshot!(refused("version: 1\nagents: {defaults: {command: [x]}, list: [Log Reader, ../etc, fine]}\n"));
}

#[test]
fn phase_that_selects_nothing() {
    assert_snapshot!(fleet(
        "rollout:
  phases:
    - {name: canary, select: {phase: 7}}
    - {name: web, select: {type: genral}}
    - {name: full, select: rest}
    - {name: more, select: rest}
"
    ));
}

#[test]
fn agent_selected_twice() {
    assert_snapshot!(fleet(
        "rollout:\n  phases:\n    - {name: one, select: {phase: 2}}\n    - {name: two, select: {agents: [c, a]}}\n"
    ));
}

#[test]
fn agents_left_out() {
    assert_snapshot!(fleet("rollout:\n  phases:\n    - {name: one, select: {phase: 1}}\n"));
}

#[test]
fn expect_differs() {
    assert_snapshot!(fleet(
        "rollout:\n  phases:\n    - {name: canary, select: {phase: 1}, expect: 1}\n    - {name: full, select: rest, expect: 13}\n"
    ));
}

#[test]
fn missing_command() {
    assert_snapshot!(refused("version: 1\nagents:\n  list:\n    - {name: a, command: [x]}\n    - b\n"));
    assert_snapshot!(refused("version: 1\nagents: {list: [a, b, c, d, e, f]}\n"));
}

#[test]
fn impossible_budget() {
    assert_snapshot!(fleet("host: {memory: 8GiB, reserve: 8GiB}\nollama: {parallel: 0}\n"));
}

#[test]
fn no_agents() {
    assert_snapshot!(refused("version: 1\nfleet: empty\n"));
    assert_snapshot!(csv("name,type\n"));
}

#[test]
fn unknown_driver_mode_and_policy() {
    assert_snapshot!(fleet("driver: docker\ntasks: {mode: ques}\nrollout: {policy: bold}\n"));
}

#[test]
fn addresses_of_model_servers() {
    assert_snapshot!(fleet("ollama: {url: \"https://models.example/v1\"}\n"));
    assert_snapshot!(fleet("ollama: {url: http://localhost}\n"));
}

#[test]
fn csv_that_is_not_there() {
    assert_snapshot!(refused(
        "version: 1\nagents: {from_csv: agnets.csv, defaults: {command: [a]}}\nrollout: {phases: [{name: x, select: {phase: 1}}]}\n"
    ));
}

#[test]
fn csv_without_names_or_with_a_misspelt_column() {
    assert_snapshot!(csv("agent,phase\na,1\n"));
    assert_snapshot!(csv("name,critcal,owner\na,true,ann\n"));
}

#[test]
fn csv_values() {
    assert_snapshot!(csv(
        "name,type,phase,critical,memory_limit_mib,cpu_limit\n\"a\",x y,one,perhaps,-5,0\nb,,,,,\nb,,,,,\nC,,,,,\n,,,,,\nd,1\n"
    ));
}

#[test]
fn environment_that_leads_past_the_gateway() {
    assert_snapshot!(refused(
        "version: 1\nagents:\n  defaults:\n    command: [a]\n    env: {OLLAMA_HOST: \"http://127.0.0.1:11434\", A=B: c}\n  list: [a]\n"
    ));
}

#[test]
fn agents_that_nobody_knows() {
    assert_snapshot!(fleet(
        "  overrides: {aa: {critical: true}}\nrollout:\n  phases:\n    - {name: one, select: {agents: [a, bb]}}\n    - {name: rest}\n"
    ));
}

#[test]
fn phases_of_one_name_and_keys_written_twice() {
    assert_snapshot!(fleet(
        "rollout:\n  baseline: 5m\n  phases:\n    - {name: one, select: {phase: 1}}\n    - {name: one, select: rest}\n  baseline: 6m\n"
    ));
}

#[test]
fn the_files_mixed_up() {
    assert_snapshot!(refused("version: 1\nrelease: v2\nset: {http: true}\n"));
    assert_snapshot!(refused_release(FLEET));
}

#[test]
fn releases() {
    assert_snapshot!(refused_release("version: 1\nrelease: v2\n"));
    assert_snapshot!(refused_release("version: 1\nrelease: v2\nset: {}\n"));
    assert_snapshot!(refused_release(
        "version: 1\nrelease: a release\nset: {image: x, comand: [a], boot: 0, http: on}\n"
    ));
    assert_snapshot!(refused_release("version: 1\nset: {command: []}\n"));
}

#[test]
fn one_reading_finds_everything() {
    assert_snapshot!(refused(
        "version: 1
flet: shop
host: {memory: 4GiB, reserve: 5GiB}
agents:
  list:
    - {name: a, phase: 1, typ: web}
    - {name: A}
    - {name: a}
rollout:
  phases:
    - {name: canary, select: {phase: 1}, bake: 30}
    - {name: canary, select: everything}
"
    ));
}

#[test]
fn freeze_windows_that_are_none() {
    assert_snapshot!(fleet(
        "rollout:
  timezone: CEST
  freeze:
    - {name: weekend, from: \"Fri 16:00\", to: \"Mon 8am\"}
    - {name: weekend, from: \"Sat 00:00\", to: \"Sun 00:00\"}
    - {name: weekend, from: \"Wed 10:00\", to: \"Wed 10:00\"}
    - {name: year end, from: 2026-12-23T00:00, to: 2026-01-02T00:00}
    - {name: leap, from: 2027-02-29T00:00, to: 2027-03-01T00:00}
    - {name: mixed, from: \"Fri 16:00\", to: 2027-03-01T00:00}
    - {nam: typo, from: \"Fri 24:00\", till: \"Mon 08:00\"}
    - {name: \"two\\nlines\", from: \"Mon 10:00\", to: \"Mon 11:00\"}
    - Friday
    - {name: weekend, from: \"Mon 10:00\", to: \"Mon 11:00\"}
"
    ));
}

#[test]
fn windows_and_what_happens_at_their_end() {
    assert_snapshot!(fleet("rollout: {window: 0, at_end: explode}\n"));
    assert_snapshot!(fleet("rollout: {window: 6, timezone: +25:00, freeze: weekend}\n"));
    assert_snapshot!(fleet("rollout: {at_end: rollback}\n"));
}

#[test]
fn weekly_freezes_that_leave_no_time() {
    assert_snapshot!(fleet(
        "rollout:
  freeze:
    - {name: week, from: \"Mon 00:00\", to: \"Sat 12:00\"}
    - {name: weekend, from: \"Sat 08:00\", to: \"Mon 01:00\"}
"
    ));
}

#[test]
fn a_time_zone_that_the_system_does_not_have() {
    let text = format!("{FLEET}rollout: {{timezone: Europe/Berlim}}\n");
    let sources = Sources { name: "fleet.yaml", text: &text, read: &|_| Err("none".to_owned()) };
    let knows = |name: &str| if name == "Europe/Berlin" { Ok(()) } else { Err("there is no such zone".to_owned()) };
    assert_snapshot!(shown(&parse_fleet_in(&sources, &knows).expect_err("it is not known")));
}
