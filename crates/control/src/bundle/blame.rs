//! Whom the evidence points at, and whose logs therefore are worth reading first. Pure.

use std::collections::{BTreeMap, BTreeSet};

use bellwether_core::{
    id::{AgentName, AgentType, InstanceId, Side},
    rollout::{AgentView, RollbackRecord, Trigger},
    time::UnixMillis,
    watch::{Alarm, AlarmKind},
};

use super::{facts::Roster, tally::AgentSum};

/// Logs of more instances than this are not kept.
pub(super) const INSTANCES_MAX: usize = 20;
/// Where a trigger names nobody, so many agents are looked at.
const SUSPECTS_MAX: usize = 10;

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Blame {
    /// First those to look at first.
    pub(super) agents: Vec<AgentName>,
    pub(super) types: Vec<AgentType>,
    /// The triggers name them. Otherwise they only stand out in the figures.
    pub(super) named: bool,
    /// Blue suffers as well.
    pub(super) shared: bool,
}

impl Blame {
    pub(super) fn new(record: &RollbackRecord, concerned: &[&AgentView], sums: &BTreeMap<AgentName, AgentSum>) -> Self {
        let triggers = || std::iter::once(&record.trigger).chain(&record.also);
        let alarms = || triggers().filter_map(alarm);
        let mut agents: Vec<AgentName> = triggers().filter_map(one_agent).cloned().collect();
        agents.extend(alarms().flat_map(|alarm| &alarm.agents).cloned());
        let types: BTreeSet<&AgentType> = alarms().flat_map(|alarm| &alarm.types).collect();
        // Where an alarm names agents, their type only says how they were compared.
        let whole: BTreeSet<&AgentType> =
            alarms().filter(|alarm| alarm.agents.is_empty()).flat_map(|alarm| &alarm.types).collect();
        let kind = alarms().map(|alarm| alarm.kind).next();
        let shared = alarms().any(|alarm| alarm.shared);
        if !agents.is_empty() || !types.is_empty() {
            let of_type = concerned.iter().filter(|agent| whole.contains(&agent.agent_type)).map(|agent| &agent.name);
            agents.extend(worst(of_type, sums, kind, false));
            let types = types.into_iter().cloned().collect();
            return Self { agents: once_each(agents), types, named: true, shared };
        }
        let mut agents = worst(concerned.iter().map(|agent| &agent.name), sums, kind, true);
        agents.truncate(SUSPECTS_MAX);
        Self { agents, types: Vec::new(), named: false, shared }
    }

    /// The newest green of each blamed agent first, then the ones before; `stuck` blues before all, and blue beside
    /// green where both suffer.
    pub(super) fn instances(&self, roster: &Roster, since: UnixMillis, stuck: &[&AgentView]) -> Vec<InstanceId> {
        let mut chosen: Vec<InstanceId> = stuck.iter().filter_map(|agent| agent.blue.is.instance()).collect();
        chosen.truncate(INSTANCES_MAX / 2);
        let mut turns: Vec<Vec<InstanceId>> = Vec::new();
        for agent in &self.agents {
            let is_one = |side: Side| {
                move |(_, member): &(&InstanceId, &super::facts::Member)| {
                    member.agent == *agent && member.side == side && (side == Side::Blue || member.enrolled >= since)
                }
            };
            let mut newest: Vec<InstanceId> =
                roster.iter().rev().filter(is_one(Side::Green)).map(|(id, _)| *id).collect();
            if self.shared {
                let blue = roster.iter().rev().find(is_one(Side::Blue)).map(|(id, _)| *id);
                newest.splice(newest.len().min(1)..newest.len().min(1), blue);
            }
            turns.push(newest);
        }
        for turn in 0..INSTANCES_MAX {
            chosen.extend(turns.iter().filter_map(|instances| instances.get(turn)));
        }
        let mut seen = BTreeSet::new();
        chosen.retain(|instance| seen.insert(*instance));
        chosen.truncate(INSTANCES_MAX);
        chosen
    }
}

fn alarm(trigger: &Trigger) -> Option<&Alarm> {
    match trigger {
        Trigger::Alarm(alarm) => Some(alarm),
        Trigger::Operator { .. }
        | Trigger::Gate { .. }
        | Trigger::CrashLoop { .. }
        | Trigger::OutOfMemory { .. }
        | Trigger::Drill
        | Trigger::Unrecorded { .. }
        | Trigger::WindowClosed { .. } => None,
    }
}

fn one_agent(trigger: &Trigger) -> Option<&AgentName> {
    match trigger {
        Trigger::CrashLoop { agent, .. } | Trigger::OutOfMemory { agent, .. } => Some(agent),
        Trigger::Operator { .. }
        | Trigger::Gate { .. }
        | Trigger::Alarm(_)
        | Trigger::Drill
        | Trigger::Unrecorded { .. }
        | Trigger::WindowClosed { .. } => None,
    }
}

/// Green's agents, the worst in what the alarm is about first. With `only_bad`, those that show nothing are left out.
fn worst<'a>(
    agents: impl Iterator<Item = &'a AgentName>,
    sums: &BTreeMap<AgentName, AgentSum>,
    kind: Option<AlarmKind>,
    only_bad: bool,
) -> Vec<AgentName> {
    let mut ranked: Vec<(f64, &AgentName)> = agents
        .filter_map(|agent| {
            let badness = sums.get(agent).map_or(0.0, |sum| badness(sum, kind));
            (badness > 0.0 || !only_bad).then_some((badness, agent))
        })
        .collect();
    ranked.sort_by(|(a, name_a), (b, name_b)| b.total_cmp(a).then_with(|| name_a.cmp(name_b)));
    ranked.into_iter().map(|(_, agent)| agent.clone()).collect()
}

fn badness(sum: &AgentSum, kind: Option<AlarmKind>) -> f64 {
    use super::words::{ratio, real};
    let green = &sum.sides.green;
    match kind {
        Some(AlarmKind::Memory) => real(sum.memory_peak.green),
        Some(AlarmKind::Cpu) => sum.cores_peak.green,
        Some(AlarmKind::Latency) => green.own_time.quantile(0.95).unwrap_or(0.0),
        Some(AlarmKind::ModelServer) => real(green.calls_failed),
        Some(AlarmKind::BreakerTrips) => real(green.trips),
        Some(AlarmKind::NoProgress) => real(green.silent_ms),
        Some(AlarmKind::Errors | AlarmKind::FailureStreak | AlarmKind::Health) | None => {
            ratio(green.errors, green.outcomes)
        }
    }
}

fn once_each(agents: Vec<AgentName>) -> Vec<AgentName> {
    let mut seen = BTreeSet::new();
    agents.into_iter().filter(|agent| seen.insert(agent.clone())).collect()
}

#[cfg(test)]
mod tests {
    use bellwether_core::rollout::{Is, SeatView};

    use super::{super::facts::Member, *};

    fn view(name: &str, agent_type: &str) -> AgentView {
        let blue =
            SeatView { revision: "r1".into(), is: Is::Ready { instance: InstanceId(1) }, failures: 0, fault: None };
        AgentView {
            name: name.into(),
            agent_type: agent_type.into(),
            serving: Some(Side::Blue),
            active: None,
            phase: None,
            blue,
            green: None,
        }
    }

    fn record(trigger: Trigger) -> RollbackRecord {
        RollbackRecord {
            trigger,
            also: Vec::new(),
            harm_began: None,
            began: UnixMillis(0),
            shifted: None,
            swapped: None,
            validated: None,
            checked: false,
            fault: None,
        }
    }

    fn alarm(agents: &[&str], types: &[&str], shared: bool) -> Trigger {
        Trigger::Alarm(Box::new(Alarm {
            kind: AlarmKind::Errors,
            shared,
            harm_began: UnixMillis(0),
            agents: agents.iter().map(|&name| name.into()).collect(),
            types: types.iter().map(|&name| name.into()).collect(),
            why: String::new(),
            figures: Vec::new(),
        }))
    }

    fn blame(trigger: Trigger) -> Blame {
        let views = [view("a", "x"), view("b", "x"), view("c", "y")];
        let mut sums = BTreeMap::new();
        for (name, errors) in [("a", 1), ("b", 9), ("c", 0)] {
            let mut sum = AgentSum::default();
            (sum.sides.green.errors, sum.sides.green.outcomes) = (errors, 10);
            sums.insert(name.into(), sum);
        }
        Blame::new(&record(trigger), &views.iter().collect::<Vec<_>>(), &sums)
    }

    fn names(blame: &Blame) -> Vec<&str> {
        blame.agents.iter().map(AgentName::as_str).collect()
    }

    #[test]
    fn a_type_is_its_agents_unless_some_are_named() {
        assert_eq!(names(&blame(alarm(&[], &["x"], false))), ["b", "a"]);
        assert_eq!(names(&blame(alarm(&["a"], &["x"], false))), ["a"]);
    }

    #[test]
    fn where_nobody_is_named_those_stand_out_who_did_badly() {
        let blame = blame(Trigger::Operator { by: "mara".into(), why: String::new() });
        assert_eq!((names(&blame), blame.named), (vec!["b", "a"], false));
    }

    #[test]
    fn the_newest_green_of_each_comes_first_and_blue_beside_it_where_both_suffer() {
        let member = |agent: &str, side, enrolled| Member { agent: agent.into(), side, enrolled: UnixMillis(enrolled) };
        let roster: Roster = [
            (InstanceId(1), member("a", Side::Blue, 0)),
            (InstanceId(2), member("a", Side::Green, 1)),
            (InstanceId(3), member("a", Side::Green, 10)),
            (InstanceId(4), member("b", Side::Green, 10)),
            (InstanceId(5), member("a", Side::Green, 11)),
        ]
        .into();
        let numbers = |shared, stuck: &[&AgentView]| -> Vec<u64> {
            let blame = Blame { agents: vec!["a".into(), "b".into()], shared, ..Blame::default() };
            blame.instances(&roster, UnixMillis(10), stuck).iter().map(|instance| instance.0).collect()
        };
        assert_eq!(numbers(false, &[]), [5, 4, 3], "the green of an earlier rollout is not to blame");
        assert_eq!(numbers(true, &[]), [5, 4, 1, 3]);
        assert_eq!(numbers(false, &[&view("a", "x")]), [1, 5, 4, 3]);
    }

    #[test]
    fn a_long_crash_loop_is_bounded() {
        let member = Member { agent: "a".into(), side: Side::Green, enrolled: UnixMillis(1) };
        let roster: Roster = (1..100).map(|number| (InstanceId(number), member.clone())).collect();
        let blame = Blame { agents: vec!["a".into()], ..Blame::default() };
        let chosen = blame.instances(&roster, UnixMillis(0), &[]);
        assert_eq!((chosen.len(), chosen[0]), (INSTANCES_MAX, InstanceId(99)));
    }
}
