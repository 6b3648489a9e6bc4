//! R30: tasks completed per second against the baseline, where fewer may simply have arrived.
//!
//! Two facts decide. The rate itself (conditional binomial limits of two Poisson counts), and whether the fleet
//! kept up with what arrived, seen from the growth of the queue. A rate that fell while the queue grew is harm; one
//! that fell while the queue did not grow cannot be told from a smaller demand.

use super::{
    Baseline, Finding, Judgement, Window,
    exact::{rate_ratio_limits, real},
    judge::{Draft, Terms},
    share::Share,
    words::{count, number, percent},
};

pub(super) fn judge(terms: &Terms<'_>, baseline: &Baseline, window: &Window) -> Judgement {
    let alpha = terms.alpha(0.06) / 2.0;
    let share_min = terms.criteria.task_rate_min;
    let (before, since) = (baseline.window().total(), window.total());
    let (before_span, span) = (real(baseline.window().seconds()), real(window.seconds()));
    let draft = Draft::new("R30", "task processing rate").samples(since.done());
    if before.done() == 0 || before_span <= 0.0 {
        return draft.limit(share_min * 100.0, "% of baseline").open("no task was completed in the baseline");
    }
    let base = real(before.done()) / before_span;
    let draft = draft.limit(base * share_min, "tasks/s");
    if span <= 0.0 || since.outcomes() == 0 {
        return draft.baseline(base).open("no task has ended");
    }
    let rate = real(since.done()) / span;
    let (lowest, highest) = rate_ratio_limits(since.done(), span, before.done(), before_span, alpha);
    let ended = since.done().saturating_add(since.failed).saturating_add(since.pushes_failed);
    let kept_up = Share { hits: ended, of: ended.saturating_add(window.queue_growth()) };
    let fell = alpha > 0.0 && highest < share_min;
    let smallest = kept_up.smallest_shortfall(share_min, alpha);
    let (finding, says) = if fell && kept_up.below(share_min, alpha) {
        (Finding::Harm, "the rate fell while the queue grew")
    } else if alpha > 0.0 && lowest >= share_min {
        (Finding::Proved, "the rate holds beyond doubt")
    } else if fell {
        (Finding::CannotTellYet, "fewer arrived, so what the fleet could do was not seen")
    } else if kept_up.proved(share_min, alpha) {
        (Finding::NoHarmSeen, "the fleet kept up with what arrived")
    } else {
        (Finding::CannotTellYet, "too few to tell")
    };
    let why = format!(
        "{} tasks/s, {} in the baseline; {} of {} tasks that arrived were worked off; {says}",
        number(rate),
        number(base),
        percent(real(ended) / real(kept_up.of.max(1))),
        count(kept_up.of)
    );
    let shortfall = smallest.map(|shortfall| (1.0 - share_min + shortfall) * base);
    draft.measured(base, rate).smallest(shortfall).find(terms.gate.require, finding, why)
}
