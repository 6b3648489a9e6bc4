//! Whether the model server really has the slots that the fleet file declares.
//!
//! What Ollama was started with is not in its API. Where its process can be read, its variable says it; else as
//! many generations as declared are begun at once, and those that are being written at the same moment counted.

use std::{
    fs,
    time::{Duration, Instant},
};

use bellwether_core::spec::Spec;
use bellwether_drivers::linux::proc;
use tokio::task::JoinSet;

use super::{
    Asked, Check,
    controller::Serving,
    model_server::{ModelServer, question},
};
use crate::ask::Asker;

const NAME: &str = "inference slots";
const VARIABLE: &str = "OLLAMA_NUM_PARALLEL";
const PATIENCE: Duration = Duration::from_secs(120);
/// Long enough that two which are written at once overlap.
const TOKENS: u32 = 48;
/// More at once would only wait, and tell nothing more.
const AT_ONCE_MAX: u32 = 8;

pub(super) async fn check(
    asked: &Asked,
    spec: &Spec,
    server: &ModelServer,
    serving: Option<&Serving<'_>>,
    model: Option<&str>,
) -> Check {
    let declared = spec.ollama.parallel;
    let local = ["http://127.", "http://localhost", "http://[::1]"].iter().any(|here| server.url.starts_with(here));
    if let Some(running) = local.then(of_the_process).flatten() {
        if running == declared {
            return Check::ok(NAME, format!("{declared} declared, and Ollama runs with {VARIABLE}={running}"));
        }
        let remedy = format!("write `ollama.parallel: {running}`, or start Ollama with {VARIABLE}={declared}");
        return Check::warning(NAME, format!("{declared} declared, but Ollama runs with {VARIABLE}={running}"), remedy);
    }
    if !asked.generate {
        return Check::skipped(NAME, "left out with --no-generate: only generations show how many run at once");
    }
    let Some(model) = model else { return Check::skipped(NAME, "there is no model to ask") };
    if serving.is_some() {
        return Check::skipped(NAME, "the fleet runs, and its calls hold the slots");
    }
    if declared == 1 {
        return Check::ok(NAME, "1 declared: one generation at a time, which every server can do");
    }
    let calls = declared.min(AT_ONCE_MAX);
    match at_once(server, model, calls).await {
        Ok(seen) if seen >= calls => {
            Check::ok(NAME, format!("{declared} declared; of {calls} generations begun together, all ran at once"))
        }
        Ok(seen) => Check::warning(
            NAME,
            format!("{declared} declared; of {calls} generations of {model} begun together, {seen} ran at once"),
            format!(
                "start Ollama with {VARIABLE}={declared}, or write `ollama.parallel: {seen}`; some models are served one \
                 at a time whatever is set"
            ),
        ),
        Err(why) => Check::skipped(NAME, format!("{calls} generations at once did not come to their end: {why}")),
    }
}

/// The variable of a process of this machine that is called `ollama`, if it can be read.
fn of_the_process() -> Option<u32> {
    let processes = proc::all().ok()?;
    let named = processes.iter().filter(|stat| {
        fs::read_to_string(format!("/proc/{}/comm", stat.pid)).is_ok_and(|name| name.trim() == "ollama")
    });
    named.filter_map(|stat| proc::variable(stat.pid, VARIABLE)?.parse().ok()).next()
}

/// The most of `calls` generations that were between their first and their last piece at the same moment.
async fn at_once(server: &ModelServer, model: &str, calls: u32) -> Result<u32, String> {
    let mut running = JoinSet::new();
    for _ in 0..calls {
        let (asker, body) = (Asker::new(&server.url), question(model, TOKENS, true));
        running.spawn(async move {
            let mut written: Option<(Instant, Instant)> = None;
            let each = |_: &[u8]| {
                let now = Instant::now();
                written = Some((written.map_or(now, |(first, _)| first), now));
            };
            asker.stream("/api/generate", &body, PATIENCE, each).await?;
            written.ok_or_else(|| "an answer was empty".to_owned())
        });
    }
    let mut spans = Vec::new();
    while let Some(done) = running.join_next().await {
        spans.push(done.map_err(|error| error.to_string())??);
    }
    Ok(most_at_once(&spans))
}

fn most_at_once(spans: &[(Instant, Instant)]) -> u32 {
    let at = |moment: Instant| spans.iter().filter(|(first, last)| *first <= moment && moment <= *last).count();
    let most = spans.iter().map(|(first, _)| at(*first)).max().unwrap_or(0);
    u32::try_from(most).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_that_touch_the_same_moment_count_together() {
        let zero = Instant::now();
        let at = |ms: u64| zero + Duration::from_millis(ms);
        assert_eq!(most_at_once(&[(at(0), at(10)), (at(20), at(30))]), 1);
        assert_eq!(most_at_once(&[(at(0), at(10)), (at(5), at(30)), (at(20), at(30))]), 2);
        assert_eq!(most_at_once(&[]), 0);
    }
}
