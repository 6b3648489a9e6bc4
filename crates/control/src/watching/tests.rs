//! A watch that is fed by hand, and what the machine would be told.

use bellwether_core::{
    analysis::{Baseline, Window},
    id::{AgentType, Side},
    observation::{Cell, Tasks},
    watch::AlarmKind,
};

use super::*;
use crate::samples::{fleet, plan, progressing, roll_back, started};

/// Both agents do their work.
fn second(number: u64) -> Second {
    let cell = |name: &str| Cell {
        agent: name.into(),
        model: fleet().agents[0].revision.model.clone(),
        drawn: Side::Blue,
        served: Side::Blue,
        tasks: Tasks { completed: 2, ..Tasks::default() },
        calls: Default::default(),
        pushes: Default::default(),
        signs: Default::default(),
    };
    Second { number, at: UnixMillis(number * 1000), cells: vec![cell("a"), cell("b")], ..Second::default() }
}

fn watch() -> Watch {
    let mut window = Window::default();
    for number in 1..=20 {
        window.second(&second(number), &|_| Some(AgentType::from("t")));
    }
    let plan = plan("one");
    prepare::set_up(&fleet(), &plan, &Baseline::new(window, plan.baseline).unwrap())
}

fn alarm(why: &str) -> Alarm {
    Alarm {
        kind: AlarmKind::Health,
        shared: false,
        harm_began: UnixMillis(1),
        agents: vec!["a".into()],
        types: Vec::new(),
        why: why.into(),
        figures: Vec::new(),
    }
}

fn ready(alarms: Vec<(UnixMillis, Alarm)>) -> Prepared {
    Prepared::Ready { watch: Box::new(watch()), fed: 20, alarms }
}

/// Watching, with record 20 as the last that went in.
fn watching(rollout: &Rollout) -> Watching {
    let mut watching = Watching::new(UnixMillis(0));
    assert!(matches!(watching.follow(Some(rollout)), Some(Job::Prepare { after: 20, .. })));
    assert_eq!(watching.prepared(rollout.id, ready(Vec::new())), []);
    assert!(watching.is_on());
    watching
}

/// In its rollback, with the traffic back on blue since second 30.
fn shifted(mut rollout: Rollout) -> Rollout {
    rollout.state = State::RollingBack { step: RollbackStep::Validate };
    rollout.rollback.as_mut().unwrap().shifted = Some(UnixMillis(30_000));
    rollout
}

fn fed(watching: &Watching) -> u64 {
    let Stage::Watching(watched) = &watching.stage else { panic!("nothing is watched") };
    watched.fed
}

#[test]
fn a_rollout_is_watched_from_its_baseline_to_its_end() {
    let machine = started(plan("one"));
    let mut watching = Watching::new(UnixMillis(0));
    assert!(watching.follow(machine.rollout()).is_none());
    let machine = progressing();
    assert!(matches!(watching.follow(machine.rollout()), Some(Job::Prepare { after: 20, .. })));
    assert!(watching.follow(machine.rollout()).is_none(), "it is being read already");
    let mut rollout = machine.rollout().unwrap().clone();
    watching.prepared(rollout.id, ready(Vec::new()));
    rollout.state = State::Completed;
    watching.follow(Some(&rollout));
    assert!(watching.is_on());
    rollout.state = State::RolledBack;
    watching.follow(Some(&rollout));
    assert!(!watching.is_on());
    assert_eq!(watching.prepared(rollout.id, ready(vec![(UnixMillis(21_000), alarm("too late"))])), []);
    assert!(!watching.is_on());
}

#[test]
fn a_spool_that_could_not_be_read_is_read_again() {
    let machine = progressing();
    let rollout = machine.rollout().unwrap();
    let mut watching = Watching::new(UnixMillis(0));
    watching.follow(Some(rollout));
    watching.prepared(rollout.id, Prepared::Unreadable);
    assert!(matches!(watching.follow(Some(rollout)), Some(Job::Prepare { after: 20, .. })));
}

#[test]
fn an_alarm_from_before_the_last_decision_is_dropped() {
    let machine = progressing();
    let rollout = machine.rollout().unwrap();
    let mut watching = Watching::new(UnixMillis(40_000));
    watching.follow(Some(rollout));
    let alarms =
        vec![(UnixMillis(35_000), alarm("a person has seen it and resumed")), (UnixMillis(41_000), alarm("unseen"))];
    let counted: Vec<String> =
        watching.prepared(rollout.id, ready(alarms)).into_iter().map(|alarm| alarm.why).collect();
    assert_eq!(counted, ["unseen"]);
}

#[test]
fn records_that_the_link_lost_are_read_and_none_is_taken_twice() {
    let machine = progressing();
    let rollout = machine.rollout().unwrap();
    let mut watching = watching(rollout);
    watching.second(&second(21), rollout);
    assert_eq!(fed(&watching), 21);
    assert!(watching.follow(Some(rollout)).is_none());
    watching.second(&second(24), rollout);
    assert!(matches!(watching.follow(Some(rollout)), Some(Job::Fetch { after: 21, .. })));
    watching.second(&second(25), rollout);
    assert!(watching.follow(Some(rollout)).is_none(), "it is being read already");
    assert_eq!(fed(&watching), 21, "nothing goes in before what is missing");
    let missed: Vec<Second> = (21..=25).map(second).collect();
    watching.fetched(rollout, Some(&missed));
    assert_eq!(fed(&watching), 25);
    watching.second(&second(26), rollout);
    assert_eq!(fed(&watching), 26);
    watching.second(&second(28), rollout);
    assert!(matches!(watching.follow(Some(rollout)), Some(Job::Fetch { after: 26, .. })));
    watching.fetched(rollout, None);
    assert!(matches!(watching.follow(Some(rollout)), Some(Job::Fetch { after: 26, .. })), "it is tried again");
}

#[test]
fn instances_that_fail_their_health_checks_in_a_row_raise_an_alarm() {
    let machine = progressing();
    let mut watching = watching(machine.rollout().unwrap());
    let mut check = |number: u64| {
        let fault = Some("it answered 503".to_owned());
        let agent = "a".into();
        let instance = bellwether_core::id::InstanceId(1);
        watching.health(&HealthCheck {
            at: UnixMillis(21_000 + number * 3000),
            instance,
            agent,
            side: Side::Green,
            fault,
        })
    };
    assert_eq!((check(1), check(2)), (None, None));
    assert_eq!(check(3).map(|alarm| alarm.kind), Some(AlarmKind::Health));
}

#[test]
fn blue_is_checked_after_whole_seconds_with_the_traffic_and_told_once() {
    let mut machine = progressing();
    roll_back(&mut machine, 29);
    let mut rollout = shifted(machine.rollout().unwrap().clone());
    let mut watching = watching(&rollout);
    for number in 21..=30 {
        watching.second(&second(number), &rollout);
        assert_eq!(watching.blue(&second(number), &rollout), None);
    }
    let now = second(31);
    assert_eq!(watching.blue(&now, &rollout), None, "the record is not taken yet");
    watching.second(&now, &rollout);
    let told = Event::RollbackChecked { rollout: rollout.id, fault: None };
    assert_eq!(watching.blue(&now, &rollout), Some(told.clone()));
    rollout.rollback.as_mut().unwrap().checked = true;
    assert_eq!(watching.blue(&now, &rollout), None);
    rollout.rollback.as_mut().unwrap().fault = Some("what was wrong a second ago".into());
    assert_eq!(watching.blue(&now, &rollout), Some(told));
}

#[test]
fn a_fault_of_blue_that_only_reads_differently_is_told_now_and_then() {
    let mut machine = progressing();
    roll_back(&mut machine, 29);
    let mut rollout = shifted(machine.rollout().unwrap().clone());
    rollout.state = State::NeedsAttention;
    let mut watching = watching(&rollout);
    let mut told = 0;
    for number in 21..=60 {
        let mut second = second(number);
        let cell = &mut second.cells[0];
        (cell.tasks.completed, cell.tasks.failed) = (0, number);
        watching.second(&second, &rollout);
        if let Some(Event::RollbackChecked { fault, .. }) = watching.blue(&second, &rollout) {
            let record = rollout.rollback.as_mut().unwrap();
            (record.checked, record.fault) = (true, fault);
            told += 1;
        }
    }
    assert_eq!(told, 3, "at 31, 41 and 51");
}

#[test]
fn without_a_baseline_blue_is_checked_by_its_model_server_alone() {
    let mut machine = progressing();
    roll_back(&mut machine, 29);
    let rollout = shifted(machine.rollout().unwrap().clone());
    let mut watching = Watching::new(UnixMillis(0));
    watching.follow(Some(&rollout));
    watching.prepared(rollout.id, Prepared::NoBaseline("it is gone".into()));
    let silent = Second { probes: 2, probes_failed: 2, ..second(31) };
    watching.second(&silent, &rollout);
    let Some(Event::RollbackChecked { fault: Some(fault), .. }) = watching.blue(&silent, &rollout) else {
        panic!("a model server that does not answer stands against blue")
    };
    assert_eq!(fault, "the model server did not answer when it was last asked");
    let answers = Second { probes: 1, ..second(32) };
    watching.second(&answers, &rollout);
    watching.second(&second(33), &rollout);
    let told = Event::RollbackChecked { rollout: rollout.id, fault: None };
    assert_eq!(watching.blue(&second(33), &rollout), Some(told));
}

#[test]
fn a_record_belongs_to_the_phase_that_was_under_way_when_it_closed() {
    let machine = progressing();
    let mut rollout = machine.rollout().unwrap().clone();
    let mut later = rollout.phases[0].clone();
    later.began = UnixMillis(50_000);
    rollout.phases.push(later);
    assert_eq!([20, 22, 50, 51].map(|number| phase_at(&rollout, second(number).at)), [0, 0, 0, 1]);
}
