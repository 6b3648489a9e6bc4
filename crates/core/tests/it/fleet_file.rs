//! What a fleet file means once it is accepted.

use bellwether_core::{
    id::ModelName,
    spec::{
        Allow, Delivery, DrillPolicy, OnSharedFault, Progress, Readiness, Require, ResultRule, Scope, StandbyPolicy,
        TaskMode, TaskPolicy, ThinEvidence, Triggers,
    },
    time::Millis,
};

use crate::support::{GIB, MIB, fleet, fleet_with, refused, release, sutazai};

fn names(agents: &[bellwether_core::id::AgentName]) -> Vec<&str> {
    agents.iter().map(bellwether_core::id::AgentName::as_str).collect()
}

#[test]
fn five_agents_need_ten_lines() {
    let spec = fleet(
        "version: 1
fleet: shop
agents:
  defaults: {command: [python, agent.py]}
  list:
    - triage
    - reply
    - {name: billing, critical: true}
    - {name: summary, model: \"qwen2.5-coder:7b\"}
    - search
",
    );
    assert_eq!(spec.fleet, "shop");
    assert_eq!((spec.ollama.url.as_str(), spec.ollama.parallel), ("http://127.0.0.1:11434", 2));
    assert_eq!(spec.ollama.allow, Allow::default(), "nothing is allowed that nobody asked for");
    assert_eq!(spec.tasks.mode, TaskMode::Queue);
    assert_eq!(spec.host.memory_bytes, None);
    assert!(spec.agents.iter().all(|agent| agent.revision.command == ["python", "agent.py"]));
    assert!(spec.agents.iter().all(|agent| agent.revision.name.as_str() == "v1"));
    assert_eq!(spec.agents[0].revision.model, ModelName::new("tinyllama"));
    // The seed's shares, rounded up, the critical agent last.
    let phases: Vec<_> = spec.rollout.phases.iter().map(|p| (p.name.as_str(), names(&p.agents))).collect();
    assert_eq!(
        phases,
        [
            ("canary", vec!["triage"]),
            ("limited", vec!["reply"]),
            ("production", vec!["summary"]),
            ("full", vec!["search", "billing"])
        ]
    );
}

#[test]
fn the_example_has_131_agents_in_four_cumulative_phases_with_critical_ones_last() {
    let spec = sutazai();
    assert_eq!(spec.agents.len(), 131);
    assert_eq!((spec.host.memory_bytes, spec.host.reserve_bytes), (Some(48 * GIB), 8 * GIB));
    let mut done = 0;
    let cumulative: Vec<_> = spec
        .rollout
        .phases
        .iter()
        .map(|phase| {
            done += phase.agents.len();
            (phase.name.as_str(), done, phase.bake)
        })
        .collect();
    assert_eq!(
        cumulative,
        [
            ("canary", 13, Millis::from_mins(30)),
            ("limited", 32, Millis::from_mins(45)),
            ("production", 65, Millis::from_mins(60)),
            ("full", 131, Millis::from_mins(75)),
        ]
    );
    let risk: Vec<bool> = spec.rollout.phases[3].agents.iter().map(|name| spec.agent(name).unwrap().critical).collect();
    assert_eq!(risk.iter().filter(|critical| **critical).count(), 27);
    assert!(risk.is_sorted(), "critical agents come after all others");
    // The whole of the seed's schedule is 5 hours: 1 h, then 30 + 45 + 60 + 75 minutes, then 30.
    let bakes: u64 = spec.rollout.phases.iter().map(|phase| phase.bake.0).sum();
    assert_eq!(Millis(spec.rollout.baseline.0 + bakes + spec.rollout.validation.0), Millis::from_mins(300));
}

#[test]
fn within_a_risk_band_agents_go_by_model_in_the_order_in_which_models_appear() {
    let spec = fleet(
        "version: 1
agents:
  defaults: {command: [a]}
  list:
    - {name: a, model: zeta}
    - {name: b, model: alpha, critical: true}
    - {name: c, model: alpha}
    - {name: d, model: zeta}
    - {name: e, model: zeta, critical: true}
rollout: {phases: [{name: all}]}
",
    );
    assert_eq!(names(&spec.rollout.phases[0].agents), ["a", "d", "c", "e", "b"]);
}

#[test]
fn phases_keep_the_order_of_the_file_and_rest_takes_what_no_other_phase_names() {
    let spec = fleet(
        "version: 1
agents: {defaults: {command: [a]}, list: [a, b, c, {name: d, type: web}]}
rollout:
  phases:
    - {name: zulu, select: rest}
    - {name: mike, select: {type: web}}
    - {name: alpha, select: {agents: [b]}}
",
    );
    let phases: Vec<_> = spec.rollout.phases.iter().map(|p| (p.name.as_str(), names(&p.agents))).collect();
    assert_eq!(phases, [("zulu", vec!["a", "c"]), ("mike", vec!["d"]), ("alpha", vec!["b"])]);
}

#[test]
fn what_is_nearest_to_an_agent_wins_and_environments_add_up() {
    let spec = fleet_with(
        "version: 1
agents:
  from_csv: inventory.csv
  defaults: {command: [base], model: small, env: {LEVEL: info, CODE: 0123, ON: yes}, drain: 1m, memory_limit: 1GiB}
  list: [{name: c, command: [own]}]
  overrides:
    b: {model: large, env: {LEVEL: debug}, http: true, revision: v1.1}
",
        &[("inventory.csv", "name,model,memory_limit_mib,critical,x-owner\na,,,,ann\r\nb,middle,512,true,bob\n")],
    )
    .unwrap();
    let agents: Vec<_> = ["a", "b", "c"].iter().map(|name| spec.agent(&(*name).into()).unwrap()).collect();
    let models: Vec<_> = agents.iter().map(|agent| agent.revision.model.as_str()).collect();
    assert_eq!(models, ["small:latest", "large:latest", "small:latest"]);
    assert_eq!(agents[1].revision.env["LEVEL"], "debug");
    // What looks like a number or a boolean stays the text that was written.
    assert_eq!((agents[1].revision.env["CODE"].as_str(), agents[1].revision.env["ON"].as_str()), ("0123", "yes"));
    assert_eq!(agents[1].memory_limit_bytes, Some(512 * MIB));
    assert_eq!(agents[0].memory_limit_bytes, Some(GIB));
    assert_eq!(agents[2].revision.command, ["own"]);
    assert!(agents[1].critical && agents[1].revision.http);
}

#[test]
fn every_figure_can_be_set() {
    let spec = fleet(
        "version: 1
x-note: &gate {require: proof, thin_evidence: accept}
host: {memory: 16GiB, reserve: 2GiB}
ollama: {url: \"http://[::1]:11434/\", parallel: 4, allow: {manage: true, cloud: true}}
tasks: {mode: none, lease: 90s, attempts: 5, takeover: 0, retention: 2h, waiting: 7}
agents: {defaults: {command: [a]}, list: [a]}
rollout:
  baseline: 5m
  validation: 1m
  rollback_window: 1h
  extension: 2
  batch_max: 3
  crash_loop: 9
  criteria: {latency_p95_max: 130%, memory_floor: 8MiB, completion_min: 0.9}
  phases:
    - <<: *gate
      name: only
      tolerated_error_rise: 2%
      tolerated_latency_ratio: 1.5
",
    );
    assert_eq!(spec.ollama.url, "http://[::1]:11434");
    assert_eq!(spec.ollama.allow, Allow { manage: true, cloud: true });
    assert_eq!((spec.tasks.lease, spec.tasks.waiting_max), (Millis::from_secs(90), 7));
    let rollout = &spec.rollout;
    assert_eq!((rollout.batch_max, rollout.crash_loop, rollout.extension), (3, 9, 2.0));
    assert_eq!((rollout.criteria.latency_p95_max, rollout.criteria.memory_floor_bytes), (1.3, 8 * MIB));
    let gate = &rollout.phases[0].gate;
    assert_eq!((gate.require, gate.thin_evidence), (Require::Proof, ThinEvidence::Accept));
    assert_eq!((gate.tolerated_error_rise, gate.tolerated_latency_ratio), (0.02, 1.5));
}

#[test]
fn the_queue_has_its_bounds_and_a_relay_its_backend() {
    let tasks = |section: &str| {
        fleet(&format!("version: 1\n{section}agents: {{defaults: {{command: [a]}}, list: [a]}}\n")).tasks
    };
    assert_eq!(tasks(""), TaskPolicy::default());
    let relay = tasks(
        "tasks:
  {mode: relay, backend: \"http://127.0.0.1:8000/\", lease: 90s, attempts: 5, backoff: 2s, backoff_max: 5m, ageing: 30s,
   takeover: 0, hold: 20s, retention: 2h, kept: 64MiB, waiting: 7, waiting_bytes: 1MiB}
",
    );
    let expected = TaskPolicy {
        mode: TaskMode::Relay,
        backend: Some("http://127.0.0.1:8000".into()),
        lease: Millis::from_secs(90),
        attempts_max: 5,
        backoff: Millis::from_secs(2),
        backoff_max: Millis::from_mins(5),
        ageing: Millis::from_secs(30),
        takeover: Millis::ZERO,
        hold: Millis::from_secs(20),
        retention: Millis::from_mins(120),
        kept_bytes_max: 64 * MIB,
        waiting_max: 7,
        waiting_bytes_max: MIB,
    };
    assert_eq!(relay, expected);
}

#[test]
fn how_tasks_reach_agents_can_be_said_for_all_and_for_one() {
    let spec = fleet(
        "version: 1
agents:
  defaults: {command: [a], http: true, tasks: push, places: 4}
  list: [a, {name: b, tasks: pull, http: false}, {name: c, places: 2}, {name: d, tasks: none}]
",
    );
    let deliveries: Vec<_> = spec.agents.iter().map(|agent| agent.revision.delivery).collect();
    assert_eq!(
        deliveries,
        [Delivery::Push { places: 4 }, Delivery::Pull, Delivery::Push { places: 2 }, Delivery::None]
    );
    let ids: std::collections::BTreeSet<_> = spec.agents.iter().map(|agent| &agent.revision.id).collect();
    assert_eq!(ids.len(), 4, "how tasks reach an agent is part of what it is");

    let without_queue = fleet(
        "version: 1\ntasks: {mode: none}\nagents: {defaults: {command: [a]}, list: [a, {name: b, tasks: pull}]}\n",
    );
    let deliveries: Vec<_> = without_queue.agents.iter().map(|agent| agent.revision.delivery).collect();
    assert_eq!(deliveries, [Delivery::None, Delivery::Pull]);

    let set = |set: &str| release(&format!("version: 1\nrelease: v2\nset: {set}\n")).delivery;
    assert_eq!(set("{tasks: push, places: 64}"), Some(Delivery::Push { places: 64 }));
    assert_eq!(set("{tasks: push}"), Some(Delivery::Push { places: 1 }));
    assert_eq!(set("{tasks: none}"), Some(Delivery::None));
    assert_eq!(set("{model: large}"), None);
}

#[test]
fn what_an_instance_must_show_can_be_said_for_all_and_for_one() {
    let spec = fleet(
        "version: 1
agents:
  defaults: {command: [a], ready: {prompt: \"2 + 2?\", within: 90s}}
  list:
    - a
    - {name: b, ready: poll}
    - {name: c, ready: {fields: {prompt: hello, lang: no, n: 3}}}
    - {name: d, ready: task}
    - {name: e, ready: {within: 1m}}
",
    );
    let task = |fields: &[(&str, &str)], within| Readiness::Task {
        fields: fields.iter().map(|&(name, text)| (name.to_owned(), text.to_owned())).collect(),
        within,
    };
    let ready: Vec<_> = spec.agents.iter().map(|agent| agent.ready.clone()).collect();
    let Readiness::Task { fields: default, .. } = Readiness::default() else { unreachable!() };
    assert_eq!(
        ready,
        [
            task(&[("prompt", "2 + 2?")], Millis::from_secs(90)),
            Readiness::Poll,
            task(&[("prompt", "hello"), ("lang", "no"), ("n", "3")], Millis::from_mins(10)),
            Readiness::default(),
            Readiness::Task { fields: default, within: Millis::from_mins(1) },
        ]
    );
}

#[test]
fn triggers_have_the_seeds_figures_until_the_file_says_otherwise() {
    let policy = |rollout: &str| {
        fleet(&format!("version: 1\nagents: {{defaults: {{command: [a]}}, list: [a]}}\n{rollout}")).rollout
    };
    let default = policy("");
    assert_eq!(default.triggers, Triggers::default());
    assert_eq!((default.drill, default.undo_max), (DrillPolicy::Optional, Millis::from_secs(60)));
    let set = policy(
        "rollout:
  drill: required
  undo_max: 3m
  triggers:
    memory: 80%
    cpu: {above: 95%, for: 30s}
    errors: 0.1
    latency: 2
    model_failures: 20%
    breaker_trips: 5
    health_failures: 0
    progress: 90s
    on_shared_fault: hold
    scope: type
",
    );
    assert_eq!((set.drill, set.undo_max), (DrillPolicy::Required, Millis::from_mins(3)));
    let expected = Triggers {
        memory: Some(0.8),
        cpu: Some(0.95),
        cpu_for: Millis::from_secs(30),
        errors: Some(0.1),
        latency: Some(2.0),
        model_failures: Some(0.2),
        breaker_trips: Some(5.0),
        health_failures: Some(0),
        progress: Progress::After(Millis::from_secs(90)),
        on_shared_fault: OnSharedFault::Hold,
        scope: Scope::Type,
    };
    assert_eq!(set.triggers, expected);
    assert_eq!(policy("rollout: {triggers: {cpu: 70%}}").triggers, Triggers { cpu: Some(0.7), ..Triggers::default() });
    let off = policy(
        "rollout: {triggers: {memory: off, cpu: off, errors: off, latency: off, model_failures: off, breaker_trips: off, health_failures: off, progress: off}}",
    )
    .triggers;
    let limits = [off.memory, off.cpu, off.errors, off.latency, off.model_failures, off.breaker_trips];
    assert_eq!((limits, off.health_failures, off.progress), ([None; 6], None, Progress::Off));
}

#[test]
fn what_a_result_must_carry_and_what_becomes_of_blue_can_be_said_for_all_and_for_one() {
    let spec = fleet(
        "version: 1
agents:
  defaults: {command: [a], standby: stopped, result: {fields: [answer, model], chars_min: 20}}
  list: [a, {name: b, result: {chars_min: 5, may_be_empty: true}}, c]
  overrides: {c: {standby: warm}}
",
    );
    let strict = ResultRule { may_be_empty: false, fields: vec!["answer".into(), "model".into()], chars_min: 20 };
    let loose = ResultRule { may_be_empty: true, fields: vec![], chars_min: 5 };
    let of: Vec<_> = spec.agents.iter().map(|agent| (&agent.result, agent.standby)).collect();
    assert_eq!(
        of,
        [(&strict, StandbyPolicy::Stopped), (&loose, StandbyPolicy::Stopped), (&strict, StandbyPolicy::Warm)]
    );
    let plain = fleet("version: 1\nagents: {defaults: {command: [a]}, list: [a]}\n");
    assert_eq!((&plain.agents[0].result, plain.agents[0].standby), (&ResultRule::default(), StandbyPolicy::Auto));
}

#[test]
fn only_the_last_phase_goes_in_halves_unless_the_file_says_otherwise() {
    let halves = |phases: &str| {
        let spec = fleet(&format!(
            "version: 1\nagents: {{defaults: {{command: [a]}}, list: [a, b, c, d, e, f, g, h]}}\nrollout: {{phases: [{phases}]}}\n"
        ));
        spec.rollout.phases.iter().map(|phase| phase.halves).collect::<Vec<_>>()
    };
    assert_eq!(halves("{select: {agents: [a, b, c, d]}}, {name: rest}"), [false, true]);
    assert_eq!(halves("{select: {agents: [a, b, c, d, e]}}, {name: rest}"), [false, false]);
    assert_eq!(halves("{select: {agents: [a, b]}, halves: true}, {name: rest, halves: false}"), [true, false]);
    let by_default: Vec<_> = sutazai().rollout.phases.iter().map(|phase| phase.halves).collect();
    assert_eq!(by_default, [false, false, false, true]);
}

#[test]
fn a_spec_survives_being_written_down() {
    let spec = sutazai();
    let text = serde_json::to_string(&spec).unwrap();
    assert_eq!(serde_json::from_str::<bellwether_core::spec::Spec>(&text).unwrap(), spec);
}

#[test]
fn no_text_makes_the_reader_panic() {
    let whole = include_str!("../../../../examples/sutazai/fleet.yaml");
    for end in (0..whole.len()).step_by(7) {
        let _ = fleet_with(&whole[..end], &[("agents.csv", "name,phase\na,\"1\n")]);
    }
    for text in
        ["", "~", "[]", "a", "version", "{", "agents: {list: {}}", "rollout: {phases: {a: b}}", "\u{feff}version: 1"]
    {
        assert!(!refused(text).is_empty());
    }
}

#[test]
fn several_model_servers_stand_behind_one_queue_with_weights_and_context_sizes() {
    let spec = fleet(
        "version: 1
ollama:
  url: http://127.0.0.1:11434
  more:
    - {url: 'http://box:11434/', parallel: 4}
    - {url: 'http://other:11434'}
  weights: {writer: 3, client/ci: 2}
  num_ctx: {tinyllama: 4096, qwen2.5-coder:7b: own}
agents:
  defaults: {command: [x], model: m}
  list: [{name: writer, type: t}]
",
    );
    let ollama = &spec.ollama;
    let more: Vec<_> = ollama.more.iter().map(|server| (server.url.as_str(), server.parallel)).collect();
    assert_eq!(more, [("http://box:11434", 4), ("http://other:11434", 2)]);
    assert_eq!(ollama.slots(), 8);
    assert_eq!(
        ollama.weights.iter().map(|(name, n)| (name.as_str(), *n)).collect::<Vec<_>>(),
        [("client/ci", 2), ("writer", 3)]
    );
    let sizes: Vec<_> = ollama.num_ctx.iter().map(|(model, size)| (model.as_str(), *size)).collect();
    assert_eq!(sizes, [("qwen2.5-coder:7b", None), ("tinyllama:latest", Some(4096))]);
}

#[test]
fn what_a_model_server_or_a_share_cannot_be_is_named_where_it_stands() {
    insta::assert_snapshot!(refused(
        "version: 1
ollama:
  more:
    - {url: box:11434}
    - {parallel: 0}
  weights: {writer: 0}
  num_ctx: {tinyllama: big}
agents:
  defaults: {command: [x], model: m}
  list: [{name: writer, type: t}]
"
    ));
}
