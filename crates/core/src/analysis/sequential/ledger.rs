//! What the bets of all strata add up to, in log space (ANALYSIS §2, §3.1).
//!
//! A run is evidence since some moment: per alternative and type. It is worth half the fleet (the mean over
//! alternatives of the product over types, the same alternative in all) and half the mean over types. The whole is
//! half the run from the start and half the runs that started with a phase, so that harm which begins late is not
//! weighed against a long good time before. The first phase starts where the whole does.

use std::collections::VecDeque;

/// Runs of phases that are kept. Those before count as lost, which only loses evidence.
const RESTARTS_MAX: usize = 8;
/// Σ 1 ÷ ((j+2) ln²(j+2)) over j ≥ 0.
const WEIGHTS: f64 = 2.109_742_801_236_891;
/// Logarithms beyond this say nothing more, and sums of them stay finite.
const LN_MAX: f64 = 1e12;

pub(super) struct Ledger<const J: usize> {
    types: usize,
    whole: Run<J>,
    /// The newest last.
    restarts: VecDeque<Run<J>>,
    begun: u32,
}

struct Run<const J: usize> {
    types: Vec<[f64; J]>,
    fleet: [f64; J],
    /// Evidence of a second kind that shares the run half and half.
    second: Option<Box<Run<J>>>,
}

impl<const J: usize> Ledger<J> {
    pub(super) fn new(types: usize) -> Self {
        Self { types, whole: Run::new(types), restarts: VecDeque::new(), begun: 0 }
    }

    /// A phase begins.
    pub(super) fn restart(&mut self) {
        if self.restarts.len() == RESTARTS_MAX {
            self.restarts.pop_front();
        }
        self.restarts.push_back(Run::new(self.types));
        self.begun = self.begun.saturating_add(1);
    }

    /// Takes what one second's outcomes of a type say to each alternative.
    pub(super) fn add(&mut self, kind: usize, ln: &[f64; J]) {
        self.whole.add(kind, ln);
        self.restarts.iter_mut().for_each(|run| run.add(kind, ln));
    }

    /// Sets what the second kind of evidence says of a type in the newest run. That of older runs stays as it was.
    pub(super) fn set_second(&mut self, kind: usize, ln: &[f64; J]) {
        let run = self.restarts.back_mut().unwrap_or(&mut self.whole);
        run.second.get_or_insert_with(|| Box::new(Run::new(self.types))).set(kind, ln);
    }

    /// All evidence.
    pub(super) fn ln(&self) -> f64 {
        self.over_runs(Run::ln)
    }

    /// All evidence of one type.
    pub(super) fn ln_of(&self, kind: usize) -> f64 {
        self.over_runs(|run| run.ln_of(kind))
    }

    /// Evidence of the fleet since the newest phase began.
    pub(super) fn ln_lately(&self) -> f64 {
        ln_mean(&self.newest().fleet)
    }

    /// Evidence of one type since the newest phase began.
    pub(super) fn ln_lately_of(&self, kind: usize) -> f64 {
        self.newest().types.get(kind).map_or(0.0, |ln| ln_mean(ln))
    }

    fn newest(&self) -> &Run<J> {
        self.restarts.back().unwrap_or(&self.whole)
    }

    fn over_runs(&self, ln: impl Fn(&Run<J>) -> f64) -> f64 {
        let weight = |number: u32| {
            let from_two = f64::from(number) + 2.0;
            1.0 / (from_two * from_two.ln().powi(2) * WEIGHTS)
        };
        let kept = u32::try_from(self.restarts.len()).unwrap_or(u32::MAX);
        let numbers = self.begun.saturating_sub(kept)..self.begun;
        // The first phase is where the whole begins. Runs that have not begun are worth 1, and the weights of very many
        // are not worth adding up.
        let spent: f64 = (0..=self.begun.min(1000)).map(weight).sum();
        let mut parts = vec![(0.5 + 0.5 * weight(0), ln(&self.whole)), (0.5 * (1.0 - spent).max(0.0), 0.0)];
        parts.extend(numbers.zip(&self.restarts).map(|(number, run)| (0.5 * weight(number + 1), ln(run))));
        ln_mix(&parts)
    }
}

impl<const J: usize> Run<J> {
    fn new(types: usize) -> Self {
        Self { types: vec![[0.0; J]; types], fleet: [0.0; J], second: None }
    }

    fn add(&mut self, kind: usize, more: &[f64; J]) {
        let Some(ln) = self.types.get_mut(kind) else { return };
        for ((sum, fleet), more) in ln.iter_mut().zip(&mut self.fleet).zip(more) {
            let before = *sum;
            *sum = (before + more).clamp(-LN_MAX, LN_MAX);
            *fleet += *sum - before;
        }
    }

    fn set(&mut self, kind: usize, to: &[f64; J]) {
        let Some(&was) = self.types.get(kind) else { return };
        let mut difference = *to;
        difference.iter_mut().zip(was).for_each(|(to, was)| *to -= was);
        self.add(kind, &difference);
    }

    fn ln(&self) -> f64 {
        let types: Vec<f64> = self.types.iter().map(|ln| ln_mean(ln)).collect();
        let first = ln_mix(&[(0.5, ln_mean(&self.fleet)), (0.5, ln_mean(&types))]);
        self.with_second(first, Self::ln)
    }

    fn ln_of(&self, kind: usize) -> f64 {
        let first = self.types.get(kind).map_or(0.0, |ln| ln_mean(ln));
        self.with_second(first, |run| run.ln_of(kind))
    }

    fn with_second(&self, first: f64, ln: impl Fn(&Self) -> f64) -> f64 {
        self.second.as_ref().map_or(first, |second| ln_mix(&[(0.5, first), (0.5, ln(second))]))
    }
}

/// The logarithm of the mean of what these are logarithms of; of nothing, that of 1.
pub(super) fn ln_mean(lns: &[f64]) -> f64 {
    let most = lns.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if !most.is_finite() {
        return if lns.is_empty() { 0.0 } else { most };
    }
    let sum: f64 = lns.iter().map(|ln| (ln - most).exp()).sum();
    most + (sum / super::super::exact::real(lns.len() as u64)).ln()
}

/// The logarithm of Σ weight × e^ln.
pub(super) fn ln_mix(parts: &[(f64, f64)]) -> f64 {
    let parts = || parts.iter().filter(|(weight, _)| *weight > 0.0);
    let most = parts().map(|&(_, ln)| ln).fold(f64::NEG_INFINITY, f64::max);
    if !most.is_finite() {
        return most;
    }
    most + parts().map(|&(weight, ln)| weight * (ln - most).exp()).sum::<f64>().ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The weight of the first phase: 1 ÷ (2 ln² 2), of all.
    const FIRST: f64 = 1.040_684_490_502_803 / WEIGHTS;

    #[test]
    fn weights_of_all_restarts_sum_to_one() {
        let weight = |j: f64| 1.0 / ((j + 2.0) * (j + 2.0).ln().powi(2));
        let (seen, end) = ((0..2_000_000).map(|j| weight(f64::from(j))).sum::<f64>(), 2_000_000.0_f64 + 1.5);
        // The rest of the sum is the integral of 1 ÷ (x ln² x), which is 1 ÷ ln x.
        assert!((seen + 1.0 / end.ln() - WEIGHTS).abs() < 1e-9);
    }

    #[test]
    fn no_evidence_is_worth_one() {
        let mut ledger: Ledger<3> = Ledger::new(4);
        assert!(ledger.ln().abs() < 1e-12);
        for _ in 0..50 {
            ledger.restart();
            assert!(ledger.ln() <= 1e-12 && ledger.ln_of(2) <= 1e-12);
        }
        assert!(Ledger::<3>::new(0).ln().abs() < 1e-12);
    }

    #[test]
    fn the_fleet_joins_what_each_type_says_a_little() {
        let mut ledger: Ledger<2> = Ledger::new(5);
        (0..5).for_each(|kind| ledger.add(kind, &[4.0, -4.0]));
        let first = 0.5 + 0.5 * FIRST;
        assert!((ledger.ln() - (20.0 + (first / 4.0).ln())).abs() < 0.01);
        assert!((ledger.ln_of(0) - (4.0 + (first / 2.0).ln())).abs() < 0.02);
    }

    #[test]
    fn a_late_start_is_not_weighed_against_a_good_past() {
        let mut ledger: Ledger<2> = Ledger::new(1);
        ledger.restart();
        ledger.add(0, &[-100.0, -100.0]);
        ledger.restart();
        ledger.add(0, &[20.0, 20.0]);
        assert!(ledger.ln() > 16.0 && ledger.ln_lately() == 20.0);
    }

    #[test]
    fn a_second_kind_has_half_of_its_run() {
        let mut ledger: Ledger<2> = Ledger::new(1);
        ledger.set_second(0, &[10.0, 10.0]);
        assert!((ledger.ln() - (10.0 + ((0.5 + 0.5 * FIRST) / 2.0).ln())).abs() < 0.01, "of the whole until then");
        ledger.restart();
        ledger.set_second(0, &[20.0, 20.0]);
        ledger.set_second(0, &[50.0, 50.0]);
        let second = 0.5 / (3.0 * 3.0_f64.ln().powi(2) * WEIGHTS);
        assert!((ledger.ln() - (50.0 + (second / 2.0).ln())).abs() < 1e-6);
    }

    #[test]
    fn evidence_without_end_stays_finite() {
        let mut ledger: Ledger<2> = Ledger::new(2);
        ledger.restart();
        for kind in 0..3 {
            ledger.add(kind, &[f64::MAX, f64::MIN]);
            ledger.add(kind, &[f64::MAX, f64::MIN]);
        }
        assert!(ledger.ln().is_finite() && ledger.ln_of(9).is_finite());
    }
}
