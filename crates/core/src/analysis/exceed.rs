//! How many of green's samples lie above a quantile of the control, were both alike.
//!
//! Take the r-th smallest of m control samples. Whatever the distribution, the share of it that lies above is
//! Beta(m − r + 1, r), so the number of n further samples above is beta-binomial (the control quantile test, Mathisen
//! 1943). Each stratum has its own threshold; the counts add up. Exact, and blind to how strata differ in speed.

use super::{
    exact::{first, real},
    mass::{Mass, whole},
};

/// Green's samples beyond this are scaled down to it, all strata alike: less evidence than there is, never more.
const SAMPLES_MAX: f64 = 5000.0;
/// The same for the control: its quantile is known less well than it could be.
const CONTROL_MAX: u64 = 1_000_000;

/// One stratum: green's samples, the control's, and the rank of the threshold among the latter.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    pub(super) green: u64,
    pub(super) control: u64,
    pub(super) rank: u64,
}

/// The distribution of the number of exceedances, were green like the control in each stratum.
pub(super) struct Exceedances {
    mass: Mass,
    /// What a sample counts, 1 unless there were too many.
    scale: f64,
    samples: u64,
}

impl Exceedances {
    pub(super) fn new(strata: &[Sizes]) -> Self {
        let green: f64 = strata.iter().map(|sizes| real(sizes.green)).sum();
        let scale = (SAMPLES_MAX / green.max(1.0)).min(1.0);
        let mut mass = Mass::nothing();
        let mut samples = 0;
        for sizes in strata {
            let n = whole(real(sizes.green) * scale);
            let m = sizes.control.clamp(1, CONTROL_MAX);
            let r = whole(real(sizes.rank) / real(sizes.control.max(1)) * real(m)).clamp(1, m);
            mass = mass.plus(&Mass::beta_binomial(n, real(m - r + 1), real(r)));
            samples += n;
        }
        Self { mass, scale, samples }
    }

    /// The chance of `count` exceedances or more.
    pub(super) fn at_least(&self, count: u64) -> f64 {
        self.mass.at_least(whole(real(count) * self.scale))
    }

    /// The chance of `count` exceedances or fewer.
    pub(super) fn at_most(&self, count: u64) -> f64 {
        self.mass.at_most(whole((real(count) * self.scale).ceil()))
    }

    /// The smallest number of exceedances whose chance is at most `alpha`, and of how many samples.
    pub(super) fn critical(&self, alpha: f64) -> Option<(u64, u64)> {
        let count = first(self.samples + 1, |count| self.mass.at_least(count) <= alpha);
        (count <= self.samples).then_some((count, self.samples))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(green: u64, control: u64, rank: u64) -> Exceedances {
        Exceedances::new(&[Sizes { green, control, rank }])
    }

    #[test]
    fn chances_are_those_of_orderings() {
        // All 3 green samples above the largest of 3 blue ones: 1 of C(6, 3) orderings; all below the smallest alike.
        assert!((one(3, 3, 3).at_least(3) - 0.05).abs() < 1e-12);
        assert!((one(3, 3, 1).at_most(0) - 0.05).abs() < 1e-12);
        // Above the middle of 3: 1 or 2 blue samples may be above or between; counted by hand, 4 of 20.
        assert!((one(3, 3, 2).at_least(3) - 0.2).abs() < 1e-12);
        assert!((one(3, 3, 2).at_least(0) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn strata_add_up() {
        let both = Exceedances::new(&[Sizes { green: 3, control: 3, rank: 3 }; 2]);
        assert!((both.at_least(6) - 0.05 * 0.05).abs() < 1e-12);
    }

    #[test]
    fn a_well_known_control_leaves_the_binomial() {
        let chance = one(100, 1_000_000, 950_000).at_least(12);
        let binomial = super::super::exact::at_least(12, 100, 0.05);
        assert!((chance / binomial - 1.0).abs() < 0.01, "{chance} is not {binomial}");
    }

    #[test]
    fn too_few_samples_have_no_critical_count() {
        assert_eq!(one(2, 1000, 500).critical(0.01), None);
        assert_eq!(one(8, 1000, 500).critical(0.01), Some((8, 8)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn any_sizes_give_chances(green: u64, control: u64, rank: u64, count: u64) {
            let chances = Exceedances::new(&[Sizes { green, control, rank }, Sizes { green: 7, control: 20, rank: 19 }]);
            for chance in [chances.at_least(count), chances.at_most(count)] {
                prop_assert!((0.0..=1.0).contains(&chance));
            }
        }
    }
}
