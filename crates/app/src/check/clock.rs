//! Whether the clocks can be relied on: deadlines that outlive a restart are kept as wall time.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use jiff::Timestamp;

use super::Check;

const NAME: &str = "clock";
/// 2025-01-01: a machine that believes to be before that has lost its clock.
const EARLIEST: Duration = Duration::from_secs(1_735_689_600);
const DRIFT_MAX: Duration = Duration::from_millis(500);
/// Of a file that was written a moment ago.
const FUTURE_MAX: Duration = Duration::from_secs(5);

/// Both clocks at one moment.
pub(super) struct Clocks {
    mono: Instant,
    wall: SystemTime,
}

impl Clocks {
    pub(super) fn read() -> Self {
        Self { mono: Instant::now(), wall: SystemTime::now() }
    }

    /// Compares how far the two have come since they were read.
    pub(super) fn check(&self, state: &Path) -> Check {
        let now = Self::read();
        let remedy = "let a time service keep the clock, such as chrony or systemd-timesyncd; on WSL2 `wsl --shutdown` \
                      sets it right after a long sleep";
        let since_epoch = now.wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let shown =
            Timestamp::try_from(now.wall).map_or_else(|e| e.to_string(), |at| at.strftime("%F %T UTC").to_string());
        if since_epoch < EARLIEST {
            return Check::failed(NAME, format!("it says {shown}, which is long ago"), remedy);
        }
        let mono = now.mono.duration_since(self.mono);
        let wall = now.wall.duration_since(self.wall).unwrap_or_default();
        let drift = mono.abs_diff(wall);
        if drift > DRIFT_MAX {
            let evidence = format!("it jumped by {} ms while these checks ran", drift.as_millis());
            return Check::warning(NAME, evidence, remedy);
        }
        if let Some((name, ahead)) = newest(state, now.wall).filter(|(_, ahead)| *ahead > FUTURE_MAX) {
            let evidence = format!("it says {shown}, and {name} was written {} s after that", ahead.as_secs());
            return Check::warning(NAME, evidence, remedy);
        }
        let source = fs::read_to_string("/sys/devices/system/clocksource/clocksource0/current_clocksource");
        let source = source.map_or(String::new(), |source| format!("; source {}", source.trim()));
        Check::ok(NAME, format!("{shown}, steady against the monotonic clock for {} ms{source}", mono.as_millis()))
    }
}

/// The file of the state directory that lies furthest ahead of `now`.
fn newest(state: &Path, now: SystemTime) -> Option<(String, Duration)> {
    let entries = fs::read_dir(state).ok()?.flatten();
    entries
        .filter_map(|entry| {
            let ahead = entry.metadata().ok()?.modified().ok()?.duration_since(now).ok()?;
            Some((entry.file_name().to_string_lossy().into_owned(), ahead))
        })
        .max_by_key(|(_, ahead)| *ahead)
}
