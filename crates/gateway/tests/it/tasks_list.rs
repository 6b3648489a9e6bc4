//! The list of tasks: filters, pages, and that a page never hides anything.

use std::collections::BTreeSet;

use hyper::StatusCode;
use serde_json::{Value, json};

use crate::world::{BLUE, World};

async fn listed(world: &World, query: &str) -> (Vec<String>, Option<u64>) {
    let answer = world.http.get(&format!("/tasks?{query}")).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let page = answer.json();
    let ids = page["tasks"].as_array().unwrap().iter().map(|task| task["id"].as_str().unwrap().to_owned()).collect();
    (ids, page["next"].as_u64())
}

#[tokio::test]
async fn a_list_has_what_was_asked_for_in_the_order_in_which_it_came() {
    let world = World::pulling().await;
    world.submit("done").await;
    world.next_id(BLUE).await;
    world.complete(BLUE, "done").await;
    world.submit("dead").await;
    world.next_id(BLUE).await;
    world.fail("dead", "broken", false).await;
    world.submit("held").await;
    world.next_id(BLUE).await;
    world.submit_with(json!({"agent": "b", "id": "gone", "deadline": 0.05})).await;
    assert_eq!(world.http.get("/tasks/gone?wait_ms=15000").await.json()["state"], "expired");
    world.submit("unwanted").await;
    world.cancel("unwanted").await;
    world.submit_with(json!({"agent": "b", "id": "later", "delay": "1h"})).await;
    world.submit("waits").await;
    for (query, ids) in [
        ("limit=100", vec!["done", "dead", "held", "gone", "unwanted", "later", "waits"]),
        ("state=completed", vec!["done"]),
        ("state=failed", vec!["dead"]),
        ("state=expired", vec!["gone"]),
        ("state=dead", vec!["dead", "gone"]),
        ("state=cancelled", vec!["unwanted"]),
        ("state=leased", vec!["held"]),
        ("state=delayed", vec!["later"]),
        ("state=queued", vec!["waits"]),
        ("agent=b", vec!["gone", "later"]),
        ("agent=b&state=delayed", vec!["later"]),
        ("agent=nobody", vec![]),
        ("type=worker&state=dead&agent=a", vec!["dead"]),
        ("type=work%65r&limit=2", vec!["done", "dead"]),
        ("type=other", vec![]),
    ] {
        assert_eq!(listed(&world, query).await.0, ids, "{query}");
    }
    let all = world.http.get("/tasks?limit=100").await.json();
    let counts = world.http.get("/tasks").await.json();
    for (state, count) in counts.as_object().unwrap() {
        assert_eq!((count, &all[state]), (&1.into(), &1.into()), "{state}");
    }
    assert!(counts.get("tasks").is_none(), "counts alone unless something is asked for");
    let dead = all["tasks"].as_array().unwrap().iter().find(|task| task["id"] == "dead").unwrap();
    let mut shown = world.shown("dead").await;
    assert_eq!(shown.as_object_mut().unwrap().remove("result"), Some("broken".into()));
    assert_eq!(*dead, shown, "as it is shown alone, less its result");
}

#[tokio::test]
async fn pages_have_all_that_was_there_however_much_comes_and_goes() {
    let world = World::pulling().await;
    for n in 0..30 {
        world.submit_with(json!({"agent": if n % 3 == 0 { "b" } else { "a" }, "id": format!("t{n:02}")})).await;
    }
    let (mut seen, mut after, mut round) = (Vec::new(), None, 0);
    loop {
        let cursor = after.map_or(String::new(), |after: u64| format!("&after={after}"));
        let (page, next) = listed(&world, &format!("agent=a&limit=4{cursor}")).await;
        assert!(page.len() <= 4);
        seen.extend(page);
        // While somebody reads, tasks are done, cancelled, queued again, and new ones come.
        if let Some(id) = world.next_id(BLUE).await {
            world.complete(BLUE, &id).await;
        }
        if round < 3 {
            world.cancel("t28").await;
            world.retry("t28").await;
            world.submit(&format!("new{round}")).await;
        }
        round += 1;
        let Some(next) = next else { break };
        after = Some(next);
    }
    let unique: BTreeSet<&String> = seen.iter().collect();
    assert_eq!(unique.len(), seen.len(), "nothing twice: {seen:?}");
    for n in (0..30).filter(|n| n % 3 != 0) {
        assert!(unique.contains(&format!("t{n:02}")), "t{n:02}: {seen:?}");
    }
    assert!(seen.is_sorted_by(|a, b| a.starts_with("new") <= b.starts_with("new")), "{seen:?}");
}

#[tokio::test]
async fn a_page_that_ends_with_the_list_says_so() {
    let world = World::pulling().await;
    for id in ["t1", "t2"] {
        world.submit(id).await;
    }
    assert_eq!(listed(&world, "limit=2").await, (vec!["t1".to_owned(), "t2".to_owned()], None));
    let (first, next) = listed(&world, "limit=1").await;
    assert_eq!(first, ["t1"]);
    assert_eq!(listed(&world, &format!("limit=1&after={}", next.unwrap())).await.0, ["t2"]);
    let empty = world.http.get("/tasks?after=99").await.json();
    assert_eq!((&empty["tasks"], &empty["next"]), (&json!([]), &Value::Null));
}
