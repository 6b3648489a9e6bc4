//! Level under the null, power against harm, and that nothing makes it panic.

use proptest::prelude::*;

use super::{Harm, Metric, sim::*};
use crate::{
    analysis::exact::{lower_limit, upper_limit},
    id::Side,
};

/// Canaries of 13 among 131 agents at 30 tasks a second, after a baseline of 20 s and `prepare`d: after how many of
/// `seconds` each of the runs raised harm.
fn canaries(seeds: std::ops::Range<u64>, seconds: u64, prepare: impl Fn(&mut World)) -> Vec<Option<(u64, Harm)>> {
    let run = |seed| {
        let mut world = World::new(seed);
        prepare(&mut world);
        let fault = std::mem::replace(&mut world.fault, Fault::None);
        let mut sequential = world.after_baseline(if world.tasks_per_second < 10.0 { 100 } else { 20 });
        world.fault = fault;
        world.cut_over(13);
        world.until_harm(&mut sequential, seconds)
    };
    seeds.map(run).collect()
}

/// The share of false alarms is at most α: so many as there are come with more than 1 % if it is.
fn holds_its_level(found: &[Option<(u64, Harm)>]) {
    let alarms: Vec<&Harm> = found.iter().flatten().map(|(_, harm)| harm).collect();
    let (count, runs) = (alarms.len() as u64, found.len() as u64);
    assert!(lower_limit(count, runs, 0.01) <= ALPHA, "{count} of {runs}: {alarms:#?}");
    assert!(upper_limit(count, runs, 0.01) <= 0.1, "{count} of {runs}: {alarms:#?}");
}

/// The median and the 95th percentile of the delay in seconds; `u64::MAX` is never.
fn delays(found: &[Option<(u64, Harm)>]) -> (u64, u64) {
    let mut delays: Vec<u64> = found.iter().map(|found| found.as_ref().map_or(u64::MAX, |found| found.0)).collect();
    delays.sort_unstable();
    (delays[delays.len() / 2], delays[delays.len() * 95 / 100])
}

/// Raised in so few of these runs that it can be α.
fn stays_quiet(runs: u64, seconds: u64, prepare: impl Fn(&mut World)) {
    holds_its_level(&canaries(0..runs, seconds, prepare));
}

/// Raised in every run, with this median and 95th percentile of the delay in seconds at most.
fn is_seen(within: (u64, u64), by: fn(Metric) -> bool, prepare: impl Fn(&mut World)) {
    let found = canaries(0..40, 240, prepare);
    let (median, most) = delays(&found);
    assert!(median <= within.0 && most <= within.1, "{median} s and {most} s, where {within:?} are promised");
    assert!(found.iter().flatten().all(|(_, harm)| by(harm.metric)), "{found:#?}");
}

fn errors(metric: Metric) -> bool {
    metric == Metric::Errors
}

fn latency(metric: Metric) -> bool {
    matches!(metric, Metric::Latency(_))
}

#[test]
fn bursts_of_errors_raise_nothing() {
    stays_quiet(80, 120, |world| world.burst = 4.0);
    stays_quiet(80, 120, |world| (world.burst, world.error_rate) = (4.0, 0.02));
}

#[test]
fn agents_of_different_speed_raise_nothing() {
    stays_quiet(45, 120, |world| world.between = 0.4);
    stays_quiet(45, 120, |world| world.between = 0.8);
    stays_quiet(45, 120, |world| world.skew = 0.7);
}

#[test]
fn what_both_sides_suffer_from_raises_nothing() {
    let outage = |now| if (21..=40).contains(&now) { (250.0, 3.0) } else { (1.0, 1.0) };
    stays_quiet(45, 120, |world| world.drift = outage);
    stays_quiet(45, 120, |world| world.drift = |now| if now / 15 % 2 == 1 { (20.0, 2.0) } else { (1.0, 1.0) });
}

#[test]
fn thin_traffic_raises_nothing() {
    stays_quiet(45, 300, |world| (world.tasks_per_second, world.between) = (3.0, 0.4));
}

#[test]
fn slower_by_less_than_the_margin_is_borne() {
    stays_quiet(80, 120, |world| world.fault = Fault::Slow(1.4));
}

#[test]
fn errors_are_seen_the_sooner_the_more_there_are() {
    is_seen((3, 6), errors, |world| world.fault = Fault::Errors(1.0));
    is_seen((10, 20), errors, |world| world.fault = Fault::Errors(0.3));
    is_seen((60, 130), errors, |world| world.fault = Fault::Errors(0.055));
}

#[test]
fn slowness_is_seen_the_sooner_the_more_of_it_there_is() {
    is_seen((13, 20), latency, |world| world.fault = Fault::Slow(3.0));
    is_seen((60, 200), latency, |world| world.fault = Fault::Slow(2.0));
}

#[test]
fn what_carries_the_harm_is_named() {
    let one_type = |world: &mut World| {
        world.fault = Fault::Errors(0.5);
        world.fault_in = Some("ai-ml".into());
    };
    let found = canaries(0..20, 240, one_type);
    let blamed = found.iter().flatten().filter(|(_, harm)| harm.types == ["ai-ml".into()]).count();
    assert!(blamed >= 15, "{blamed} of 20: {found:#?}");
    for (_, harm) in found.iter().flatten() {
        assert!(harm.odds >= harm.threshold && harm.green.1 > 0, "{harm:?}");
        assert!(harm.types.iter().all(|kind| harm.why.contains(kind.as_str())), "{harm:?}");
    }
}

#[test]
fn a_green_that_ends_nothing_is_not_called_slow_or_failing() {
    for seed in 0..10 {
        let mut world = World::new(seed);
        let mut sequential = world.after_baseline(20);
        world.cut_over(65);
        for at in 0..120 {
            let mut second = world.second();
            // One outcome of green tells that it is there.
            second.cells.retain(|cell| at < 2 || cell.drawn == Side::Blue);
            sequential.second(&second);
            assert_eq!(sequential.harm(), None, "after {at} s");
        }
    }
}

#[test]
fn a_green_that_falls_silent_is_not_called_failing_for_what_it_did_before() {
    let found = (0..60).filter_map(|seed| {
        let mut world = World::new(seed);
        world.error_rate = 0.01;
        let mut sequential = world.after_baseline(20);
        world.cut_over(65);
        (0..90).find_map(|at| {
            let mut second = world.second();
            second.cells.retain(|cell| at < 20 || cell.drawn == Side::Blue);
            sequential.second(&second);
            sequential.harm().map(|harm| (at, harm))
        })
    });
    let found: Vec<_> = found.collect();
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn a_record_that_comes_twice_counts_once() {
    let mut world = World::new(7);
    let mut once = world.after_baseline(20);
    world.fault = Fault::Errors(0.3);
    world.cut_over(13);
    let mut twice = World::new(7).after_baseline(20);
    for _ in 0..60 {
        let second = world.second();
        once.second(&second);
        (0..2).for_each(|_| twice.second(&second));
    }
    assert_eq!(once.harm(), twice.harm());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn no_record_makes_it_panic(
        numbers in prop::collection::vec((any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>(), any::<bool>()), 1..40),
    ) {
        let mut world = World::new(3);
        let mut sequential = world.after_baseline(20);
        for (number, trials, onsets, micros, green) in numbers {
            let mut second = world.second();
            second.number = number;
            for cell in &mut second.cells {
                (cell.signs.trials, cell.signs.onsets) = (trials, onsets);
                cell.drawn = if green { Side::Green } else { Side::Blue };
                cell.tasks.own_time.record(micros);
            }
            sequential.second(&second);
            if green {
                sequential.phase();
            }
            if let Some(harm) = sequential.harm() {
                prop_assert!(harm.odds.is_finite());
            }
        }
    }
}
