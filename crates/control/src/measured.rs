//! What was seen so far that a plan may rest on: memory, CPU and boots of agents, and the fleet's traffic.

use std::collections::{BTreeMap, VecDeque};

use bellwether_core::{
    histogram::Histogram,
    id::{AgentName, InstanceId, RevisionId, Side},
    observation::Second,
    plan::{self, Measured, Traffic},
    port::driver::HostUsage,
    rollout::{Controller, Event},
    spec::{AgentSpec, Release, Spec},
    time::{Millis, UnixMillis},
};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// By the revision that they ran: one release says nothing about the next.
    needs: BTreeMap<(AgentName, RevisionId), Needed>,
    boots: Boots,
    cpus: Option<u32>,
    present_memory_bytes: Option<u64>,
    pub(crate) traffic: Option<Traffic>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Needed {
    memory_peak_bytes: u64,
    /// While it had the traffic.
    busy_cores: Mean,
    /// While it was ready and had none.
    idle_cores: Mean,
}

#[derive(Clone, Copy, Debug, Default)]
struct Mean {
    sum: f64,
    count: u32,
}

impl Seen {
    /// Whether the driver has told anything yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.present_memory_bytes.is_none()
    }

    /// For a plan of this release; `spec` is the fleet as it runs.
    pub(crate) fn measured(&self, spec: &Spec, release: &Release) -> Measured {
        let blue = |agent: &AgentSpec| self.needs.get(&(agent.name.clone(), agent.revision.id.clone()));
        let green = |agent: &AgentSpec| {
            self.needs.get(&(agent.name.clone(), plan::revision_of(agent, release).id)).map(|n| n.memory_peak_bytes)
        };
        Measured {
            present_memory_bytes: self.present_memory_bytes,
            blue_peak_bytes: of_each(spec, |agent| Some(blue(agent)?.memory_peak_bytes)),
            green_peak_bytes: of_each(spec, green),
            boot_ms: of_each(spec, |agent| Some(self.boots.longest.get(&agent.name)?.0)),
            cpus: self.cpus,
            blue_cpu_cores: of_each(spec, |agent| blue(agent)?.busy_cores.value()),
            blue_idle_cores: of_each(spec, |agent| blue(agent)?.idle_cores.value()),
            traffic: self.traffic,
        }
    }

    pub(crate) fn host(&mut self, host: &HostUsage) {
        self.present_memory_bytes = Some(host.memory_total_bytes).filter(|&bytes| bytes > 0);
        self.cpus = Some(host.cpus).filter(|&cpus| cpus > 0);
    }

    pub(crate) fn used(
        &mut self,
        agent: &AgentName,
        revision: &RevisionId,
        memory_bytes: u64,
        busy_cores: Option<f64>,
        idle_cores: Option<f64>,
    ) {
        let needed = self.needs.entry((agent.clone(), revision.clone())).or_default();
        needed.memory_peak_bytes = needed.memory_peak_bytes.max(memory_bytes);
        busy_cores.into_iter().for_each(|cores| needed.busy_cores.add(cores));
        idle_cores.into_iter().for_each(|cores| needed.idle_cores.add(cores));
    }

    pub(crate) fn boots(&self) -> &Boots {
        &self.boots
    }

    /// As they were replayed.
    pub(crate) fn with_boots(boots: Boots) -> Self {
        Self { boots, ..Self::default() }
    }

    /// To be told of each event after the machine took it.
    pub(crate) fn happened(&mut self, at: UnixMillis, event: &Event, machine: &Controller) {
        self.boots.happened(at, event, machine);
    }
}

fn of_each<T>(spec: &Spec, value: impl Fn(&AgentSpec) -> Option<T>) -> BTreeMap<AgentName, T> {
    spec.agents.iter().filter_map(|agent| Some((agent.name.clone(), value(agent)?))).collect()
}

impl Mean {
    fn add(&mut self, value: f64) {
        self.sum += value;
        self.count = self.count.saturating_add(1);
    }

    fn value(self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / f64::from(self.count))
    }
}

/// From an instance's start until it could begin to work; how long it takes to answer a first task is the model
/// server's doing as well. Made from events alone, so that a replay of the journal knows as well.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Boots {
    booting: BTreeMap<InstanceId, UnixMillis>,
    longest: BTreeMap<AgentName, Millis>,
}

impl Boots {
    /// To be told of each event after the machine took it.
    pub(crate) fn happened(&mut self, at: UnixMillis, event: &Event, machine: &Controller) {
        match event {
            Event::Started { instance } => {
                self.booting.insert(*instance, at);
            }
            Event::Polled { instance } | Event::Healthy { instance } if machine.has_begun(*instance) => {
                let Some(started) = self.booting.remove(instance) else { return };
                let Some((agent, _)) = machine.seat_of(*instance) else { return };
                let longest = self.longest.entry(agent.clone()).or_default();
                *longest = (*longest).max(at.since(started));
            }
            Event::Exited { instance, .. } | Event::StartFailed { instance, .. } => {
                self.booting.remove(instance);
            }
            // Nothing else tells of a boot.
            _ => {}
        }
    }
}

/// The fleet's traffic of the last minutes.
#[derive(Default)]
pub(crate) struct TrafficLog {
    spans: VecDeque<Span>,
}

#[derive(Default)]
struct Span {
    seconds: u32,
    outcomes: u64,
    blue_outcomes: u64,
    blue_failures: u64,
    times: Histogram,
}

const SPAN_S: u32 = 60;
const SPANS_MAX: usize = 10;
/// Less than this says nothing about a rate.
const SECONDS_MIN: u32 = 5;

impl TrafficLog {
    pub(crate) fn second(&mut self, second: &Second) -> Option<Traffic> {
        if self.spans.back().is_none_or(|span| span.seconds >= SPAN_S) {
            self.spans.push_back(Span::default());
        }
        while self.spans.len() > SPANS_MAX {
            self.spans.pop_front();
        }
        if let Some(span) = self.spans.back_mut() {
            span.count(second);
        }
        self.traffic()
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of a few minutes")]
    fn traffic(&self) -> Option<Traffic> {
        let sum = |value: fn(&Span) -> u64| self.spans.iter().map(value).sum::<u64>() as f64;
        let seconds: u32 = self.spans.iter().map(|span| span.seconds).sum();
        let mut times = Histogram::default();
        self.spans.iter().for_each(|span| times.merge(&span.times));
        let median_micros = times.quantile(0.5).filter(|_| seconds >= SECONDS_MIN)?;
        Some(Traffic {
            tasks_per_second: sum(|span| span.outcomes) / f64::from(seconds),
            task_seconds: median_micros / 1e6,
            task_seconds_max: times.quantile(1.0).unwrap_or(median_micros) / 1e6,
            base_error_rate: sum(|span| span.blue_failures) / sum(|span| span.blue_outcomes).max(1.0),
        })
    }
}

impl Span {
    fn count(&mut self, second: &Second) {
        self.seconds += 1;
        for cell in &second.cells {
            let failures = cell.tasks.failed + cell.tasks.lost_leases + cell.pushes.failed;
            let outcomes = cell.tasks.completed + cell.pushes.succeeded + failures;
            self.outcomes += outcomes;
            if cell.served == Side::Blue {
                self.blue_outcomes += outcomes;
                self.blue_failures += failures;
            }
            self.times.merge(&cell.tasks.lease_time);
            self.times.merge(&cell.pushes.service);
        }
    }
}

#[cfg(test)]
mod tests {
    use bellwether_core::{
        observation::{Calls, Cell, Pushes, Signs, Tasks},
        spec::parse_release,
    };

    use super::*;
    use crate::samples::{at, fleet, plan as plan_of, started};

    fn second(number: u64, served: Side, completed: u64, failed: u64) -> Second {
        let mut tasks = Tasks { completed, failed, ..Tasks::default() };
        (0..completed).for_each(|_| tasks.lease_time.record(2_000_000));
        let cell = Cell {
            agent: "a".into(),
            model: fleet().agents[0].revision.model.clone(),
            drawn: served,
            served,
            tasks,
            calls: Calls::default(),
            pushes: Pushes::default(),
            signs: Signs::default(),
        };
        Second { number, cells: vec![cell], ..Second::default() }
    }

    #[test]
    fn traffic_counts_everything_and_blames_blue_for_its_own_errors_alone() {
        let mut log = TrafficLog::default();
        assert_eq!(log.second(&second(1, Side::Blue, 3, 1)), None, "a second says nothing about a rate");
        for number in 2..=10 {
            log.second(&second(number, Side::Blue, 3, 1));
        }
        for number in 11..=20 {
            log.second(&second(number, Side::Green, 1, 3));
        }
        let traffic = log.second(&second(21, Side::Blue, 0, 0)).unwrap();
        assert!((traffic.tasks_per_second - 80.0 / 21.0).abs() < 1e-9);
        assert!((traffic.base_error_rate - 0.25).abs() < 1e-9);
        assert!((traffic.task_seconds - 2.0).abs() < 0.02);
    }

    #[test]
    fn traffic_of_long_ago_is_forgotten() {
        let mut log = TrafficLog::default();
        let busy = (1..=60).filter_map(|number| log.second(&second(number, Side::Blue, 100, 100))).last().unwrap();
        assert!((busy.base_error_rate - 0.5).abs() < 1e-9);
        let traffic = (61..=720).filter_map(|number| log.second(&second(number, Side::Blue, 1, 0))).last().unwrap();
        assert!((traffic.tasks_per_second - 1.0).abs() < 1e-9);
        assert!(traffic.base_error_rate.abs() < 1e-9);
    }

    #[test]
    fn a_boot_lasts_until_the_instance_is_ready_and_the_longest_counts() {
        let mut machine = started(plan_of("one"));
        let mut seen = Seen::default();
        let mut happen = |secs, event: Event| {
            machine.step(at(secs), event.clone()).unwrap();
            seen.happened(at(secs).wall, &event, &machine);
            seen.boots.longest.get(&AgentName::from("a")).copied()
        };
        let instance = InstanceId(1);
        happen(1, Event::Enrolled { instances: vec![instance] });
        happen(2, Event::Started { instance });
        assert_eq!(happen(5, Event::Polled { instance }), Some(Millis::from_secs(3)));
        assert_eq!(happen(9, Event::Polled { instance }), Some(Millis::from_secs(3)), "it is not booting any more");
    }

    #[test]
    fn needs_are_those_of_the_revisions_that_the_plan_is_about() {
        let spec = fleet();
        let release = parse_release("v2.yaml", "version: 1\nrelease: v2\nset: {env: {CONTENT: one}}\n").unwrap();
        let agent = &spec.agents[0];
        let (name, blue) = (&agent.name, &agent.revision.id);
        let green = plan::revision_of(agent, &release).id;
        let mut seen = Seen::default();
        seen.used(name, blue, 100, Some(0.2), None);
        seen.used(name, blue, 90, Some(0.4), None);
        seen.used(name, blue, 80, None, Some(0.1));
        seen.used(name, &RevisionId::from("a release that leaked"), 9_000, None, None);
        let measured = seen.measured(&spec, &release);
        assert_eq!(measured.blue_peak_bytes.get(name), Some(&100));
        assert_eq!(measured.green_peak_bytes.get(name), None);
        assert!((measured.blue_cpu_cores[name] - 0.3).abs() < 1e-9);
        assert!((measured.blue_idle_cores[name] - 0.1).abs() < 1e-9);
        seen.used(name, &green, 70, None, None);
        assert_eq!(seen.measured(&spec, &release).green_peak_bytes.get(name), Some(&70));
    }
}
