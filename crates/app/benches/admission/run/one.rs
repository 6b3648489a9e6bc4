//! One model: nothing is to be gained, and hardly anything may be lost.

use std::time::Duration;

use super::{
    Spans,
    bound::Beside,
    figure::{Figure, Goal, Unit},
    stage::{Both, CLIENTS, Stage, load},
};

const WARM_UP: Duration = Duration::from_secs(1);

pub(super) fn one(spans: &Spans) -> Result<Vec<Figure>, String> {
    let stage = Stage::new("a", &[])?;
    let mut load = load(CLIENTS, "a", WARM_UP, spans.round);
    load.more.extend(["--rounds".to_owned(), spans.rounds.to_string()]);
    let Both { direct, gateway } = stage.both(&load)?;
    let (of_direct, of_gateway) = (direct.figure("/answers_per_second"), gateway.figure("/answers_per_second"));
    let others = u32::try_from(CLIENTS - 1).map_err(|error| error.to_string())?;
    Ok(vec![
        Figure::new("answers/s", Unit::PerSecond, of_direct, of_gateway),
        Figure::of_gateway(
            "of direct",
            Unit::Share,
            of_gateway.zip(of_direct).map(|(gateway, direct)| gateway / direct),
        )
        .has_to_be(Goal::AtLeast(0.98)),
        Figure::new("Jain", Unit::Index, direct.figure("/jain"), gateway.figure("/jain")),
        Beside::equals(1, others).longest_wait(Some(&direct), &gateway, &stage.ledger_behind()?),
    ])
}
