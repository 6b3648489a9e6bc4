//! Whole judgements: levels under the null, harm that must be caught, and what must never pass.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::{
    histogram::Histogram,
    id::{AgentName, AgentType, ModelName, Side},
    observation::{Calls, Cell, Pushes, Second, Signs, Tasks},
    spec::{Criteria, GatePolicy, Require, ThinEvidence},
    time::Millis,
};

/// A cell whose tasks all took `micros`.
pub(super) fn cell(agent: &str, side: Side, completed: u64, failed: u64, micros: u64) -> Cell {
    let mut tasks = Tasks { completed, failed, ..Tasks::default() };
    (0..completed + failed).for_each(|_| tasks.own_time.record(micros));
    Cell {
        signs: Signs::default(),
        agent: agent.into(),
        model: ModelName::new("m"),
        drawn: side,
        served: side,
        tasks,
        calls: Calls::default(),
        pushes: Pushes::default(),
    }
}

/// The type of an agent in these tests is the first letter of its name.
pub(super) fn type_of(agent: &AgentName) -> Option<AgentType> {
    agent.as_str().get(..1).map(AgentType::from)
}

/// One second with these cells.
pub(super) fn window(cells: &[Cell]) -> Window {
    let mut window = Window::default();
    window.second(&Second { number: 1, cells: cells.to_vec(), ..Second::default() }, &type_of);
    window
}

const GATE: GatePolicy = GatePolicy {
    require: Require::Guard,
    thin_evidence: ThinEvidence::Ask,
    tolerated_error_rise: 0.05,
    tolerated_latency_ratio: 3.0,
};
const ONE_LOOK: Looks = Looks { look: 1, looks_max: 1, gates: 1 };

fn gate(baseline: &Baseline, phase: &Window, green: &BTreeSet<AgentName>) -> BTreeMap<String, Judgement> {
    let report = judge(&JudgeInput {
        criteria: &Criteria::default(),
        gate: &GATE,
        baseline,
        phase,
        green_agents: green,
        looks: ONE_LOOK,
    });
    report.judgements.into_iter().map(|judgement| (judgement.id.clone(), judgement)).collect()
}

/// A small generator, so that each simulation is the same on every machine (Knuth's MMIX constants).
struct Chance(u64);

impl Chance {
    fn share(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn binomial(&mut self, n: u64, p: f64) -> u64 {
        (0..n).filter(|_| self.share() < p).count() as u64
    }

    /// Log-normal around `median` with σ 0.6, as generations are.
    fn micros(&mut self, median: f64) -> u64 {
        let normal: f64 = (0..12).map(|_| self.share()).sum::<f64>() - 6.0;
        (median * (0.6 * normal).exp()) as u64
    }
}

/// A fleet of the demo's kind under simulation: tasks per second and agent, error rates, median times per side.
struct World {
    chance: Chance,
    seconds: u64,
    error: Sides,
    micros: Sides,
    memory: Sides,
}

struct Sides {
    blue: f64,
    green: f64,
}

impl Sides {
    fn both(value: f64) -> Self {
        Self { blue: value, green: value }
    }

    fn of(&self, side: Side) -> f64 {
        match side {
            Side::Blue => self.blue,
            Side::Green => self.green,
        }
    }
}

const AGENTS: u64 = 30;

impl World {
    fn healthy(seed: u64) -> Self {
        Self {
            chance: Chance(seed),
            seconds: 40,
            error: Sides::both(0.002),
            micros: Sides::both(60_000.0),
            memory: Sides::both(40e6),
        }
    }

    /// The first `green` agents of each type are green.
    fn run(&mut self, green_share: f64) -> (Window, BTreeSet<AgentName>) {
        let (mut window, mut green) = (Window::default(), BTreeSet::new());
        for number in 1..=self.seconds {
            let mut second = Second { number, ..Second::default() };
            for index in 0..AGENTS {
                let name = format!("{}{index}", ["a", "b", "c"][index as usize % 3]);
                let is_green = (index as f64) < green_share * AGENTS as f64;
                let side = if is_green { Side::Green } else { Side::Blue };
                if is_green {
                    green.insert(AgentName::from(name.as_str()));
                }
                let mut tasks = Tasks::default();
                // Types differ in speed: b takes three times as long as a.
                let median = self.micros.of(side) * [1.0, 3.0, 2.0][index as usize % 3];
                if self.chance.share() < self.error.of(side) {
                    tasks.failed += 1;
                } else {
                    tasks.completed += 1;
                }
                tasks.own_time.record(self.chance.micros(median));
                let calls = Calls { succeeded: 1, ..Calls::default() };
                second.cells.push(Cell { tasks, calls, ..cell(&name, side, 0, 0, 0) });
                let wobble = 1.0 + 0.02 * self.chance.share();
                let memory_bytes = (self.memory.of(side) * wobble) as u64;
                window.usage(&[AgentUsage {
                    agent: name.as_str().into(),
                    side,
                    memory_bytes,
                    cpu_cores: 0.05 * wobble,
                }]);
            }
            window.second(&second, &type_of);
            window.availability(AGENTS as u32, 0);
        }
        (window, green)
    }

    fn baseline(&mut self) -> Baseline {
        Baseline::new(self.run(0.0).0, Millis::from_secs(self.seconds)).unwrap()
    }
}

#[test]
fn a_healthy_phase_passes_every_criterion_it_has_data_for() {
    let mut world = World::healthy(1);
    world.seconds = 60;
    let baseline = world.baseline();
    let (phase, green) = world.run(0.5);
    for (id, judgement) in gate(&baseline, &phase, &green) {
        assert_eq!(judgement.verdict, Verdict::Pass, "{id}: {}", judgement.why);
    }
}

#[test]
fn sentences_carry_the_numbers() {
    let baseline = Baseline::new(window(&[cell("a0", Side::Blue, 500, 0, 60_000)]), Millis::ZERO).unwrap();
    let phase = window(&[cell("a1", Side::Green, 1202, 2, 60_000), cell("a2", Side::Blue, 9860, 20, 60_000)]);
    let judged = gate(&baseline, &phase, &BTreeSet::new());
    assert_eq!(
        judged["R32"].why,
        "green's errors: 0.166 % of 1,204 tasks, blue's 0.202 % of 9,880; a rise of 1.61 points would have been seen"
    );
    assert_eq!(judged["R32"].finding, Finding::NoHarmSeen);
    assert_eq!(judged["R33"].why, "none of green's 0 agents was measured before and since");
}

#[test]
fn a_slow_type_that_moves_first_is_no_harm() {
    let timed = |name, side, median: f64| {
        let mut chance = Chance(10);
        let mut timed = cell(name, side, 0, 0, 0);
        (0..400).for_each(|_| timed.tasks.own_time.record(chance.micros(median)));
        timed.tasks.completed = 400;
        timed
    };
    let slow = |side| timed("b1", side, 400_000.0);
    let baseline = Baseline::new(window(&[timed("a1", Side::Blue, 50_000.0), slow(Side::Blue)]), Millis::ZERO).unwrap();
    let phase = window(&[timed("a1", Side::Blue, 50_000.0), slow(Side::Green)]);
    let judged = gate(&baseline, &phase, &BTreeSet::new());
    for id in ["R12", "R31"] {
        assert_eq!(judged[id].verdict, Verdict::Pass, "{}", judged[id].why);
        assert!((judged[id].value.unwrap() / judged[id].baseline.unwrap() - 1.0).abs() < 0.01);
    }
}

#[test]
fn thirty_percent_of_errors_are_caught_beside_blue_and_without_it() {
    for green_share in [0.2, 1.0] {
        let caught = (0..20).filter(|&seed| {
            let mut world = World::healthy(seed);
            world.error.green = 0.3;
            let baseline = world.baseline();
            let (phase, green) = world.run(green_share);
            gate(&baseline, &phase, &green)["R32"].finding == Finding::Harm
        });
        assert_eq!(caught.count(), 20, "green share {green_share}");
    }
}

#[test]
fn a_threefold_slowness_is_caught() {
    let caught = (0..20).filter(|&seed| {
        let mut world = World::healthy(seed);
        world.micros.green *= 3.0;
        let baseline = world.baseline();
        let (phase, green) = world.run(0.3);
        let judged = gate(&baseline, &phase, &green);
        judged["R31"].finding == Finding::Harm && judged["R12"].finding == Finding::Harm
    });
    assert!(caught.count() >= 19);
}

#[test]
fn slowness_against_the_past_alone_is_not_called_harm() {
    let mut world = World::healthy(3);
    let baseline = world.baseline();
    world.micros.green *= 3.0;
    let (phase, green) = world.run(1.0);
    let judged = gate(&baseline, &phase, &green);
    for id in ["R12", "R31"] {
        assert_eq!(judged[id].finding, Finding::CannotTellYet, "{}", judged[id].why);
        assert_eq!(judged[id].verdict, Verdict::Inconclusive);
    }
    assert!(judged["R31"].why.contains("busier than before would look the same"), "{}", judged["R31"].why);
}

#[test]
fn memory_above_the_limit_is_caught_and_below_the_floor_is_not() {
    for (blue, green, green_share, finding) in [
        (100e6, 130e6, 0.5, Finding::Harm),
        (100e6, 130e6, 1.0, Finding::Harm),
        (100e6, 130e6, 0.04, Finding::Harm),
        (3e6, 9e6, 0.5, Finding::Proved),
        (100e6, 104e6, 1.0, Finding::Proved),
        (100e6, 104e6, 0.04, Finding::NoHarmSeen),
    ] {
        let mut world = World::healthy(3);
        world.memory = Sides { blue, green };
        let baseline = world.baseline();
        let (phase, agents) = world.run(green_share);
        let judgement = &gate(&baseline, &phase, &agents)["R33"];
        assert_eq!(judgement.finding, finding, "{blue} → {green} at {green_share}: {}", judgement.why);
    }
}

#[test]
fn a_meter_that_reads_zero_never_passes() {
    let mut world = World::healthy(4);
    world.memory = Sides::both(0.0);
    world.micros = Sides::both(0.0);
    let baseline = world.baseline();
    let (phase, green) = world.run(0.5);
    let judged = gate(&baseline, &phase, &green);
    for id in ["R12", "R31", "R33"] {
        assert_eq!(judged[id].verdict, Verdict::Inconclusive, "{id}: {}", judged[id].why);
    }
}

#[test]
fn no_data_is_never_a_pass() {
    let baseline = World::healthy(5).baseline();
    let empty = gate(&baseline, &Window::default(), &BTreeSet::new());
    assert_eq!(empty.len(), 9);
    assert!(empty.values().all(|judgement| judgement.finding == Finding::CannotTellYet));
    let mut silent = Window::default();
    (1..=60).for_each(|number| silent.second(&Second { number, ..Second::default() }, &type_of));
    assert!(gate(&baseline, &silent, &["a0".into()].into()).values().all(|j| j.verdict == Verdict::Inconclusive));
}

#[test]
fn looks_beyond_the_plan_have_no_level_left() {
    assert!((Looks { look: 2, looks_max: 2, gates: 4 }.alpha() - ALPHA / 8.0).abs() < 1e-15);
    let mut world = World::healthy(6);
    world.error.green = 0.3;
    let baseline = world.baseline();
    let (phase, green_agents) = world.run(0.5);
    let (criteria, gate) = (&Criteria::default(), &GATE);
    let looks = Looks { look: 3, looks_max: 2, gates: 4 };
    let report =
        judge(&JudgeInput { criteria, gate, baseline: &baseline, phase: &phase, green_agents: &green_agents, looks });
    assert_eq!(report.verdict(), Verdict::Inconclusive);
}

#[test]
fn what_both_sides_suffer_is_a_shared_fault() {
    let calls = |side, name: &str| Cell {
        calls: Calls { succeeded: 800, failed: 200, ..Calls::default() },
        ..cell(name, side, 1000, 0, 60_000)
    };
    let baseline = Baseline::new(window(&[cell("a0", Side::Blue, 500, 0, 60_000)]), Millis::ZERO).unwrap();
    let both = window(&[calls(Side::Green, "a1"), calls(Side::Blue, "a2")]);
    let judgement = &gate(&baseline, &both, &BTreeSet::new())["R35"];
    assert_eq!(judgement.finding, Finding::CannotTellYet, "{}", judgement.why);
    let healthy =
        Cell { calls: Calls { succeeded: 1000, ..Calls::default() }, ..cell("a2", Side::Blue, 1000, 0, 60_000) };
    let green_alone = window(&[calls(Side::Green, "a1"), healthy]);
    assert_eq!(gate(&baseline, &green_alone, &BTreeSet::new())["R35"].finding, Finding::Harm);
}

#[test]
fn a_rate_that_fell_is_harm_only_if_tasks_were_waiting() {
    let run = |per_second, queued_at_end| {
        let mut window = Window::default();
        for number in 1..=60 {
            let cells = vec![cell("a1", Side::Green, per_second, 0, 60_000)];
            let tasks_queued = queued_at_end * number / 60;
            window.second(&Second { number, cells, tasks_queued, ..Second::default() }, &type_of);
        }
        window
    };
    let baseline = Baseline::new(run(30, 0), Millis::from_secs(60)).unwrap();
    let found = |per_second, queued| gate(&baseline, &run(per_second, queued), &BTreeSet::new())["R30"].finding;
    assert_eq!(found(30, 0), Finding::NoHarmSeen);
    assert_eq!(found(20, 600), Finding::Harm);
    assert_eq!(found(20, 0), Finding::CannotTellYet);
    assert_eq!(found(40, 600), Finding::Proved);
}

/// At the null the share of false alarms is at most the level: its upper 99 % limit is below 1.5 times the level.
fn holds_its_level(name: &str, alpha: f64, runs: u64, mut harms: impl FnMut() -> bool) {
    let false_alarms = (0..runs).filter(|_| harms()).count() as u64;
    let limit = exact::upper_limit(false_alarms, runs, 0.01);
    assert!(limit <= 1.5 * alpha, "{name}: {false_alarms} of {runs}, at most {limit}, level {alpha}");
}

/// A level that a simulation of a few hundred runs can check: `part` of it is 0.04.
fn terms<'a>(criteria: &'a Criteria, part: f64) -> judge::Terms<'a> {
    judge::Terms { criteria, gate: &GATE, alpha: 0.04 / part }
}

fn matched(phase: &Window, size: impl Fn(&Tally) -> u64) -> matched::Matched {
    matched::Matched::new(&Window::default(), phase, true, size)
}

#[test]
fn the_error_test_holds_its_level_at_the_edge_of_the_null() {
    let criteria = Criteria { error_rise_max: 0.01, ..Criteria::default() };
    let mut chance = Chance(7);
    for (n_green, n_blue) in [(40, 40), (150, 1000)] {
        holds_its_level("errors", 0.04, 1200, || {
            let cells: Vec<Cell> = [("a", 0.002), ("b", 0.03)]
                .into_iter()
                .flat_map(|(kind, base)| {
                    let (g, b) = (chance.binomial(n_green, base + 0.01), chance.binomial(n_blue, base));
                    let failing = |name: String, side, n, failed| {
                        let tasks = Tasks { completed: n - failed, failed, ..Tasks::default() };
                        Cell { tasks, ..cell(&name, side, 0, 0, 0) }
                    };
                    [
                        failing(format!("{kind}1"), Side::Green, n_green, g),
                        failing(format!("{kind}2"), Side::Blue, n_blue, b),
                    ]
                })
                .collect();
            let phase = window(&cells);
            errors::judge(&terms(&criteria, 0.40), &matched(&phase, Tally::outcomes)).finding == Finding::Harm
        });
    }
}

#[test]
fn the_latency_test_holds_its_level_at_the_edge_of_the_null() {
    let criteria = Criteria::default();
    let mut chance = Chance(8);
    for quantile in [judge::median(&criteria), judge::p95(&criteria)] {
        holds_its_level(quantile.metric, 0.04, 1500, || {
            let mut timed = |name: &str, side, n, median| {
                let mut timed = cell(name, side, 0, 0, 0);
                (0..n).for_each(|_| timed.tasks.own_time.record(chance.micros(median)));
                timed.tasks.completed = n;
                timed
            };
            let ratio = quantile.ratio;
            let phase = window(&[
                timed("a1", Side::Green, 120, 60_000.0 * ratio),
                timed("a2", Side::Blue, 40, 60_000.0),
                timed("b1", Side::Green, 60, 200_000.0 * ratio),
                timed("b2", Side::Blue, 30, 200_000.0),
            ]);
            let matched = matched(&phase, Tally::responses);
            latency::judge(&terms(&criteria, 0.12), &matched, &quantile).finding == Finding::Harm
        });
    }
}

#[test]
fn a_healthy_rollout_seldom_fails_a_gate() {
    let failed = (0..150).filter(|&seed| {
        let mut world = World::healthy(seed);
        world.seconds = 15;
        let baseline = world.baseline();
        let (phase, green) = world.run(0.3);
        gate(&baseline, &phase, &green).values().any(|judgement| judgement.verdict == Verdict::Fail)
    });
    let failed = failed.count() as u64;
    assert!(exact::lower_limit(failed, 150, 0.01) <= ALPHA, "{failed} of 150 healthy gates failed");
}

#[test]
fn the_final_table_has_each_row_once_in_order() {
    let mut world = World::healthy(9);
    world.seconds = 120;
    let baseline = world.baseline();
    let (whole, green_agents) = world.run(1.0);
    let table = |rollbacks, client| {
        let (criteria, gate) = (&Criteria::default(), &GATE);
        summary(&SummaryInput {
            criteria,
            gate,
            baseline: &baseline,
            whole: &whole,
            green_agents: &green_agents,
            rollbacks,
            client,
        })
    };
    let client = ClientAccount { requests: 3000, slower_than_150_percent: 40, ..ClientAccount::default() };
    let healthy = table(0, Some(client));
    let ids: Vec<&str> = healthy.iter().map(|judgement| judgement.id.as_str()).collect();
    assert_eq!(ids, ["R30", "R31", "R32", "R33", "R34", "R35", "R36", "R37", "R38", "R39"]);
    for judgement in &healthy {
        assert_eq!(judgement.verdict, Verdict::Pass, "{}: {}", judgement.id, judgement.why);
    }
    assert_eq!(table(0, None)[9].finding, Finding::CannotTellYet);
    assert_eq!(table(1, None)[8].verdict, Verdict::Fail);
    assert_eq!(table(0, Some(ClientAccount { failed: 1, ..client }))[9].verdict, Verdict::Fail);
    assert_eq!(table(0, Some(ClientAccount::default()))[9].verdict, Verdict::Inconclusive);
}

fn any_count() -> impl Strategy<Value = u64> {
    prop_oneof![0u64..5, 0u64..5000, any::<u64>()]
}

/// Any histogram that a record could carry, the absurd ones included.
fn any_histogram() -> impl Strategy<Value = Histogram> {
    prop::collection::btree_map(any::<u16>(), prop_oneof![1u64..50, any::<u64>()], 0..6).prop_map(|counts| {
        let pairs: Vec<(u16, u64)> = counts.into_iter().collect();
        serde_json::from_value(serde_json::to_value(pairs).unwrap()).unwrap()
    })
}

prop_compose! {
    fn any_cell()(
        agent in "[ab][0-3]", green: bool, completed in any_count(), failed in any_count(),
        lost_leases in any_count(), own_time in any_histogram(), succeeded in any_count(), refused in any_count(),
    ) -> Cell {
        let side = if green { Side::Green } else { Side::Blue };
        Cell {
            tasks: Tasks { completed, failed, lost_leases, lease_time: own_time.clone(), own_time: own_time.clone() },
            calls: Calls { succeeded, failed: refused, ..Calls::default() },
            pushes: Pushes { succeeded, failed, refused, service: own_time },
            ..cell(&agent, side, 0, 0, 0)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn no_counters_make_it_panic_and_every_number_is_writable(
        before in prop::collection::vec(any_cell(), 1..5),
        since in prop::collection::vec(any_cell(), 0..8),
        memory_bytes: u64, cpu_cores: f64, looks in (0u32..4, 0u32..4, 0u32..4),
        limits in (any::<f64>(), 0.0f64..2.0),
    ) {
        let mut before = window(&before);
        let mut since = window(&since);
        for window in [&mut before, &mut since] {
            for agent in ["a0", "a1", "b0"] {
                for side in [Side::Blue, Side::Green] {
                    (0..4).for_each(|_| window.usage(&[AgentUsage { agent: agent.into(), side, memory_bytes, cpu_cores }]));
                }
            }
            window.availability(3, 1);
            window.given_up(u64::MAX);
        }
        let criteria = Criteria {
            latency_p95_max: limits.0, error_rise_max: limits.0, memory_max: limits.0, cpu_max: limits.1,
            model_success_min: limits.0, task_rate_min: limits.1, completion_min: limits.1, ..Criteria::default()
        };
        if let Ok(baseline) = Baseline::new(before, Millis::ZERO) {
            let green_agents = &["a0".into(), "b0".into()].into();
            let looks = Looks { look: looks.0, looks_max: looks.1, gates: looks.2 };
            let (criteria, gate, baseline) = (&criteria, &GATE, &baseline);
            let report = judge(&JudgeInput { criteria, gate, baseline, phase: &since, green_agents, looks });
            let text = serde_json::to_string(&report).unwrap();
            prop_assert!(serde_json::from_str::<GateReport>(&text).is_ok(), "{}", text);
            let client = Some(ClientAccount { requests: memory_bytes, failed: memory_bytes, ..ClientAccount::default() });
            let rows = summary(&SummaryInput { criteria, gate, baseline, whole: &since, green_agents, rollbacks: u32::MAX, client });
            prop_assert_eq!(rows.len(), 10);
        }
    }

    #[test]
    fn the_order_of_cells_is_immaterial(cells in prop::collection::vec(any_small_cell(), 1..8), by in 0usize..8) {
        let mut turned = cells.clone();
        turned.rotate_left(by % cells.len());
        let reversed: Vec<Cell> = cells.iter().rev().cloned().collect();
        prop_assert_eq!(window(&turned), window(&cells));
        prop_assert_eq!(window(&reversed), window(&cells));
    }

    #[test]
    fn more_errors_of_green_never_mend_a_failure(
        cells in prop::collection::vec(any_small_cell(), 2..8), more in prop::collection::vec(0u64..400, 8),
    ) {
        let worse: Vec<Cell> = cells.iter().zip(&more).map(|(cell, &more)| {
            let mut cell = cell.clone();
            if cell.drawn == Side::Green {
                let turned = more.min(cell.tasks.completed);
                cell.tasks.completed -= turned;
                cell.tasks.failed += turned;
            }
            cell
        }).collect();
        let past = vec![cell("a0", Side::Blue, 300, 1, 60_000), cell("b0", Side::Blue, 300, 1, 60_000)];
        let baseline = Baseline::new(window(&past), Millis::ZERO).unwrap();
        let judged = |cells: &[Cell]| gate(&baseline, &window(cells), &BTreeSet::new());
        let (milder, worse) = (judged(&cells), judged(&worse));
        for id in ["R32", "R37"] {
            if milder[id].verdict == Verdict::Fail {
                prop_assert_ne!(worse[id].verdict, Verdict::Pass, "{}: {} / {}", id, milder[id].why, worse[id].why);
            }
        }
    }
}

prop_compose! {
    fn any_small_cell()(agent in "[ab][0-3]", green: bool, completed in 0u64..400, failed in 0u64..40) -> Cell {
        cell(&agent, if green { Side::Green } else { Side::Blue }, completed, failed, 60_000)
    }
}
