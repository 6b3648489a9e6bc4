//! What survives the gateway.

use bellwether_core::{
    id::{Generation, InstanceId},
    port::gateway::{GatewayAnswer, GatewayIntent, Move},
    time::Millis,
};
use bellwether_gateway::{Error, StoreError};
use hyper::StatusCode;
use tokio_util::sync::CancellationToken;

use crate::world::{BLUE, GREEN, World};

#[tokio::test]
async fn routes_leases_and_tasks_survive_a_restart() {
    let mut world = World::pulling().await;
    for id in ["t1", "t2", "t3"] {
        world.submit(id).await;
    }
    world.next_id(BLUE).await;
    assert_eq!(world.complete(BLUE, "t1").await, StatusCode::OK);
    assert_eq!(world.next_id(BLUE).await.as_deref(), Some("t2"));
    world.cut_over_with(GREEN, Some(BLUE), Millis::from_mins(10)).await;
    let before = world.observe().await;
    world.restart().await;

    let after = world.observe().await;
    assert_eq!((after.generation, &after.routes), (before.generation, &before.routes));
    let blue = world.instance(BLUE).await;
    assert!(blue.quiesced && blue.held == 1, "{blue:?}");
    assert_eq!(world.complete(BLUE, "t1").await, StatusCode::OK, "repeated over the restart");
    assert_eq!(world.complete(BLUE, "t2").await, StatusCode::OK, "the lease is valid");
    assert_eq!(world.empty(BLUE).await, 0);
    assert_eq!(world.next_id(BLUE).await, None);
    assert_eq!(world.next_id(GREEN).await.as_deref(), Some("t3"));
    let counts = world.http.get("/tasks").await.json();
    assert_eq!((&counts["queued"], &counts["leased"], &counts["completed"]), (&0.into(), &1.into(), &2.into()));
    let ends = world.http.get("/completions").await.json();
    assert_eq!(ends["next"], 2);

    // The intent that made the generation is known, an older one is refused.
    let moves = vec![Move { agent: "a".into(), to: InstanceId(GREEN), fallback: Some(InstanceId(BLUE)) }];
    let repeat = |generation| {
        let (moves, drain) = (moves.clone(), Millis::from_mins(10));
        GatewayIntent::CutOver { generation: Generation(generation), moves, drain, revoke: false }
    };
    assert_eq!(world.intent(repeat(2)).await, GatewayAnswer::Done { generation: Generation(2) });
    assert_eq!(world.intent(repeat(1)).await, GatewayAnswer::Stale { standing: Generation(2) });
    assert_eq!(world.observe().await.routes, after.routes, "neither moved anything");
}

#[tokio::test]
async fn a_drain_that_a_restart_interrupts_still_has_its_limit() {
    let mut world = World::pulling().await;
    world.submit("t1").await;
    world.next_id(BLUE).await;
    world.cut_over_with(GREEN, None, Millis(300)).await;
    world.restart().await;
    assert_eq!(world.empty(BLUE).await, 1);
    assert_eq!(world.next_id(GREEN).await.as_deref(), Some("t1"));
}

#[tokio::test]
async fn seconds_are_numbered_on_and_kept_for_a_controller_that_was_away() {
    let mut world = World::pulling().await;
    world.restart().await;
    world.restart().await;
    let GatewayAnswer::Seconds { records, last } = world.intent(GatewayIntent::Seconds { after: 0 }).await else {
        panic!("no seconds")
    };
    let numbers: Vec<u64> = records.iter().map(|record| record.number).collect();
    assert!(last >= 2, "each stop closes a second");
    assert_eq!(numbers, (1..=last).collect::<Vec<u64>>(), "no gap, nothing twice");
}

/// Their model calls broke off with the gateway.
#[tokio::test]
async fn a_failure_of_a_lease_that_outlived_the_gateway_is_held_against_nobody() {
    let mut world = World::pulling().await;
    for id in ["t1", "t2"] {
        world.submit(id).await;
    }
    assert_eq!(world.next_id(BLUE).await.as_deref(), Some("t1"));
    world.restart().await;
    let failed = |id: &str| format!(r#"{{"task_id":"{id}","status":"failed","error":"broken off","retry":false}}"#);
    let path = format!("/i/token-{BLUE}/api/tasks/complete");
    assert_eq!(world.http.post(&path, &failed("t1")).await.status, StatusCode::OK);
    assert_eq!(world.next_id(BLUE).await.as_deref(), Some("t2"));
    assert_eq!(world.http.post(&path, &failed("t2")).await.status, StatusCode::OK);
    let mut counted = 0;
    while counted == 0 {
        let second = world.second().await;
        counted += second.cells.iter().map(|cell| cell.tasks.failed).sum::<u64>();
    }
    assert_eq!(counted, 1, "that of the lease which was granted after it");
    let counts = world.http.get("/tasks").await.json();
    assert_eq!(counts["failed"], 2, "both have failed all the same");
}

#[tokio::test]
async fn a_token_stays_revoked() {
    let mut world = World::pulling().await;
    world.done(GatewayIntent::Retire { instances: vec![InstanceId(GREEN)] }).await;
    assert_eq!(world.next(GREEN).await.status, StatusCode::FORBIDDEN);
    world.restart().await;
    assert_eq!(world.next(GREEN).await.status, StatusCode::FORBIDDEN);
    assert_eq!(world.next(77).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_store_that_cannot_be_read_is_an_error_and_stays_as_it_is() {
    let mut world = World::pulling().await;
    world.stop().await;
    let garbage = b"this is no database".repeat(1000);
    std::fs::write(world.store(), &garbage).unwrap();
    let config = world.config();
    let ended =
        tokio::task::spawn_blocking(|| bellwether_gateway::run(config, CancellationToken::new())).await.unwrap();
    assert!(matches!(ended, Err(Error::Store(StoreError::Refused(_)))), "{ended:?}");
    assert_eq!(std::fs::read(world.store()).unwrap(), garbage);
}
