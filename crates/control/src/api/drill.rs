//! Whether the rollback of a release was rehearsed here, where the policy asks for that (R51).

use std::collections::BTreeMap;

use bellwether_core::{
    diagnostic::Diagnostic,
    id::{AgentName, RevisionId},
    plan::Plan,
    rollout::{RollbackRecord, Rollout, State},
    time::Millis,
};

/// Refuses a plan whose rollback no drill has shown to work.
pub(super) fn rehearsed(plan: &Plan, rollouts: &[Rollout]) -> Result<(), Diagnostic> {
    let moves: BTreeMap<_, _> = moves(plan).collect();
    // The release counts by its content: what a drill moved must be moved in the same way.
    let same = |drill: &&Rollout| {
        drill.plan.drill && self::moves(&drill.plan).all(|(agent, revisions)| moves.get(agent) == Some(&revisions))
    };
    let drills: Vec<&Rollout> = rollouts.iter().filter(same).collect();
    if drills.iter().any(|drill| shortfall(drill).is_none()) {
        return Ok(());
    }
    let cause = match drills.last().and_then(|drill| Some((drill.id, shortfall(drill)?))) {
        Some((id, shortfall)) => format!("the last drill of this release, rollout {id}, {shortfall}"),
        None => "no drill of this release, from what runs now, was made in this state directory".to_owned(),
    };
    let release = &plan.release;
    Err(Diagnostic::new("BW0403", format!("the rollback of release {:?} was not rehearsed", release.as_str()))
        .because(cause)
        .help(
            "run `bellwether drill` with the same release file first, or write `drill: optional` under `rollout` in the \
             fleet file",
        ))
}

/// What a drill lacks of a good one, if anything.
fn shortfall(drill: &Rollout) -> Option<String> {
    let record = drill.rollback.as_ref();
    let spans = record.and_then(|record| Some((record.execution()?, record.validation()?, record.end_to_end()?)));
    let (State::RolledBack, Some((execution, validation, end_to_end))) = (drill.state, spans) else {
        return Some(format!("has not ended well: it is {}", drill.state.name()));
    };
    let over = |what: &str, took: Millis, limit: Millis| {
        (took > limit).then(|| format!("took {took} {what}, and {limit} is the limit"))
    };
    over("until all traffic was on blue", execution, drill.plan.outlook.undo_max)
        .or_else(|| over("from there until blue was validated", validation, RollbackRecord::VALIDATION_MAX))
        .or_else(|| over("in all", end_to_end, RollbackRecord::END_TO_END_MAX))
}

fn moves(plan: &Plan) -> impl Iterator<Item = (&AgentName, (&RevisionId, &RevisionId))> {
    plan.agents().map(|planned| (&planned.agent, (&planned.from, &planned.to)))
}

#[cfg(test)]
mod tests {
    use bellwether_core::{id::RolloutId, plan::drill_of, time::UnixMillis};

    use super::*;
    use crate::samples::{plan, roll_back, started};

    /// As it stands before anything moved.
    fn under_way(content: &str) -> Rollout {
        started(drill_of(&plan(content))).rollout().unwrap().clone()
    }

    fn ended(content: &str, execution: Millis) -> Rollout {
        let mut machine = started(under_way(content).plan.as_ref().clone());
        roll_back(&mut machine, 10);
        let mut rollout = machine.rollout().unwrap().clone();
        rollout.state = State::RolledBack;
        let record = rollout.rollback.as_mut().unwrap();
        record.shifted = Some(UnixMillis(10_000) + execution);
        record.validated = Some(UnixMillis(12_000) + execution);
        rollout
    }

    fn refused(plan: &Plan, rollouts: &[Rollout]) -> String {
        rehearsed(plan, rollouts).unwrap_err().to_string()
    }

    #[test]
    fn a_drill_of_the_same_content_that_kept_the_limits_suffices() {
        let drill = ended("one", Millis::from_secs(3));
        assert_eq!(drill.id, RolloutId(1));
        assert_eq!(rehearsed(&plan("one"), std::slice::from_ref(&drill)), Ok(()));
        let text = refused(&plan("two"), &[drill]);
        assert!(text.contains("no drill of this release, from what runs now, was made"), "{text}");
    }

    #[test]
    fn a_drill_that_is_not_over_or_was_too_slow_does_not() {
        let text = refused(&plan("one"), &[under_way("one")]);
        assert!(text.contains("rollout 1, has not ended well: it is in preflight"), "{text}");
        let text = refused(&plan("one"), &[ended("one", Millis::from_secs(61))]);
        assert!(text.contains("took 1m01s until all traffic was on blue, and 1m is the limit"), "{text}");
    }

    #[test]
    fn a_rollout_that_was_no_drill_rehearsed_nothing() {
        let mut rollout = ended("one", Millis::from_secs(3));
        std::sync::Arc::make_mut(&mut rollout.plan).drill = false;
        assert!(rehearsed(&plan("one"), &[rollout]).is_err());
    }
}
