//! A gateway that is started beside the one that serves, and takes its place.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use bellwether_core::port::heir::{Standing, TookOver};
use bellwether_drivers::linux::{Process, Signal};
use bellwether_gateway::standing;
use tokio::time::{Instant, sleep};

use super::{
    keeper::{Role, ended_how},
    program::Program,
};

/// From its start until it serves.
const SERVES_MAX: Duration = Duration::from_secs(30);
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// One that is closing its store answers when that is done.
const CLOSED_MAX: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(5);

/// It never came to serve.
pub(super) struct NotTaken {
    pub(super) why: String,
    /// The one before it goes on as if nothing had happened.
    pub(super) old_serves: bool,
}

/// Returns when the new one serves. The one before then ends by itself.
pub(super) async fn take_place(
    role: &Role,
    program: &Program,
    finish_within: Duration,
    old: &Process,
) -> Result<(Process, TookOver), NotTaken> {
    let why = match role.beside(program, finish_within) {
        Ok(new) => match serves(role, &new).await {
            Ok(took_over) => return Ok((new, took_over)),
            Err(why) => why,
        },
        Err(error) => format!("cannot be started: {error}"),
    };
    // One that does not answer gave nothing away; if it is dead, that is seen by itself.
    let old_serves = standing(&role.heir_socket(old.pid()), CLOSED_MAX).await.is_none_or(|standing| standing.serves);
    Err(NotTaken { why, old_serves })
}

async fn serves(role: &Role, new: &Process) -> Result<TookOver, String> {
    let socket = role.heir_socket(new.pid());
    let deadline = Instant::now() + SERVES_MAX;
    loop {
        if let Some(Standing { serves: true, took_over, .. }) = standing(&socket, ANSWER_MAX).await {
            return Ok(took_over.unwrap_or_default());
        }
        tokio::select! {
            ended = new.ended() => return Err(ended_how(&role.log, new, ended).how),
            () = sleep(LOOK) => {}
        }
        if Instant::now() >= deadline {
            if let Err(error) = new.signal(Signal::KILL) {
                tracing::error!(%error, "cannot end a gateway that does not come to serve");
            }
            let ended = new.ended().await;
            let how = ended_how(&role.log, new, ended).how;
            return Err(format!("did not serve within {} s, and {how}", SERVES_MAX.as_secs()));
        }
    }
}

/// Named so that gateways find one another; short, as the paths of sockets are bounded.
pub(crate) fn heir_socket(state: &Path, pid: u32) -> PathBuf {
    state.join(format!("heir-{pid}"))
}
