//! Clients that submit, take and complete one task after the other, and how long each step took them.

use std::{
    fmt, thread,
    time::{Duration, Instant},
};

use bellwether_core::histogram::Histogram;
use serde::Serialize;

/// One client's access to a queue in which its tasks are its own. Each step is durable when it returns.
pub(crate) trait Queue: Send {
    fn submit(&mut self, number: u64) -> Result<(), String>;
    fn take(&mut self) -> Result<(), String>;
    fn complete(&mut self) -> Result<(), String>;
}

pub(crate) const STEPS: [&str; 3] = ["submit", "lease", "complete"];

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) queue: &'static str,
    pub(crate) connections: usize,
    /// Why there are no figures.
    pub(crate) skipped: Option<String>,
    /// Submitted, leased and completed.
    pub(crate) tasks_per_second: f64,
    pub(crate) steps: Vec<Step>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Step {
    pub(crate) step: &'static str,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

impl Row {
    pub(crate) fn skipped(queue: &'static str, connections: usize, why: impl fmt::Display) -> Self {
        Self { queue, connections, skipped: Some(why.to_string()), tasks_per_second: 0.0, steps: Vec::new() }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<12}{:>12}", self.queue, self.connections)?;
        if let Some(why) = &self.skipped {
            return write!(f, "  skipped: {why}");
        }
        write!(f, "{:>12.0}", self.tasks_per_second)?;
        for step in &self.steps {
            write!(f, "{:>20}", format!("{:.2} / {:.2} ms", step.p50_ms, step.p99_ms))?;
        }
        Ok(())
    }
}

/// All clients at once, for `span`.
pub(crate) fn measure(queue: &'static str, span: Duration, clients: Vec<Box<dyn Queue>>) -> Result<Row, String> {
    let connections = clients.len();
    let began = Instant::now();
    let deadline = began + span;
    let each = thread::scope(|scope| {
        let run = |mut client: Box<dyn Queue>| move || turns(client.as_mut(), deadline);
        let running: Vec<_> = clients.into_iter().map(|client| scope.spawn(run(client))).collect();
        let joined =
            running.into_iter().map(|one| one.join().unwrap_or_else(|_panic| Err("a client panicked".to_owned())));
        joined.collect::<Result<Vec<_>, String>>()
    })?;
    let seconds = began.elapsed().as_secs_f64();
    let mut times: [Histogram; 3] = Default::default();
    for one in &each {
        times.iter_mut().zip(one).for_each(|(all, own)| all.merge(own));
    }
    #[expect(clippy::cast_precision_loss, reason = "tasks of some seconds")]
    let tasks_per_second = times[2].count() as f64 / seconds;
    let ms = |times: &Histogram, q| times.quantile(q).unwrap_or(f64::NAN) / 1e3;
    let step =
        |(step, times): (&'static str, &Histogram)| Step { step, p50_ms: ms(times, 0.5), p99_ms: ms(times, 0.99) };
    let steps = STEPS.into_iter().zip(&times).map(step).collect();
    Ok(Row { queue, connections, skipped: None, tasks_per_second, steps })
}

fn turns(client: &mut dyn Queue, deadline: Instant) -> Result<[Histogram; 3], String> {
    let mut times: [Histogram; 3] = Default::default();
    let mut number = 0;
    while Instant::now() < deadline {
        timed(&mut times[0], || client.submit(number))?;
        timed(&mut times[1], || client.take())?;
        timed(&mut times[2], || client.complete())?;
        number += 1;
    }
    Ok(times)
}

fn timed(times: &mut Histogram, step: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    let began = Instant::now();
    step()?;
    times.record(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX));
    Ok(())
}
