//! Each promise is broken once on purpose: a referee that cannot blow its whistle is none.

use bellwether_core::{
    id::{InstanceToken, ModelName},
    port::gateway::InstanceCard,
    spec::Delivery,
    time::UnixMillis,
    traffic::{End, Lease, LeaseEnd, Priority, Report, Task},
};

use super::*;
use crate::fleet::Fleet;

fn card(instance: u64, agent: &AgentName, side: Side) -> Change {
    let instance = InstanceId(instance);
    let card = InstanceCard {
        instance,
        agent: agent.clone(),
        agent_type: "worker".into(),
        model: ModelName::new("m"),
        side,
        token: InstanceToken::new(instance.to_string()),
        address: instance.address(),
        upstream: None,
        delivery: Delivery::Pull,
    };
    Change::Enrolled { card }
}

fn generation(number: u64) -> Change {
    Change::Generation { generation: Generation(number), moves: Vec::new() }
}

fn routed(agent: &AgentName, active: u64, fence: u64) -> Change {
    let route = Route { active: Some(InstanceId(active)), fence: Fence(fence), fallback: None };
    Change::Routed { agent: agent.clone(), route }
}

fn a() -> AgentName {
    "a".into()
}

fn task() -> Task {
    Task {
        id: TaskId::new("t"),
        order: 0,
        priority: Priority::default(),
        rank: 0,
        agent: a(),
        agent_type: "worker".into(),
        draw: None,
        bytes: 0,
        attempts: 0,
        attempts_max: 3,
        revoked: 0,
        submitted: UnixMillis(0),
        begin_by: None,
        begin_due: None,
        failed_by: None,
        state: State::Queued { since: Nanos(0) },
    }
}

fn lease(instance: u64, fence: u64) -> Lease {
    Lease {
        instance: InstanceId(instance),
        agent: a(),
        side: Side::Blue,
        fence: Fence(fence),
        granted: Nanos(0),
        granted_at: UnixMillis(0),
        deadline: Nanos(9),
    }
}

fn leased(instance: u64, fence: u64) -> Change {
    Change::Leased { id: TaskId::new("t"), attempts: 1, lease: lease(instance, fence) }
}

fn finished(by: u64) -> Change {
    Change::Finished {
        task: task(),
        seq: 1,
        at: UnixMillis(0),
        how: End::Completed,
        by: Some((Report::Completed { empty: false }, lease(by, 1))),
        lease_micros: 1,
    }
}

/// Agent `a` is served by instance 1 under fence 1, and task `t` waits.
fn serving() -> Referee {
    let mut referee = Referee::default();
    let changes = [card(1, &a(), Side::Blue), generation(1), routed(&a(), 1, 1), Change::Queued { task: task() }];
    referee.changes(&changes).expect("all is well");
    referee
}

/// What the referee says to these, after what was well.
fn broken(changes: &[Change]) -> &'static str {
    serving().changes(changes).expect_err("a promise was broken").invariant
}

#[test]
fn what_is_well_is_let_pass() {
    let mut referee = serving();
    referee.changes(&[leased(1, 1), finished(1)]).unwrap();
    referee.tasks_add_up(0, 0).unwrap();
    referee.memory(5, 5).unwrap();
    referee.slots(2, 2).unwrap();
}

#[test]
fn generations_and_fences_only_grow() {
    assert_eq!(broken(&[generation(3)]), "the generation grows by one");
    assert_eq!(broken(&[generation(1)]), "the generation grows by one");
    assert_eq!(broken(&[generation(2), routed(&a(), 1, 0)]), "a fence never goes back");
}

#[test]
fn one_holder_of_an_agents_fence() {
    assert_eq!(broken(&[leased(2, 1)]), "one fence holder per agent");
    let relieved = [card(2, &a(), Side::Green), generation(2), routed(&a(), 2, 2), leased(1, 2)];
    assert_eq!(broken(&relieved), "one fence holder per agent");
}

#[test]
fn each_task_is_owned_by_one_and_ends_once() {
    assert_eq!(broken(&[Change::Queued { task: task() }]), "a task is accepted once");
    assert_eq!(broken(&[leased(1, 1), leased(1, 1)]), "a task has one holder");
    assert_eq!(broken(&[leased(1, 1), finished(2)]), "only the holder completes a task");
    assert_eq!(broken(&[leased(1, 1), finished(1), finished(1)]), "a task is completed once");
    let lost = Change::LeaseLost { task: task(), end: LeaseEnd::Expired, lease: lease(2, 1) };
    assert_eq!(broken(&[leased(1, 1), lost]), "a lease is lost by its holder");
    let retried = Change::Retried { task: task(), report: Report::Failed, lease: lease(2, 1), lease_micros: 1 };
    assert_eq!(broken(&[leased(1, 1), retried]), "only the holder reports on a task");
    assert_eq!(broken(&[Change::Revived { task: task() }]), "only what has ended begins anew");
}

#[test]
fn a_task_that_is_nowhere_is_missed() {
    let referee = serving();
    referee.tasks_add_up(1, 0).unwrap();
    assert_eq!(referee.tasks_add_up(0, 0).unwrap_err().invariant, "no task is lost");
    assert_eq!(referee.tasks_add_up(1, 1).unwrap_err().invariant, "no task is lost");
}

#[test]
fn a_gateway_comes_back_with_what_it_had() {
    let referee = serving();
    let waits = task();
    referee.same_tasks([&waits].into_iter()).unwrap();
    let kept = "a restart of the gateway keeps every task";
    assert_eq!(referee.same_tasks(std::iter::empty()).unwrap_err().invariant, kept);
    let held = Task { state: State::Leased(lease(1, 1)), ..task() };
    assert_eq!(referee.same_tasks([&held].into_iter()).unwrap_err().invariant, kept);

    let (a, route) = (a(), Route { active: Some(InstanceId(1)), fence: Fence(1), fallback: None });
    referee.same_routes(Generation(1), [(&a, &route)].into_iter()).unwrap();
    let moved = Route { fence: Fence(2), ..route };
    for (generation, routes) in [(2, vec![(&a, &route)]), (1, vec![(&a, &moved)]), (1, Vec::new())] {
        let violation = referee.same_routes(Generation(generation), routes.into_iter()).unwrap_err();
        assert_eq!(violation.invariant, "a restart of the gateway keeps every route");
    }
}

#[test]
fn an_instance_number_is_used_once_and_only_after_it_was_given() {
    let mut referee = Referee::default();
    assert!(referee.is_allocated(InstanceId(1)).is_err());
    referee.allocated(InstanceId(1), &a()).unwrap();
    referee.allocated(InstanceId(1), &a()).unwrap();
    referee.is_allocated(InstanceId(1)).unwrap();
    let violation = referee.allocated(InstanceId(1), &"b".into()).unwrap_err();
    assert_eq!(violation.invariant, "an instance number is used once");
}

#[test]
fn the_ledger_and_the_slots_are_ceilings() {
    let referee = Referee::default();
    assert_eq!(referee.memory(6, 5).unwrap_err().invariant, "memory stays below the ledger's ceiling");
    assert_eq!(referee.slots(3, 2).unwrap_err().invariant, "never more model calls than slots");
}

#[test]
fn whoever_is_served_stays_served_but_for_a_death() {
    let mut referee = Referee::default();
    referee.availability(Nanos(0), &a(), false, false).expect("it boots");
    referee.availability(Nanos(1), &a(), true, false).unwrap();
    let violation = referee.availability(Nanos(2), &a(), false, false).unwrap_err();
    assert_eq!(violation.invariant, "an agent that is served stays served");
    referee.availability(Nanos(2), &a(), false, true).unwrap();
    referee.availability(Nanos(0) + Millis(7), &a(), true, false).unwrap();
    assert_eq!(referee.unavailable, Millis(6));
}

#[test]
fn only_so_many_give_way_where_green_is_not_to_blame() {
    let name = |number: usize| AgentName::new(format!("a{number}"));
    let mut referee = Referee::default();
    for number in 0..GAP_MAX {
        referee.gives_way(&name(number), false).unwrap();
    }
    referee.gives_way(&name(GAP_MAX), true).unwrap();
    let violation = referee.gives_way(&name(GAP_MAX + 1), false).unwrap_err();
    assert_eq!(violation.invariant, "never below the required ready capacity");
}

/// A referee that knows a plan, with all blues serving, and its first batch of several agents.
fn of_a_plan() -> (Referee, Vec<AgentName>) {
    let plan = Fleet::new(12, false, true).unwrap().plan;
    let mut referee = Referee::new(&plan);
    let mut changes = Vec::new();
    for (number, planned) in (1..).zip(plan.agents()) {
        changes.extend([card(number, &planned.agent, Side::Blue), card(100 + number, &planned.agent, Side::Green)]);
        changes.push(routed(&planned.agent, number, 1));
    }
    referee.changes(&changes).unwrap();
    let batch = plan.phases.iter().flat_map(|phase| &phase.batches).find(|batch| batch.agents.len() > 1);
    (referee, batch.unwrap().agents.iter().map(|planned| planned.agent.clone()).collect())
}

fn instance_of(referee: &Referee, agent: &AgentName, side: Side) -> u64 {
    let blue = referee.holders[agent].0.unwrap().0 % 100;
    if side == Side::Green { 100 + blue } else { blue }
}

#[test]
fn a_batch_moves_as_one_and_comes_back_as_one() {
    let (mut referee, batch) = of_a_plan();
    let to = |referee: &Referee, side, agents: &[AgentName]| -> Vec<Change> {
        agents.iter().map(|agent| routed(agent, instance_of(referee, agent, side), 2)).collect()
    };
    let half = to(&referee, Side::Green, &batch[..1]);
    assert_eq!(referee.changes(&half).unwrap_err().invariant, "a batch is never half swapped");

    let (mut referee, batch) = of_a_plan();
    let all = to(&referee, Side::Green, &batch);
    referee.changes(&all).unwrap();
    let back = to(&referee, Side::Blue, &batch[1..]);
    assert_eq!(referee.changes(&back).unwrap_err().invariant, "a batch is never half swapped");
}

#[test]
fn whoever_died_or_was_taken_back_alone_goes_its_own_way() {
    let excuses: [fn(&mut Referee, &AgentName); 3] = [
        |referee, agent| referee.died(InstanceId(7), agent),
        |referee, agent| referee.held_back([agent]),
        |referee, agent| referee.discredit(InstanceId(7), agent),
    ];
    for excuse in excuses {
        let (mut referee, batch) = of_a_plan();
        excuse(&mut referee, &batch[0]);
        let rest: Vec<Change> =
            batch[1..].iter().map(|agent| routed(agent, instance_of(&referee, agent, Side::Green), 2)).collect();
        referee.changes(&rest).unwrap();
    }
}
