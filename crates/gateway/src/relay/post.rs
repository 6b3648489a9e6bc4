//! Sends the letters to the backend until it has taken each, or refused it for good.
//!
//! The oldest go first, a few at once. While the backend is away it is asked ever more seldom.

use std::{sync::Arc, time::Duration};

use bellwether_core::time::{Millis, UnixMillis};
use http_body_util::{BodyExt, Limited};
use hyper::{
    HeaderMap, StatusCode,
    header::{CONTENT_TYPE, HeaderValue},
};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{Backend, Failed};
use crate::{
    body,
    desk::Ask,
    door::House,
    limits,
    store::{Posted, Waiting},
};

/// Characters of the backend's answer that are kept.
const ANSWER_CHARS: usize = 300;
const ANSWER_BYTES: usize = 64 << 10;

pub(crate) async fn run(house: &Arc<House>, stop: &CancellationToken) {
    let Some(base) = &house.tasks.backend else { return };
    let backend = Arc::new(Backend::new(base));
    let work = async {
        let mut pause = limits::LETTER_WAIT;
        loop {
            if send_due(house, &backend).await {
                pause = limits::LETTER_WAIT;
                continue;
            }
            if backend.is_away.load(std::sync::atomic::Ordering::Relaxed) {
                sleep(Duration::from_millis(pause.0)).await;
                pause = Millis(pause.0 * 2).min(limits::LETTER_PAUSE_MAX);
            } else {
                tokio::select! {
                    () = house.board.posted.notified() => {}
                    () = sleep(Duration::from_millis(limits::LETTER_WAIT.0)) => {}
                }
            }
        }
    };
    tokio::select! {
        () = work => {}
        () = stop.cancelled() => {}
    }
}

/// Whether it is worth looking for more at once.
async fn send_due(house: &Arc<House>, backend: &Arc<Backend>) -> bool {
    let Ok(letters) = house.desk.ask(Ask::Letters).await else { return false };
    let mut sending = JoinSet::new();
    for waiting in letters {
        let (house, backend) = (house.clone(), backend.clone());
        sending.spawn(async move {
            let number = waiting.number;
            let (posted, got_through) = send(&house, &backend, waiting).await;
            // If that cannot be written now, the letter is sent once more, but not at once.
            let written = house.desk.ask(|tell| Ask::Posted { number, posted, tell }).await;
            got_through && written.is_ok()
        });
    }
    sending.join_all().await.contains(&true)
}

async fn send(house: &House, backend: &Backend, waiting: Waiting) -> (Posted, bool) {
    let Waiting { task, tries, letter, .. } = waiting;
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Ok(id) = HeaderValue::from_str(&task) {
        headers.insert("x-bellwether-task", id);
    }
    let answered = timeout(limits::LETTER_TIMEOUT, async {
        let response = backend.send(letter.method, &letter.path, headers, body::full(letter.body)).await?;
        let status = response.status();
        let said = Limited::new(response.into_body(), ANSWER_BYTES).collect().await.map(|it| it.to_bytes());
        let said: String = String::from_utf8_lossy(&said.unwrap_or_default()).chars().take(ANSWER_CHARS).collect();
        Ok((status, said))
    });
    let answered = answered.await.unwrap_or(Err(Failed::Late));
    backend.note(answered.as_ref().err());
    let later = |answer| {
        let wait = limits::LETTER_WAIT.0.saturating_mul(1 << tries.min(16));
        let due = UnixMillis(house.board.clock.wall().0 + wait.min(limits::LETTER_WAIT_MAX.0));
        Posted::NotYet { due, answer }
    };
    match answered {
        Ok((status, _)) if status.is_success() => (Posted::Done, true),
        Ok((status, said)) if is_definite(status) => {
            tracing::warn!(%task, %status, said, "the task backend refused a report for good");
            (Posted::Refused(format!("{status}: {said}")), true)
        }
        Ok((status, said)) => (later(format!("{status}: {said}")), true),
        Err(failed) => (later(failed.to_string()), false),
    }
}

/// The same again would be answered the same. What a credential, patience or a pause would mend is tried again.
fn is_definite(status: StatusCode) -> bool {
    let mends = [401, 403, 407, 408, 421, 425, 429];
    status.is_client_error() && !mends.contains(&status.as_u16())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_mend_is_tried_again() {
        let definite = |status| is_definite(StatusCode::from_u16(status).unwrap());
        assert!([400, 404, 409, 410, 413, 422].into_iter().all(definite));
        assert!(![200, 301, 401, 403, 408, 429, 500, 503].into_iter().any(definite));
    }
}
