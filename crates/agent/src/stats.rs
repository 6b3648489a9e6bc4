//! True figures of one agent: counted here, measured by the kernel, never made up.

use std::{
    fs,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};

/// Counters and gauges at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    /// Completed, and accepted by the backend.
    pub(crate) tasks_processed: u64,
    pub(crate) tasks_failed: u64,
    /// Finished here, but no longer wanted: the lease was gone.
    pub(crate) tasks_dropped: u64,
    pub(crate) tasks_active: u64,
    /// Of those active, waiting for a connection to the model server.
    pub(crate) tasks_queued: u64,
    pub(crate) processing_time: Duration,
    pub(crate) last_task: Option<Timestamp>,
    pub(crate) ollama_requests: u64,
    pub(crate) ollama_failures: u64,
    pub(crate) ollama_healthy: bool,
    pub(crate) backend_healthy: bool,
    /// Pieces of answers that have arrived; the model server sends one per token.
    pub(crate) pieces: u64,
}

impl Figures {
    pub(crate) fn average_seconds(&self) -> f64 {
        let finished = self.tasks_processed + self.tasks_failed + self.tasks_dropped;
        #[expect(clippy::cast_precision_loss, reason = "counts fit 53 bits")]
        let finished = finished.max(1) as f64;
        self.processing_time.as_secs_f64() / finished
    }
}

#[derive(Debug)]
pub(crate) struct Stats {
    pub(crate) started: Instant,
    pub(crate) started_at: Timestamp,
    figures: Mutex<Figures>,
    cpu: Mutex<CpuMark>,
}

#[derive(Debug)]
struct CpuMark {
    at: Instant,
    used: Duration,
    percent: f64,
}

impl Stats {
    pub(crate) fn new() -> Self {
        let started = Instant::now();
        Self {
            started,
            started_at: Timestamp::now(),
            figures: Mutex::new(Figures {
                tasks_processed: 0,
                tasks_failed: 0,
                tasks_dropped: 0,
                tasks_active: 0,
                tasks_queued: 0,
                processing_time: Duration::ZERO,
                last_task: None,
                ollama_requests: 0,
                ollama_failures: 0,
                ollama_healthy: true,
                backend_healthy: true,
                pieces: 0,
            }),
            cpu: Mutex::new(CpuMark { at: started, used: cpu_time(), percent: 0.0 }),
        }
    }

    pub(crate) fn read(&self) -> Figures {
        self.lock().clone()
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut Figures)) {
        change(&mut self.lock());
    }

    /// Share of one core since the last reading at least a second ago, in percent.
    pub(crate) fn cpu_percent(&self) -> f64 {
        let mut mark = self.cpu.lock().unwrap_or_else(PoisonError::into_inner);
        let (now, used) = (Instant::now(), cpu_time());
        let span = now - mark.at;
        if span >= Duration::from_secs(1) {
            let percent = used.saturating_sub(mark.used).as_secs_f64() / span.as_secs_f64() * 100.0;
            *mark = CpuMark { at: now, used, percent };
        }
        mark.percent
    }

    fn lock(&self) -> MutexGuard<'_, Figures> {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Resident memory of this process in bytes. None where `/proc` is not there.
pub(crate) fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

fn cpu_time() -> Duration {
    clock_gettime(ClockId::ProcessCPUTime).try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_asked() {
        assert!(resident_bytes().unwrap() > 100 << 10);
        let before = cpu_time();
        let mut sum = 0u64;
        while cpu_time() == before {
            sum = std::hint::black_box(sum + 1);
        }
    }

    #[test]
    fn an_average_over_nothing_is_zero() {
        assert_eq!(Stats::new().read().average_seconds(), 0.0);
    }
}
