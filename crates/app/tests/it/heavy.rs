//! A fleet that hardly fits its machine: agents that boot for 8 s and hold 250 MiB, and a release that leaks.

use std::{fmt::Write as _, fs, time::Duration};

use serde_json::Value;

use crate::world::{Setup, World, account, all_on, assert_all_settled};

const BALLAST_MIB: u64 = 250;
/// What an agent of this base is measured to need, its own few MiB included.
const BLUE_MIB: u64 = BALLAST_MIB + 4;

fn setup(agents: u64, memory_mib: u64, fault: &str) -> Setup {
    let mut fleet = format!(
        "version: 1\nfleet: heavy\nhost: {{memory: {memory_mib}MiB, reserve: 0}}\nagents:\n  defaults:\n    \
         command: [bellwether, legacy-agent]\n    \
         env: {{LEGACY_IDLE_MS: '500', BOOT_SECONDS: '8', BALLAST_MB: '{BALLAST_MIB}'}}\n    \
         drain: 10s\n    standby: stopped\n  list:\n"
    );
    for number in 1..=agents {
        writeln!(fleet, "    - {{name: worker-{number}, type: work}}").expect("a string takes it");
    }
    fleet.push_str(
        "rollout:\n  validation: 2s\n  phases:\n    \
         - {name: first, select: {agents: [worker-1, worker-2, worker-3]}, bake: 60s, thin_evidence: accept}\n    \
         - {name: rest, select: rest, bake: 60s, thin_evidence: accept}\n",
    );
    let release = format!(
        "version: 1\nrelease: v2\nset:\n  command: [bellwether, agent]\n  http: true\n  env: {{BELLWETHER_IDLE_MS: '500', \
         BELLWETHER_AGENT_BOOT: '8', BELLWETHER_AGENT_BALLAST_MB: '{BALLAST_MIB}', BELLWETHER_FAULT: '{fault}'}}\n"
    );
    Setup { fleet, release, rate: "4" }
}

/// Proportional set size of all instances together, in MiB.
fn memory_mib(world: &World) -> u64 {
    let rollup = |pid: u64| fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let pss = |text: String| {
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()
    };
    let running = world.instances().into_iter().filter(|record| record["ended"].is_null());
    running.filter_map(|record| pss(rollup(record["pid"].as_u64()?))).sum::<u64>() / 1024
}

#[test]
fn a_heavy_fleet_that_leaks_is_back_in_time_and_never_above_its_memory() {
    let limit_mib = 20 * BLUE_MIB * 12 / 10;
    let world = World::start_with("heavy", &setup(20, limit_mib, "leak=8MiB:400MiB"));
    let load = world.load();
    world.start_rollout_after("5s");
    let mut peak_mib = 0;
    let ended = world.until_within(Duration::from_secs(150), "it is taken back", |status| {
        peak_mib = peak_mib.max(memory_mib(&world));
        status["rollout"]["state"] == "rolled_back"
    });
    let rollback = &ended["rollout"]["rollback"];
    let at = |name: &str| rollback[name].as_u64().unwrap_or_else(|| panic!("no {name} in {rollback:#}"));
    let (detection, execution) = (at("began") - at("harm_began"), at("shifted") - at("began"));
    let validation = at("validated") - at("shifted");
    eprintln!(
        "heavy: detection {detection} ms, execution {execution} ms, validation {validation} ms, peak {peak_mib} of \
         {limit_mib} MiB"
    );
    assert_eq!(rollback["trigger"]["kind"], "memory", "{rollback:#}");
    assert!(detection < 30_000 && execution < 60_000 && validation < 120_000, "{rollback:#}");
    assert!(peak_mib <= limit_mib, "{peak_mib} of {limit_mib} MiB");
    let killed = |record: &&Value| record["ended"]["out_of_memory"] == true;
    assert_eq!(world.instances().iter().find(killed), None);
    assert!(all_on(&world.status(), "blue"));
    assert_all_settled(&account(load));
    world.end();
}

#[test]
fn a_heavy_fleet_without_room_for_one_more_is_refused_with_the_numbers() {
    let world = World::start_with("full", &setup(4, 4 * BLUE_MIB, "leak"));
    world.until("blue was measured", |status| status["live"]["memory_bytes"].as_u64() > Some((4 * BALLAST_MIB) << 20));
    let release = world.dir.join("release.yaml").display().to_string();
    let refused = world.cli(&["rollout", "start", "--release", &release]);
    let told = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{told}");
    assert!(told.contains("BW0203") && told.contains("MiB more would do"), "{told}");
    assert!(world.status()["rollout"].is_null());
    world.end();
}
