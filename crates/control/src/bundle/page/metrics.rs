//! The last minutes of every metric, blue beside green, as curves and as one figure each.

use bellwether_core::{
    id::Side,
    time::{Millis, UnixMillis},
};

use super::super::{
    document::{Block, Chart, Charts, Curve, Kind, Mark, Values},
    facts::Facts,
    gather::BACK,
    tally::{self, Sum, Tally},
    words::{clock, mib, number, ratio, real, seconds, share, span},
};

const WIDTH: Millis = Millis::from_secs(10);
const COUNT: usize = (BACK.0 / WIDTH.0) as usize;

pub(super) fn blocks(facts: &Facts) -> Vec<Block> {
    let (Some(until), Some(oldest)) = (newest(facts), oldest(facts)) else {
        return vec![Block::Text("There are no figures of the last minutes.".to_owned())];
    };
    let from = UnixMillis(until.0.saturating_sub(WIDTH.0 * COUNT as u64)).max(UnixMillis(oldest.0.saturating_sub(1)));
    let count = usize::try_from(until.since(from).0.div_ceil(WIDTH.0)).unwrap_or(COUNT).clamp(1, COUNT);
    let parts = tally::buckets(&facts.seconds, &facts.beats, UnixMillis(from.0 + 1), WIDTH, count);
    let end = UnixMillis(from.0 + WIDTH.0 * count as u64);
    let (compared_from, note) = compared(facts, from);
    let whole = tally::sum(&facts.seconds, &facts.beats, compared_from, facts.record.began);
    let charts =
        Charts { from: clock(from), until: clock(end), marks: marks(facts, from, end), rows: rows(&whole, &parts) };
    vec![Block::Text(note), Block::Charts(charts), Block::Text(capacity(facts))]
}

fn newest(facts: &Facts) -> Option<UnixMillis> {
    facts.seconds.iter().map(|second| second.at).chain(facts.beats.iter().map(|(at, _)| *at)).max()
}

fn oldest(facts: &Facts) -> Option<UnixMillis> {
    facts.seconds.iter().map(|second| second.at).chain(facts.beats.iter().map(|(at, _)| *at)).min()
}

/// The figures beside the curves are of the time in which green worked and nobody had decided yet.
fn compared(facts: &Facts, from: UnixMillis) -> (UnixMillis, String) {
    let works =
        |second: &&bellwether_core::observation::Second| second.cells.iter().any(|cell| cell.served == Side::Green);
    let began = facts.record.began;
    let first = facts.seconds.iter().filter(|second| second.at <= began).find(works).map(|second| second.at);
    let beside = "Blue and green are different agents here, so a difference alone proves nothing: the trigger compared each type with its own kind.";
    match first {
        Some(first) => (
            first,
            format!(
                "Figures beside the curves are from {} UTC, when green worked first in these minutes, to the decision at {} UTC ({}). {beside}",
                clock(first),
                clock(began),
                seconds(began.since(first))
            ),
        ),
        None => {
            (from, format!("Green had no work in these minutes before the decision at {} UTC. {beside}", clock(began)))
        }
    }
}

fn marks(facts: &Facts, from: UnixMillis, until: UnixMillis) -> Vec<Mark> {
    let record = &facts.record;
    let moments = [
        (record.harm_began, 'h', "harm began"),
        (Some(record.began), 'd', "decision to go back"),
        (record.shifted, 'b', "traffic on blue"),
        (record.validated, 'v', "blue validated"),
    ];
    let marks = moments.into_iter().filter_map(|(at, letter, what)| {
        let at = at.filter(|at| (from..=until).contains(at))?;
        Some(Mark { at: real(at.since(from).0) / real(until.since(from).0.max(1)), letter, what })
    });
    marks.collect()
}

fn rows(whole: &Sum, parts: &[Sum]) -> Vec<Chart> {
    let per_second = |n: f64| format!("{}/s", number(n));
    let percent = |share: f64| format!("{} %", number(share * 100.0));
    let cores = |n: f64| format!("{} cores", number(n));
    let rate = |sum: &Sum, n: u64| (sum.seconds > 0).then(|| real(n) / real(sum.seconds));
    let part = |part: u64, of: u64| (of > 0).then(|| ratio(part, of));
    let of_side = |name,
                   curve: &dyn Fn(&Sum, &Tally) -> Option<f64>,
                   figure: &dyn Fn(&Sum, &Tally) -> String,
                   unit: &dyn Fn(f64) -> String| {
        let values = Values::Sides { blue: figure(whole, &whole.sides.blue), green: figure(whole, &whole.sides.green) };
        chart(
            name,
            values,
            unit,
            parts,
            &[(Kind::Blue, &|sum| curve(sum, &sum.sides.blue)), (Kind::Green, &|sum| curve(sum, &sum.sides.green))],
        )
    };
    let time = |q: f64| move |_: &Sum, tally: &Tally| tally.own_time.quantile(q);
    let time_figure =
        |q: f64| move |_: &Sum, tally: &Tally| tally.own_time.quantile(q).map_or_else(|| "–".to_owned(), span);
    let mean = |sum: &Sum, n: f64| (sum.samples > 0).then(|| n / real(sum.samples));
    let shared = |name, figure: String, unit: &dyn Fn(f64) -> String, curve: &dyn Fn(&Sum) -> Option<f64>| {
        chart(name, Values::Shared(figure), unit, parts, &[(Kind::Shared, curve)])
    };
    let mean_and_peak = |n: u64, peak: u64| match rate(whole, n) {
        Some(mean) => format!("mean {}, peak {peak}", number(mean)),
        None => "–".to_owned(),
    };
    vec![
        of_side(
            "tasks completed",
            &|sum, tally| rate(sum, tally.completed),
            &|sum, tally| rate(sum, tally.completed).map_or_else(|| "–".to_owned(), per_second),
            &per_second,
        ),
        of_side("errors", &|_, t| part(t.errors, t.outcomes), &|_, t| share(t.errors, t.outcomes), &percent),
        of_side("median time per task", &time(0.5), &time_figure(0.5), &span),
        of_side("p95 of time per task", &time(0.95), &time_figure(0.95), &span),
        of_side(
            "model calls failed",
            &|_, t| part(t.calls_failed, t.calls),
            &|_, t| share(t.calls_failed, t.calls),
            &percent,
        ),
        of_side(
            "model server unreachable",
            &|_, t| part(t.unreachable, t.calls),
            &|_, t| share(t.unreachable, t.calls),
            &percent,
        ),
        chart(
            "memory of all instances",
            Values::Sides { blue: peak(whole, whole.memory_peak.blue), green: peak(whole, whole.memory_peak.green) },
            &mib,
            parts,
            &[(Kind::Blue, &|sum| mean(sum, sum.memory.blue)), (Kind::Green, &|sum| mean(sum, sum.memory.green))],
        ),
        chart(
            "CPU of all instances",
            Values::Sides {
                blue: mean(whole, whole.cores.blue).map_or_else(|| "–".to_owned(), cores),
                green: mean(whole, whole.cores.green).map_or_else(|| "–".to_owned(), cores),
            },
            &cores,
            parts,
            &[(Kind::Blue, &|sum| mean(sum, sum.cores.blue)), (Kind::Green, &|sum| mean(sum, sum.cores.green))],
        ),
        shared("inference slots busy", mean_and_peak(whole.slots_busy, u64::from(whole.slots_peak)), &number, &|sum| {
            rate(sum, sum.slots_busy)
        }),
        shared("model calls waiting", mean_and_peak(whole.waiting, u64::from(whole.waiting_peak)), &number, &|sum| {
            rate(sum, sum.waiting)
        }),
        shared("tasks in the queue", mean_and_peak(whole.queued, whole.queued_peak), &number, &|sum| {
            rate(sum, sum.queued)
        }),
        shared("the gateway's own probes failed", share(whole.probes_failed, whole.probes), &percent, &|sum| {
            part(sum.probes_failed, sum.probes)
        }),
    ]
}

fn peak(sum: &Sum, bytes: f64) -> String {
    if sum.samples == 0 { "–".to_owned() } else { format!("peak {}", mib(bytes)) }
}

type Line<'a> = (Kind, &'a dyn Fn(&Sum) -> Option<f64>);

fn chart(name: &'static str, values: Values, unit: &dyn Fn(f64) -> String, parts: &[Sum], lines: &[Line<'_>]) -> Chart {
    let curves = lines.iter().map(|(kind, of)| Curve { kind: *kind, points: parts.iter().map(of).collect() });
    let mut chart = Chart { name, values, peak: String::new(), curves: curves.collect() };
    let measured = chart.curves.iter().any(|curve| curve.points.iter().any(Option::is_some));
    chart.peak = if measured { unit(Charts::top(&chart)) } else { "–".to_owned() };
    chart
}

fn capacity(facts: &Facts) -> String {
    let budget = &facts.rollout.plan.budget;
    format!(
        "The fleet may use {}; the plan expected at most {}.",
        mib(real(budget.capacity_bytes)),
        mib(real(budget.peak_bytes))
    )
}
