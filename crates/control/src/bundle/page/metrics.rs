//! The last minutes of every metric, blue beside green, as curves and as one figure each.

use bellwether_core::{
    id::Side,
    observation::Second,
    time::{Millis, UnixMillis},
};

use super::super::{
    document::{Block, Chart, Charts, Curve, Kind, Mark, Values},
    facts::Facts,
    gather::BACK,
    tally::{self, Sum},
    words::{clock, mib, number, ratio, real, seconds, share, span},
};

/// Points of a curve, at most.
const COUNT_MAX: u64 = 60;
/// What one may stand for; the last is enough for everything that is gathered.
const STEPS: [Millis; 2] = [Millis::from_secs(5), Millis::from_secs(10)];
const _: () = assert!(STEPS[1].0 * COUNT_MAX >= BACK.0);

pub(super) fn blocks(facts: &Facts) -> Vec<Block> {
    let (Some(until), Some(oldest)) = (newest(facts), oldest(facts)) else {
        return vec![Block::Text("There are no figures of the last minutes.".to_owned())];
    };
    let from = UnixMillis(until.0.saturating_sub(BACK.0)).max(UnixMillis(oldest.0.saturating_sub(1)));
    let points = |step: Millis| until.since(from).0.div_ceil(step.0).max(1);
    let step = STEPS.into_iter().find(|&step| points(step) <= COUNT_MAX).unwrap_or(STEPS[1]);
    let count = points(step).min(COUNT_MAX);
    let parts = tally::buckets(&facts.seconds, &facts.beats, UnixMillis(from.0 + 1), step, count as usize);
    let end = UnixMillis(from.0 + step.0 * count);
    let (compared_from, note) = compared(facts, from);
    let whole = tally::sum(&facts.seconds, &facts.beats, compared_from, facts.record.began);
    let charts = Charts {
        from: clock(from),
        until: clock(end),
        step: seconds(step),
        marks: marks(facts, from, end),
        rows: rows(&whole, &parts),
    };
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
    let works = |second: &&Second| second.cells.iter().any(|cell| cell.served == Side::Green);
    let began = facts.record.began;
    let first = facts.seconds.iter().filter(|second| second.at <= began).find(works).map(|second| second.at);
    let beside = "Where blue and green are different agents, a difference alone proves nothing: a trigger compares each type with its own kind.";
    let note = match first {
        Some(first) => format!(
            "Figures beside the curves are from {} UTC, when green worked first in these minutes, to the decision at {} UTC ({}). {beside}",
            clock(first),
            clock(began),
            seconds(began.since(first))
        ),
        None if facts.seconds.is_empty() => {
            "There are no one-second records, so only memory and CPU are shown.".to_owned()
        }
        None => format!("Green had no work in these minutes before the decision at {} UTC. {beside}", clock(began)),
    };
    (first.unwrap_or(from), note)
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
    let sides = METRICS.iter().map(|metric| {
        let curve = |kind, side| Curve { kind, points: parts.iter().map(|sum| (metric.curve)(sum, side)).collect() };
        Chart {
            name: metric.name,
            values: Values::Sides {
                blue: (metric.figure)(whole, Side::Blue),
                green: (metric.figure)(whole, Side::Green),
            },
            peak: String::new(),
            curves: vec![curve(Kind::Blue, Side::Blue), curve(Kind::Green, Side::Green)],
        }
    });
    let shared = GAUGES.iter().map(|gauge| Chart {
        name: gauge.name,
        values: Values::Shared((gauge.figure)(whole)),
        peak: String::new(),
        curves: vec![Curve { kind: Kind::Shared, points: parts.iter().map(gauge.curve).collect() }],
    });
    let units = METRICS.iter().map(|metric| metric.unit).chain(GAUGES.iter().map(|gauge| gauge.unit));
    let measured = |chart: &Chart| chart.curves.iter().any(|curve| curve.points.iter().any(Option::is_some));
    let rows = sides.chain(shared).zip(units).filter(|(chart, _)| measured(chart));
    rows.map(|(chart, unit)| Chart { peak: unit(Charts::top(&chart)), ..chart }).collect()
}

/// What each side has a figure of.
struct Metric {
    name: &'static str,
    unit: fn(f64) -> String,
    curve: fn(&Sum, Side) -> Option<f64>,
    figure: fn(&Sum, Side) -> String,
}

/// What both sides share.
struct Gauge {
    name: &'static str,
    unit: fn(f64) -> String,
    curve: fn(&Sum) -> Option<f64>,
    figure: fn(&Sum) -> String,
}

const METRICS: [Metric; 8] = [
    Metric {
        name: "tasks completed",
        unit: per_second,
        curve: |sum, side| rate(sum, sum.sides.of(side).completed),
        figure: |sum, side| rate(sum, sum.sides.of(side).completed).map_or_else(nothing, per_second),
    },
    Metric {
        name: "errors",
        unit: percent,
        curve: |sum, side| part(sum.sides.of(side).errors, sum.sides.of(side).outcomes),
        figure: |sum, side| share(sum.sides.of(side).errors, sum.sides.of(side).outcomes),
    },
    Metric {
        name: "median time per task",
        unit: span,
        curve: |sum, side| sum.sides.of(side).own_time.quantile(0.5),
        figure: |sum, side| sum.sides.of(side).own_time.quantile(0.5).map_or_else(nothing, span),
    },
    Metric {
        name: "p95 of time per task",
        unit: span,
        curve: |sum, side| sum.sides.of(side).own_time.quantile(0.95),
        figure: |sum, side| sum.sides.of(side).own_time.quantile(0.95).map_or_else(nothing, span),
    },
    Metric {
        name: "model calls failed",
        unit: percent,
        curve: |sum, side| part(sum.sides.of(side).calls_failed, sum.sides.of(side).calls),
        figure: |sum, side| share(sum.sides.of(side).calls_failed, sum.sides.of(side).calls),
    },
    Metric {
        name: "model server unreachable",
        unit: percent,
        curve: |sum, side| part(sum.sides.of(side).unreachable, sum.sides.of(side).calls),
        figure: |sum, side| share(sum.sides.of(side).unreachable, sum.sides.of(side).calls),
    },
    Metric {
        name: "memory of all instances",
        unit: mib,
        curve: |sum, side| sum.mean(&sum.memory, side),
        figure: |sum, side| match sum.mean(&sum.memory, side) {
            Some(_) => format!("up to {}", mib(*sum.memory_peak.of(side))),
            None => nothing(),
        },
    },
    Metric {
        name: "CPU of all instances",
        unit: cores,
        curve: |sum, side| sum.mean(&sum.cores, side),
        figure: |sum, side| sum.mean(&sum.cores, side).map_or_else(nothing, cores),
    },
];

const GAUGES: [Gauge; 4] = [
    Gauge {
        name: "inference slots busy",
        unit: number,
        curve: |sum| rate(sum, sum.slots_busy),
        figure: |sum| mean_and_most(sum, sum.slots_busy, u64::from(sum.slots_peak)),
    },
    Gauge {
        name: "model calls waiting",
        unit: number,
        curve: |sum| rate(sum, sum.waiting),
        figure: |sum| mean_and_most(sum, sum.waiting, u64::from(sum.waiting_peak)),
    },
    Gauge {
        name: "tasks in the queue",
        unit: number,
        curve: |sum| rate(sum, sum.queued),
        figure: |sum| mean_and_most(sum, sum.queued, sum.queued_peak),
    },
    Gauge {
        name: "the gateway's own probes failed",
        unit: percent,
        curve: |sum| part(sum.probes_failed, sum.probes),
        figure: |sum| share(sum.probes_failed, sum.probes),
    },
];

fn rate(sum: &Sum, n: u64) -> Option<f64> {
    (sum.seconds > 0).then(|| real(n) / real(sum.seconds))
}

fn part(part: u64, of: u64) -> Option<f64> {
    (of > 0).then(|| ratio(part, of))
}

fn mean_and_most(sum: &Sum, total: u64, most: u64) -> String {
    rate(sum, total).map_or_else(nothing, |mean| format!("mean {}, at most {most}", number(mean)))
}

fn per_second(n: f64) -> String {
    format!("{}/s", number(n))
}

fn percent(share: f64) -> String {
    format!("{} %", number(share * 100.0))
}

fn cores(n: f64) -> String {
    format!("{} cores", number(n))
}

fn nothing() -> String {
    "–".to_owned()
}

fn capacity(facts: &Facts) -> String {
    let budget = &facts.rollout.plan.budget;
    format!(
        "The fleet may use {}; the plan expected at most {}.",
        mib(real(budget.capacity_bytes)),
        mib(real(budget.peak_bytes))
    )
}
