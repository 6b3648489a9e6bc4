//! Rollouts in every state, as people read them.

use bellwether_control::types::{Live, Status};
use bellwether_core::{
    analysis::Judgement,
    rollout::{ControllerView, RolloutView},
    spec::Triggers,
    time::Millis,
};
use serde_json::{Value, json};

use super::*;

/// 2026-11-23 02:00:00 UTC, and milliseconds after it.
fn at(seconds: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "moments of a test")]
    let after = (seconds * 1e3) as u64;
    1_795_399_200_000 + after
}

fn judgement(id: &str, metric: &str, unit: &str, finding: &str, verdict: &str, why: &str) -> Value {
    json!({
        "id": id, "metric": metric, "unit": unit, "baseline": 16.03, "value": 20.93, "limit": 24.05, "samples": 2876,
        "finding": finding, "verdict": verdict, "smallest_harm": 3.1, "why": why,
    })
}

fn passed() -> Value {
    let judgements = [
        judgement(
            "R31",
            "response time, p95",
            "ms",
            "no_harm_seen",
            "pass",
            "green's p95 is 131 % of the baseline's, and 150 % are borne",
        ),
        judgement("R35", "model call success", "%", "cannot_tell_yet", "inconclusive", "12 calls say too little"),
    ];
    json!({"judgements": judgements, "last_second": 700})
}

fn alarm() -> Value {
    json!({
        "trigger": "alarm", "kind": "errors", "shared": false, "harm_began": at(2461.2),
        "agents": ["log-reader", "metrics-keeper"], "types": ["monitoring"],
        "why": "41 of 131 outcomes of green failed in the last 20 s, and 0 of 1,204 of blue",
        "figures": [
            {"name": "odds against equal sides", "value": 1130.4, "limit": 100.0, "unit": ":1"},
            {"name": "errors of green", "value": 31.3, "limit": 5.0, "unit": "%"},
            {"name": "errors of blue", "value": 0.0, "limit": null, "unit": "%"},
        ],
    })
}

fn record(trigger: Value, began: f64, shifted: Option<f64>, validated: Option<f64>) -> Value {
    json!({
        "trigger": trigger, "also": [], "harm_began": if trigger["trigger"] == "alarm" { Some(at(2461.2)) } else { None },
        "began": at(began), "shifted": shifted.map(at), "swapped": shifted.map(|s| at(s + 1.0)), "validated": validated.map(at),
        "checked": validated.is_some(), "fault": null,
    })
}

/// Two phases, the first of which passed.
fn rollout(state: Value, more: Value) -> RolloutView {
    let phase = |name: &str, agents: u64, cumulative: u64, record: Value| json!({"name": name, "agents": agents, "agents_cumulative": cumulative, "bake": 1_800_000, "batches": 1, "record": record});
    let canary = json!({
        "name": "canary", "agents_cumulative": 13, "began": at(600.0), "bake_began": at(604.0), "after_second": 604,
        "ended": at(2404.0), "report": passed(),
    });
    let full = json!({
        "name": "full", "agents_cumulative": 131, "began": at(2404.0), "bake_began": at(2431.0), "after_second": 2431,
        "ended": null, "report": null,
    });
    let mut view = json!({
        "id": 17, "release": "v2", "by": "ann", "paused": null, "refused": null, "started": at(0.0), "ended": null,
        "stage_left": 754_000, "speed": 1.0, "phases": [phase("canary", 13, 13, canary), phase("full", 118, 131, full)],
        "validation": null, "rollback": null, "retreats": [], "triggers": Triggers::default(), "drill": false,
    });
    for part in [state, more] {
        for (key, value) in part.as_object().expect("a table") {
            view[key] = value.clone();
        }
    }
    serde_json::from_value(view).expect("it is a rollout")
}

fn baking() -> Value {
    json!({"state": "progressing", "phase": 1, "step": "baking", "look": 1})
}

fn awaiting() -> Value {
    json!({"state": "progressing", "phase": 1, "step": "awaiting_approval"})
}

/// Of somebody else than who started it; given or not.
fn asking(given: bool) -> RolloutView {
    let mut view = rollout(if given { baking() } else { awaiting() }, json!({}));
    let consent = json!({"by": "bob", "why": "the drill was fine", "at": at(2431.0)});
    let record = json!({"phase": 1, "asked": at(2404.0), "given": given.then_some(consent)});
    view.phases[1].approval = bellwether_core::spec::Approval::Other;
    view.phases[1].approved = serde_json::from_value(record).expect("a record");
    if !given {
        view.phases[1].record = None;
    }
    view.again = serde_json::from_value(json!({"rollout": 16, "reason": "it was the network"})).expect("it is one");
    view
}

fn rolled_back() -> RolloutView {
    let mut part =
        record(json!({"trigger": "operator", "by": "bob", "why": "it looked odd"}), 2420.0, Some(2420.3), Some(2431.0));
    part["agents"] = json!(["seller"]);
    rollout(
        json!({"state": "rolled_back"}),
        json!({
            "ended": at(2491.0), "stage_left": null, "rollback": record(alarm(), 2473.5, Some(2473.9), Some(2491.0)),
            "retreats": [part],
        }),
    )
}

fn criteria() -> Vec<Judgement> {
    let all = [
        judgement("R30", "task processing rate", "tasks/s", "no_harm_seen", "pass", "as before"),
        judgement("R31", "response time, p95", "ms", "no_harm_seen", "pass", "as before"),
    ];
    all.into_iter().map(|one| serde_json::from_value(one).expect("a judgement")).collect()
}

#[test]
fn why_begins_with_what_to_do_and_goes_on_with_every_decision() {
    insta::assert_snapshot!(why(&rolled_back(), &criteria()).join("\n"));
}

#[test]
fn a_rollback_in_short_says_what_fired_and_how_long_it_took() {
    insta::assert_snapshot!(describe(&rolled_back(), &[]).join("\n"));
}

#[test]
fn an_approval_is_shown_with_who_and_when() {
    let shown = |given: bool| {
        let rollout = asking(given);
        let why = super::why(&rollout, &[]);
        let decided = why.iter().filter(|line| ["approv", "again"].iter().any(|word| line.contains(word)));
        let decided: Vec<&str> = decided.map(String::as_str).collect();
        format!("{}\n\n{}", describe(&rollout, &[]).join("\n"), decided.join("\n"))
    };
    insta::assert_snapshot!(shown(false), @r#"
    rollout 17 · release v2 · started by ann
    phase 2 of 2, full: waits for the approval of somebody else than ann
    tries rollout 16 again: it was the network
      canary        13 agents, 13 on green then: took 30m04s
          R31  no harm seen     green's p95 is 131 % of the baseline's, and 150 % are borne
          R35  cannot tell yet  12 calls say too little
      full          118 agents, 131 on green then: not begun
                    waits for an approval since 02:40:04 UTC

    phase 2 of 2, full: waits for the approval of somebody else than ann
      1. Decide: somebody else than ann, who started it, has to approve phase full before it begins.
      2. `bellwether approve 17` lets it begin, `bellwether reject 17` takes back what has moved so far.
      3. `bellwether approve 17 --dry-run` shows first what would happen.
               tries rollout 16 again: it was the network
      +40m04s  phase 2 of 2, full: waits for an approval of somebody else than ann
    "#);
    insta::assert_snapshot!(shown(true), @r#"
    rollout 17 · release v2 · started by ann
    phase 2 of 2, full: baking
    tries rollout 16 again: it was the network
      canary        13 agents, 13 on green then: took 30m04s
          R31  no harm seen     green's p95 is 131 % of the baseline's, and 150 % are borne
          R35  cannot tell yet  12 calls say too little
      full          118 agents, 131 on green then: under way
                    approved by bob at 02:40:31 UTC: the drill was fine

               tries rollout 16 again: it was the network
      +40m04s  phase 2 of 2, full: waits for an approval of somebody else than ann
      +40m31s  phase 2 of 2, full: approved by bob after 27s: the drill was fine
    "#);
}

#[test]
fn a_dry_run_is_told_in_words() {
    let shift = |agent: &str, to: &str| json!({"agent": agent, "to": to});
    let seat = |agent: &str, side: &str| json!({"agent": agent, "side": side});
    let told = |more: Value| {
        let mut dry = json!({
            "before": rollout(baking(), json!({})), "after": rollout(baking(), json!({})), "blind": false, "moves": [],
            "follows": [], "starts": [], "stops": [], "freezes": [], "thaws": [], "judges": null, "undo": null,
        });
        for (key, value) in more.as_object().expect("a table") {
            dry[key] = value.clone();
        }
        preview(&serde_json::from_value(dry).expect("a preview")).join("\n")
    };
    let back = rollout(json!({"state": "rolling_back", "step": "shift"}), json!({}));
    let judged = rollout(json!({"state": "progressing", "phase": 1, "step": "gate", "look": 1}), json!({}));
    let page = [
        told(json!({})),
        told(json!({"after": judged, "judges": "full"})),
        told(json!({
            "after": back, "moves": (0..10).map(|n| shift(&format!("agent-{n}"), "blue")).collect::<Vec<_>>(),
            "follows": [shift("billing", "blue")], "starts": [seat("billing", "blue")],
            "stops": [seat("agent-0", "green")], "undo": 12_000,
        })),
        told(json!({"before": null, "after": rollout(json!({"state": "preflight"}), json!({})), "blind": true})),
    ];
    insta::assert_snapshot!(page.join("\n\n"), @r#"
    This is what would happen; nothing was changed.
    It is so already: nothing would change.

    This is what would happen; nothing was changed.
    rollout 17: phase 2 of 2, full: baking  →  phase 2 of 2, full: judging
      full would be judged, on what was seen so far

    This is what would happen; nothing was changed.
    rollout 17: phase 2 of 2, full: baking  →  rolling back: traffic to blue
      traffic would move to blue at once: 10 agents, agent-0, agent-1, agent-2, agent-3, agent-4,
      agent-5, agent-6, agent-7 and 2 more
      traffic would follow to blue, once an instance is ready for it: 1 agent, billing
      blue would be started: 1 agent, billing
      green would be ended: 1 agent, agent-0
      by the plan, all of this traffic is on blue within 12s

    This is what would happen; nothing was changed.
    rollout 17 of release v2 would begin: measuring the baseline
      the controller has just started and looks at the world first; what it does to instances follows
      that
    "#);
}

#[test]
fn a_rollback_that_missed_a_limit_or_is_not_over_says_so() {
    let shown = |state: &str, record: Value| {
        let rollout = rollout(json!({"state": state, "step": "shift"}), json!({"rollback": record}));
        undone(rollout.rollback.as_ref().expect("there is one")).join("\n")
    };
    let mut late = record(alarm(), 2499.0, Some(2599.0), None);
    late["fault"] = json!("health checks of billing fail");
    late["also"] = json!([{"trigger": "crash_loop", "agent": "seller", "exits": 3, "first": at(2500.0)}]);
    insta::assert_snapshot!(shown("needs_attention", late), @r"
    fired: errors (R41): 41 of 131 outcomes of green failed in the last 20 s, and 0 of 1,204 of blue
    then:  crash loop (R99): green of seller ended 3 times by itself
    times: detected 37.8s of 30s, MISSED (R46) · traffic on blue 1m40s of 1m, MISSED (R47) · blue validated not yet, of 2m · in all not yet, of 3m30s
    blue:  health checks of billing fail
    ");
    let by_hand = record(json!({"trigger": "operator", "by": "bob", "why": ""}), 2499.0, None, None);
    insta::assert_snapshot!(shown("rolling_back", by_hand), @r"
    fired: asked by bob
    times: traffic on blue not yet, of 1m · blue validated not yet, of 2m · in all not yet, of 3m30s
    ");
}

#[test]
fn there_is_something_to_do_in_every_state() {
    let paused =
        |reason: Value| rollout(json!({"state": "progressing", "phase": 1, "step": "held"}), json!({"paused": reason}));
    let mut part = record(alarm(), 2473.5, Some(2473.9), Some(2480.0));
    part["agents"] = json!(["log-reader", "metrics-keeper"]);
    let mut partly = paused(json!({"reason": "partly_rolled_back", "why": "errors of log-reader"}));
    partly.retreats = vec![serde_json::from_value(part).expect("a part")];
    let back = |shifted, fault: Option<&str>| {
        let mut back = record(alarm(), 2473.5, shifted, None);
        back["fault"] = json!(fault);
        json!({"rollback": back})
    };
    let mut shared = alarm();
    shared["kind"] = json!("model_server");
    shared["shared"] = json!(true);
    let rolled_back_for = |trigger| {
        let back = record(trigger, 2473.5, Some(2473.9), Some(2491.0));
        rollout(json!({"state": "rolled_back"}), json!({"rollback": back}))
    };
    let drill =
        json!({"drill": true, "rollback": record(json!({"trigger": "drill"}), 2473.5, Some(2473.9), Some(2480.0))});
    let frozen =
        json!({"reason": "frozen", "name": "weekend", "until": at(9e4), "ends": "Mon 30 Nov 08:00 Europe/Berlin"});
    let states = [
        ("preflight", rollout(json!({"state": "preflight"}), json!({}))),
        ("baking", rollout(baking(), json!({}))),
        ("warming", rollout(json!({"state": "progressing", "phase": 1, "step": "warming", "batch": 0}), json!({}))),
        ("waits for an approval", rollout(awaiting(), json!({}))),
        ("held by a person", paused(json!({"reason": "asked", "by": "bob", "why": "lunch"}))),
        ("thin evidence", paused(json!({"reason": "thin_evidence"}))),
        ("shared fault", paused(json!({"reason": "shared_fault", "why": "connections to the model server fail"}))),
        ("no room", paused(json!({"reason": "disk_full", "why": "the journal cannot be written"}))),
        ("rolled back unrecorded", rolled_back_for(json!({"trigger": "unrecorded", "why": "error rate (R41)"}))),
        ("partly rolled back", partly),
        ("frozen", paused(frozen.clone())),
        ("past its window", paused(json!({"reason": "window_closed"}))),
        (
            "completed in a freeze",
            rollout(json!({"state": "completed"}), json!({"paused": frozen, "stage_left": null})),
        ),
        ("not done in its window", rolled_back_for(json!({"trigger": "window_closed", "window": 21_600_000}))),
        ("validating", rollout(json!({"state": "validating", "judging": false}), json!({}))),
        ("completed", rollout(json!({"state": "completed"}), json!({}))),
        ("committed", rollout(json!({"state": "committed"}), json!({}))),
        ("rolling back", rollout(json!({"state": "rolling_back", "step": "shift"}), back(None, None))),
        (
            "validating blue",
            rollout(
                json!({"state": "rolling_back", "step": "validate"}),
                back(Some(2474.0), Some("billing is not ready")),
            ),
        ),
        ("rolled back", rolled_back()),
        ("rolled back for a shared fault", rolled_back_for(shared)),
        ("drilled", rollout(json!({"state": "rolled_back"}), drill)),
        (
            "needs attention",
            rollout(
                json!({"state": "needs_attention"}),
                back(Some(2474.0), Some("the model server cannot be reached")),
            ),
        ),
        ("stuck", rollout(json!({"state": "needs_attention"}), back(None, None))),
        (
            "preflight failed",
            rollout(json!({"state": "preflight_failed"}), json!({"refused": "no task ended in 60 s"})),
        ),
    ];
    let mut page = Vec::new();
    for (name, rollout) in &states {
        let advice = advice(rollout);
        assert!((1..=3).contains(&advice.len()), "{name}: {advice:#?}");
        page.push(format!("{name}\n  {}", advice.join("\n  ")));
    }
    insta::assert_snapshot!(page.join("\n"));
}

fn status(rollout: RolloutView) -> Status {
    let controller = ControllerView { generation: Default::default(), agents: Vec::new(), rollout: Some(rollout) };
    Status { fleet: "example".to_owned(), controller, live: Live::default(), disk: None, edit: None }
}

#[test]
fn lines_tell_what_fired_once_and_the_times_at_the_end() {
    let mut narrator = Narrator::default();
    let mut part = record(alarm(), 2473.5, Some(2473.9), None);
    part["agents"] = json!(["log-reader", "metrics-keeper"]);
    let back = |validated| json!({"rollback": record(alarm(), 2473.5, Some(2473.9), validated), "retreats": []});
    let mut part_back = part.clone();
    part_back["validated"] = json!(at(2480.0));
    let steps = [
        rollout(json!({"state": "progressing", "phase": 1, "step": "halfway", "next": 1}), json!({})),
        rollout(baking(), json!({"retreats": [part]})),
        rollout(baking(), json!({"retreats": [part_back]})),
        rollout(json!({"state": "rolling_back", "step": "shift"}), back(None)),
        rollout(json!({"state": "rolling_back", "step": "validate"}), back(None)),
        rollout(json!({"state": "rolled_back"}), back(Some(2491.0))),
        rollout(json!({"state": "rolled_back"}), back(Some(2491.0))),
    ];
    let mut said = Vec::new();
    for (second, rollout) in (1_u64..).zip(steps) {
        said.extend(narrator.tell(&status(rollout), Millis::from_secs(second)));
    }
    insta::assert_snapshot!(said.join("\n"), @r"
    [   1.0s] canary: judged: cannot tell yet (R35)
    [   1.0s] phase 2 of 2, full: the first half bakes · 0 of 0 on green
    [   2.0s] 2 agents are held on blue from here on (log-reader, metrics-keeper): errors (R41): 41 of 131 outcomes of green failed in the last 20 s, and 0 of 1,204 of blue
    [   2.0s] phase 2 of 2, full: baking · 0 of 0 on green
    [   3.0s] on validated blue again: log-reader, metrics-keeper; detected 12.3s of 30s · traffic on blue 400ms of 1m · blue validated 6.1s of 2m · in all 18.8s of 3m30s
    [   4.0s] rolling back: errors (R41): 41 of 131 outcomes of green failed in the last 20 s, and 0 of 1,204 of blue
    [   4.0s] rolling back: traffic to blue · 0 of 0 on green
    [   5.0s] rolling back: validating blue · 0 of 0 on green
    [   6.0s] rolled back · 0 of 0 on green
    [   6.0s] fired: errors (R41): 41 of 131 outcomes of green failed in the last 20 s, and 0 of 1,204 of blue
    [   6.0s] times: detected 12.3s of 30s · traffic on blue 400ms of 1m · blue validated 17.1s of 2m · in all 29.8s of 3m30s
    ");
}
