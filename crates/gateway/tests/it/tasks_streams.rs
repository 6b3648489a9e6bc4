//! Server-sent events: each change of a task, each end of any, and where a reader goes on that was cut off.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{Method, StatusCode, body::Incoming};
use serde_json::Value;
use tokio::time::timeout;

use crate::world::{BLUE, Http, PATIENCE, World, eventually};

/// Reads events as a browser does.
struct Events {
    body: Incoming,
    text: String,
}

#[derive(Debug, PartialEq)]
struct Event {
    name: String,
    id: Option<u64>,
    data: Value,
}

impl Events {
    async fn open(http: &Http, path: &str, last: Option<&str>) -> Self {
        let mut headers = vec![("Accept", "text/html;q=0.5, text/event-stream")];
        headers.extend(last.map(|last| ("Last-Event-ID", last)));
        let response = http.open(Method::GET, path, &headers, Bytes::new()).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-store");
        let mut events = Self { body: response.into_body(), text: String::new() };
        assert_eq!(events.block().await.as_deref(), Some("retry: 1000"));
        events
    }

    /// Up to the next blank line; none at the end.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let block = block.to_owned();
                self.text = rest.to_owned();
                return Some(block);
            }
            let frame = timeout(PATIENCE, self.body.frame()).await.expect("something came in time")?;
            let piece = frame.expect("a whole stream").into_data().unwrap();
            self.text.push_str(std::str::from_utf8(&piece).unwrap());
        }
    }

    async fn next(&mut self) -> Option<Event> {
        let block = self.block().await?;
        let mut event = Event { name: "message".to_owned(), id: None, data: Value::Null };
        let mut data = Vec::new();
        for line in block.lines() {
            match line.split_once(": ") {
                Some(("event", name)) => event.name = name.to_owned(),
                Some(("id", id)) => event.id = Some(id.parse().unwrap()),
                Some(("data", line)) => data.push(line),
                _ => panic!("{line:?}"),
            }
        }
        event.data = serde_json::from_str(&data.join("\n")).unwrap();
        Some(event)
    }

    /// As name and state.
    async fn change(&mut self) -> (String, String, u64) {
        let event = self.next().await.unwrap();
        let state = event.data["state"].as_str().unwrap().to_owned();
        (event.name, state, event.data["attempts"].as_u64().unwrap())
    }
}

fn state(state: &str, attempts: u64) -> (String, String, u64) {
    ("state".to_owned(), state.to_owned(), attempts)
}

#[tokio::test]
async fn each_change_of_a_task_is_told_and_its_end_is_the_last() {
    let world = World::pulling_with("backoff: 200ms, backoff_max: 200ms").await;
    world.submit("t1").await;
    let mut events = Events::open(&world.http, "/tasks/t1", None).await;
    assert_eq!(events.change().await, state("queued", 0));
    world.next_id(BLUE).await;
    assert_eq!(events.change().await, state("leased", 1));
    world.fail("t1", "not yet", true).await;
    let failed = events.next().await.unwrap();
    assert_eq!((&failed.data["state"], &failed.data["error"]), (&"delayed".into(), &"not yet".into()));
    assert_eq!(events.change().await, state("queued", 1));
    world.next_id(BLUE).await;
    assert_eq!(events.change().await, state("leased", 2));
    let report = "{\"task_id\":\"t1\",\"status\":\"completed\",\"result\":{\"text\":\r\n\"two\\nlines\"}}";
    let path = format!("/i/token-{BLUE}/api/tasks/complete");
    assert_eq!(world.http.post(&path, report).await.status, StatusCode::OK);
    let end = events.next().await.unwrap();
    assert_eq!((end.name.as_str(), &end.data["state"]), ("end", &"completed".into()));
    assert_eq!(end.data["result"]["text"], "two\nlines", "as the agent wrote it");
    assert_eq!(end.data, world.shown("t1").await);
    assert_eq!(events.next().await, None, "closed");

    let mut late = Events::open(&world.http, "/tasks/t1", None).await;
    assert_eq!(late.next().await.unwrap().name, "end", "whoever comes after the end is told of it");
    assert_eq!(late.next().await, None);
}

#[tokio::test]
async fn a_cancelled_task_ends_for_those_who_follow_it_and_for_those_who_wait() {
    let world = World::pulling().await;
    world.submit("t1").await;
    let mut events = Events::open(&world.http, "/tasks/t1", None).await;
    assert_eq!(events.change().await, state("queued", 0));
    let (waited, cancelled) =
        tokio::join!(world.http.call(Method::GET, "/tasks/t1", &[("Prefer", "wait=15")], ""), world.cancel("t1"));
    assert_eq!((waited.json()["state"].as_str(), cancelled.status), (Some("cancelled"), StatusCode::OK));
    assert_eq!(events.next().await.unwrap().data["state"], "cancelled");
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn ends_are_told_once_each_over_a_restart() {
    let mut world = World::pulling().await;
    let end = async |world: &World, id: &str| {
        world.submit(id).await;
        assert_eq!(world.next_id(BLUE).await.as_deref(), Some(id));
        assert_eq!(world.complete(BLUE, id).await, StatusCode::OK);
    };
    end(&world, "t1").await;
    end(&world, "t2").await;
    let mut events = Events::open(&world.http, "/completions", None).await;
    for (seq, id) in [(1, "t1"), (2, "t2")] {
        let event = events.next().await.unwrap();
        assert_eq!((event.name.as_str(), event.id, &event.data["id"]), ("message", Some(seq), &id.into()));
        assert_eq!(event.data["seq"], seq);
    }
    end(&world, "t3").await;
    let event = events.next().await.unwrap();
    assert_eq!((event.id, &event.data["id"], &event.data["status"]), (Some(3), &"t3".into(), &"completed".into()));

    world.restart().await;
    assert_eq!(events.next().await, None, "closed, not broken off");
    end(&world, "t4").await;
    let mut events = Events::open(&world.http, "/completions?after=0", Some("3")).await;
    assert_eq!(events.next().await.unwrap().id, Some(4), "no gap and nothing twice");
    end(&world, "t5").await;
    assert_eq!(events.next().await.unwrap().id, Some(5));
}

#[tokio::test]
async fn who_waits_over_a_stop_is_told_how_it_stands_and_may_ask_again() {
    let mut world = World::pulling().await;
    world.submit("t1").await;
    let http = world.http.clone();
    let waiting = tokio::spawn(async move {
        let (task, ends) = tokio::join!(http.get("/tasks/t1?wait_ms=60000"), http.get("/completions?wait_ms=60000"));
        (task.json(), ends.json())
    });
    let mut events = Events::open(&world.http, "/tasks/t1", None).await;
    assert_eq!(events.change().await, state("queued", 0));
    // Both questions are on connections of their own by now, or reach the next gateway.
    tokio::time::sleep(Duration::from_millis(50)).await;
    world.restart().await;
    assert_eq!(events.next().await, None);
    world.next_id(BLUE).await;
    assert_eq!(world.complete(BLUE, "t1").await, StatusCode::OK);
    let (task, ends) = waiting.await.unwrap();
    let told = (task["state"].as_str().unwrap(), ends["completions"].as_array().unwrap().len());
    assert!(matches!(told, ("queued", 0) | ("completed", 1)), "{told:?}");
    assert_eq!(world.http.get("/tasks/t1?wait_ms=60000").await.json()["state"], "completed");
}

#[tokio::test]
async fn readers_who_leave_make_room_for_others() {
    let world = World::pulling().await;
    world.submit("t1").await;
    // More than may wait at once, if those who left stayed.
    for round in 0..6 {
        let mut open = Vec::new();
        for _ in 0..200 {
            let http = Http::new(world.address);
            let mut events = Events::open(&http, if round % 2 == 0 { "/tasks/t1" } else { "/completions" }, None).await;
            if round % 2 == 0 {
                assert_eq!(events.change().await, state("queued", 0));
            }
            open.push((http, events));
        }
    }
    let answered = || async { world.http.get("/completions?wait_ms=1").await.status == StatusCode::OK };
    eventually("there is room", answered).await;
}
