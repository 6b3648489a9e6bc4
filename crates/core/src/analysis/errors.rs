//! R32: green's error rate against blue's, and the smallest rise that so many tasks can show.
//!
//! Harm is an excess of green's errors in its own types beyond the margin ([`excess`]). Its absence is proved where
//! the upper limit of green's rate is within the margin of the lower limit of blue's, weighed as green works. Valid
//! for one look; the caller divides the level over looks.

use super::{
    Finding, Judgement,
    exact::{lower_limit, real, upper_limit},
    excess::{self, Arms},
    judge::{Draft, Terms},
    mass::whole,
    matched::{Matched, Pair},
    words::{count, percent, points},
};

/// The part of the level of a proof that pays for not knowing blue's rate. Small, because blue mostly is many.
const FOR_BLUE: f64 = 0.25;
const SURE: f64 = 0.95;

/// The smallest rise of the error rate over `base_rate` that a test at `alpha` with margin `delta` shows with
/// probability `power`, from `n_green` tasks of green and `n_blue` of blue, all rates as shares. `None`: even if
/// all of green's tasks failed it would not be shown.
pub fn smallest_error_rise(
    n_green: u64,
    n_blue: u64,
    base_rate: f64,
    delta: f64,
    alpha: f64,
    power: f64,
) -> Option<f64> {
    if !(0.0..=1.0).contains(&base_rate) || !(0.0..=1.0).contains(&delta) || !(0.0..1.0).contains(&power) {
        return None;
    }
    let control_errors = whole((base_rate * real(n_blue)).ceil()).min(n_blue);
    let arms = [Arms { green: n_green, green_errors: 0, control: n_blue, control_errors }];
    caught(&arms, n_green, delta, alpha, power).map(|rate| (rate - base_rate).max(0.0))
}

/// The smallest rate of green at which, with probability `power`, there are errors enough to be seen.
fn caught(arms: &[Arms], tasks: u64, margin: f64, alpha: f64, power: f64) -> Option<f64> {
    // The rate at which so many errors come with this probability is the lower limit at it.
    excess::critical(arms, margin, alpha).map(|errors| lower_limit(errors, tasks, power))
}

pub(super) fn judge(terms: &Terms<'_>, matched: &Matched) -> Judgement {
    let alpha = terms.alpha(0.40);
    let margin = terms.criteria.error_rise_max;
    let green = matched.green();
    let (errors, tasks) = (green.errors(), green.outcomes());
    let rate = real(errors) / real(tasks.max(1));
    let draft = Draft::new("R32", "error rate").samples(tasks);
    if tasks == 0 {
        return draft.limit(margin * 100.0, "percentage points").open("no task of green has ended");
    }
    let Some(control) = matched.standardised(|_, tally| tally.errors()) else {
        let why = format!("green's errors: {} of {} tasks; blue has none to compare with", percent(rate), count(tasks));
        return draft.limit(margin * 100.0, "percentage points").open(why);
    };
    let arms: Vec<Arms> = matched.pairs().iter().map(arms).collect();
    let smallest = caught(&arms, tasks, margin, alpha, SURE).map(|rate| (rate - control.estimate()).max(0.0));
    let highest = upper_limit(errors, tasks, alpha * (1.0 - FOR_BLUE));
    let finding = if excess::rejected(&arms, margin, alpha) {
        Finding::Harm
    } else if highest - control.lower(alpha * FOR_BLUE) <= margin {
        Finding::Proved
    } else if smallest.is_some_and(|rise| rise <= terms.gate.tolerated_error_rise) {
        Finding::NoHarmSeen
    } else {
        Finding::CannotTellYet
    };
    let sees = match (finding, smallest) {
        (Finding::Harm, _) => format!("more than {} above is beyond chance", points(margin)),
        (Finding::Proved, _) => format!("a rise of more than {} is ruled out", points(margin)),
        (_, Some(rise)) => format!("a rise of {} would have been seen", points(rise)),
        (_, None) => "too few to see any rise".to_owned(),
    };
    let why = format!(
        "green's errors: {} of {} tasks, {} {} of {}; {sees}",
        percent(rate),
        count(tasks),
        matched.whose(),
        percent(control.estimate()),
        count(matched.control().outcomes()),
    );
    draft
        .measured(control.estimate() * 100.0, rate * 100.0)
        .limit((control.estimate() + margin) * 100.0, "%")
        .smallest(smallest.map(|rise| rise * 100.0))
        .find(terms.gate.require, finding, why)
}

fn arms(pair: &Pair) -> Arms {
    Arms {
        green: pair.green.outcomes(),
        green_errors: pair.green.errors(),
        control: pair.control.outcomes(),
        control_errors: pair.control.errors(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn more_tasks_show_smaller_rises() {
        let rise = |n| smallest_error_rise(n, 9880, 0.002, 0.001, 0.004, 0.95);
        assert_eq!(rise(0), None);
        let (few, some, many) = (rise(20).unwrap(), rise(200).unwrap(), rise(20_000).unwrap());
        assert!(few > 0.2 && some < 0.1 && many < 0.006, "{few} {some} {many}");
    }

    #[test]
    fn without_blue_nothing_can_be_shown() {
        assert_eq!(smallest_error_rise(1000, 0, 0.002, 0.001, 0.004, 0.95), None);
    }

    proptest! {
        #[test]
        fn any_figures_give_a_share_or_nothing(
            n_green: u64, n_blue: u64, base: f64, delta: f64, alpha in 0.0f64..1.0, power in 0.0f64..1.0,
        ) {
            if let Some(rise) = smallest_error_rise(n_green, n_blue, base, delta, alpha, power) {
                prop_assert!((0.0..=1.0).contains(&rise));
            }
        }
    }
}
