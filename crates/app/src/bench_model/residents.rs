//! Model switches, as far as they can be seen from outside.
//!
//! `GET /api/ps` tells which models are in memory, and is looked at over and over: one that was not there at the look before
//! has come. What comes and goes between two looks is not seen. Where there is never more than one model at a time, another
//! model in the next answer shows a switch as well, and no such switch is missed. The larger of the two counts is taken. Loads
//! that no answer came of, and reloads of the same model, are in neither.

use std::{collections::BTreeSet, time::Duration};

use serde::Deserialize;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::{client::Turn, wire::Wire};

const LOOK_EVERY: Duration = Duration::from_millis(100);
const LOOK_MAX: Duration = Duration::from_secs(2);
/// As many looks in a row may fail until nothing can be said.
const FAILED_MAX: u32 = 10;

#[derive(Deserialize)]
struct Told {
    models: Vec<Resident>,
}

#[derive(Deserialize)]
struct Resident {
    name: String,
}

fn read(body: &[u8]) -> Option<BTreeSet<String>> {
    let told: Told = serde_json::from_slice(body).ok()?;
    Some(told.models.into_iter().map(|model| model.name).collect())
}

/// Counts until the turn is over. `None` where the endpoint does not tell.
pub(super) async fn watch(turn: &Turn, mut wire: Wire) -> Option<u64> {
    let mut switches = 0;
    let mut one_at_most = true;
    let mut known: Option<BTreeSet<String>> = None;
    let mut failed = 0;
    let mut beat = interval(LOOK_EVERY);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let looking = async {
        while failed < FAILED_MAX {
            beat.tick().await;
            let body = timeout(LOOK_MAX, wire.residents()).await.unwrap_or_else(|_late| {
                wire.hang_up();
                None
            });
            match body.and_then(|body| read(&body)) {
                Some(seen) => {
                    failed = 0;
                    one_at_most &= seen.len() <= 1;
                    if std::time::Instant::now() >= turn.opens
                        && let Some(known) = &known
                    {
                        switches += seen.difference(known).count() as u64;
                    }
                    known = Some(seen);
                }
                None => failed += 1,
            }
        }
    };
    tokio::select! {
        () = turn.over() => {}
        () = looking => {}
    }
    let told = failed < FAILED_MAX && known.is_some();
    let by_answers = if one_at_most { turn.sequence.changes() } else { 0 };
    told.then(|| switches.max(by_answers))
}
