//! Who has a courier, and for how long.

use std::{net::Ipv4Addr, path::PathBuf};

use bellwether_core::{
    id::{InstanceToken, ModelName, Side},
    port::gateway::{GatewayAnswer, GatewayIntent, InstanceCard},
    spec::{Sources, parse_fleet},
};
use tokio::sync::mpsc;

use super::*;
use crate::{
    board::Board,
    clock::Clock,
    desk::Desk,
    model::{Books, Model, ModelSettings},
    store::Store,
    writer::Writer,
};

struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn card(instance: u64, delivery: Delivery, at: Option<u16>) -> InstanceCard {
    let instance = InstanceId(instance);
    InstanceCard {
        instance,
        agent: "a".into(),
        agent_type: "worker".into(),
        model: ModelName::new("m"),
        side: Side::Blue,
        token: InstanceToken::new(format!("token-{instance}")),
        address: instance.address(),
        upstream: at.map(|port| (Ipv4Addr::LOCALHOST, port).into()),
        delivery,
    }
}

async fn done(house: &House, intent: GatewayIntent) {
    let answer = house.desk.ask(|tell| Ask::Intent(intent, tell)).await.unwrap();
    assert!(matches!(answer, GatewayAnswer::Done { .. }), "{answer:?}");
}

async fn until(couriers: &Couriers, count: usize) {
    let left = timeout(Duration::from_secs(20), async {
        while couriers.tracker.len() != count {
            sleep(Duration::from_millis(5)).await;
        }
    });
    left.await.unwrap_or_else(|_late| panic!("{} couriers instead of {count}", couriers.tracker.len()));
}

#[tokio::test]
async fn a_courier_lives_as_long_as_its_instance_and_there_is_one_for_each_that_wants_one() {
    let scratch = Scratch(std::env::temp_dir().join(format!("bw-courier-{}", std::process::id())));
    let text = "version: 1\nagents:\n  defaults: {command: [x], type: worker}\n  list: [a]\n";
    let sources = Sources { name: "fleet.yaml", text, read: &|_| Err(String::new()) };
    let spec = parse_fleet(&sources).unwrap();
    let (events, _told) = mpsc::unbounded_channel();
    let board = Arc::new(Board::new(&spec, Clock::start(), events));
    let mut store = Store::open(&scratch.0.join("gateway.sqlite")).unwrap();
    let loaded = store.load().unwrap();
    let agents = vec![("a".into(), "worker".into())];
    let writer = Writer::new(board.clone(), store, loaded, spec.tasks.clone(), agents);
    let (asks, asked) = mpsc::channel(16);
    let writing = tokio::spawn(writer.run(asked));
    let books =
        Books { recorder: board.recorder.clone(), waits: board.waits.clone(), breakers: board.breakers.clone() };
    let model = Model::start(&ModelSettings::of(&spec.ollama), books);
    let stop = CancellationToken::new();
    let house = Arc::new(House::new(board, Desk::new(asks), model, spec.tasks, stop.clone()));
    let mut couriers = Couriers::new(house.clone());

    let push = Delivery::Push { places: 2 };
    let mut cards: Vec<InstanceCard> = (1..=20).map(|n| card(n, push, Some(9))).collect();
    cards.extend([card(21, Delivery::Pull, Some(9)), card(22, Delivery::None, Some(9)), card(23, push, None)]);
    done(&house, GatewayIntent::Enrol { cards }).await;
    for _ in 0..3 {
        couriers.follow(&stop);
        assert_eq!(couriers.tracker.len(), 20, "however often the table changes");
    }
    let some = (1..=15).map(InstanceId).collect();
    done(&house, GatewayIntent::Retire { instances: some }).await;
    couriers.follow(&stop);
    until(&couriers, 5).await;
    // One whose process is gone is quiet, and ends when it is forgotten.
    done(&house, GatewayIntent::Lost { instance: InstanceId(20), asked: true }).await;
    couriers.follow(&stop);
    until(&couriers, 5).await;
    assert_eq!(couriers.at_work.len(), 5);
    stop.cancel();
    until(&couriers, 0).await;
    drop((house, couriers));
    writing.await.unwrap().unwrap();
}
