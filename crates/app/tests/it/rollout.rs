//! Whole rollouts of a small fleet under load, left alone and disturbed.

use std::time::Duration;

use serde_json::Value;

use crate::world::{World, account, all_on, assert_nothing_lost, in_phase};

#[test]
fn a_small_fleet_is_rolled_out_in_three_phases_and_committed() {
    let world = World::start("whole");
    let load = world.load();
    world.start_rollout();
    let (code, rollout) = world.watch();
    assert_eq!((code, &rollout["state"]), (Some(0), &Value::from("completed")), "{rollout:#}");
    let phases = rollout["phases"].as_array().expect("phases");
    let cumulative: Vec<_> = phases.iter().map(|phase| phase["agents_cumulative"].clone()).collect();
    assert_eq!(cumulative, [1, 3, 5]);
    for phase in phases {
        let record = &phase["record"];
        let baked = record["ended"].as_u64().expect("ended") - record["bake_began"].as_u64().expect("baked");
        assert!(baked >= 2000, "a bake of 2 s took {baked} ms");
        assert!(!record["report"]["judgements"].as_array().expect("judged").is_empty());
    }
    let status = world.status();
    assert!(all_on(&status, "green"), "{status:#}");
    assert!(world.pid_of("keeper", "blue").is_some(), "blue is held until the commit");
    assert_nothing_lost(&account(load));

    let committed = world.cli(&["rollout", "commit", "--reason", "all is well"]);
    assert!(committed.status.success(), "{}", String::from_utf8_lossy(&committed.stderr));
    world.until("blue has ended", |_| world.pid_of("keeper", "blue").is_none());
    let undo = world.cli(&["rollout", "rollback"]);
    assert_eq!(undo.status.code(), Some(1));
    let text = String::from_utf8_lossy(&undo.stderr);
    assert!(text.contains("blue was given up"), "{text}");
    world.end();
}

#[test]
fn a_green_that_is_killed_in_each_phase_comes_back_and_costs_no_task() {
    let world = World::start("kill");
    let load = world.load();
    world.start_rollout();
    for (phase, agent) in [(0, "watcher"), (1, "builder"), (2, "keeper")] {
        world.until("the phase bakes", |status| in_phase(status, phase, "baking"));
        let pid = world.pid_of(agent, "green").expect("green runs");
        crate::world::signal(pid, "KILL");
        world.until("another green has its place", |_| world.pid_of(agent, "green").is_some_and(|now| now != pid));
    }
    let (code, rollout) = world.watch();
    assert_eq!((code, &rollout["state"]), (Some(0), &Value::from("completed")), "{rollout:#}");
    world.until("the last one has its traffic back", |status| all_on(status, "green"));
    assert_nothing_lost(&account(load));
    world.end();
}

#[test]
fn a_green_that_is_killed_again_and_again_is_rolled_back() {
    let world = World::start("loop");
    let load = world.load();
    world.start_rollout();
    let mut last = None;
    world.until("the crash loop is seen", |status| {
        let pid = world.pid_of("watcher", "green").filter(|pid| Some(*pid) != last);
        if let Some(pid) = pid {
            last = Some(pid);
            crate::world::signal(pid, "KILL");
        }
        let state = &status["rollout"]["state"];
        state == "rolling_back" || state == "rolled_back"
    });
    let (code, rollout) = world.watch();
    assert_eq!(code, Some(3), "{rollout:#}");
    assert_eq!(rollout["rollback"]["trigger"]["trigger"], "crash_loop");
    assert!(all_on(&world.status(), "blue"));
    assert_nothing_lost(&account(load));
    world.end();
}

#[test]
fn a_rollback_by_hand_in_each_phase_takes_everything_back() {
    let world = World::start("back");
    let load = world.load();
    for phase in 0..3 {
        world.start_rollout();
        world.until("the phase bakes", |status| in_phase(status, phase, "baking"));
        world.roll_back("rehearsal");
        let (code, rollout) = world.watch();
        assert_eq!((code, &rollout["state"]), (Some(3), &Value::from("rolled_back")), "{rollout:#}");
        let rollback = &rollout["rollback"];
        let took = |step: &str| rollback[step].as_u64().expect("done") - rollback["began"].as_u64().expect("began");
        assert!(took("shifted") < 60_000, "R47: {rollback:#}");
        assert!(took("validated") < 210_000, "R49: {rollback:#}");
        assert!(all_on(&world.status(), "blue"));
        world.until("green has ended", |_| world.pid_of("watcher", "green").is_none());
    }
    assert_nothing_lost(&account(load));
    world.end();
}

#[test]
fn a_paused_rollout_waits_and_a_promoted_one_does_not() {
    let world = World::start("pause");
    let load = world.load();
    world.start_rollout();
    world.until("the first phase bakes", |status| in_phase(status, 0, "baking"));
    assert!(world.cli(&["rollout", "pause", "--reason", "lunch"]).status.success());
    world.until("the gate is held", |status| in_phase(status, 0, "held"));
    std::thread::sleep(Duration::from_millis(500));
    let status = world.status();
    assert!(in_phase(&status, 0, "held"), "{status:#}");
    assert_eq!(status["rollout"]["paused"]["why"], "lunch");
    assert!(world.cli(&["rollout", "resume"]).status.success());
    world.until("the second phase bakes", |status| in_phase(status, 1, "baking"));
    assert!(world.cli(&["rollout", "promote"]).status.success());
    let (code, _) = world.watch();
    assert_eq!(code, Some(0));
    assert_nothing_lost(&account(load));
    world.end();
}
