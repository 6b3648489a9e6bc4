//! Looking at a task, and waiting for its end. An outage of the gateway, which `serve` starts again, is waited out.

use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use tokio::time::{Instant, sleep};

use super::{
    gateway::{Answer, Gateway, escaped},
    refusal::{self, Asked, refused},
    task::{Fields, Task},
};
use crate::failure::Failure;

/// The gateway holds a question at most this long.
const HELD_MAX: Duration = Duration::from_secs(30);
const OUTAGE_MAX: Duration = Duration::from_secs(60);
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
        let seen = Seen::read(watch.gateway, &watch.ask(&path, held, Asked::Show(id)).await?)?;
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

    pub(super) async fn ask(&mut self, path: &str, held: Duration, asked: Asked<'_>) -> Result<Answer, Failure> {
        let (began, mut again) = (Instant::now(), AGAIN_FIRST);
        loop {
            let failure = match self.gateway.send(Method::GET, path, Bytes::new(), held).await {
                Ok(answer) if answer.status.is_success() => {
                    self.answered = true;
                    return Ok(answer);
                }
                Ok(answer) if answer.is_not_now() => refused(self.gateway, asked, &answer),
                Ok(answer) => return Err(refused(self.gateway, asked, &answer)),
                Err(lost) => refusal::lost(self.gateway, asked, &lost),
            };
            if !self.answered || began.elapsed() > held + OUTAGE_MAX {
                return Err(failure);
            }
            if again == AGAIN_LONGEST {
                eprintln!("the gateway does not answer for the moment; asking on");
            }
            sleep(again).await;
            again = if again < AGAIN_LONGEST { (again * 2).min(AGAIN_LONGEST) } else { AGAIN_LONGEST * 2 };
        }
    }
}
