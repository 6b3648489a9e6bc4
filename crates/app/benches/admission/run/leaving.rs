//! Clients that leave before they are answered: what the server computes for nobody.

use std::time::Duration;

use super::{
    Spans,
    bound::Beside,
    figure::{Figure, Goal, Unit},
    ledger::Ledger,
    stage::{Both, CLIENTS, MODELS, Stage, load},
};
use crate::model_load::Report;

pub(super) fn leaving(spans: &Spans) -> Result<Vec<Figure>, String> {
    let stage = Stage::new(MODELS, &[])?;
    // From the first question on, so that what the server counts is what the clients did.
    let mut load = load(CLIENTS, MODELS, Duration::ZERO, spans.leaving);
    load.more.extend(["--leave", "30%"].map(str::to_owned));
    let Both { direct, gateway } = stage.both(&load)?;
    let (direct_ledger, ledger) = (stage.ledger_direct()?, stage.ledger_behind()?);
    let both = |name, unit, path| Figure::new(name, unit, direct.figure(path), gateway.figure(path));
    #[expect(clippy::cast_precision_loss, reason = "loads of a minute fit 53 bits")]
    let aborted = |ledger: &Ledger| Some(ledger.aborted_loads as f64);
    let wasted = |ledger: &Ledger, report: &Report| ledger.wasted(report.figure("/leavers/late_us")?);
    let others = u32::try_from(CLIENTS - 1).map_err(|error| error.to_string())?;
    Ok(vec![
        both("calls left", Unit::Count, "/leavers/left"),
        Figure::new("wasted slot time", Unit::Share, wasted(&direct_ledger, &direct), wasted(&ledger, &gateway))
            .has_to_be(Goal::AtMost(0.02)),
        Figure::new("calls cut short", Unit::Share, direct_ledger.abandoned(), ledger.abandoned()),
        Figure::new("loads given up", Unit::Count, aborted(&direct_ledger), aborted(&ledger)),
        both("success of others", Unit::Share, "/success"),
        both("answers/s of others", Unit::PerSecond, "/answers_per_second"),
        Beside::equals(3, others).longest_wait(Some(&direct), &gateway, &ledger),
    ])
}
