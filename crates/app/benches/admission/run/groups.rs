//! One model, and clients that want more than their share or are to get more.

use std::{thread, time::Duration};

use super::{
    Spans,
    bound::Beside,
    figure::{Figure, Goal, Unit},
    stage::{Both, Stage, load},
};
use crate::model_load::Report;

const WARM_UP: Duration = Duration::from_secs(2);
const OTHERS: u32 = 10;
const GREEDY: u32 = 60;
const CONNECTIONS: u32 = 20;

pub(super) fn greedy(spans: &Spans) -> Result<Vec<Figure>, String> {
    let stage = Stage::new("a", &[])?;
    let mut load = load(OTHERS as usize, "a", WARM_UP, spans.shares);
    load.more.extend(["--greedy".to_owned(), GREEDY.to_string()]);
    let Both { direct, gateway } = stage.both(&load)?;
    let shares = f64::from(OTHERS + 1);
    let share = |report: &Report| report.figure("/greedy/share").map(|share| share * shares);
    let beside = Beside { connections: GREEDY, ..Beside::equals(1, OTHERS) };
    Ok(vec![
        Figure::new("its equal shares", Unit::Times, share(&direct), share(&gateway)).has_to_be(Goal::AtMost(1.1)),
        Figure::new("Jain", Unit::Index, direct.figure("/jain"), gateway.figure("/jain"))
            .has_to_be(Goal::AtLeast(0.99)),
        beside.longest_wait(Some(&direct), &gateway, &stage.ledger_behind()?),
    ])
}

/// Each in a load client of its own, all of them at once.
pub(super) fn weights(spans: &Spans) -> Result<Vec<Figure>, String> {
    const WEIGHTS: [(&str, u32, &str); 3] =
        [("one", 1, "share of weight 1"), ("two", 2, "share of weight 2"), ("four", 4, "share of weight 4")];
    let stage = Stage::new("a", &["--weight", "one=1", "--weight", "two=2", "--weight", "four=4"])?;
    let load = load(CONNECTIONS as usize, "a", WARM_UP, spans.shares);
    let run = |name: &str| load.run(&[&stage.client(name)]);
    let reports: Vec<Report> = thread::scope(|scope| {
        let running = WEIGHTS.map(|(name, ..)| scope.spawn(move || run(name)));
        running
            .into_iter()
            .map(|run| run.join().map_err(|_| "a run panicked".to_owned())?)
            .collect::<Result<Vec<_>, _>>()
    })?
    .into_iter()
    .flatten()
    .collect();
    // Slot time per second of each.
    let used = reports.iter().map(|report| Some(report.figure("/computed_seconds")? / report.figure("/seconds")?));
    let used: Vec<f64> = used.collect::<Option<_>>().ok_or("an answer does not tell how long it was computed")?;
    let (all, weights) =
        (used.iter().sum::<f64>(), f64::from(WEIGHTS.iter().map(|(_, weight, _)| weight).sum::<u32>()));
    let ledger = stage.ledger_behind()?;
    let (mut figures, mut off_most) = (Vec::new(), 0.0_f64);
    let mut waits = Vec::new();
    for (((_, weight, name), used), report) in WEIGHTS.into_iter().zip(&used).zip(&reports) {
        let share = used / all;
        off_most = off_most.max((share / (f64::from(weight) / weights) - 1.0).abs());
        figures.push(Figure::of_gateway(name, Unit::Share, Some(share)));
        let others_weight = u64::from(7 - weight);
        let beside = Beside { models: 1, others: 2, others_weight, weight, connections: CONNECTIONS };
        waits.push(beside.longest_wait(None, report, &ledger));
    }
    figures.push(Figure::of_gateway("farthest off", Unit::Share, Some(off_most)).has_to_be(Goal::AtMost(0.05)));
    figures.extend(waits);
    Ok(figures)
}
