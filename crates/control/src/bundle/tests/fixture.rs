//! A fleet of eight, ten minutes of it, and three ways in which a rollout of it was undone.

use std::{collections::BTreeMap, sync::Arc};

use bellwether_core::{
    analysis::{Finding, GateReport, Judgement, Verdict},
    id::{Generation, InstanceId, ModelName, RolloutId, Side},
    observation::{Calls, Cell, Pushes, Second, Signs, Tasks},
    plan::{Measured, Plan, make},
    port::driver::Exit,
    rollout::{AgentView, Event, Is, RollbackRecord, Rollout, SeatView, Trigger, Verb, VerbKind},
    spec::{Sources, Spec, parse_fleet, parse_release},
    time::{Millis, UnixMillis},
    watch::{Alarm, AlarmKind, Figure},
};
use serde_json::json;

use super::super::{
    blame::Blame,
    facts::{Entry, Facts, Member, Missing, Roster, Slice, Tail},
    folder::File,
    tally,
};
use crate::usage::{AgentBeat, Beat};

const FLEET: &str = "\
version: 1
fleet: night
host: {memory: 8GiB, reserve: 1GiB}
agents:
  defaults: {command: [bellwether, legacy-agent], env: {API_KEY: hunter2}}
  list:
    - {name: reviewer-1, type: review, model: tinyllama}
    - {name: planner-1, type: plan, model: tinyllama}
    - {name: reviewer-2, type: review, model: tinyllama}
    - {name: reviewer-3, type: review, model: tinyllama}
    - {name: planner-2, type: plan, model: tinyllama}
    - {name: planner-3, type: plan, model: tinyllama}
    - {name: writer-1, type: write, model: tinyllama}
    - {name: writer-2, type: write, model: tinyllama}
rollout:
  phases:
    - {name: canary, select: {agents: [reviewer-1, planner-1]}, bake: 3m}
    - {name: full, bake: 5m}
";
const RELEASE: &str = "\
version: 1
release: v2
set: {command: [bellwether, agent], env: {API_KEY: correct-horse, STREAM: '1'}}
";
/// 2026-11-23 02:04:00 UTC.
pub(super) const ZERO: u64 = 1_795_399_440_000;

pub(super) fn at(seconds: f64) -> UnixMillis {
    UnixMillis(ZERO + (seconds * 1000.0) as u64)
}

pub(super) fn spec() -> Spec {
    let read = |_: &str| Err("there are no files".to_owned());
    parse_fleet(&Sources { name: "fleet.yaml", text: FLEET, read: &read }).unwrap()
}

pub(super) fn plan(spec: &Spec) -> Plan {
    let release = parse_release("release.yaml", RELEASE).unwrap();
    let measured = Measured { present_memory_bytes: Some(8 << 30), ..Measured::default() };
    let mut plan = make(spec, &release, &measured, 1.0).unwrap();
    // How the plan reckons is not what the page is tested for.
    (plan.budget.capacity_bytes, plan.budget.peak_bytes) = (7 << 30, 563 << 20);
    plan
}

/// Green of type `review` gives errors from 430 s on; decided at 441.2 s; over at 453.9 s.
pub(super) fn errors() -> Facts {
    let alarm = Alarm {
        kind: AlarmKind::Errors,
        shared: false,
        harm_began: at(429.6),
        agents: vec!["reviewer-2".into(), "reviewer-3".into()],
        types: vec!["review".into()],
        why: "green's errors in type review: 38 % of 29 tasks; blue's: 0.2 % of 1,204; the odds against chance are 4,200:1"
            .into(),
        figures: vec![
            Figure { name: "error rate of green, type review".into(), value: 37.9, limit: Some(5.0), unit: "%".into() },
            Figure { name: "odds against chance".into(), value: 4200.0, limit: Some(1000.0), unit: ":1".into() },
            Figure { name: "errors".into(), value: 11.0, limit: None, unit: String::new() },
        ],
    };
    let record = RollbackRecord {
        trigger: Trigger::Alarm(Box::new(alarm.clone())),
        also: Vec::new(),
        harm_began: Some(at(429.6)),
        began: at(441.2),
        shifted: Some(at(441.64)),
        swapped: Some(at(446.9)),
        validated: Some(at(453.9)),
        checked: true,
        fault: None,
    };
    let rollout = RolloutId(17);
    let mut entries = until_full();
    entries.extend([
        (441.2, Event::Alarm { rollout, alarm: Box::new(alarm) }),
        (441.6, Event::CutOver { generation: Generation(20) }),
        (442.0, Event::Empty { instance: InstanceId(11), revoked: 1 }),
        (442.1, Event::Empty { instance: InstanceId(12), revoked: 0 }),
        (446.9, ended(11)),
        (447.0, ended(12)),
        (
            448.0,
            Event::RollbackChecked { rollout, fault: Some("blue has ended no task since it has the traffic".into()) },
        ),
        (
            449.0,
            Event::RollbackChecked { rollout, fault: Some("blue has ended no task since it has the traffic".into()) },
        ),
        (453.9, Event::RollbackChecked { rollout, fault: None }),
    ]);
    let mut facts = facts(record, json!({"state": "rolled_back"}), entries, Side::Blue, 600);
    facts.tails = vec![tail(11, "reviewer-2", &lines(60)), tail(12, "reviewer-3", "")];
    facts.tails[0].left_out = 48_300;
    facts
}

/// A person had enough of it, and it has just begun.
pub(super) fn operator() -> Facts {
    let (by, why) = ("mara", "customers call: answers are in the wrong language");
    let record = RollbackRecord {
        trigger: Trigger::Operator { by: by.into(), why: why.into() },
        also: Vec::new(),
        harm_began: None,
        began: at(560.0),
        shifted: None,
        swapped: None,
        validated: None,
        checked: false,
        fault: None,
    };
    let verb = Verb::new(VerbKind::Rollback, RolloutId(17), by, why);
    let mut entries = until_full();
    entries.push((560.0, Event::Verb(verb)));
    let mut facts = facts(record, json!({"state": "rolling_back", "step": "shift"}), entries, Side::Green, 560);
    facts.tails = vec![tail(11, "reviewer-2", &lines(3))];
    facts
}

/// The model server went away for both sides, a blue does not come back, and half of the sources are gone.
pub(super) fn needs_attention() -> Facts {
    let alarm = Alarm {
        kind: AlarmKind::ModelServer,
        shared: true,
        harm_began: at(300.0),
        agents: Vec::new(),
        types: Vec::new(),
        why: "84 % of 25 connections to the model server failed in 10 s".into(),
        figures: vec![Figure { name: "failed connections".into(), value: 84.0, limit: Some(10.0), unit: "%".into() }],
    };
    let record = RollbackRecord {
        trigger: Trigger::Alarm(Box::new(alarm.clone())),
        also: vec![Trigger::CrashLoop { agent: "writer-2".into(), exits: 3, first: at(320.0), fault: None }],
        harm_began: Some(at(300.0)),
        began: at(310.0),
        shifted: Some(at(312.0)),
        swapped: Some(at(318.0)),
        validated: None,
        checked: true,
        fault: Some("the model server cannot be reached: 5 of 5 probes failed".into()),
    };
    let rollout = RolloutId(17);
    let crash = Exit { code: None, signal: Some(9), out_of_memory: true, asked: false };
    let mut entries = until_full();
    entries.retain(|(second, _)| *second < 300.0);
    entries.extend([
        (310.0, Event::Alarm { rollout, alarm: Box::new(alarm) }),
        (312.0, Event::CutOver { generation: Generation(20) }),
        (320.0, Event::Exited { instance: InstanceId(8), exit: crash }),
        (340.0, Event::StartFailed { instance: InstanceId(21), reason: "its command was not found".into() }),
    ]);
    let mut facts = facts(record, json!({"state": "needs_attention"}), entries, Side::Blue, 530);
    let writer = facts.agents.iter_mut().find(|agent| agent.name.as_str() == "writer-2").unwrap();
    writer.blue.is = Is::BackOff;
    writer.serving = None;
    facts.seconds.clear();
    facts.missing = vec![
        Missing { what: "the one-second records of the gateway".into(), why: "the link is closed".into() },
        Missing {
            what: "logs/writer-2.8.log, the log of writer-2 (blue, instance 8)".into(),
            why: "No such file or directory (os error 2)".into(),
        },
    ];
    facts
}

pub(super) fn files() -> Vec<File> {
    let file =
        |name: &str, about: &str, size: usize| File { name: name.into(), about: about.into(), bytes: vec![0; size] };
    vec![
        file("facts.json", "trigger, figures, times and state, for programs", 9_000),
        file("seconds.jsonl", "what the gateway saw in each second of the last minutes", 3 << 20),
    ]
}

fn facts(
    record: RollbackRecord,
    state: serde_json::Value,
    entries: Vec<(f64, Event)>,
    serving: Side,
    written: u64,
) -> Facts {
    let spec = spec();
    let rollout = rollout(&spec, &record, state);
    let agents = spec.agents.iter().zip(1..).map(|(agent, number)| AgentView {
        name: agent.name.clone(),
        agent_type: agent.agent_type.clone(),
        serving: Some(serving),
        active: None,
        phase: Some(0),
        blue: SeatView {
            revision: agent.revision.id.clone(),
            is: Is::Ready { instance: InstanceId(number) },
            failures: 0,
            fault: None,
        },
        green: None,
    });
    let entries = entries.into_iter().zip(412..).map(|((second, event), seq)| Entry { seq, at: at(second), event });
    let mut facts = Facts {
        fleet: spec.fleet.clone(),
        rollout,
        retreat: None,
        record,
        written: at(written as f64),
        agents: agents.collect(),
        seconds: (1..=written).map(second).collect(),
        beats: (1..=written / 2).map(|n| (at((n * 2) as f64), beat(n * 2))).collect(),
        blame: Blame::default(),
        slice: Slice { from: at(240.0), entries: entries.collect(), left_out: 0 },
        roster: roster(&spec),
        tails: Vec::new(),
        missing: Vec::new(),
    };
    let sums = tally::by_agent(&facts.seconds, &facts.beats, at(240.0), facts.record.began);
    facts.blame = Blame::new(&facts.record, &facts.concerned(), &sums);
    facts
}

pub(super) fn rollout(spec: &Spec, record: &RollbackRecord, state: serde_json::Value) -> Rollout {
    let phase = |name: &str, agents: usize, began: f64, report: Option<GateReport>| {
        json!({"name": name, "agents_cumulative": agents, "began": at(began), "bake_began": at(began + 6.0),
            "after_second": 6, "ended": null, "report": report})
    };
    let mut value = json!({
        "id": 17, "by": "ci", "plan": Arc::new(plan(spec)), "paused": null, "started": at(0.0), "ended": null,
        "committing": false, "baseline_after_second": 0, "baseline_until_second": 30, "refused": null,
        "phases": [phase("canary", 2, 40.0, Some(canary())), phase("full", 8, 240.0, None)],
        "validation": null, "rollback": record,
    });
    value.as_object_mut().unwrap().extend(state.as_object().unwrap().clone());
    serde_json::from_value(value).unwrap()
}

fn canary() -> GateReport {
    let judgement = |id: &str, metric: &str, finding, verdict, why: &str| Judgement {
        id: id.into(),
        metric: metric.into(),
        unit: "%".into(),
        baseline: Some(0.2),
        value: Some(0.3),
        limit: 0.1,
        samples: 340,
        finding,
        verdict,
        smallest_harm: Some(3.1),
        why: why.into(),
    };
    GateReport {
        judgements: vec![
            judgement(
                "R32",
                "error rate",
                Finding::NoHarmSeen,
                Verdict::Pass,
                "green's errors: 0.3 % of 340 tasks; blue's: 0.2 % of 1,204; a rise of 3.1 points would have been seen",
            ),
            judgement("R35", "model calls that succeed", Finding::Proved, Verdict::Pass, "340 of 340 succeeded"),
        ],
        last_second: 236,
    }
}

fn roster(spec: &Spec) -> Roster {
    let blues = spec.agents.iter().zip(1..).map(|(agent, number)| {
        (InstanceId(number), Member { agent: agent.name.clone(), side: Side::Blue, enrolled: UnixMillis(ZERO - 1) })
    });
    let greens = spec.agents.iter().zip(9..).map(|(agent, number)| {
        (InstanceId(number), Member { agent: agent.name.clone(), side: Side::Green, enrolled: at(200.0) })
    });
    blues.chain(greens).collect::<BTreeMap<_, _>>()
}

fn until_full() -> Vec<(f64, Event)> {
    let instances: Vec<InstanceId> = (11..=16).map(InstanceId).collect();
    let mut entries = vec![(240.0, Event::Enrolled { instances: instances.clone() })];
    entries.extend(instances.iter().map(|&instance| (241.0, Event::Started { instance })));
    entries.extend(instances.iter().map(|&instance| (243.5, Event::Polled { instance })));
    entries.push((245.0, Event::CutOver { generation: Generation(19) }));
    entries.push((245.1, Event::WindowOpened { rollout: RolloutId(17), after_second: 245 }));
    entries.push((300.0, Event::Tick));
    entries
}

fn ended(instance: u64) -> Event {
    let exit = Exit { code: Some(0), signal: None, out_of_memory: false, asked: true };
    Event::Exited { instance: InstanceId(instance), exit }
}

/// Canaries are green from 40 s on, the rest from 245 s to 441 s.
fn second(number: u64) -> Second {
    let spec_names = [
        ("reviewer-1", 40..441),
        ("planner-1", 40..441),
        ("reviewer-2", 245..441),
        ("reviewer-3", 245..441),
        ("planner-2", 245..441),
        ("planner-3", 245..441),
        ("writer-1", 245..441),
        ("writer-2", 245..441),
    ];
    let cells = spec_names.into_iter().enumerate().map(|(index, (name, green))| {
        let side = if green.contains(&number) { Side::Green } else { Side::Blue };
        let harmed = side == Side::Green && number >= 430 && name.starts_with("reviewer") && !name.ends_with('1');
        cell(name, side, number, index as u64, harmed)
    });
    Second {
        number,
        at: at(number as f64),
        cells: cells.collect(),
        slots_busy: 1 + (number % 2) as u32,
        slots_peak: 2,
        calls_waiting: (number % 5) as u32,
        tasks_queued: number % 7,
        model_switches: 0,
        probes: 1,
        probes_failed: 0,
        pushes_open: 0,
        resumed: None,
    }
}

fn cell(name: &str, side: Side, number: u64, index: u64, harmed: bool) -> Cell {
    let busy = (number + index).is_multiple_of(2);
    let mut tasks = Tasks::default();
    if busy && harmed {
        tasks.failed = 1;
    } else if busy {
        tasks.completed = 1;
    }
    if busy {
        tasks.own_time.record(300_000 + 10_000 * ((number * 7 + index) % 23));
    }
    Cell {
        agent: name.into(),
        model: ModelName::new("tinyllama"),
        drawn: side,
        served: side,
        tasks,
        calls: Calls { succeeded: u64::from(busy), ..Calls::default() },
        pushes: Pushes::default(),
        signs: Signs::default(),
    }
}

fn beat(number: u64) -> Beat {
    let names =
        ["reviewer-1", "planner-1", "reviewer-2", "reviewer-3", "planner-2", "planner-3", "writer-1", "writer-2"];
    let agents = names.into_iter().flat_map(|name| {
        let one = |side, memory_bytes| AgentBeat {
            agent: name.into(),
            side,
            serving: true,
            memory_bytes,
            cpu_cores: Some(0.02),
        };
        let green = (240..446).contains(&number).then(|| one(Side::Green, (40 << 20) + (number << 12)));
        [Some(one(Side::Blue, 38 << 20)), green].into_iter().flatten()
    });
    Beat { memory_bytes: 0, agents: agents.collect() }
}

pub(super) fn tail(instance: u64, agent: &str, text: &str) -> Tail {
    Tail {
        instance: InstanceId(instance),
        member: Member { agent: agent.into(), side: Side::Green, enrolled: at(200.0) },
        bytes: text.into(),
        left_out: 0,
    }
}

fn lines(count: u64) -> String {
    let line = |n: u64| {
        let second = at(430.0 + n as f64 / 6.0).since(UnixMillis(ZERO));
        format!(
            "{{\"level\":\"error\",\"after\":\"{}\",\"task\":\"t-{}\",\"message\":\"model answered with nothing\"}}\n",
            Millis(second.0),
            9000 + n
        )
    };
    (0..count).map(line).collect()
}
