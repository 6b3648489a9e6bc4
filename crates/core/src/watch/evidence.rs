//! R41 and R31: errors and latency, on evidence that is valid at every look. The literal figure of R41, more than
//! 5 % of a type's outcomes, is reported beside it and never acts alone: 1 of 15 is no evidence.

use std::collections::BTreeMap;

use super::{
    Alarm, AlarmKind, WatchSetup,
    digest::Digest,
    latch::Latch,
    recent::Recent,
    roster::Roster,
    words::{add, figure, share},
};
use crate::{
    analysis::{
        Harm, Metric, Sequential, SequentialSetup,
        words::{count, number, percent},
    },
    histogram::Histogram,
    id::{AgentType, Side},
    observation::Second,
};

/// What errors and latency may spend on false alarms in a whole rollout (ANALYSIS §3b).
const ALPHA: f64 = 0.008;
/// Seconds over which the literal figure is taken.
const WINDOW: u64 = 60;

pub(super) struct Evidence {
    sequential: Sequential,
    /// The share of errors at which a type's harm is called severe; none switches errors off.
    severe: Option<f64>,
    latency: bool,
    /// Errors and outcomes of green by type.
    recent: Recent<BTreeMap<AgentType, (u64, u64)>>,
    phase: Option<usize>,
    phase_seconds: u64,
    /// As of the last second: the test sees more errors on green than on blue.
    sees_errors: bool,
    errors_latch: Latch,
    latency_latch: Latch,
}

impl Evidence {
    pub(super) fn new(setup: &WatchSetup<'_>) -> Self {
        let triggers = setup.triggers;
        let sequential = Sequential::new(&SequentialSetup {
            agents: &setup.agents,
            error_margin: setup.error_margin,
            latency_ratio: triggers.latency,
            alpha: ALPHA,
            baseline: setup.baseline,
        });
        Self {
            sequential,
            severe: triggers.errors,
            latency: triggers.latency.is_some(),
            recent: Recent::new(WINDOW),
            phase: None,
            phase_seconds: 0,
            sees_errors: false,
            errors_latch: Latch::new(triggers.scope),
            latency_latch: Latch::new(triggers.scope),
        }
    }

    /// Failures of one agent in a row that do not happen by chance.
    pub(super) fn streak_max(&self) -> u64 {
        self.sequential.streak_max()
    }

    pub(super) fn second(&mut self, second: &Second, digest: &Digest, phase: usize, roster: &Roster) -> Option<Alarm> {
        if self.phase.replace(phase) == Some(phase) {
            self.phase_seconds = self.phase_seconds.saturating_add(1);
        } else {
            if self.phase_seconds > 0 {
                self.sequential.phase();
            }
            self.phase_seconds = 1;
        }
        match without_warm_up(second, roster) {
            Some(second) => self.sequential.second(&second),
            None => self.sequential.second(second),
        }
        let mut by_type: BTreeMap<AgentType, (u64, u64)> = BTreeMap::new();
        for (agent, sight) in digest.of(Side::Green).filter(|(_, sight)| sight.outcomes() > 0) {
            if let Some(agent_type) = roster.type_of(agent) {
                let sum = by_type.entry(agent_type.clone()).or_default();
                *sum = add(*sum, (sight.errors, sight.outcomes()));
            }
        }
        self.recent.push(digest.number, by_type);

        let harm = self.sequential.harm().filter(|harm| match harm.metric {
            Metric::Errors => self.severe.is_some(),
            Metric::Latency(_) => self.latency,
        });
        self.sees_errors = harm.as_ref().is_some_and(|harm| harm.metric == Metric::Errors);
        let Some(harm) = harm else {
            self.errors_latch.absent();
            self.latency_latch.absent();
            return None;
        };
        self.alarm(harm, roster)
    }

    pub(super) fn sees_errors(&self) -> bool {
        self.sees_errors
    }

    fn alarm(&mut self, harm: Harm, roster: &Roster) -> Option<Alarm> {
        let (kind, latch, what) = match harm.metric {
            Metric::Errors => (AlarmKind::Errors, &mut self.errors_latch, "errors"),
            Metric::Latency(_) => (AlarmKind::Latency, &mut self.latency_latch, "slow responses"),
        };
        let named =
            if harm.agents.is_empty() { roster.of_types(&harm.types) } else { harm.agents.iter().cloned().collect() };
        let named = latch.look(named, false)?;
        let percents = |(all, hits): (u64, u64)| share((hits, all)) * 100.0;
        let mut figures = vec![
            figure("odds against equal sides", harm.odds, Some(harm.threshold), ":1"),
            figure(format!("{what} of green"), percents(harm.green), None, "%"),
            figure(format!("{what} of blue"), percents(harm.blue), None, "%"),
        ];
        let mut why = format!(
            "{}; {} s into phase {}",
            harm.why,
            count(self.phase_seconds),
            self.phase.unwrap_or(0).saturating_add(1)
        );
        if let (AlarmKind::Errors, Some(severe)) = (kind, self.severe) {
            let (text, by_type) = self.severity(severe);
            why = format!("{why}; {text}");
            figures.extend(by_type);
        }
        let types = if harm.types.is_empty() { roster.types_of(&named) } else { harm.types };
        Some(Alarm {
            kind,
            shared: false,
            harm_began: harm.began,
            // Whom the evidence points at; where that is a type, the agents of it are not each to blame.
            agents: if harm.agents.is_empty() { Vec::new() } else { named.into_iter().collect() },
            types,
            why,
            figures,
        })
    }

    /// The literal reading of R41, in words and figures: each type above the limit, or the worst one.
    fn severity(&self, severe: f64) -> (String, Vec<super::Figure>) {
        let mut sums: BTreeMap<&AgentType, (u64, u64)> = BTreeMap::new();
        for (agent_type, counts) in self.recent.iter().flatten() {
            let sum = sums.entry(agent_type).or_default();
            *sum = add(*sum, *counts);
        }
        let mut worst: Vec<(&AgentType, (u64, u64))> = sums.into_iter().collect();
        worst.sort_by(|(_, a), (_, b)| share(*b).total_cmp(&share(*a)));
        let above = worst.iter().filter(|(_, counts)| share(*counts) > severe).count();
        let text = worst.first().map_or_else(
            || format!("no outcome of green in the last {WINDOW} s"),
            |(agent_type, counts)| {
                format!(
                    "literally, {} of green's types {} above the severe {} in the last {WINDOW} s; {agent_type} has {} of {}",
                    count(above as u64),
                    if above == 1 { "is" } else { "are" },
                    percent(severe),
                    percent(share(*counts)),
                    count(counts.1),
                )
            },
        );
        worst.truncate(above.max(1));
        let figures = worst.into_iter().map(|(agent_type, counts)| {
            let name = format!("errors of green's {agent_type} in {} s", number(WINDOW as f64));
            figure(name, share(counts) * 100.0, Some(severe * 100.0), "%")
        });
        (text, figures.collect())
    }
}

/// The second without the response times of greens that are still warming up; none if there are no such.
fn without_warm_up(second: &Second, roster: &Roster) -> Option<Second> {
    let warming =
        |cell: &crate::observation::Cell| cell.served == Side::Green && roster.warming(&cell.agent, second.number);
    second.cells.iter().any(warming).then(|| {
        let mut second = second.clone();
        for cell in second.cells.iter_mut().filter(|cell| warming(cell)) {
            cell.tasks.own_time = Histogram::default();
            cell.tasks.lease_time = Histogram::default();
            cell.pushes.service = Histogram::default();
        }
        second
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        time::UnixMillis,
        watch::tests::{Bench, cell, second},
    };

    struct Rig {
        bench: Bench,
        evidence: Evidence,
    }

    impl Rig {
        /// After 30 s in which the two agents of green's first type failed 3 of 10 tasks a second.
        fn new() -> Self {
            let mut bench = Bench::new(6);
            let mut evidence = bench.with(Evidence::new);
            for number in 1..=30 {
                let second = second(number, vec![cell("a1", Side::Green, 7, 3), cell("a3", Side::Green, 10, 0)]);
                let digest = Digest::new(&second, &bench.roster);
                bench.roster.note(&digest);
                evidence.second(&second, &digest, 1, &bench.roster);
            }
            Self { bench, evidence }
        }

        fn raise(&mut self, metric: Metric, agents: &[&str]) -> Option<Alarm> {
            let harm = Harm {
                metric,
                odds: 260.0,
                threshold: 250.0,
                green: (300, 90),
                blue: (1904, 4),
                agents: agents.iter().map(|&agent| agent.into()).collect(),
                types: vec!["even".into()],
                began: UnixMillis(5000),
                why: "green's errors: 30 % of 300 tasks against blue's 0.2 % of 1,904; odds 260:1".to_owned(),
            };
            self.evidence.alarm(harm, &self.bench.roster)
        }
    }

    #[test]
    fn evidence_and_the_literal_figure_stand_side_by_side() {
        let alarm = Rig::new().raise(Metric::Errors, &[]).unwrap();
        assert_eq!(
            alarm.why,
            "green's errors: 30 % of 300 tasks against blue's 0.2 % of 1,904; odds 260:1; 30 s into phase 2; \
             literally, 1 of green's types is above the severe 5 % in the last 60 s; odd has 15 % of 600"
        );
        assert_eq!((alarm.kind, alarm.shared, alarm.harm_began), (AlarmKind::Errors, false, UnixMillis(5000)));
        let literal = alarm.figures.last().unwrap();
        assert_eq!(
            (literal.name.as_str(), literal.value, literal.limit),
            ("errors of green's odd in 60 s", 15.0, Some(5.0))
        );
        assert!(alarm.agents.is_empty() && alarm.types == ["even".into()]);
    }

    #[test]
    fn errors_and_latency_fire_once_each() {
        let mut rig = Rig::new();
        assert_eq!(rig.raise(Metric::Errors, &["a2"]).unwrap().agents, ["a2".into()]);
        assert_eq!(rig.raise(Metric::Errors, &["a2"]), None);
        assert_eq!(rig.raise(Metric::Latency(0.5), &["a2"]).unwrap().kind, AlarmKind::Latency);
        assert_eq!(rig.raise(Metric::Latency(0.95), &["a2"]), None);
    }

    #[test]
    fn response_times_of_the_warm_up_do_not_count_and_errors_do() {
        let mut bench = Bench::new(2);
        let mut first = second(1, vec![cell("a1", Side::Green, 1, 1), cell("a2", Side::Blue, 1, 0)]);
        first.cells.iter_mut().for_each(|cell| cell.tasks.own_time.record(9_000_000));
        bench.roster.note(&Digest::new(&first, &bench.roster));
        let passed = without_warm_up(&first, &bench.roster).unwrap();
        assert!(passed.cells[0].tasks.own_time.is_empty() && passed.cells[0].tasks.failed == 1);
        assert_eq!(passed.cells[1], first.cells[1]);
        first.number = 4;
        assert_eq!(without_warm_up(&first, &bench.roster), None);
    }
}
