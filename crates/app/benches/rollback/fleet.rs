//! The two fleets: 131 light agents as the demo runs them, and twenty that boot for 8 s and hold 250 MB.

use std::fmt::Write;

#[derive(Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) agents: usize,
    /// Tasks per second.
    pub(crate) rate: u32,
    pub(crate) boot_s: u32,
    pub(crate) ballast_mib: u32,
}

pub(crate) const LIGHT: Kind = Kind { name: "light", agents: 131, rate: 20, boot_s: 0, ballast_mib: 0 };
pub(crate) const HEAVY: Kind = Kind { name: "heavy", agents: 20, rate: 4, boot_s: 8, ballast_mib: 250 };

pub(crate) const STANDBYS: [&str; 3] = ["warm", "frozen", "stopped"];

impl Kind {
    pub(crate) fn fleet_file(&self, standby: &str) -> String {
        let mut text = format!(
            "version: 1\nfleet: bench\nhost: {{reserve: 1GiB}}\nagents:\n  defaults:\n    command: [bellwether, \
             legacy-agent]\n    model: tinyllama\n    drain: 10s\n    boot: 30s\n    standby: {standby}\n    env: \
             {{LEGACY_IDLE_MS: '500', BOOT_SECONDS: '{}', BALLAST_MB: '{}'}}\n  list:\n",
            self.boot_s, self.ballast_mib
        );
        for number in 0..self.agents {
            // Nothing fails that is written to a string.
            writeln!(text, "    - {{name: agent-{number:03}, type: worker}}").ok();
        }
        text += "rollout:\n  baseline: 5s\n  validation: 2s\n  undo_max: 10m\n  # The way back is measured here, not the judgement.\n  criteria: {latency_p95_max: 100, latency_p50_max: 100}\n  phases:\n    - {name: all, select: rest, \
                 bake: 2s, halves: false, thin_evidence: accept}\n";
        text
    }

    pub(crate) fn release_file(&self) -> String {
        format!(
            "version: 1\nrelease: v2\nset:\n  command: [bellwether, agent]\n  http: true\n  boot: 60s\n  env: \
             {{BELLWETHER_IDLE_MS: '500', BELLWETHER_AGENT_BOOT: '{}', BELLWETHER_AGENT_BALLAST_MB: '{}'}}\n",
            self.boot_s, self.ballast_mib
        )
    }
}
