//! A queue full of waiting tasks: what each takes of the gateway's memory, and how long a restart takes with them.

use std::{fmt, fs, thread, time::Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use serde_json::Value;

use crate::{
    options::Options,
    queue::payload,
    stage::{Scratch, Stage, until},
};

const CONNECTIONS: usize = 64;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) body_bytes: usize,
    pub(crate) queued: u64,
    /// RSS of the gateway, before and with them.
    pub(crate) empty_mib: f64,
    pub(crate) full_mib: f64,
    pub(crate) per_100k_mib: f64,
    pub(crate) stored_mib: f64,
    pub(crate) submitted_per_second: f64,
    /// From SIGKILL to the first answer of the next gateway, and its RSS then.
    pub(crate) restart_ms: f64,
    pub(crate) restarted_mib: f64,
}

#[expect(clippy::cast_precision_loss, reason = "counts and sizes of one machine")]
pub(crate) fn measure(options: &Options, body_bytes: usize) -> Result<Row, String> {
    let scratch = Scratch::new()?;
    let stage = Stage::set(&scratch, CONNECTIONS)?;
    let pid = stage.gateway_pid().ok_or("there is no gateway")?;
    let empty_mib = resident_mib(pid)?;
    let began = Instant::now();
    fill(&stage, options.queued, body_bytes)?;
    let submitted_per_second = options.queued as f64 / began.elapsed().as_secs_f64();
    let full_mib = resident_mib(pid)?;

    let killed = Instant::now();
    let raw = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or("it has no pid")?;
    kill_process(raw, Signal::KILL).map_err(|error| error.to_string())?;
    let queued = until("the next gateway answers", || queued(&stage))?;
    let restart_ms = killed.elapsed().as_secs_f64() * 1e3;
    if queued != options.queued {
        return Err(format!("{queued} tasks are queued after a restart, and {} were before", options.queued));
    }
    let restarted_mib = resident_mib(stage.gateway_pid().ok_or("there is no gateway")?)?;
    Ok(Row {
        body_bytes,
        queued,
        empty_mib,
        full_mib,
        per_100k_mib: (full_mib - empty_mib) * 1e5 / queued as f64,
        stored_mib: stage.stored_bytes() as f64 / f64::from(1 << 20),
        submitted_per_second,
        restart_ms,
        restarted_mib,
    })
}

/// On many connections at once, to agents that do not ask.
fn fill(stage: &Stage, tasks: u64, body_bytes: usize) -> Result<(), String> {
    let body = payload(body_bytes);
    let share = |first: u64| {
        let (stage, body) = (&stage, &body);
        move || -> Result<(), String> {
            let mut connection = stage.connect()?;
            for number in (first..tasks).step_by(CONNECTIONS) {
                let agent = &stage.agents[usize::try_from(first).unwrap_or(0)].name;
                let task = format!("{{\"id\":\"task-{number}\",\"agent\":\"{agent}\",\"prompt\":\"{body}\"}}");
                let answer = connection.post("/tasks", &task).and_then(|answer| answer.expect(202));
                answer.map_err(|error| error.to_string())?;
            }
            Ok(())
        }
    };
    thread::scope(|scope| {
        let running: Vec<_> = (0..CONNECTIONS as u64).map(|first| scope.spawn(share(first))).collect();
        running.into_iter().try_for_each(|one| one.join().unwrap_or_else(|_panic| Err("a client panicked".to_owned())))
    })
}

fn queued(stage: &Stage) -> Option<u64> {
    let answer = stage.connect().ok()?.get("/tasks").ok()?;
    let counts: Value = serde_json::from_slice(&answer.body).ok()?;
    counts["queued"].as_u64()
}

#[expect(clippy::cast_precision_loss, reason = "memory of one machine")]
fn resident_mib(pid: u32) -> Result<f64, String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).map_err(|error| error.to_string())?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.map(|kib| kib as f64 / 1024.0).ok_or_else(|| format!("process {pid} has no VmRSS"))
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { body_bytes, queued, empty_mib, full_mib, per_100k_mib, stored_mib, .. } = self;
        write!(
            f,
            "{body_bytes:>6}{queued:>10}{empty_mib:>10.1}{full_mib:>10.1}{per_100k_mib:>13.1}{stored_mib:>10.1}{:>12.0}{:>9.0} ms{:>10.1}",
            self.submitted_per_second, self.restart_ms, self.restarted_mib
        )
    }
}
