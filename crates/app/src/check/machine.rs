//! The machine: memory, CPUs, how limits are enforced, open files.

use std::fs;

use bellwether_core::{
    plan::ASSUMED_BYTES,
    spec::{Spec, unit::Size},
};
use bellwether_drivers::linux::{
    cgroup::{Cgroups, Use, Version},
    proc,
};
use rustix::process::{Resource, getrlimit};

use super::{Check, controller::Serving};
use crate::{files::present_memory, wording::counted};

const MEMORY: &str = "memory";
const CPU: &str = "CPU";
const LIMITS: &str = "limits";
const FILES: &str = "open files";
/// Connections of one agent, on both sides, that the gateway may hold.
const FILES_PER_AGENT: u64 = 16;
const FILES_MIN: u64 = 1024;

pub(super) fn checks(spec: Option<&Spec>, serving: Option<Serving<'_>>) -> Vec<Check> {
    vec![memory(spec, serving.is_some()), cpu(), limits(spec), open_files(spec)]
}

fn memory(spec: Option<&Spec>, serving: bool) -> Check {
    let (Some(present), Ok(machine)) = (present_memory(), proc::machine()) else {
        let remedy = "declare `host.memory` in the fleet file";
        return Check::failed(MEMORY, "how much there is cannot be found out", remedy);
    };
    let available = machine.memory_available_bytes.min(present);
    let there = format!("{} there, {} available now", Size(present), Size(available));
    let Some(spec) = spec else { return Check::ok(MEMORY, there) };
    let declared = spec.host.memory_bytes;
    let total = declared.map_or(present, |declared| declared.min(present));
    let capacity = total.saturating_sub(spec.host.reserve_bytes);
    let for_fleet = format!("{} for the fleet after a reserve of {}", Size(capacity), Size(spec.host.reserve_bytes));
    let evidence = match declared {
        Some(declared) => format!("{} declared, {there}; {for_fleet}", Size(declared)),
        None => format!("{there}; {for_fleet}"),
    };
    if capacity == 0 {
        return Check::failed(MEMORY, evidence, "write a smaller `host.reserve`: it takes all there is");
    }
    let needed = ASSUMED_BYTES.saturating_mul(spec.agents.len() as u64);
    if !serving && available < needed {
        let agents = counted(spec.agents.len(), "agent", "agents");
        return Check::warning(
            MEMORY,
            format!("{evidence}; {agents} are taken to need {}, which is not free at the moment", Size(needed)),
            "end what else uses memory before you start the fleet",
        );
    }
    if declared.is_some_and(|declared| declared > present) {
        return Check::warning(
            MEMORY,
            evidence,
            "what is there counts; correct `host.memory` if it was meant for another machine",
        );
    }
    Check::ok(MEMORY, evidence)
}

fn cpu() -> Check {
    let present = proc::machine().map_or(0, |machine| machine.cpus);
    let usable = std::thread::available_parallelism().map_or(present as usize, std::num::NonZero::get);
    let load = fs::read_to_string("/proc/loadavg").ok().and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
    let cpus = counted(usable, "CPU", "CPUs");
    let of = if usable < present as usize { format!(" of the machine's {present}") } else { String::new() };
    let Some(load) = load else { return Check::ok(CPU, format!("{cpus}{of}")) };
    let evidence = format!("{cpus}{of}, load {load:.1} over the last minute");
    #[expect(clippy::cast_precision_loss, reason = "a count of CPUs")]
    if load > usable as f64 {
        let remedy = "wait, or end what else runs: a machine that is busy with something else shows in every latency";
        return Check::warning(CPU, evidence, remedy);
    }
    Check::ok(CPU, evidence)
}

fn limits(spec: Option<&Spec>) -> Check {
    let groups = Cgroups::detect(Use::Auto, &format!("check-{}", std::process::id()));
    let (memory, freezer) = (groups.memory(), groups.freezer());
    groups.remove_empty();
    let version = |version| match version {
        Version::V2 => "cgroup v2",
        Version::V1 => "cgroup v1",
    };
    let enforced = memory.map_or("measured and then killed by Bellwether".to_owned(), |v| {
        format!("enforced by the kernel ({})", version(v))
    });
    let frozen = freezer.map_or("by signal".to_owned(), |v| format!("by {}", version(v)));
    let evidence = format!("memory limits of agents are {enforced}; freezing {frozen}");
    let declared = spec.map_or(0, |spec| spec.agents.iter().filter(|agent| agent.memory_limit_bytes.is_some()).count());
    if memory.is_none() && declared > 0 {
        let remedy = "a leak is caught at the next measurement, some seconds late; have systemd delegate a cgroup to be \
                      exact: `systemd-run --user --scope -p Delegate=yes bellwether serve …`";
        let agents = counted(declared, "agent has one", "agents have one");
        return Check::warning(LIMITS, format!("{evidence}; {agents}"), remedy);
    }
    Check::ok(LIMITS, evidence)
}

fn open_files(spec: Option<&Spec>) -> Check {
    let agents = spec.map_or(0, |spec| spec.agents.len() as u64);
    let needed = FILES_MIN + FILES_PER_AGENT * agents;
    // Gateway and controller raise their own limit to what is allowed.
    match getrlimit(Resource::Nofile).maximum {
        Some(allowed) if allowed < needed => Check::warning(
            FILES,
            format!("{allowed} are allowed, and a fleet of {agents} may want {needed}"),
            format!("`ulimit -Hn {needed}` before `bellwether serve`, or LimitNOFILE in its unit"),
        ),
        Some(allowed) => Check::ok(FILES, format!("{allowed} are allowed")),
        None => Check::ok(FILES, "any number is allowed"),
    }
}
