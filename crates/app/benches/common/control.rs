//! Questions to gateway and controller, either of which may be killed while it answers.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde::de::DeserializeOwned;
use serde_json::Value;

pub(crate) use super::get::get;

const BEAT: Duration = Duration::from_millis(100);

/// Asks until the answer is there and will do. What is down comes back, so a failure is none before the time is over.
pub(crate) fn until<T: DeserializeOwned>(
    base: &str,
    path: &str,
    within: Duration,
    what: &str,
    mut will_do: impl FnMut(&T) -> bool,
) -> Result<T, String> {
    let deadline = Instant::now() + within;
    loop {
        let answer = get(base, path);
        match answer {
            Ok(answer) if will_do(&answer) => return Ok(answer),
            Err(why) if Instant::now() > deadline => return Err(format!("not within {within:?}: {what}: {why}")),
            Ok(_) if Instant::now() > deadline => return Err(format!("not within {within:?}: {what}")),
            Ok(_) | Err(_) => thread::sleep(BEAT),
        }
    }
}

pub(crate) fn on(status: &Value, side: &str) -> usize {
    status["agents"].as_array().map_or(0, |agents| agents.iter().filter(|agent| agent["serving"] == side).count())
}

/// Of the last rollout; empty where there was none.
pub(crate) fn state(status: &Value) -> &str {
    status["rollout"]["state"].as_str().unwrap_or("")
}
