//! The wait that is hard to keep short: of one who is alone on its model, beside others who always have long calls for
//! theirs.

use std::{cmp::Ordering, thread, time::Duration};

use super::{
    Spans,
    bound::{Beside, longest as longest_wait},
    figure::{Figure, Goal, Unit},
    stage::{Stage, load},
};
use crate::model_load::{Load, Report};

const MODELS: [&str; 5] = ["a", "b", "c", "d", "e"];
const CONNECTIONS: u32 = 20;
const TOKENS: &str = "300";
/// Nobody gives up.
const PATIENCE: Duration = Duration::from_secs(300);
const WARM_UP: Duration = Duration::from_secs(1);

pub(super) fn longest(spans: &Spans) -> Result<Vec<Figure>, String> {
    let stage = Stage::new(&MODELS.join(","), &[])?;
    let run = |model: &'static str| {
        let connections = if model == MODELS[0] { 1 } else { CONNECTIONS };
        let mut load = Load { patience: PATIENCE, ..load(connections as usize, model, WARM_UP, spans.adversary) };
        load.more.extend(["--tokens", TOKENS].map(str::to_owned));
        load.run(&[&stage.client(model)])
    };
    let reports: Vec<Report> = thread::scope(|scope| {
        let running = MODELS.map(|model| scope.spawn(move || run(model)));
        running
            .into_iter()
            .map(|run| run.join().map_err(|_| "a run panicked".to_owned())?)
            .collect::<Result<Vec<_>, _>>()
    })?
    .into_iter()
    .flatten()
    .collect();
    let (victim, busy) = reports.split_first().ok_or("nothing was measured")?;
    let ledger = stage.ledger_behind()?;
    let models = u32::try_from(MODELS.len()).map_err(|error| error.to_string())?;
    let alone = Beside::equals(models, 0);
    let share = longest_wait(victim).map(|wait| wait / alone.wait_max(&ledger));
    let order = |a: &&Report, b: &&Report| longest_wait(a).partial_cmp(&longest_wait(b)).unwrap_or(Ordering::Equal);
    let busiest = busy.iter().max_by(order);
    let beside = Beside { connections: CONNECTIONS, ..alone };
    let mut figures = vec![
        alone.longest_wait(None, victim, &ledger),
        Figure::of_gateway("share of the bound", Unit::Share, share).has_to_be(Goal::AtLeast(0.3)),
    ];
    if let Some(busiest) = busiest {
        figures.push(Figure { name: "longest of the others", ..beside.longest_wait(None, busiest, &ledger) });
    }
    Ok(figures)
}
