//! What the fields of a submission do, and what people can do with a task.

use bellwether_core::{id::Side, port::gateway::GatewayIntent};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use crate::world::{Answer, BLUE, FLEET, World, card, eventually};

impl World {
    /// Like [`World::pulling`], with this in the section of the tasks.
    pub(crate) async fn pulling_with(tasks: &str) -> Self {
        let mut world = Self::of(&FLEET.replace("agents:\n", &format!("tasks: {{{tasks}}}\nagents:\n"))).await;
        world.done(GatewayIntent::Enrol { cards: vec![card(BLUE, Side::Blue, None)] }).await;
        world.cut_over(BLUE).await;
        world
    }

    pub(crate) async fn submit_with(&self, fields: Value) {
        let answer = self.http.post("/tasks", &fields.to_string()).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
    }

    pub(crate) async fn shown(&self, id: &str) -> Value {
        let answer = self.http.get(&format!("/tasks/{id}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        answer.json()
    }

    pub(crate) async fn cancel(&self, id: &str) -> Answer {
        self.http.call(Method::DELETE, &format!("/tasks/{id}"), &[], "").await
    }

    pub(crate) async fn retry(&self, id: &str) -> Answer {
        self.http.post(&format!("/tasks/{id}/retry"), "").await
    }

    pub(crate) async fn fail(&self, id: &str, error: &str, retry: bool) -> Answer {
        let report = json!({"task_id": id, "status": "failed", "error": error, "retry": retry});
        self.http.post(&format!("/i/token-{BLUE}/api/tasks/complete"), &report.to_string()).await
    }

    async fn counted_as(&self, state: &str) -> u64 {
        self.http.get("/tasks").await.json()[state].as_u64().unwrap()
    }
}

#[tokio::test]
async fn the_more_urgent_goes_first_and_among_equals_the_first() {
    let world = World::pulling().await;
    for (id, priority) in
        [("b", "background"), ("n1", "normal"), ("c", "critical"), ("l", "low"), ("n2", "normal"), ("h", "high")]
    {
        world.submit_with(json!({"agent": "a", "id": id, "priority": priority})).await;
    }
    let shown = world.shown("c").await;
    assert_eq!((&shown["priority"], &shown["attempts_max"]), (&"critical".into(), &3.into()));
    for id in ["c", "h", "n1", "n2", "l", "b"] {
        assert_eq!(world.next_id(BLUE).await.as_deref(), Some(id));
        assert_eq!(world.complete(BLUE, id).await, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_delayed_task_waits_for_its_time_and_then_in_line() {
    let world = World::pulling().await;
    world.submit_with(json!({"agent": "a", "id": "t1", "delay": 0.3})).await;
    let shown = world.shown("t1").await;
    assert_eq!(shown["state"], "delayed");
    let (submitted, not_before) = (shown["submitted_ms"].as_u64().unwrap(), shown["not_before_ms"].as_u64().unwrap());
    assert_eq!(not_before - submitted, 300);
    assert_eq!((world.counted_as("delayed").await, world.counted_as("queued").await), (1, 0));
    assert_eq!(world.next_id(BLUE).await, None);
    eventually("its time comes", || async { world.state_of("t1").await == "queued" }).await;
    assert_eq!(world.shown("t1").await["not_before_ms"], Value::Null);
    assert_eq!(world.next_id(BLUE).await.as_deref(), Some("t1"));
}

#[tokio::test]
async fn what_was_not_begun_in_time_expires_and_what_was_may_finish() {
    let world = World::pulling().await;
    world.submit_with(json!({"agent": "a", "id": "begun", "deadline": "200ms"})).await;
    assert_eq!(world.next_id(BLUE).await.as_deref(), Some("begun"));
    world.submit_with(json!({"agent": "a", "id": "late", "deadline": 0.2})).await;
    let late = world.http.get("/tasks/late?wait_ms=15000").await.json();
    assert_eq!((&late["state"], &late["attempts"]), (&"expired".into(), &0.into()));
    assert_eq!(late["error"], "it was not begun in time");
    assert_eq!(world.complete(BLUE, "begun").await, StatusCode::OK);
    let ends = world.http.get("/completions").await.json();
    let ends: Vec<(&Value, &Value)> =
        ends["completions"].as_array().unwrap().iter().map(|end| (&end["id"], &end["status"])).collect();
    assert_eq!(ends, [(&"late".into(), &"expired".into()), (&"begun".into(), &"completed".into())]);
}

#[tokio::test]
async fn a_failure_is_tried_again_and_is_a_dead_letter_when_its_attempts_are_used_up() {
    let world = World::pulling_with("backoff: 10ms").await;
    world.submit_with(json!({"agent": "a", "id": "t1", "attempts": 2})).await;
    assert_eq!(world.next_id(BLUE).await.as_deref(), Some("t1"));
    let told = world.fail("t1", "out of \"memory\"", true).await;
    assert_eq!((told.status, &told.json()["status"]), (StatusCode::OK, &"retried".into()));
    let shown = world.shown("t1").await;
    assert_eq!((&shown["attempts"], &shown["attempts_max"]), (&1.into(), &2.into()));
    assert_eq!(shown["error"], "out of \"memory\"", "as text");
    eventually("it is back", || async { world.next_id(BLUE).await.is_some() }).await;
    assert_eq!(world.fail("t1", "again", true).await.json()["status"], "accepted");
    let shown = world.shown("t1").await;
    assert_eq!(
        (&shown["state"], &shown["error"], &shown["result"]),
        (&"failed".into(), &"again".into(), &"again".into())
    );
    let dead = world.http.get("/tasks?state=dead").await.json();
    assert_eq!((&dead["tasks"][0]["id"], &dead["failed"]), (&"t1".into(), &1.into()));
}

#[tokio::test]
async fn a_dead_letter_gets_another_life_with_as_many_attempts() {
    let world = World::pulling().await;
    world.submit_with(json!({"agent": "a", "id": "t1", "deadline": "1h"})).await;
    world.next_id(BLUE).await;
    let progress = json!({"task_id": "t1", "checkpoint": {"pages": 3}}).to_string();
    let path = format!("/i/token-{BLUE}/api/tasks/progress");
    assert_eq!(world.http.post(&path, &progress).await.status, StatusCode::OK);
    assert_eq!(world.fail("t1", "broken for good", false).await.status, StatusCode::OK);
    assert_eq!((world.state_of("t1").await.as_str(), world.counted_as("failed").await), ("failed", 1));
    assert_eq!(world.shown("t1").await["checkpoint"], true, "kept for this");

    let again = world.retry("t1").await;
    assert_eq!((again.status, again.json()), (StatusCode::ACCEPTED, json!({"id": "t1", "agent": "a"})));
    assert_eq!(world.retry("t1").await.status, StatusCode::CONFLICT, "it has not ended now");
    let shown = world.shown("t1").await;
    assert_eq!((&shown["state"], &shown["attempts"], &shown["attempts_max"]), (&"queued".into(), &1.into(), &4.into()));
    assert_eq!((&shown["begin_by_ms"], &shown["error"]), (&Value::Null, &"broken for good".into()));
    assert!(shown.get("seq").is_none() && shown.get("result").is_none(), "{shown}");
    assert_eq!((world.counted_as("failed").await, world.counted_as("queued").await), (0, 1));
    assert_eq!(world.http.get("/completions").await.json()["completions"], json!([]), "it has no end now");

    let task = world.next(BLUE).await.json();
    assert_eq!((&task["attempt"], &task["checkpoint"]), (&2.into(), &json!({"pages": 3})));
    assert_eq!(world.complete(BLUE, "t1").await, StatusCode::OK);
    let ends = world.http.get("/completions").await.json();
    assert_eq!((&ends["completions"][0]["seq"], &ends["completions"][0]["status"]), (&2.into(), &"completed".into()));
    let shown = world.shown("t1").await;
    assert_eq!((&shown["error"], &shown["checkpoint"]), (&Value::Null, &false.into()));
}

#[tokio::test]
async fn a_cancelled_task_is_done_with_wherever_it_was() {
    let world = World::pulling().await;
    for id in ["held", "queued"] {
        world.submit(id).await;
    }
    world.submit_with(json!({"agent": "a", "id": "delayed", "delay": "1h"})).await;
    assert_eq!(world.next_id(BLUE).await.as_deref(), Some("held"));
    for id in ["held", "queued", "delayed"] {
        let first = world.cancel(id).await;
        assert_eq!((first.status, &first.json()["state"]), (StatusCode::OK, &"cancelled".into()), "{id}");
        assert_eq!(first.json()["error"], "it was cancelled");
        let again = world.cancel(id).await;
        assert_eq!((again.status, again.json()), (StatusCode::OK, first.json()), "twice is once");
    }
    assert_eq!(world.complete(BLUE, "held").await, StatusCode::CONFLICT, "its report comes too late");
    assert_eq!(world.next_id(BLUE).await, None);
    assert_eq!((world.counted_as("cancelled").await, world.counted_as("leased").await), (3, 0));
    assert_eq!(world.instance(BLUE).await.held, 0);
    let dead = world.http.get("/tasks?state=dead").await.json();
    assert_eq!(dead["tasks"], json!([]), "what was unwanted is no dead letter");
    assert_eq!(world.retry("queued").await.status, StatusCode::ACCEPTED, "somebody changed their mind");
    assert_eq!(world.next_id(BLUE).await.as_deref(), Some("queued"));
}

#[tokio::test]
async fn of_a_cancel_and_a_report_at_once_one_wins_and_the_other_hears_of_it() {
    let world = World::pulling().await;
    let mut won = [0, 0];
    for n in 0..40 {
        let id = format!("t{n}");
        world.submit(&id).await;
        assert_eq!(world.next_id(BLUE).await, Some(id.clone()));
        // Either may come first.
        let (cancelled, completed) = if n % 2 == 0 {
            tokio::join!(async { world.cancel(&id).await.status }, world.complete(BLUE, &id))
        } else {
            let (completed, cancelled) =
                tokio::join!(world.complete(BLUE, &id), async { world.cancel(&id).await.status });
            (cancelled, completed)
        };
        let state = world.state_of(&id).await;
        match (cancelled, completed) {
            (StatusCode::OK, StatusCode::CONFLICT) => assert_eq!(state, "cancelled"),
            (StatusCode::CONFLICT, StatusCode::OK) => assert_eq!(state, "completed"),
            both => panic!("{both:?}"),
        }
        won[usize::from(completed == StatusCode::OK)] += 1;
    }
    let ends = world.http.get("/completions").await.json();
    assert_eq!(ends["completions"].as_array().unwrap().len(), 40, "one end each: {won:?}");
}

#[tokio::test]
async fn a_key_means_one_task_whatever_becomes_of_it() {
    let world = World::pulling().await;
    let keyed = async |body: &str| {
        let answer = world.http.call(Method::POST, "/tasks", &[("Idempotency-Key", "k-1")], body).await;
        answer.status
    };
    let (task, reordered) =
        (r#"{"agent":"a","prompt":"p","n":1.0}"#, r#"{ "n":1.0, "prompt":"p","agent":"a","id":"k-1"}"#);
    assert_eq!(keyed(task).await, StatusCode::ACCEPTED);
    for state in ["queued", "leased", "completed"] {
        assert_eq!(world.state_of("k-1").await, state);
        for same in [task, reordered] {
            assert_eq!(keyed(same).await, StatusCode::OK, "{state}");
        }
        for other in
            [r#"{"agent":"a","prompt":"p","n":1}"#, r#"{"agent":"b","prompt":"p","n":1.0}"#, r#"{"agent":"a"}"#]
        {
            assert_eq!(keyed(other).await, StatusCode::CONFLICT, "{state}: {other}");
        }
        match state {
            "queued" => assert_eq!(world.next_id(BLUE).await.as_deref(), Some("k-1")),
            "leased" => assert_eq!(world.complete(BLUE, "k-1").await, StatusCode::OK),
            _ => {}
        }
    }
    assert_eq!(world.next_id(BLUE).await, None);
}

#[tokio::test]
async fn what_the_queue_reads_reaches_the_agent_as_it_was_written() {
    let world = World::pulling().await;
    let task = r#"{"type":"worker","agent":"a","id":"t1","priority":"low","deadline":"1h","attempts":9,"n":1.10}"#;
    assert_eq!(world.http.post("/tasks", task).await.status, StatusCode::ACCEPTED);
    let given = world.next(BLUE).await;
    let expected =
        r#"{"attempt":1,"agent":"a","attempts":9,"deadline":"1h","id":"t1","n":1.10,"priority":"low","type":"worker"}"#;
    assert_eq!(given.text(), expected);
}

#[tokio::test]
async fn everything_about_a_task_outlives_the_gateway() {
    let mut world = World::pulling_with("backoff: 1h, backoff_max: 1h").await;
    world.submit_with(json!({"agent": "a", "id": "failed-once"})).await;
    world.next_id(BLUE).await;
    let progress = json!({"task_id": "failed-once", "checkpoint": [1, 2]}).to_string();
    world.http.post(&format!("/i/token-{BLUE}/api/tasks/progress"), &progress).await;
    world.fail("failed-once", "try later", true).await;
    world.submit_with(json!({"agent": "a", "id": "low", "priority": "low"})).await;
    world.submit_with(json!({"agent": "a", "id": "high", "priority": "high", "attempts": 7})).await;
    world.submit_with(json!({"agent": "a", "id": "delayed", "delay": "1h", "deadline": "2h"})).await;
    world.submit_with(json!({"agent": "a", "id": "soon", "delay": 0.2})).await;
    world.submit_with(json!({"agent": "b", "id": "late", "deadline": 0.2})).await;
    world.cancel("low").await;
    world.retry("low").await;
    let ids = ["failed-once", "low", "high", "delayed"];
    let mut before = Vec::new();
    for id in ids {
        before.push(world.shown(id).await);
    }
    assert_eq!((&before[0]["state"], &before[0]["error"]), (&"delayed".into(), &"try later".into()));
    assert_eq!((&before[0]["checkpoint"], &before[2]["attempts_max"]), (&true.into(), &7.into()));
    assert!(before[3]["begin_by_ms"].as_u64() > before[3]["not_before_ms"].as_u64());
    world.restart().await;
    for (id, before) in ids.into_iter().zip(before) {
        assert_eq!(world.shown(id).await, before);
    }
    assert_eq!(world.http.get("/tasks/late?wait_ms=15000").await.json()["state"], "expired");
    assert_eq!(world.next_id(BLUE).await.as_deref(), Some("high"));
    assert_eq!(world.complete(BLUE, "high").await, StatusCode::OK);
    eventually("its time comes", || async { world.state_of("soon").await == "queued" }).await;
    for id in ["soon", "low"] {
        assert_eq!(world.next_id(BLUE).await.as_deref(), Some(id));
        assert_eq!(world.complete(BLUE, id).await, StatusCode::OK);
    }
}

#[tokio::test]
async fn what_has_ended_gives_way_when_it_takes_up_too_much_the_oldest_first() {
    let mut world = World::pulling_with("kept: 10KiB").await;
    let prompt = "x".repeat(3000);
    for n in 0..6 {
        let id = format!("t{n}");
        world.submit_with(json!({"agent": "a", "id": id, "prompt": prompt})).await;
        world.next_id(BLUE).await;
        let told = if n == 5 { world.fail(&id, "broken", false).await.status } else { world.complete(BLUE, &id).await };
        assert_eq!(told, StatusCode::OK);
    }
    let kept = async |world: &World| -> Vec<String> {
        let listed = world.http.get("/tasks?limit=10").await.json();
        listed["tasks"].as_array().unwrap().iter().map(|task| task["id"].as_str().unwrap().to_owned()).collect()
    };
    eventually("the oldest go", || async { kept(&world).await == ["t3", "t4", "t5"] }).await;
    let counts = world.http.get("/tasks").await.json();
    assert_eq!((&counts["completed"], &counts["failed"]), (&2.into(), &1.into()));
    assert_eq!(world.http.get("/tasks/t0").await.status, StatusCode::NOT_FOUND);
    world.restart().await;
    assert_eq!(kept(&world).await, ["t3", "t4", "t5"]);
    // What is queued again is not kept any more, and leaves room for others.
    world.retry("t5").await;
    world.submit_with(json!({"agent": "a", "id": "t6", "prompt": prompt})).await;
    assert_eq!(world.cancel("t6").await.status, StatusCode::OK);
    assert_eq!(kept(&world).await, ["t3", "t4", "t5", "t6"]);
}
