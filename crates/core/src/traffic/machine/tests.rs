use std::net::Ipv4Addr;

use super::*;
use crate::{
    id::{InstanceToken, ModelName},
    spec::Delivery,
    time::UnixMillis,
    traffic::{End, State},
};

mod model;
mod protocol;
mod wishes;

fn policy() -> TaskPolicy {
    TaskPolicy {
        lease: Millis::from_secs(60),
        takeover: Millis::from_secs(20),
        waiting_max: 100,
        ..TaskPolicy::default()
    }
}

fn at(secs: u64) -> Now {
    Now { mono: Nanos((1_000 + secs) * 1_000_000_000), wall: UnixMillis((5_000 + secs) * 1000) }
}

fn card(instance: u64, agent: &str, agent_type: &str, side: Side) -> InstanceCard {
    let instance = InstanceId(instance);
    InstanceCard {
        instance,
        agent: agent.into(),
        agent_type: agent_type.into(),
        model: ModelName::new("tinyllama"),
        side,
        token: InstanceToken::new(format!("token-{instance}")),
        address: Ipv4Addr::LOCALHOST,
        upstream: None,
        delivery: Delivery::Pull,
    }
}

fn to(agent: &str, instance: u64, fallback: Option<u64>) -> Move {
    Move { agent: agent.into(), to: InstanceId(instance), fallback: fallback.map(InstanceId) }
}

const BLUE: InstanceId = InstanceId(1);
const GREEN: InstanceId = InstanceId(2);
const OTHER: InstanceId = InstanceId(3);

/// Two agents of type `worker`: `a` has blue 1 (active) and green 2, `b` has blue 3 (active).
struct World {
    traffic: Traffic,
    changes: Vec<Change>,
}

impl World {
    fn new() -> Self {
        let agents = vec![("a".into(), "worker".into()), ("b".into(), "worker".into())];
        let mut world = Self { traffic: Traffic::new(policy(), agents), changes: Vec::new() };
        let cards = vec![
            card(1, "a", "worker", Side::Blue),
            card(2, "a", "worker", Side::Green),
            card(3, "b", "worker", Side::Blue),
        ];
        world.traffic.enrol(cards, &mut world.changes).unwrap();
        world.cut(0, 1, &[to("a", 1, None), to("b", 3, None)]).unwrap();
        world
    }

    fn cut(&mut self, secs: u64, generation: u64, moves: &[Move]) -> Result<CutOver, RouteError> {
        let drain = Millis::from_secs(30);
        self.traffic.cut_over(at(secs), Generation(generation), moves, drain, false, &mut self.changes)
    }

    fn submit(&mut self, id: &str, to: Addressee) -> Result<Submitted, Refusal> {
        self.traffic.submit(at(0), Submission::new(TaskId::new(id), to, 0), &mut self.changes)
    }

    fn submit_to_a(&mut self, id: &str) {
        self.submit(id, Addressee::Agent("a".into())).unwrap();
    }

    fn next(&mut self, secs: u64, instance: InstanceId) -> Option<(String, u32)> {
        let granted = self.traffic.next(at(secs), instance, None, &mut self.changes)?;
        Some((granted.id.to_string(), granted.attempt))
    }

    fn complete(&mut self, secs: u64, id: &str, by: InstanceId) -> Completion {
        let id = TaskId::new(id);
        let archived = self.changes.iter().find_map(|change| match change {
            Change::Finished { task, by, .. } if task.id == id => {
                Some(Archived { completed_by: by.as_ref().map(|(_, lease)| lease.instance) })
            }
            _ => None,
        });
        let report = Report::Completed { empty: false };
        self.traffic.complete(at(secs), &id, by, report, archived, &mut self.changes)
    }
}

fn granted(id: &str, attempt: u32) -> Option<(String, u32)> {
    Some((id.to_owned(), attempt))
}

#[test]
fn a_lease_from_before_the_cutover_is_finished_by_its_holder_and_the_next_task_goes_to_green() {
    let mut w = World::new();
    w.submit_to_a("t1");
    w.submit_to_a("t2");
    assert_eq!(w.next(1, BLUE), granted("t1", 1));
    assert_eq!(w.next(1, GREEN), None, "not active");
    w.cut(2, 2, &[to("a", 2, Some(1))]).unwrap();
    assert_eq!(w.next(3, GREEN), granted("t2", 1));
    assert_eq!(w.complete(4, "t1", BLUE), Completion::Accepted { seq: 1 });
    assert_eq!(w.next(5, BLUE), None, "retired");
    assert_eq!(w.complete(5, "t1", BLUE), Completion::Repeated);
    assert_eq!(w.complete(5, "t1", GREEN), Completion::Conflict);
    assert_eq!(w.complete(5, "nothing", GREEN), Completion::Unknown);
}

#[test]
fn an_instance_of_one_place_that_asks_again_gets_its_task_again_until_the_attempts_are_spent() {
    let mut w = World::new();
    w.submit_to_a("poison");
    w.submit_to_a("t2");
    assert_eq!(w.next(1, BLUE), granted("poison", 1));
    assert_eq!(w.next(2, BLUE), granted("poison", 2));
    w.cut(3, 2, &[to("a", 2, None)]).unwrap();
    assert_eq!(w.next(4, BLUE), granted("poison", 3), "still its own after the cutover");
    assert_eq!(w.next(5, BLUE), None, "given up");
    assert!(matches!(w.changes.last(), Some(Change::Finished { by: None, .. })));
    assert_eq!(w.complete(6, "poison", BLUE), Completion::Conflict);
    assert_eq!(w.next(6, GREEN), granted("t2", 1));
}

#[test]
fn an_instance_of_many_places_holds_that_many() {
    let mut w = World::new();
    for id in ["t1", "t2", "t3"] {
        w.submit_to_a(id);
    }
    w.traffic.set_places(BLUE, 2, &mut w.changes);
    assert_eq!(w.next(1, BLUE), granted("t1", 1));
    assert_eq!(w.next(1, BLUE), granted("t2", 1));
    assert_eq!(w.next(1, BLUE), None);
    assert_eq!(w.complete(2, "t2", BLUE), Completion::Accepted { seq: 1 });
    assert_eq!(w.next(2, BLUE), granted("t3", 1));
}

#[test]
fn an_expired_lease_goes_back_to_its_place_in_line_and_its_holder_is_refused() {
    let mut w = World::new();
    w.submit_to_a("t1");
    w.submit_to_a("t2");
    assert_eq!(w.next(0, BLUE), granted("t1", 1));
    w.traffic.renew(at(30).mono, &TaskId::new("t1"), BLUE);
    assert_eq!(w.traffic.next_timeout(), Some(at(90).mono));
    w.traffic.expire(at(60), &mut w.changes);
    assert_eq!(w.traffic.leased(), 1, "renewed by progress");
    w.traffic.expire(at(90), &mut w.changes);
    assert_eq!((w.traffic.leased(), w.traffic.queued()), (0, 2));
    assert_eq!(w.complete(91, "t1", BLUE), Completion::Conflict);
    assert_eq!(w.next(91, BLUE), granted("t1", 2));
}

#[test]
fn at_the_drain_limit_leases_are_revoked_without_costing_the_task_an_attempt() {
    let mut w = World::new();
    w.submit_to_a("t1");
    for (round, holder, heir) in [(1, 1, 2), (2, 2, 1), (3, 1, 2), (4, 2, 1)] {
        assert_eq!(w.next(round * 40, InstanceId(holder)), granted("t1", u32::try_from(round).unwrap()));
        w.cut(round * 40, round + 1, &[to("a", heir, None)]).unwrap();
        assert_eq!(w.traffic.next_timeout(), Some(at(round * 40 + 30).mono), "before the lease is over");
        assert_eq!(w.next(round * 40 + 1, InstanceId(heir)), None, "still leased");
        w.traffic.expire(at(round * 40 + 30), &mut w.changes);
        assert!(matches!(w.changes.last(), Some(Change::DrainOver { instance }) if instance.0 == holder));
        assert_eq!(w.complete(round * 40 + 31, "t1", InstanceId(holder)), Completion::Conflict);
    }
}

#[test]
fn a_blamed_instance_loses_its_leases_at_once() {
    let mut w = World::new();
    w.submit_to_a("t1");
    w.next(1, BLUE);
    let moves = [to("a", 2, None)];
    w.traffic.cut_over(at(2), Generation(2), &moves, Millis::from_secs(30), true, &mut w.changes).unwrap();
    assert_eq!(w.next(2, GREEN), granted("t1", 2));
    assert_eq!(w.complete(3, "t1", BLUE), Completion::Conflict);
}

#[test]
fn no_rollback_however_often_costs_a_task_its_attempts() {
    let mut w = World::new();
    w.submit_to_a("t1");
    for (round, holder, heir) in [(1, 1, 2), (2, 2, 1), (3, 1, 2), (4, 2, 1), (5, 1, 2)] {
        assert_eq!(
            w.next(round, InstanceId(holder)),
            granted("t1", u32::try_from(round).unwrap()),
            "attempts are true"
        );
        let (moves, drain) = ([to("a", heir, None)], Millis::from_secs(30));
        w.traffic.cut_over(at(round), Generation(round + 1), &moves, drain, true, &mut w.changes).unwrap();
    }
    assert_eq!(w.traffic.task(&TaskId::new("t1")).map(|task| (task.attempts, task.revoked)), Some((5, 5)));
    assert_eq!(w.next(6, GREEN), granted("t1", 6));
    assert_eq!(w.complete(7, "t1", GREEN), Completion::Accepted { seq: 1 });
}

#[test]
fn an_end_after_the_relief_costs_no_attempt_and_one_in_office_does() {
    let mut w = World::new();
    let end_of = |w: &World| match w.changes.iter().rfind(|change| matches!(change, Change::LeaseLost { .. })) {
        Some(Change::LeaseLost { task, end, .. }) => (*end, task.revoked),
        other => panic!("{other:?}"),
    };
    w.submit_to_a("t1");
    w.next(1, BLUE);
    w.cut(2, 2, &[to("a", 2, None)]).unwrap();
    w.traffic.lost(at(3), BLUE, false, &mut w.changes).unwrap();
    assert_eq!(end_of(&w), (LeaseEnd::Returned, 1));
    assert_eq!(w.next(4, GREEN), granted("t1", 2));
    w.traffic.lost(at(5), GREEN, false, &mut w.changes).unwrap();
    assert_eq!(end_of(&w), (LeaseEnd::HolderGone, 1));
}

#[test]
fn one_that_was_told_to_end_in_office_costs_its_task_no_attempt() {
    let mut w = World::new();
    w.submit_to_a("t1");
    w.next(1, BLUE);
    w.traffic.lost(at(2), BLUE, true, &mut w.changes).unwrap();
    let task = w.traffic.task(&TaskId::new("t1")).unwrap();
    assert_eq!((task.attempts, task.revoked), (1, 1));
}

#[test]
fn generations_follow_one_another_and_the_last_may_be_repeated() {
    let mut w = World::new();
    let moves = [to("a", 2, Some(1))];
    assert_eq!(w.cut(1, 3, &moves), Err(RouteError::Stale { standing: Generation(1) }));
    assert_eq!(w.cut(1, 2, &moves), Ok(CutOver::Done));
    let stored = w.changes.len();
    assert_eq!(w.cut(2, 2, &moves), Ok(CutOver::Repeated));
    assert_eq!(w.changes.len(), stored, "a repetition changes nothing");
    assert_eq!(w.cut(2, 2, &[to("a", 1, None)]), Err(RouteError::Stale { standing: Generation(2) }));
    assert_eq!(w.traffic.route(&"a".into()).fence, Fence(2));
    assert_eq!(w.traffic.route(&"b".into()).fence, Fence(1), "untouched");
}

#[test]
fn a_wrong_move_moves_nobody() {
    let mut w = World::new();
    let wrong = [
        (vec![to("b", 3, None), to("a", 9, None)], RouteError::Unknown(InstanceId(9))),
        (vec![to("a", 2, None), to("a", 1, None)], RouteError::Twice("a".into())),
        (vec![to("a", 2, Some(2))], RouteError::OwnFallback(GREEN)),
        (vec![to("b", 1, None)], RouteError::Foreign { instance: BLUE, owner: "a".into(), agent: "b".into() }),
    ];
    for (moves, error) in wrong {
        assert_eq!(w.cut(1, 2, &moves), Err(error));
        assert_eq!((w.traffic.generation(), w.traffic.route(&"a".into()).active), (Generation(1), Some(BLUE)));
    }
    w.traffic.lost(at(1), GREEN, false, &mut w.changes).unwrap();
    assert_eq!(w.cut(1, 2, &[to("a", 2, None)]), Err(RouteError::Gone(GREEN)));
}

#[test]
fn a_green_that_dies_is_followed_by_its_warm_blue() {
    let mut w = World::new();
    w.cut(1, 2, &[to("a", 2, Some(1))]).unwrap();
    w.submit_to_a("t1");
    assert_eq!(w.next(2, GREEN), granted("t1", 1));
    w.traffic.lost(at(3), GREEN, false, &mut w.changes).unwrap();
    w.traffic.lost(at(3), GREEN, false, &mut w.changes).unwrap();
    let route = w.traffic.route(&"a".into());
    assert_eq!((route.active, route.fallback, w.traffic.generation()), (Some(BLUE), None, Generation(3)));
    w.traffic.retire(at(3), &[GREEN], &mut w.changes);
    assert_eq!(w.traffic.route(&"a".into()), route, "it had left the route");
    assert_eq!(w.next(4, BLUE), granted("t1", 2));
    assert_eq!(w.cut(5, 2, &[to("a", 2, Some(1))]), Err(RouteError::Stale { standing: Generation(3) }));
}

#[test]
fn the_end_of_one_that_is_not_active_moves_nobody() {
    let mut w = World::new();
    w.traffic.enrol(vec![card(4, "a", "worker", Side::Green)], &mut w.changes).unwrap();
    w.cut(1, 2, &[to("a", 2, Some(1))]).unwrap();
    let route = w.traffic.route(&"a".into());
    w.traffic.lost(at(2), InstanceId(4), false, &mut w.changes).unwrap();
    assert_eq!((w.traffic.route(&"a".into()), w.traffic.generation()), (route, Generation(2)));
}

#[test]
fn routes_are_shown_where_somebody_is_active() {
    let mut w = World::new();
    w.cut(1, 2, &[to("a", 2, Some(1))]).unwrap();
    w.traffic.retire(at(2), &[OTHER], &mut w.changes);
    let of_a = RouteView { agent: "a".into(), active: GREEN, fence: Fence(2), fallback: Some(BLUE) };
    assert_eq!(w.traffic.route_views(), std::slice::from_ref(&of_a));
    w.traffic.retire(at(3), &[BLUE], &mut w.changes);
    assert_eq!(w.traffic.route_views(), [RouteView { fallback: None, ..of_a }], "nothing to fall back to");
}

#[test]
fn without_a_fallback_tasks_wait_for_the_next_instance() {
    let mut w = World::new();
    w.submit_to_a("t1");
    w.next(1, BLUE);
    w.traffic.lost(at(2), BLUE, false, &mut w.changes).unwrap();
    assert_eq!(w.next(3, BLUE), None, "gone");
    assert_eq!(w.traffic.fence_of(BLUE), None);
    w.traffic.retire(at(3), &[BLUE, InstanceId(77)], &mut w.changes);
    assert_eq!(w.traffic.route(&"a".into()), Route { active: None, fence: Fence(1), fallback: None });
    w.cut(4, 2, &[to("a", 2, None)]).unwrap();
    assert_eq!(w.next(5, GREEN), granted("t1", 2));
}

#[test]
fn a_task_for_a_type_is_drawn_with_its_side_and_may_be_taken_over_when_it_waits_too_long() {
    let mut w = World::new();
    w.cut(0, 2, &[to("a", 2, None)]).unwrap();
    w.submit("t1", Addressee::Type("worker".into())).unwrap();
    let draw = w.traffic.task(&TaskId::new("t1")).unwrap().draw.unwrap();
    assert_eq!(draw, Draw { side: Side::Green, chance: 0.5 });
    assert_eq!(w.next(19, OTHER), None, "drawn for a");
    assert_eq!(w.next(20, OTHER), granted("t1", 1));
    let task = w.traffic.task(&TaskId::new("t1")).unwrap();
    let State::Leased(lease) = &task.state else { panic!("{task:?}") };
    assert_eq!((task.agent.as_str(), lease.agent.as_str(), lease.side), ("a", "b", Side::Blue));
    assert_eq!(task.arm(lease), Side::Green, "the outcome counts for the side that was drawn");
    assert_eq!(w.traffic.task(&TaskId::new("t1")).unwrap().draw, Some(draw), "still counts as drawn");
}

#[test]
fn the_chance_of_a_draw_is_that_of_its_side() {
    let mut w = World::new();
    w.traffic.enrol(vec![card(4, "c", "worker", Side::Blue)], &mut w.changes).unwrap();
    w.cut(0, 2, &[to("a", 2, None), to("c", 4, None)]).unwrap();
    let mut draw = |id: &str, chance| {
        let submission = Submission::new(TaskId::new(id), Addressee::Type("worker".into()), chance);
        w.traffic.submit(at(0), submission, &mut w.changes).unwrap();
        w.traffic.task(&TaskId::new(id)).unwrap().draw
    };
    assert_eq!(draw("to a", 0), Some(Draw { side: Side::Green, chance: 1.0 / 3.0 }));
    assert_eq!(draw("to c", u64::MAX), Some(Draw { side: Side::Blue, chance: 2.0 / 3.0 }));
}

#[test]
fn what_the_drawn_agent_works_on_itself_counts_for_the_side_that_does() {
    let mut w = World::new();
    w.cut(0, 2, &[to("a", 2, None)]).unwrap();
    w.submit("t1", Addressee::Type("worker".into())).unwrap();
    w.cut(1, 3, &[to("a", 1, None)]).unwrap();
    assert_eq!(w.next(1, BLUE), granted("t1", 1));
    let task = w.traffic.task(&TaskId::new("t1")).unwrap();
    let State::Leased(lease) = &task.state else { panic!("{task:?}") };
    assert_eq!((task.draw.map(|draw| draw.side), task.arm(lease)), (Some(Side::Green), Side::Blue));
}

#[test]
fn how_long_a_task_was_held_is_told_in_microseconds() {
    let mut w = World::new();
    w.submit_to_a("t1");
    w.next(1, BLUE);
    assert_eq!(w.complete(6, "t1", BLUE), Completion::Accepted { seq: 1 });
    assert!(
        matches!(w.changes.last(), Some(Change::Finished { lease_micros: 5_000_000, .. })),
        "{:?}",
        w.changes.last()
    );
}

#[test]
fn who_asks_again_holds_its_task_from_then_on() {
    let mut w = World::new();
    w.submit_to_a("t1");
    w.next(1, BLUE);
    w.next(3, BLUE);
    let task = w.traffic.task(&TaskId::new("t1")).unwrap();
    assert!(matches!(&task.state, State::Leased(lease) if lease.granted_at == at(3).wall), "{task:?}");
    assert_eq!(w.traffic.next_timeout(), Some(at(63).mono));
    w.complete(6, "t1", BLUE);
    assert!(matches!(w.changes.last(), Some(Change::Finished { lease_micros: 3_000_000, .. })));
}

#[test]
fn a_fleet_has_the_agents_that_were_declared_and_those_that_were_enrolled() {
    let mut w = World::new();
    w.traffic.enrol(vec![card(4, "c", "writer", Side::Blue)], &mut w.changes).unwrap();
    assert_eq!(w.traffic.agents().map(AgentName::as_str).collect::<Vec<_>>(), ["a", "b", "c"]);
}

#[test]
fn what_was_stored_is_what_comes_back() {
    let mut w = World::new();
    w.submit_to_a("held");
    w.next(1, BLUE);
    w.submit_to_a("waiting");
    for id in ["later", "later still"] {
        let submission = Submission::new(TaskId::new(id), Addressee::Agent("a".into()), 0);
        let delayed = Submission { delay: Millis::from_secs(500), ..submission };
        w.traffic.submit(at(1), delayed, &mut w.changes).unwrap();
    }
    w.traffic.set_places(GREEN, 3, &mut w.changes);
    w.cut(2, 2, &[to("a", 2, Some(1))]).unwrap();
    w.traffic.retire(at(3), &[OTHER], &mut w.changes);

    let mut stored = Snapshot::default();
    w.changes.iter().for_each(|change| stored.apply(change));
    let back = Traffic::restore(policy(), Vec::new(), stored, at(4));
    assert_eq!(back.generation(), Generation(2));
    assert!(back.routes().eq(w.traffic.routes()));
    assert!(back.instances().eq(w.traffic.instances()));
    assert_eq!(back.held_by(BLUE), [TaskId::new("held")]);
    assert_eq!((back.leased(), back.queued(), back.delayed()), (1, 1, 2));
    assert_eq!(back.next_timeout(), Some(at(32).mono), "the drain of blue goes on");
}

#[test]
fn a_task_for_an_agent_is_nobody_elses() {
    let mut w = World::new();
    w.submit_to_a("t1");
    assert_eq!(w.next(10_000, OTHER), None);
}

#[test]
fn the_draw_reaches_every_agent_of_the_type() {
    let mut w = World::new();
    let drawn = [0, u64::MAX / 2 - 1, u64::MAX / 2 + 1, u64::MAX].map(|chance| {
        let id = TaskId::new(chance.to_string());
        let submission = Submission::new(id, Addressee::Type("worker".into()), chance);
        match w.traffic.submit(at(0), submission, &mut w.changes).unwrap() {
            Submitted::Queued { agent } => agent.to_string(),
            Submitted::Known { .. } => panic!("known"),
        }
    });
    assert_eq!(drawn, ["a", "a", "b", "b"]);
}

#[test]
fn what_cannot_be_taken_is_refused_and_what_is_known_is_not_taken_twice() {
    let mut w = World::new();
    assert_eq!(w.submit("t", Addressee::Agent("x".into())), Err(Refusal::NoAgent("x".into())));
    assert_eq!(w.submit("t", Addressee::Type("x".into())), Err(Refusal::NoType("x".into())));
    for n in 0..100 {
        w.submit_to_a(&n.to_string());
    }
    let refused = w.submit("t", Addressee::Agent("a".into()));
    assert!(matches!(refused, Err(Refusal::Full { .. })), "{refused:?}");
    let again = w.submit("7", Addressee::Agent("b".into()));
    assert_eq!(again, Ok(Submitted::Known { agent: "a".into() }));
    assert_eq!(w.traffic.queued(), 100);
}

#[test]
fn enrolling_twice_is_enrolling_once_but_not_with_another_card() {
    let mut w = World::new();
    let stored = w.changes.len();
    w.traffic.enrol(vec![card(1, "a", "worker", Side::Blue)], &mut w.changes).unwrap();
    assert_eq!(w.changes.len(), stored);
    w.traffic.settle(&[GREEN], &mut w.changes);
    w.traffic.enrol(vec![card(2, "a", "worker", Side::Green)], &mut w.changes).unwrap();
    assert_eq!(w.changes.len(), stored + 1, "settled, and that was all");
    let stored = w.changes.len();
    let other = vec![card(8, "c", "worker", Side::Blue), card(1, "b", "worker", Side::Blue)];
    assert_eq!(w.traffic.enrol(other, &mut w.changes), Err(Refusal::OtherCard(BLUE)));
    assert_eq!(w.changes.len(), stored, "all or none");
}
