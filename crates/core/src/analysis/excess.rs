//! Whether green has more errors than its share, type by type, beyond a margin.
//!
//! Given how many errors a type has on both sides, green's part of them would be its part of the tasks, were both
//! alike: a binomial (Przyborowski and Wilenski 1940), which spreads a little wider than the truth and so errs to
//! the safe side. Of green's errors those that the margin allows are forgiven first, as many as are likely at all,
//! where they are most conspicuous. What is left is added up over the types.

use super::{
    exact::{critical_count, first, real},
    mass::{Mass, whole},
};

/// The part of the level that pays for not knowing how many errors the margin made.
const FOR_MARGIN: f64 = 0.1;
/// More errors than these are scaled down to them: less evidence than there is, never more.
const ERRORS_MAX: f64 = 2000.0;

/// Tasks and errors of both sides in one type.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arms {
    pub(super) green: u64,
    pub(super) green_errors: u64,
    pub(super) control: u64,
    pub(super) control_errors: u64,
}

impl Arms {
    /// Green's part of the tasks.
    fn share(&self) -> f64 {
        real(self.green) / (real(self.green) + real(self.control)).max(1.0)
    }
}

/// Whether the null "in no type is green's error rate above the control's by more than `margin`" is rejected.
pub(super) fn rejected(arms: &[Arms], margin: f64, alpha: f64) -> bool {
    alpha > 0.0 && forgiven(arms, margin, alpha).is_some_and(|forgiven| chance(arms, forgiven) <= left(alpha))
}

/// The smallest number of green's errors, spread as its tasks are, that would reject it beside these of the control.
pub(super) fn critical(arms: &[Arms], margin: f64, alpha: f64) -> Option<u64> {
    if alpha <= 0.0 {
        return None;
    }
    let forgiven = forgiven(arms, margin, alpha)?;
    let tasks = arms.iter().fold(0_u64, |sum, arm| sum.saturating_add(arm.green));
    let rejects = |errors| chance(&spread(arms, errors, tasks), forgiven) <= left(alpha);
    let errors = first(tasks.saturating_add(1), rejects);
    (errors <= tasks && rejects(errors)).then_some(errors)
}

/// Errors that a margin of so many tasks may have made, all but surely. `None`: all of them.
fn forgiven(arms: &[Arms], margin: f64, alpha: f64) -> Option<u64> {
    let tasks = arms.iter().fold(0_u64, |sum, arm| sum.saturating_add(arm.green));
    critical_count(tasks, margin, alpha * FOR_MARGIN).map(|unlikely| unlikely.saturating_sub(1))
}

fn left(alpha: f64) -> f64 {
    alpha * (1.0 - FOR_MARGIN)
}

/// The chance of so many errors of green, less the forgiven, were both sides alike.
fn chance(arms: &[Arms], mut forgiven: u64) -> f64 {
    let mut arms = arms.to_vec();
    arms.sort_by(|a, b| a.share().total_cmp(&b.share()));
    for arm in &mut arms {
        let here = forgiven.min(arm.green_errors);
        arm.green_errors -= here;
        forgiven -= here;
    }
    let green: f64 = arms.iter().map(|arm| real(arm.green_errors)).sum();
    let all = green + arms.iter().map(|arm| real(arm.control_errors)).sum::<f64>();
    let scale = (ERRORS_MAX / all.max(1.0)).min(1.0);
    let alike = arms.iter().fold(Mass::nothing(), |sum, arm| {
        let errors = (real(arm.green_errors) + real(arm.control_errors)) * scale;
        sum.plus(&Mass::binomial(whole(errors.ceil()), arm.share()))
    });
    alike.at_least(whole(green * scale))
}

/// `errors` of green in proportion to its tasks; each more adds to one type and takes from none.
fn spread(arms: &[Arms], errors: u64, tasks: u64) -> Vec<Arms> {
    let part = real(errors) / real(tasks.max(1));
    let mut arms: Vec<Arms> =
        arms.iter().map(|arm| Arms { green_errors: whole(real(arm.green) * part).min(arm.green), ..*arm }).collect();
    let mut rest = errors.saturating_sub(arms.iter().fold(0_u64, |sum, arm| sum.saturating_add(arm.green_errors)));
    // What rounding left goes where green has the largest part, where errors say least.
    arms.sort_by(|a, b| b.share().total_cmp(&a.share()));
    for arm in &mut arms {
        let here = rest.min(arm.green - arm.green_errors);
        arm.green_errors += here;
        rest -= here;
    }
    arms
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn arms(green: u64, green_errors: u64, control: u64, control_errors: u64) -> Arms {
        Arms { green, green_errors, control, control_errors }
    }

    #[test]
    fn without_a_margin_it_is_the_comparison_of_two_counts() {
        // 5 of 5 errors on the side that has a tenth of the tasks.
        assert!((chance(&[arms(100, 5, 900, 0)], 0) - 1e-5).abs() < 1e-12);
        assert!((chance(&[arms(100, 5, 900, 0)], 2) - 1e-3).abs() < 1e-12);
        assert_eq!(chance(&[arms(100, 5, 0, 0)], 0), 1.0);
    }

    #[test]
    fn the_conspicuous_errors_are_forgiven_first() {
        let both = [arms(900, 1, 100, 0), arms(100, 1, 900, 0)];
        assert!((chance(&both, 1) - 0.9).abs() < 1e-12);
    }

    #[test]
    fn the_critical_count_rejects_and_one_less_does_not() {
        let control = [arms(140, 0, 560, 1), arms(60, 0, 300, 0)];
        let critical = critical(&control, 0.001, 0.004).unwrap();
        assert!(rejected(&spread(&control, critical, 200), 0.001, 0.004));
        assert!(!rejected(&spread(&control, critical - 1, 200), 0.001, 0.004));
    }

    #[test]
    fn too_few_tasks_reject_nothing() {
        assert_eq!(critical(&[arms(3, 0, 3, 0)], 0.001, 0.004), None);
        assert_eq!(critical(&[], 0.001, 0.004), None);
        assert_eq!(critical(&[arms(1000, 0, 1000, 0)], 0.001, 0.0), None);
    }

    proptest! {
        #[test]
        fn one_more_error_never_speaks_for_green(
            counts in prop::collection::vec((1u64..300, 0u64..60, 1u64..300, 0u64..60), 1..4),
            forgiven in 0u64..4, at in 0usize..4,
        ) {
            let of: Vec<Arms> = counts.into_iter().map(|(n, k, m, j)| arms(n, k.min(n - 1), m, j.min(m))).collect();
            let mut worse = of.clone();
            let at = at % worse.len();
            worse[at].green_errors += 1;
            prop_assert!(chance(&worse, forgiven) <= chance(&of, forgiven) + 1e-12);
        }

        #[test]
        fn any_counts_give_a_chance(green: u64, errors: u64, control: u64, control_errors: u64, forgiven: u64) {
            let any = [arms(green, errors.min(green), control, control_errors.min(control)), arms(5, 1, 50, 1)];
            prop_assert!((0.0..=1.0).contains(&chance(&any, forgiven)));
        }
    }
}
