//! Looking at a task, and waiting for its end. An outage of the gateway, which `serve` starts again, is waited out.

use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use tokio::time::{Instant, sleep};

use super::{
    gateway::{Answer, Gateway, Lost, escaped},
    refusal::{self, Asked, refused},
    task::{Fields, Task},
};
use crate::failure::Failure;

/// The gateway holds a question at most this long.
const HELD_MAX: Duration = Duration::from_secs(30);
/// A gateway that ended is started again within seconds.
pub(super) const OUTAGE_MAX: Duration = Duration::from_secs(60);
const AGAIN_FIRST: Duration = Duration::from_millis(100);
const AGAIN_LONGEST: Duration = Duration::from_secs(2);

/// A task as it was seen last.
pub(super) struct Seen {
    pub(super) task: Task,
    /// Everything that the gateway said of it.
    pub(super) fields: Fields,
}

impl Seen {
    fn read(gateway: &Gateway, answer: &Answer) -> Result<Self, Failure> {
        Ok(Self { task: answer.json(gateway)?, fields: answer.json(gateway)? })
    }
}

pub(super) async fn look(gateway: &Gateway, id: &str) -> Result<Seen, Failure> {
    let answer = gateway.ask(Method::GET, &format!("/tasks/{}", escaped(id)), Asked::Show(id)).await?;
    Seen::read(gateway, &answer)
}

/// The task at its end, or as it stands when the time is over.
pub(super) async fn until_ended(watch: &mut Watch<'_>, id: &str, limit: Option<Duration>) -> Result<Seen, Failure> {
    let began = Instant::now();
    loop {
        let left = limit.map(|limit| limit.saturating_sub(began.elapsed()));
        let held = left.unwrap_or(HELD_MAX).min(HELD_MAX);
        let path = format!("/tasks/{}?wait_ms={}", escaped(id), held.as_millis());
        let outage = left.unwrap_or(OUTAGE_MAX).min(OUTAGE_MAX);
        let seen = Seen::read(watch.gateway, &watch.ask(&path, held, outage, Asked::Show(id)).await?)?;
        if seen.task.state.has_ended() || left.is_some_and(|left| left.is_zero()) {
            return Ok(seen);
        }
    }
}

/// Questions that the gateway holds until there is something to say.
pub(super) struct Watch<'g> {
    gateway: &'g Gateway,
    /// It was there once: an outage is no reason to give up at once.
    answered: bool,
}

impl<'g> Watch<'g> {
    pub(super) fn new(gateway: &'g Gateway, answered: bool) -> Self {
        Self { gateway, answered }
    }

    /// `held` is how long the gateway may hold the question, `outage` how long it may be away.
    pub(super) async fn ask(
        &mut self,
        path: &str,
        held: Duration,
        outage: Duration,
        asked: Asked<'_>,
    ) -> Result<Answer, Failure> {
        let (mut away, mut again) = (None, AGAIN_FIRST);
        loop {
            let failure = match self.gateway.send(Method::GET, path, Bytes::new(), held).await {
                Ok(answer) if answer.status.is_success() => {
                    self.answered = true;
                    return Ok(answer);
                }
                Ok(answer) if answer.is_not_now() => refused(self.gateway, asked, &answer),
                Ok(answer) => return Err(refused(self.gateway, asked, &answer)),
                Err(lost) => {
                    // A connection that broke was one: who held it is ended, and started again.
                    self.answered |= matches!(lost, Lost::Broken(_));
                    refusal::lost(self.gateway, asked, &lost)
                }
            };
            let since = *away.get_or_insert_with(Instant::now);
            if !self.answered || since.elapsed() >= outage {
                return Err(failure);
            }
            sleep(again).await;
            again = (again * 2).min(AGAIN_LONGEST);
        }
    }
}
