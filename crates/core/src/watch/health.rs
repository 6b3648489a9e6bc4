//! R44: health checks of an instance that was ready and fails several in a row.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Alarm, AlarmKind, HealthCheck, WatchSetup,
    digest::Both,
    latch::Latch,
    roster::{Roster, alike},
    words::{agents, figure, names, quote},
};
use crate::{
    analysis::{exact::real, words::count},
    id::{AgentName, InstanceId, Side},
    time::{Millis, UnixMillis},
};

/// A check that failed and was not repeated for so long is of an instance that nobody checks any more.
const STALE: Millis = Millis::from_secs(15);

pub(super) struct Health {
    /// So many in a row are borne.
    borne: Option<u32>,
    checked: BTreeMap<AgentName, Both<Option<Checked>>>,
    latch: Latch,
}

/// The instance that was checked last on one side of an agent.
#[derive(Clone, Debug)]
struct Checked {
    instance: InstanceId,
    at: UnixMillis,
    failures: u32,
    since: UnixMillis,
    fault: String,
}

impl Health {
    pub(super) fn new(setup: &WatchSetup<'_>) -> Self {
        let triggers = setup.triggers;
        Self { borne: triggers.health_failures, checked: BTreeMap::new(), latch: Latch::new(triggers.scope) }
    }

    pub(super) fn check(&mut self, check: &HealthCheck, roster: &Roster) -> Option<Alarm> {
        if !roster.knows(&check.agent) || !self.note(check) || check.side == Side::Blue {
            return None;
        }
        let borne = self.borne?;
        let failing = |side: Side| -> BTreeSet<AgentName> {
            let on_side = self.on(side).filter(|(_, checked)| checked.failures > borne && fresh(checked, check.at));
            on_side.map(|(agent, _)| agent.clone()).collect()
        };
        let (greens, blues) = (failing(Side::Green), failing(Side::Blue));
        if !greens.contains(&check.agent) {
            if greens.is_empty() {
                self.latch.absent();
            }
            return None;
        }
        let of = |side| self.on(side).filter(|(_, checked)| fresh(checked, check.at)).count() as u64;
        let shared = alike((greens.len() as u64, of(Side::Green)), (blues.len() as u64, of(Side::Blue)));
        let hit = self.latch.look(greens, shared)?;
        let green = self.checked.get(&check.agent)?.green.as_ref()?;
        let others = if hit.len() > 1 { format!("; so do {}", agents(&hit)) } else { String::new() };
        let why = format!(
            "instance {} of green's {} failed {} health checks in a row, more than {borne}: {}{others}{}",
            green.instance,
            check.agent,
            count(green.failures.into()),
            green.fault,
            if shared { format!("; blue's {} fail alike", names(&blues)) } else { String::new() },
        );
        let began = hit.iter().filter_map(|agent| Some(self.checked.get(agent)?.green.as_ref()?.since)).min();
        Some(Alarm {
            kind: AlarmKind::Health,
            shared,
            harm_began: began.unwrap_or(check.at),
            types: roster.types_of(&hit),
            agents: hit.into_iter().collect(),
            why,
            figures: vec![figure(
                format!("health checks of {} failed in a row", check.agent),
                real(green.failures.into()),
                Some(real(borne.into())),
                "",
            )],
        })
    }

    /// Blue instances whose last check failed, in words; `now` is the latest moment that is known of.
    pub(super) fn fault_of_blue(&self, now: UnixMillis) -> Option<String> {
        let failing: BTreeMap<&AgentName, &Checked> =
            self.on(Side::Blue).filter(|(_, checked)| checked.failures > 0 && fresh(checked, now)).collect();
        let (agent, checked) = failing.first_key_value()?;
        Some(format!(
            "{} of blue's instances fail their health checks: {agent}: {}",
            count(failing.len() as u64),
            checked.fault
        ))
    }

    /// Whether the check says anything: one of an instance that was replaced since does not.
    fn note(&mut self, check: &HealthCheck) -> bool {
        let held = self.checked.entry(check.agent.clone()).or_default().of_mut(check.side);
        if held.as_ref().is_some_and(|held| held.instance > check.instance) {
            return false;
        }
        let before = held.take().filter(|held| held.instance == check.instance);
        let (failures, since) = match (&check.fault, &before) {
            (None, _) => (0, check.at),
            (Some(_), Some(before)) if before.failures > 0 => (before.failures.saturating_add(1), before.since),
            (Some(_), _) => (1, check.at),
        };
        let fault = check.fault.as_deref().map(quote).unwrap_or_default();
        *held = Some(Checked { instance: check.instance, at: check.at, failures, since, fault });
        true
    }

    fn on(&self, side: Side) -> impl Iterator<Item = (&AgentName, &Checked)> {
        self.checked.iter().filter_map(move |(agent, sides)| Some((agent, sides.of(side).as_ref()?)))
    }
}

fn fresh(checked: &Checked, now: UnixMillis) -> bool {
    now.since(checked.at) <= STALE
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::{Watch, tests::Bench};

    fn check(watch: &mut Watch, at: u64, agent: &str, side: Side, instance: u64, well: bool) -> Option<Alarm> {
        let fault = (!well).then(|| "it answered 500".to_owned());
        let at = UnixMillis(at * 1000);
        watch.health(&HealthCheck { at, instance: InstanceId(instance), agent: agent.into(), side, fault })
    }

    #[test]
    fn the_third_failure_in_a_row_fires() {
        let mut watch = Bench::new(20).watch();
        let mut green = |at, well| check(&mut watch, at, "a1", Side::Green, 7, well);
        assert_eq!([green(1, true), green(2, false), green(3, false)], [None, None, None]);
        let alarm = green(4, false).unwrap();
        assert_eq!(alarm.why, "instance 7 of green's a1 failed 3 health checks in a row, more than 2: it answered 500");
        assert_eq!((alarm.harm_began, alarm.shared), (UnixMillis(2000), false));
        assert_eq!(green(5, false), None);
        (6..11).for_each(|at| assert_eq!(green(at, true), None));
        assert_eq!((11..14).filter_map(|at| green(at, false)).count(), 1, "it had gone");
    }

    #[test]
    fn two_of_three_for_ever_are_borne() {
        let mut watch = Bench::new(2).watch();
        (1..300).for_each(|at| assert_eq!(check(&mut watch, at, "a1", Side::Green, 7, at % 3 == 0), None));
    }

    #[test]
    fn another_instance_counts_from_the_start() {
        let mut watch = Bench::new(2).watch();
        for instance in 1..50 {
            assert_eq!(check(&mut watch, instance * 2, "a1", Side::Green, instance, false), None);
            assert_eq!(check(&mut watch, instance * 2 + 1, "a1", Side::Green, instance, false), None);
            assert_eq!(
                check(&mut watch, instance * 2 + 1, "a1", Side::Green, instance - 1, false),
                None,
                "it was replaced"
            );
        }
    }

    #[test]
    fn blue_alone_is_no_alarm_of_the_rollout_but_a_fault_of_what_it_goes_back_to() {
        let mut watch = Bench::new(2).watch();
        (1..20).for_each(|at| assert_eq!(check(&mut watch, at, "a1", Side::Blue, 3, false), None));
        assert_eq!(
            watch.fault_of_blue().unwrap().split("; ").next(),
            Some("1 of blue's instances fail their health checks: a1: it answered 500")
        );
        check(&mut watch, 20, "a1", Side::Blue, 3, true);
        assert!(!watch.fault_of_blue().unwrap().contains("health"));
    }

    #[test]
    fn where_blue_fails_alike_it_is_shared() {
        let mut watch = Bench::new(4).watch();
        let mut alarms = Vec::new();
        for at in 1..5 {
            alarms.extend(check(&mut watch, at, "a1", Side::Blue, 3, false));
            alarms.extend(check(&mut watch, at, "a2", Side::Green, 4, false));
        }
        assert!(alarms.len() == 1 && alarms[0].shared, "{alarms:?}");
    }
}
