//! Plans that are refused, with the numbers.

use bellwether_core::{
    plan::{Measured, make},
    spec::{Release, Spec},
};
use insta::assert_snapshot;

use crate::support::{MIB, fleet, machine, release, shown, sutazai, v2};

fn refused(spec: &Spec, release: &Release, measured: &Measured) -> String {
    shown(&make(spec, release, measured, 1.0).expect_err("the plan is accepted"))
}

fn two(memory: &str) -> Spec {
    fleet(&format!("version: 1\nhost: {{{memory}}}\nagents: {{defaults: {{command: [old]}}, list: [a, b]}}\n"))
}

fn known(memory_mib: u64, blue: [u64; 2]) -> Measured {
    let mut known = Measured { present_memory_bytes: Some(memory_mib * MIB), ..Measured::default() };
    for (name, mib) in ["a", "b"].into_iter().zip(blue) {
        known.blue_peak_bytes.insert(name.into(), mib * MIB);
    }
    known
}

#[test]
fn the_name_of_what_runs() {
    let spec = two("reserve: 0");
    let other = release("version: 1\nrelease: v1\nset: {command: [new]}\n");
    assert_snapshot!(refused(&spec, &other, &machine(4)));
    let same = release("version: 1\nrelease: v1\nset: {command: [old]}\n");
    assert_snapshot!(refused(&spec, &same, &machine(4)));
}

#[test]
fn nothing_to_roll_out() {
    let same = release("version: 1\nrelease: v2\nset: {command: [old], http: false}\n");
    assert_snapshot!(refused(&two("reserve: 0"), &same, &machine(4)));
}

#[test]
fn tasks_posted_where_they_cannot_be() {
    let push = release("version: 1\nrelease: v2\nset: {tasks: push}\n");
    assert_snapshot!(refused(&two("reserve: 0"), &push, &machine(4)));
    let mut relayed = two("reserve: 0");
    relayed.tasks.mode = bellwether_core::spec::TaskMode::Relay;
    let served = release("version: 1\nrelease: v2\nset: {tasks: push, http: true}\n");
    assert_snapshot!(refused(&relayed, &served, &machine(4)));
}

#[test]
fn the_fleet_does_not_fit_as_it_runs() {
    assert_snapshot!(refused(&sutazai(), &v2(), &machine(10)));
}

#[test]
fn no_room_for_a_green_beside_its_blue() {
    assert_snapshot!(refused(&two("memory: 2GiB, reserve: 512MiB"), &v2(), &known(4096, [600, 500])));
}

#[test]
fn the_reserve_takes_all() {
    assert_snapshot!(refused(&sutazai(), &v2(), &machine(4)));
}

#[test]
fn nobody_knows_the_memory() {
    assert_snapshot!(refused(&two("reserve: 0"), &v2(), &Measured::default()));
}

#[test]
fn a_speed_that_is_none() {
    let found = make(&two("reserve: 0"), &v2(), &machine(4), 0.0).expect_err("the plan is accepted");
    assert_snapshot!(shown(&found));
}

/// Following the advice has to help.
#[test]
fn what_a_refusal_says_would_do_does() {
    let spec = two("reserve: 0");
    for memory_mib in [300, 900, 1200, 1250] {
        let Err(found) = make(&spec, &v2(), &known(memory_mib, [600, 500]), 1.0) else { continue };
        let help = found[0].help.clone().expect("it says what would do");
        let more: f64 = help.split(' ').next().and_then(|figure| figure.parse().ok()).expect("it starts with a figure");
        let mib = if help.contains("GiB more") { more * 1024.0 } else { more };
        let next = make(&spec, &v2(), &known(memory_mib + mib.ceil() as u64, [600, 500]), 1.0);
        assert!(next.map_or_else(|then| then[0].code != found[0].code, |_| true), "{memory_mib}: {help}");
    }
}
