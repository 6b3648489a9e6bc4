//! R35, R36 and R37: shares that have a fixed floor, whatever the baseline was.
//!
//! A share below its floor is harm only where the control keeps the floor: what blue and green suffer alike is a
//! shared fault, and stays open.

use super::{
    Finding, Judgement, Window,
    exact::{at_most, critical_shortfall, lower_limit, real, upper_limit},
    judge::{Draft, Terms},
    words::{count, percent, points},
};

const SURE: f64 = 0.95;
/// Share of the seconds in which availability must have been looked at.
const LOOKED_AT_MIN: f64 = 0.8;

#[derive(Clone, Copy)]
pub(super) struct Share {
    pub(super) hits: u64,
    pub(super) of: u64,
}

impl Share {
    fn value(self) -> Option<f64> {
        (self.of > 0).then(|| real(self.hits) / real(self.of))
    }

    /// The true share is below `floor`, at `alpha`.
    pub(super) fn below(self, floor: f64, alpha: f64) -> bool {
        self.of > 0 && alpha > 0.0 && at_most(self.hits, self.of, floor) <= alpha
    }

    /// The true share is at least `floor`, at `alpha`.
    pub(super) fn proved(self, floor: f64, alpha: f64) -> bool {
        self.of > 0 && lower_limit(self.hits, self.of, alpha) >= floor
    }

    /// How far below `floor` a share is that so many samples would have shown.
    pub(super) fn smallest_shortfall(self, floor: f64, alpha: f64) -> Option<f64> {
        let hits = critical_shortfall(self.of, floor, alpha)?;
        // The share at which at most so many hits come with this probability.
        Some((floor - upper_limit(hits, self.of, SURE)).max(0.0))
    }
}

pub(super) struct Floor {
    pub(super) id: &'static str,
    pub(super) metric: &'static str,
    /// What is counted, for a sentence: `model calls`.
    pub(super) of_what: &'static str,
    pub(super) floor: f64,
}

pub(super) fn judge(terms: &Terms<'_>, measured: Share, control: Share, floor: &Floor) -> Judgement {
    let alpha = terms.alpha(0.05);
    let Floor { id, metric, of_what, floor } = *floor;
    let draft = Draft::new(id, metric).samples(measured.of).limit(floor * 100.0, "%").baseline_percent(control.value());
    let Some(value) = measured.value() else {
        return draft.open(format!("no {of_what} to judge by"));
    };
    let below = measured.below(floor, alpha);
    let shared = below && control.below(floor, alpha);
    let smallest = measured.smallest_shortfall(floor, alpha);
    let finding = if below && !shared {
        Finding::Harm
    } else if below {
        Finding::CannotTellYet
    } else if measured.proved(floor, alpha) {
        Finding::Proved
    } else if smallest.is_some_and(|shortfall| shortfall <= terms.gate.tolerated_error_rise) {
        Finding::NoHarmSeen
    } else {
        Finding::CannotTellYet
    };
    let sees = match smallest {
        _ if shared => "but so is the control: a shared fault".to_owned(),
        _ if below => "below the limit beyond doubt".to_owned(),
        _ if finding == Finding::Proved => "the limit is kept beyond doubt".to_owned(),
        Some(shortfall) => format!("{} below the limit would have been seen", points(shortfall)),
        None => "too few to see any shortfall".to_owned(),
    };
    let why = format!(
        "{} of {} {of_what} succeeded, {} are asked for; {sees}",
        percent(value),
        count(measured.of),
        percent(floor)
    );
    draft.value(value * 100.0).smallest(smallest.map(|shortfall| shortfall * 100.0)).find(
        terms.gate.require,
        finding,
        why,
    )
}

/// R36. Every second is looked at, so this is a count and needs no test.
pub(super) fn availability(terms: &Terms<'_>, baseline: &Window, window: &Window) -> Judgement {
    let floor = terms.criteria.availability_min;
    let of = |window: &Window| {
        let (of, hits) = window.available();
        Share { hits, of }
    };
    let (before, since) = (of(baseline), of(window));
    let draft = Draft::new("R36", "agent availability")
        .samples(since.of)
        .limit(floor * 100.0, "%")
        .baseline_percent(before.value());
    let Some(value) = since.value() else {
        return draft.open("availability was not looked at");
    };
    let looked_at = real(since.of) >= LOOKED_AT_MIN * real(window.seconds());
    let as_bad_before = before.value().is_some_and(|before| before < floor && before <= value);
    let (finding, says) = if value < floor && as_bad_before {
        (Finding::CannotTellYet, "but it was no better before")
    } else if value < floor {
        (Finding::Harm, "in the others an agent had none")
    } else if looked_at {
        (Finding::Proved, "no agent was without")
    } else {
        (Finding::CannotTellYet, "but too few seconds were looked at")
    };
    let why = format!(
        "every agent had a ready instance in {} of {} seconds; {says}",
        count(since.hits),
        count(since.of.max(window.seconds()))
    );
    draft.value(value * 100.0).find(terms.gate.require, finding, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_of_all_is_broken_by_one() {
        assert!(Share { hits: 99, of: 100 }.below(1.0, 0.01));
        assert!(!Share { hits: 100, of: 100 }.below(1.0, 0.01));
    }

    #[test]
    fn many_samples_show_small_shortfalls() {
        let shown = |of| Share { hits: of, of }.smallest_shortfall(0.99, 0.01);
        assert_eq!(shown(0), None);
        assert!(shown(50).unwrap() > 0.05);
        assert!(shown(5000).unwrap() < 0.01);
        assert!(Share { hits: 1000, of: 1000 }.proved(0.99, 0.01));
        assert!(!Share { hits: 100, of: 100 }.proved(0.99, 0.01));
    }
}
