//! Three models, of which one is in memory.

use std::time::Duration;

use super::{
    Spans,
    bound::Beside,
    figure::{Figure, Goal, Unit},
    stage::{Both, CLIENTS, MODELS, PATIENCE, Stage, load},
};

/// As a real server was measured, from the first question on.
pub(super) fn cold(spans: &Spans) -> Result<Vec<Figure>, String> {
    let mut figures = figures(Duration::ZERO, spans.cold)?;
    let goals = [
        ("success", Goal::AtLeast(1.0)),
        ("goodput", Goal::AtLeast(15.0)),
        ("p95", Goal::AtMost(2.0)),
        ("refused or failed", Goal::AtMost(0.0)),
    ];
    for (name, goal) in goals {
        figures.iter_mut().filter(|figure| figure.name == name).for_each(|figure| figure.goal = Some(goal));
    }
    Ok(figures)
}

/// The state that it runs into; it is worse where clients give up, of whom there are none in the first seconds.
pub(super) fn steady(spans: &Spans) -> Result<Vec<Figure>, String> {
    figures(PATIENCE, spans.steady)
}

fn figures(warm_up: Duration, span: Duration) -> Result<Vec<Figure>, String> {
    let stage = Stage::new(MODELS, &[])?;
    let Both { direct, gateway } = stage.both(&load(CLIENTS, MODELS, warm_up, span))?;
    let both = |name, unit, path, scale: f64| {
        Figure::new(name, unit, direct.figure(path).map(|it| it * scale), gateway.figure(path).map(|it| it * scale))
    };
    let goodput = gateway.figure("/answers_per_second").zip(direct.figure("/answers_per_second"));
    #[expect(clippy::cast_precision_loss, reason = "counts of a minute fit 53 bits")]
    let failed =
        Figure::new("refused or failed", Unit::Count, Some(direct.failed() as f64), Some(gateway.failed() as f64));
    let others = u32::try_from(CLIENTS - 1).map_err(|error| error.to_string())?;
    Ok(vec![
        both("success", Unit::Share, "/success", 1.0),
        both("answers/s", Unit::PerSecond, "/answers_per_second", 1.0),
        Figure::of_gateway("goodput", Unit::Times, goodput.map(|(gateway, direct)| gateway / direct)),
        both("p50", Unit::Seconds, "/p50_ms", 1e-3),
        both("p95", Unit::Seconds, "/p95_ms", 1e-3),
        both("switches", Unit::Count, "/switches", 1.0),
        failed,
        Beside::equals(3, others).longest_wait(Some(&direct), &gateway, &stage.ledger_behind()?),
    ])
}
