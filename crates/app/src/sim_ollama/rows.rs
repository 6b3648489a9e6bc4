//! Holds the frozen parameters to what was measured on a real server (`frozen.json`): clients in a closed loop, in virtual
//! time.

use std::{cmp::Reverse, collections::BinaryHeap, collections::HashMap};

use bellwether_core::time::{Millis, Nanos};

use super::{
    machine::{Machine, Notice, Runs, Shape, Work},
    params::Params,
    reference::{Figure, Reference},
};

const SHAPE: Shape = Shape { slots: 2, resident: 1, queue_max: 512 };
const DURATION: Millis = Millis::from_secs(60);
/// Clients do not all start in the same instant.
const START_OVER: Millis = Millis::from_secs(1);
/// From the end of one request to the arrival of the next.
const TURNAROUND_US: std::ops::Range<u64> = 500..2_500;
const MODELS: [&str; 3] = ["a:latest", "b:latest", "c:latest"];
const SEEDS: u64 = 8;

#[derive(Default)]
struct Row {
    answered: Vec<u64>,
    given_up: usize,
    by_client: HashMap<usize, u64>,
}

impl Row {
    fn success(&self) -> f64 {
        self.answered.len() as f64 / (self.answered.len() + self.given_up) as f64
    }

    fn per_second(&self) -> f64 {
        self.answered.len() as f64 / DURATION.as_secs_f64()
    }

    /// Of those that were answered, in seconds.
    fn p95(&self) -> f64 {
        let mut answered = self.answered.clone();
        answered.sort_unstable();
        answered[answered.len() * 95 / 100] as f64 / 1e9
    }

    fn figure(&self, figure: Figure) -> f64 {
        let greedy = || self.by_client[&0] as f64;
        match figure {
            Figure::Success => self.success(),
            Figure::AnswersPerSecond => self.per_second(),
            Figure::P95Seconds => self.p95(),
            Figure::GreedyShare => greedy() / self.answered.len() as f64,
            Figure::GreedyTimes => {
                let others = (self.by_client.len() - 1) as f64;
                greedy() * others / (self.answered.len() as f64 - greedy())
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Act {
    Ask { client: usize },
    GiveUp { call: u64 },
}

/// `connections[client]` requests at once per client; each asks again when it is answered or gives up.
fn closed_loop(connections: &[usize], models: usize, patience: Millis, seed: u64) -> Row {
    let mut machine = Machine::new(SHAPE, Params { seed, ..Params::default() });
    let mut chance = fastrand::Rng::with_seed(seed + 1000);
    let mut acts = BinaryHeap::new();
    let total: usize = connections.iter().sum();
    let clients = connections.iter().enumerate().flat_map(|(client, &n)| std::iter::repeat_n(client, n));
    for (i, client) in clients.enumerate() {
        let at = Nanos(START_OVER.0 * 1_000_000 * i as u64 / total as u64);
        acts.push(Reverse((at, Act::Ask { client })));
    }
    let mut open: HashMap<u64, (usize, Nanos)> = HashMap::new();
    let mut next = 0;
    let mut row = Row::default();
    loop {
        let act = acts.peek().map(|Reverse((at, _))| *at);
        let now = [machine.timeout(), act].into_iter().flatten().min().unwrap();
        if now > Nanos(0) + DURATION {
            return row;
        }
        machine.advance(now);
        let (mut starting, mut asking) = (Vec::new(), Vec::new());
        while let Some((call, notice)) = machine.poll() {
            match notice {
                Notice::Token => {}
                Notice::Refused => panic!("the queue holds {} requests", SHAPE.queue_max),
                Notice::Finished(_) => {
                    let (client, since) = open.remove(&call).unwrap();
                    row.answered.push(now.0 - since.0);
                    *row.by_client.entry(client).or_default() += 1;
                    starting.push(client);
                }
            }
        }
        while let Some(&Reverse((at, act))) = acts.peek()
            && at <= now
        {
            acts.pop();
            match act {
                Act::Ask { client } => asking.push(client),
                Act::GiveUp { call } => {
                    if let Some((client, _)) = open.remove(&call) {
                        machine.leave(now, call);
                        row.given_up += 1;
                        starting.push(client);
                    }
                }
            }
        }
        for client in starting {
            let at = Nanos(now.0 + chance.u64(TURNAROUND_US) * 1000);
            acts.push(Reverse((at, Act::Ask { client })));
        }
        for client in asking {
            let runs = Runs { model: MODELS[chance.usize(..models)].into(), context: None };
            let work = Work { runs, prompt_tokens: 20, output_tokens: 8, release: false, leaves: None };
            machine.arrive(now, next, work);
            open.insert(next, (client, now));
            acts.push(Reverse((now + patience, Act::GiveUp { call: next })));
            next += 1;
        }
    }
}

/// Each figure of a row of the file, as the mean over some seeds: one minute of one row scatters, as it does in reality.
fn hold(at: usize) {
    let Reference { tolerance, measured } = Reference::read();
    let row = &measured[at];
    // The greedy client first.
    let greedy = (row.greedy > 0).then_some(row.greedy);
    let connections: Vec<usize> = greedy.into_iter().chain(std::iter::repeat_n(1, row.clients)).collect();
    let patience = Millis::from_secs(row.patience_s);
    let runs: Vec<Row> = (0..SEEDS).map(|seed| closed_loop(&connections, row.models, patience, seed)).collect();
    for (figure, measured) in row.figures() {
        let simulated = runs.iter().map(|run| run.figure(figure)).sum::<f64>() / runs.len() as f64;
        let off = simulated / measured - 1.0;
        println!("{}, {figure:?}: {simulated:.3}, measured {measured}, {:+.1} %", row.load, off * 100.0);
        assert!(off.abs() <= tolerance, "{figure:?}: {simulated:.3} is too far from {measured}");
    }
}

#[test]
fn many_clients_of_three_models_give_up_half_the_time() {
    hold(0);
}

#[test]
fn some_clients_of_three_models_wait_for_loads() {
    hold(1);
}

#[test]
fn many_clients_of_one_model_share_its_slots() {
    hold(2);
}

#[test]
fn a_greedy_client_takes_nearly_all() {
    hold(3);
}

#[test]
fn only_one_load_makes_clients_give_up() {
    let success = |clients: usize, models| closed_loop(&vec![1; clients], models, Millis::from_secs(10), 1).success();
    assert_eq!(success(20, 3), 1.0);
    assert_eq!(success(131, 1), 1.0);
    assert!(success(131, 3) < 1.0);
}
