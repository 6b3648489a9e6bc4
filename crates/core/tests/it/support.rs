//! Fleet and release files as texts, read the way the shell reads them.

use std::fmt::Write;

use bellwether_core::{
    diagnostic::Diagnostic,
    plan::{Measured, Plan, make},
    spec::{Release, Sources, Spec, parse_fleet, parse_release},
};

pub(crate) const GIB: u64 = 1 << 30;
pub(crate) const MIB: u64 = 1 << 20;

/// A file `fleet.yaml` beside which there are `files`.
pub(crate) fn fleet_with(text: &str, files: &[(&str, &str)]) -> Result<Spec, Vec<Diagnostic>> {
    let read = |path: &str| match files.iter().find(|(name, _)| *name == path) {
        Some((_, text)) => Ok((*text).to_owned()),
        None => Err("No such file or directory (os error 2)".to_owned()),
    };
    parse_fleet(&Sources { name: "fleet.yaml", text, read: &read })
}

pub(crate) fn fleet(text: &str) -> Spec {
    fleet_with(text, &[]).unwrap_or_else(|found| panic!("{}", shown(&found)))
}

pub(crate) fn refused(text: &str) -> String {
    refused_with(text, &[])
}

pub(crate) fn refused_with(text: &str, files: &[(&str, &str)]) -> String {
    shown(&fleet_with(text, files).expect_err("the file is accepted"))
}

pub(crate) fn release(text: &str) -> Release {
    parse_release("release.yaml", text).unwrap_or_else(|found| panic!("{}", shown(&found)))
}

pub(crate) fn refused_release(text: &str) -> String {
    shown(&parse_release("release.yaml", text).expect_err("the file is accepted"))
}

pub(crate) fn v2() -> Release {
    release("version: 1\nrelease: v2\nset: {command: [bellwether, agent], http: true}\n")
}

/// Nothing measured but how much memory there is.
pub(crate) fn machine(gib: u64) -> Measured {
    Measured { present_memory_bytes: Some(gib * GIB), ..Measured::default() }
}

/// Agents whose blues were all measured at `mib`.
pub(crate) fn measured(spec: &Spec, memory_mib: u64, mib: u64) -> Measured {
    Measured {
        present_memory_bytes: Some(memory_mib * MIB),
        blue_peak_bytes: spec.agents.iter().map(|agent| (agent.name.clone(), mib * MIB)).collect(),
        ..Measured::default()
    }
}

/// `count` agents a0, a1, … in one phase that goes whole; `more` is added to the policy.
pub(crate) fn of(count: usize, more: &str) -> Spec {
    let list: Vec<String> = (0..count).map(|i| format!("a{i}")).collect();
    fleet(&format!(
        "version: 1\nhost: {{reserve: 0}}\nagents: {{defaults: {{command: [old]}}, list: [{}]}}\nrollout:\n  phases: [{{name: all, halves: false}}]\n{more}",
        list.join(", ")
    ))
}

pub(crate) fn planned(spec: &Spec, measured: &Measured) -> Plan {
    make(spec, &v2(), measured, 1.0).unwrap_or_else(|found| panic!("{}", shown(&found)))
}

pub(crate) fn sutazai() -> Spec {
    let text = include_str!("../../../../examples/sutazai/fleet.yaml");
    let csv = include_str!("../../../../examples/sutazai/agents.csv");
    fleet_with(text, &[("agents.csv", csv)]).unwrap_or_else(|found| panic!("{}", shown(&found)))
}

/// Findings as the command line prints them.
pub(crate) fn shown(found: &[Diagnostic]) -> String {
    found.iter().fold(String::new(), |mut text, diagnostic| {
        writeln!(text, "{diagnostic}").expect("strings take everything");
        text
    })
}
