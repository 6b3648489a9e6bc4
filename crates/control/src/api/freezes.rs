//! What a person is told where a freeze window is in the way.

use bellwether_core::{diagnostic::Diagnostic, plan::Plan};

pub(super) fn open(what: &str, name: &str, ends: &str) -> Diagnostic {
    Diagnostic::new("BW0421", format!("cannot {what} in the freeze {name:?}"))
        .because(format!("it ends {ends}"))
        .help("wait for that, or say why it cannot wait with --override-freeze REASON")
}

/// Who overrides a freeze says why.
pub(super) fn answered_for(why: Option<&str>) -> Result<(), Diagnostic> {
    match why {
        Some(why) if why.trim().is_empty() => Err(Diagnostic::new("BW0421", "a freeze is overridden without a reason")
            .help("say why it cannot wait, as in --override-freeze \"hotfix for the login\"")),
        Some(_) | None => Ok(()),
    }
}

/// Refuses what would stand in a freeze when its window closes: it fits, but not now.
pub(super) fn fits_its_window(plan: &Plan) -> Result<(), Diagnostic> {
    let (Some(window), Some(timetable)) = (plan.window, &plan.outlook.timetable) else { return Ok(()) };
    let waits = timetable.waits.iter().find(|_| timetable.lasts > window);
    let Some(wait) = waits.filter(|_| plan.outlook.schedule.expected() <= window) else { return Ok(()) };
    Err(Diagnostic::new(
        "BW0422",
        format!("begun now, the rollout would take {}, and its window is {window}", timetable.lasts),
    )
    .because(format!("{} would begin in the freeze {:?}, which ends {}", wait.what, wait.freeze, wait.ends))
    .help(
        "begin it after that, write a longer rollout.window, or say why it cannot wait with --override-freeze REASON",
    ))
}

#[cfg(test)]
mod tests {
    use bellwether_core::{
        plan::Freeze,
        time::{Millis, UnixMillis},
    };

    use super::*;
    use crate::samples;

    fn plan(window: Millis, freeze: (u64, u64)) -> Plan {
        let mut plan = samples::plan("v2");
        plan.window = Some(window);
        let at = |mins: u64| UnixMillis(Millis::from_mins(mins).0);
        let freeze = Freeze { name: "weekend".into(), from: at(freeze.0), to: at(freeze.1), ends: "Monday".into() };
        plan.among(vec![freeze], UnixMillis(0))
    }

    #[test]
    fn a_window_that_would_close_in_a_freeze_refuses_the_start() {
        let needed = samples::plan("v2").outlook.schedule.expected();
        let window = needed + Millis::from_mins(1);
        let baseline = samples::plan("v2").baseline.0 / 60_000;
        let refused = fits_its_window(&plan(window, (baseline.max(1), 9000))).expect_err("it would not be done");
        assert_eq!(refused.code, "BW0422");
        assert!(
            refused.cause.as_deref().is_some_and(|cause| cause.contains("the freeze \"weekend\", which ends Monday"))
        );
        assert!(fits_its_window(&plan(window, (9000, 9001))).is_ok(), "the freeze comes later");
        assert!(fits_its_window(&plan(Millis::from_mins(20_000), (baseline.max(1), 9000))).is_ok(), "it has the time");
    }

    #[test]
    fn an_override_has_a_reason() {
        assert!(answered_for(Some(" ")).is_err());
        assert!(answered_for(Some("hotfix")).is_ok() && answered_for(None).is_ok());
    }
}
