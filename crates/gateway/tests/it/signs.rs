//! What the one-second records say of order, silence, empty answers and the model server.

use bellwether_core::{
    id::{Generation, InstanceId, Side},
    observation::{Cell, Second, Signs},
    port::gateway::{GatewayIntent, Move},
    time::Millis,
};
use hyper::{Method, StatusCode};
use tokio::time::Instant;

use crate::{
    agent::Agent,
    model_calls::with_model,
    world::{BLUE, FLEET, GREEN, PATIENCE, World, card, eventually},
};

impl World {
    async fn report(&self, instance: u64, report: &str) -> StatusCode {
        self.http.post(&format!("/i/token-{instance}/api/tasks/complete"), report).await.status
    }

    async fn beat(&self, instance: u64, fields: &str) {
        let path = format!("/i/token-{instance}/api/agents/heartbeat");
        assert_eq!(self.http.post(&path, fields).await.status, StatusCode::OK);
    }

    /// What the record says of the agent in which there is such a cell.
    async fn signs_when(&mut self, side: Side, is_so: impl Fn(&Cell) -> bool) -> Signs {
        loop {
            let second = self.second().await;
            if second.cells.iter().any(&is_so) {
                return signs_of(&second, side);
            }
        }
    }

    /// Adds up cells until it is enough.
    async fn counted(&mut self, enough: impl Fn(&Sum) -> bool) -> Sum {
        let mut sum = Sum::default();
        while !enough(&sum) {
            let second = self.second().await;
            second.cells.iter().for_each(|cell| sum.add(cell));
        }
        sum
    }
}

#[derive(Debug, Default)]
struct Sum {
    completed: u64,
    failed: u64,
    lost: u64,
    signs: Signs,
}

impl Sum {
    fn add(&mut self, cell: &Cell) {
        self.completed += cell.tasks.completed + cell.pushes.succeeded;
        self.failed += cell.tasks.failed + cell.pushes.failed;
        self.lost += cell.tasks.lost_leases;
        self.signs.trials += cell.signs.trials;
        self.signs.onsets += cell.signs.onsets;
        self.signs.empty += cell.signs.empty;
        self.signs.trips += cell.signs.trips;
        self.signs.reported_trips += cell.signs.reported_trips;
        self.signs.streak = cell.signs.streak;
    }

    fn ended(&self) -> u64 {
        self.completed + self.failed + self.lost
    }
}

fn signs_of(second: &Second, side: Side) -> Signs {
    let mut cells = second.cells.iter().filter(|cell| cell.agent.as_str() == "a" && cell.served == side);
    let signs = cells.next().map(|cell| cell.signs.clone()).unwrap_or_default();
    assert!(cells.next().is_none(), "{second:?}");
    signs
}

#[tokio::test]
async fn failures_count_by_their_order() {
    let mut world = World::pulling().await;
    for (n, status) in ["completed", "failed", "failed", "completed", "failed"].into_iter().enumerate() {
        world.submit(&n.to_string()).await;
        world.next_id(BLUE).await;
        let report = format!(r#"{{"task_id":"{n}","status":"{status}","result":"x","retry":false}}"#);
        assert_eq!(world.report(BLUE, &report).await, StatusCode::OK);
    }
    let sum = world.counted(|sum| sum.ended() == 5).await;
    assert_eq!((sum.signs.trials, sum.signs.onsets, sum.signs.streak), (3, 2, 1), "{sum:?}");
}

#[tokio::test]
async fn pushes_are_outcomes_too_and_what_is_cut_at_the_drain_limit_is_none() {
    let (blue, green) = (Agent::start("blue").await, Agent::start("green").await);
    let mut world = World::pushing(blue.address, green.address).await;
    for path in ["/a/a/x", "/a/a/fails", "/a/a/fails"] {
        world.http.get(path).await;
    }
    let http = world.http.clone();
    let slow = tokio::spawn(async move { http.get("/a/a/slow").await });
    eventually("blue has it", || async { blue.seen.lock().unwrap().len() == 4 }).await;
    world.cut_over_with(GREEN, None, Millis(20)).await;
    assert_eq!(slow.await.unwrap().status, StatusCode::BAD_GATEWAY);
    let sum = world.counted(|sum| sum.ended() == 4).await;
    assert_eq!((sum.failed, sum.signs.trials, sum.signs.onsets, sum.signs.streak), (3, 2, 1, 2), "{sum:?}");
}

#[tokio::test]
async fn a_lease_that_a_rollback_revokes_is_nobodys_failure_and_one_that_its_holder_drops_is() {
    let mut world = World::pulling().await;
    world.submit("t1").await;
    world.next_id(BLUE).await;
    assert_eq!(world.next_id(BLUE).await.as_deref(), Some("t1"), "asked again instead of reporting");
    let sum = world.counted(|sum| sum.ended() == 1).await;
    assert_eq!((sum.lost, sum.signs.trials, sum.signs.onsets), (1, 1, 1));

    let moves = vec![Move { agent: "a".into(), to: InstanceId(GREEN), fallback: None }];
    let drain = Millis::from_mins(10);
    world.done(GatewayIntent::CutOver { generation: Generation(2), moves, drain, revoke: true }).await;
    assert_eq!(world.complete(BLUE, "t1").await, StatusCode::CONFLICT);
    for _ in 0..2 {
        let second = world.second().await;
        let lost: u64 = second.cells.iter().map(|cell| cell.tasks.lost_leases).sum();
        assert_eq!(lost, 0, "what was taken away is nobody's loss: {second:?}");
    }
    assert_eq!(world.next(GREEN).await.json()["attempt"], 3, "attempts are shown as they were");
}

#[tokio::test]
async fn a_green_inherits_nothing_from_the_rollout_before_and_takes_its_own_past_along() {
    let fail = async |world: &World, instance: u64, id: &str| {
        world.submit(id).await;
        assert_eq!(world.next_id(instance).await.as_deref(), Some(id));
        let report = format!(r#"{{"task_id":"{id}","status":"failed","retry":false}}"#);
        assert_eq!(world.report(instance, &report).await, StatusCode::OK);
    };
    let mut world = World::pulling().await;
    world.cut_over(GREEN).await;
    fail(&world, GREEN, "t1").await;
    fail(&world, GREEN, "t2").await;
    let sum = world.counted(|sum| sum.ended() == 2).await;
    assert_eq!((sum.signs.onsets, sum.signs.streak), (1, 2));
    world.cut_over(BLUE).await;
    world.done(GatewayIntent::Retire { instances: vec![InstanceId(GREEN)] }).await;

    let next_green = 3;
    world.done(GatewayIntent::Enrol { cards: vec![card(next_green, Side::Green, None)] }).await;
    world.cut_over(next_green).await;
    fail(&world, next_green, "t3").await;
    let sum = world.counted(|sum| sum.ended() == 1).await;
    assert_eq!((sum.signs.onsets, sum.signs.streak), (1, 1), "a green of another rollout");

    world.done(GatewayIntent::Settle { instances: vec![InstanceId(next_green)] }).await;
    fail(&world, next_green, "t4").await;
    let signs = world.signs_when(Side::Blue, |cell| cell.tasks.failed == 1).await;
    assert_eq!((signs.trials, signs.streak), (0, 2), "the same instance, settled as blue");
}

#[tokio::test]
async fn an_answer_that_carries_less_than_the_fleet_file_asks_for_is_a_failure() {
    let rule = "type: worker, result: {fields: [response], chars_min: 8}";
    let mut world = World::of(&FLEET.replace("type: worker", rule)).await;
    world.done(GatewayIntent::Enrol { cards: vec![card(BLUE, Side::Blue, None)] }).await;
    world.cut_over(BLUE).await;
    let results = [r#"{"response":"long enough"}"#, r#"{"response":"short"}"#, r#"{"answer":"long enough"}"#, "null"];
    for (n, result) in results.into_iter().enumerate() {
        world.submit(&n.to_string()).await;
        world.next_id(BLUE).await;
        let report = format!(r#"{{"task_id":"{n}","status":"completed","result":{result},"retry":false}}"#);
        assert_eq!(world.report(BLUE, &report).await, StatusCode::OK);
    }
    let sum = world.counted(|sum| sum.ended() == 4).await;
    assert_eq!((sum.completed, sum.failed, sum.signs.empty, sum.signs.onsets), (1, 3, 3, 1), "{sum:?}");
    assert_eq!((world.state_of("0").await.as_str(), world.state_of("1").await.as_str()), ("completed", "failed"));
}

#[tokio::test]
async fn an_agent_that_hangs_is_seen_through_its_heartbeats() {
    let mut world = World::pulling().await;
    let began = Instant::now();
    world.submit("t1").await;
    world.next_id(BLUE).await;
    let mut before = Signs::default();
    while before.stalled_ms < 3000 {
        world.beat(BLUE, r#"{"agent_name":"a","status":"active"}"#).await;
        world.http.get("/i/token-1/ollama/api/tags").await;
        let signs = signs_of(&world.second().await, Side::Blue);
        for (was, is) in [(before.stalled_ms, signs.stalled_ms), (before.quiet_ms, signs.quiet_ms)] {
            assert!(is > was.max(1000) || is == 0 && was == 0, "it only grows: {before:?} {signs:?}");
        }
        before = signs;
        assert!(began.elapsed() < PATIENCE);
    }
    // The answer to its question is its last sign, and that goes out after the task was leased.
    let apart = before.quiet_ms.abs_diff(before.stalled_ms);
    assert!(apart < 1000, "both began when it was given the task: {before:?}");
    assert!(u128::from(before.quiet_ms) <= began.elapsed().as_millis());
    let completed = Instant::now();
    assert_eq!(world.complete(BLUE, "t1").await, StatusCode::OK);
    let signs = world.signs_when(Side::Blue, |cell| cell.tasks.completed == 1).await;
    assert_eq!(signs.stalled_ms, 0, "nothing is held");
    assert!(u128::from(signs.quiet_ms) <= completed.elapsed().as_millis(), "a completion is a sign: {signs:?}");
}

#[tokio::test]
async fn only_an_active_instance_that_has_a_loop_can_be_quiet() {
    let mut world = World::pulling().await;
    // Green polls in standby, blue never does.
    world.next_id(GREEN).await;
    for _ in 0..3 {
        let second = world.second().await;
        assert!(second.cells.is_empty(), "{second:?}");
    }
    world.cut_over(GREEN).await;
    let signs = signs_of(&world.second().await, Side::Green);
    assert!(signs.quiet_ms < 2000, "becoming active is a sign: {signs:?}");
    while signs_of(&world.second().await, Side::Green).quiet_ms == 0 {}
}

#[tokio::test]
async fn to_wait_for_a_slot_is_no_silence_and_to_wait_for_the_model_server_is() {
    const CALL: &str = r#"{"model":"tinyllama","prompt":"p","stream":false}"#;
    let (mut world, model) = with_model().await;
    world.submit("t1").await;
    world.next_id(BLUE).await;
    let call = |path: &'static str| {
        let http = world.http.clone();
        tokio::spawn(async move { http.call(Method::POST, path, &[], CALL).await })
    };
    let others = [call("/m/one/api/generate"), call("/m/two/api/generate")];
    let calls_seen = || model.seen.lock().unwrap().iter().filter(|head| head.uri.path() == "/api/generate").count();
    eventually("both slots are taken", || async { calls_seen() == 3 }).await;
    let own = call("/i/token-1/ollama/api/generate");
    let mut waited = 0;
    while waited < 3 {
        let second = world.second().await;
        waited = if second.calls_waiting == 1 { waited + 1 } else { 0 };
        if waited > 1 {
            let signs = signs_of(&second, Side::Blue);
            assert_eq!((signs.stalled_ms, signs.quiet_ms), (0, 0), "the wait is ours");
        }
    }
    model.go.notify_one();
    eventually("it has a slot", || async { calls_seen() == 4 }).await;
    let signs = loop {
        let signs = signs_of(&world.second().await, Side::Blue);
        if signs.stalled_ms > 0 {
            break signs;
        }
    };
    assert!(signs.stalled_ms < 3000, "from the slot on, not from before: {signs:?}");
    for task in others.into_iter().chain([own]) {
        model.go.notify_one();
        model.go.notify_one();
        assert_eq!(task.await.unwrap().status, StatusCode::OK);
    }
}

#[tokio::test]
async fn the_model_server_is_looked_for_once_a_second() {
    let (mut world, model) = with_model().await;
    let mut made = 0;
    while made < 3 {
        let second = world.second().await;
        assert_eq!(second.probes_failed, 0);
        assert!(second.probes <= 3, "{}", second.probes);
        made += second.probes;
    }
    let looked = |seen: &hyper::http::request::Parts| {
        seen.uri.path() == "/api/version" && seen.headers.get("connection").is_some()
    };
    assert!(model.seen.lock().unwrap().iter().filter(|&seen| looked(seen)).count() >= 3);
    assert_eq!(world.second().await.slots_peak, 0, "it needs no slot");
    drop(model);
    let mut failed = 0;
    while failed < 3 {
        failed += world.second().await.probes_failed;
    }
}

#[tokio::test]
async fn an_agents_breaker_stops_its_own_calls_on_its_own_side() {
    const POISON: &str = r#"{"model":"tinyllama","prompt":"poison"}"#;
    let (mut world, _model) = with_model().await;
    let call = async |path: &str| world.http.post(path, POISON).await.status;
    let of_blue = "/i/token-1/ollama/api/generate";
    for _ in 0..5 {
        assert_eq!(call(of_blue).await, StatusCode::INTERNAL_SERVER_ERROR);
    }
    eventually("blue's is open", || async { call(of_blue).await == StatusCode::SERVICE_UNAVAILABLE }).await;
    let refused = world.http.post(of_blue, POISON).await;
    let after: u64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=10).contains(&after), "{after}");
    for other in ["/i/token-2/ollama/api/generate", "/m/somebody/api/generate"] {
        assert_eq!(call(other).await, StatusCode::INTERNAL_SERVER_ERROR, "{other}");
    }
    for _ in 0..10 {
        assert_eq!(call("/m/somebody/api/generate").await, StatusCode::INTERNAL_SERVER_ERROR, "no agent, no breaker");
    }
    let sum = world.counted(|sum| sum.signs.trips > 0).await;
    assert_eq!(sum.signs.trips, 1);
}

#[tokio::test]
async fn trips_that_an_agent_reports_are_counted_by_their_increase() {
    let mut world = World::pulling().await;
    for trips in [1, 3, 3, 0, 2] {
        world.beat(BLUE, &format!(r#"{{"agent_name":"a","circuit_breaker_trips":{trips}}}"#)).await;
    }
    let sum = world.counted(|sum| sum.signs.reported_trips >= 5).await;
    assert_eq!(sum.signs.reported_trips, 5);
    world.restart().await;
    for trips in [2, 3] {
        world.beat(BLUE, &format!(r#"{{"metrics":{{"circuit_breaker_trips":{trips}}}}}"#)).await;
    }
    let sum = world.counted(|sum| sum.signs.reported_trips >= 1).await;
    assert_eq!(sum.signs.reported_trips, 1, "what was said before the restart is not counted again");
}
