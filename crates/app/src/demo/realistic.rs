//! A crowded box as it is: heavy agents that boot for seconds, calls that take 20 s, two at a time. So little happens
//! there in a bake that most questions stay open, and that is what this scenario shows.

use std::fs;

use bellwether_core::time::Millis;
use serde_json::json;

use super::scenario::{AGENTS, Scenario};
use crate::{failure::Failure, files::present_memory};

const BOOT_SECONDS: u64 = 8;
const BALLAST_MIB: u64 = 250;
/// Blue and green of one agent side by side, each with the headroom that a plan gives it.
const BOTH_SIDES_MIB: u64 = 640;
const RESERVE_MIB: u64 = 1024;
/// A plan stays below this share of what the fleet may use.
const CEILING_PERCENT: u64 = 85;
const AGENTS_MIN: u64 = 4;
/// More agents would see no more calls: two slots answer as many for twenty as for two hundred.
const AGENTS_MAX: u64 = 24;
/// Cumulative, in percent, as the seed's 13, 32, 65 and 131.
const PHASES: [(&str, u64); 4] = [("canary", 10), ("limited", 25), ("production", 50), ("full", 100)];
const CALL_SECONDS: u64 = 20;
/// Two slots of 20 s answer six calls a minute. At two fifths of that few wait long, which matters because blue gives
/// up after 30 s.
const RATE: f64 = 0.04;

pub(super) fn scenario() -> Result<Scenario, Failure> {
    let available_mib =
        available_mib().ok_or_else(|| super::cannot_prepare("this machine does not say how much memory is free"))?;
    let agents = agents_within(available_mib);
    let phases = sizes(agents);
    Ok(Scenario {
        fleet: fleet(available_mib, &phases),
        agents: inventory(&phases),
        release: release(),
        model_times: Some(model_times()),
        told: told(agents, available_mib),
        speed: 1.0,
        baseline: Millis::from_mins(2),
        rate: RATE,
        settle: Millis::from_mins(3),
    })
}

/// As many as fit with both sides in memory at once.
fn agents_within(available_mib: u64) -> u64 {
    let ceiling = available_mib.saturating_sub(RESERVE_MIB) * CEILING_PERCENT / 100;
    (ceiling / BOTH_SIDES_MIB).clamp(AGENTS_MIN, AGENTS_MAX)
}

/// Agents that each phase adds.
fn sizes(agents: u64) -> Vec<(&'static str, u64)> {
    let mut moved = 0;
    let sizes = PHASES.into_iter().map(|(name, percent)| {
        let until = (agents * percent / 100).max(moved + 1);
        let more = until - moved;
        moved = until;
        (name, more)
    });
    sizes.collect()
}

fn fleet(available_mib: u64, phases: &[(&str, u64)]) -> String {
    let mut text = format!(
        "# Written by `bellwether demo --realistic` for this machine.\n\
         version: 1\n\
         fleet: crowded-box\n\
         host: {{memory: {available_mib}MiB, reserve: {RESERVE_MIB}MiB}}\n\
         ollama: {{parallel: 2}}\n\
         agents:\n\
         \x20 from_csv: agents.csv\n\
         \x20 defaults:\n\
         \x20   command: [bellwether, legacy-agent]\n\
         \x20   env: {{BOOT_SECONDS: '{BOOT_SECONDS}', BALLAST_MB: '{BALLAST_MIB}'}}\n\
         \x20   drain: 2m\n\
         rollout:\n\
         \x20 extension: 1    # what two minutes cannot tell, three cannot either\n\
         \x20 validation: 1m\n\
         \x20 phases:\n"
    );
    for (at, (name, count)) in phases.iter().enumerate() {
        let select = if at + 1 == phases.len() { "rest".to_owned() } else { format!("{{phase: {}}}", at + 1) };
        text.push_str(&format!(
            "    - {{name: {name}, select: {select}, expect: {count}, bake: 2m, thin_evidence: accept}}\n"
        ));
    }
    text
}

/// The first agents of each phase of the example. All with one model: more of them on two slots would wait for loads
/// alone.
fn inventory(phases: &[(&str, u64)]) -> String {
    let mut text = "name,type,phase,critical\n".to_owned();
    for (at, (_, count)) in phases.iter().enumerate() {
        let phase = (at + 1).to_string();
        let rows = AGENTS.lines().skip(1).map(|line| line.split(',').collect::<Vec<_>>());
        let chosen = rows.filter(|row| row.get(3) == Some(&phase.as_str()));
        for row in chosen.take(usize::try_from(*count).unwrap_or(usize::MAX)) {
            text.push_str(&format!("{},{},{phase},{}\n", row[0], row[1], row[4]));
        }
    }
    text
}

fn release() -> String {
    format!(
        "version: 1\n\
         release: v2\n\
         set:\n\
         \x20 command: [bellwether, agent]\n\
         \x20 env: {{BELLWETHER_AGENT_BOOT: '{BOOT_SECONDS}', BELLWETHER_AGENT_BALLAST_MB: '{BALLAST_MIB}'}}\n\
         \x20 http: true\n"
    )
}

fn model_times() -> String {
    let tokens = 200;
    json!({
        "output_tokens": tokens,
        "output_token_us": CALL_SECONDS * 1_000_000 / tokens,
        "load_us": 5_000_000,
    })
    .to_string()
}

fn told(agents: u64, available_mib: u64) -> Vec<String> {
    let gib = |mib: u64| format!("{}.{} GiB", mib / 1024, mib % 1024 * 10 / 1024);
    let why = match agents {
        AGENTS_MAX => format!(
            "of {} that are available they need {} with both sides side by side, and more agents \
             would not see more calls",
            gib(available_mib),
            gib(agents * BOTH_SIDES_MIB)
        ),
        _ => format!(
            "{} are available, and an agent needs {BOTH_SIDES_MIB} MiB with both sides side by side and some \
             headroom",
            gib(available_mib)
        ),
    };
    vec![
        format!("{agents} agents that boot for {BOOT_SECONDS} s and hold {BALLAST_MIB} MiB: {why}"),
        format!(
            "a model call takes {CALL_SECONDS} s on one of two slots: at most {} a minute for the whole fleet; the demo \
             asks for {:.1}",
            2 * 60 / CALL_SECONDS,
            RATE * 60.0
        ),
        "nothing is compressed: this takes about 12 minutes".to_owned(),
    ]
}

/// What programs could get now without pushing others out, or less if a container says so.
fn available_mib() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some((kib >> 10).min(present_memory()? >> 20))
}

#[cfg(test)]
mod tests {
    use bellwether_core::spec::parse_release;

    use super::*;

    #[test]
    fn the_number_of_agents_follows_the_memory() {
        let agents = [2, 4, 8, 16, 24, 512].map(|gib| agents_within(gib << 10));
        assert_eq!(agents, [4, 4, 9, 20, 24, 24]);
    }

    #[test]
    fn each_phase_moves_somebody() {
        for agents in AGENTS_MIN..=AGENTS_MAX {
            let sizes = sizes(agents);
            assert_eq!(sizes.iter().map(|(_, count)| count).sum::<u64>(), agents);
            assert!(sizes.iter().all(|(_, count)| *count > 0), "{sizes:?}");
        }
        assert_eq!(sizes(24).iter().map(|(_, count)| *count).collect::<Vec<_>>(), [2, 4, 6, 12]);
    }

    #[test]
    fn the_files_are_sound() {
        let scenario = scenario().expect("this machine has memory");
        let spec = scenario.spec().expect("the fleet file is sound");
        assert_eq!(spec.agents.len() as u64, agents_within(available_mib().expect("it says so")));
        assert!(parse_release("release.yaml", &scenario.release).is_ok());
        crate::sim_ollama::Params::replaced_by(&scenario.model_times.expect("its own")).expect("known times");
    }
}
