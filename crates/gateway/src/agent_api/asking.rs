//! Questions for a task: who asks, for how many and for how long.

use bellwether_core::{port::gateway::GatewayEvent, spec::Delivery, time::Millis};
use hyper::{
    HeaderMap, StatusCode,
    header::{HeaderName, HeaderValue},
};
use tokio::time::sleep;

use super::Asked;
use crate::{
    body::{Request, Response},
    desk::{Ask, HandedOut},
    limits, prefer,
    problem::{problem, unavailable},
    relay,
};

/// How many tasks the asker works on at once.
const PLACES: &str = "x-bellwether-tasks";
pub(crate) const TASK: HeaderName = HeaderName::from_static("x-bellwether-task");
pub(crate) const ATTEMPT: HeaderName = HeaderName::from_static("x-bellwether-attempt");

pub(super) struct Question {
    pub(super) places: Option<u32>,
    pub(super) hold: Millis,
}

impl Question {
    pub(super) fn of(asked: Asked<'_>, request: &Request) -> Result<Self, Response> {
        let places = match request.headers().get(PLACES) {
            Some(value) => Some(
                places(value)
                    .ok_or_else(|| problem(StatusCode::BAD_REQUEST, "X-Bellwether-Tasks is a number from 1 on"))?,
            ),
            None => None,
        };
        let patience = prefer::wait(request.headers()).map(|wait| wait.min(limits::HOLD_MAX));
        Ok(Self { places, hold: patience.unwrap_or(asked.door.tasks.hold) })
    }
}

/// A task for the instance, waited for as long as the question says, or until the gateway stops or
/// gives way to another.
pub(super) async fn task(asked: Asked<'_>, question: &Question) -> Result<Option<HandedOut>, Response> {
    let Asked { door, target, .. } = asked;
    target.work.sign(door.board.clock.mono());
    if target.polls_first() {
        door.board.tell(GatewayEvent::Polled { instance: target.card.instance });
    }
    let _waiting = target.work.asking(door.board.clock);
    let parting = door.gate.parting();
    tokio::select! {
        answered = answer(asked, question) => answered,
        () = parting.cancelled() => Ok(None),
    }
}

async fn answer(asked: Asked<'_>, question: &Question) -> Result<Option<HandedOut>, Response> {
    let Asked { door, target, .. } = asked;
    // Whoever has said goodbye, or gets its tasks otherwise, is answered as if there were none.
    if target.is_away() || target.card.delivery != Delivery::Pull {
        sleep(std::time::Duration::from_millis(question.hold.0)).await;
        return Ok(None);
    }
    match &door.backend {
        Some(backend) => {
            let (path, headers) = (asked.path, asked.headers);
            let question = relay::Question { path, headers, places: question.places, hold: question.hold };
            backend.next(door, target, question).await
        }
        None => ask(asked, question.places, question.hold).await,
    }
}

/// Of our own queue.
pub(super) async fn ask(asked: Asked<'_>, places: Option<u32>, hold: Millis) -> Result<Option<HandedOut>, Response> {
    let instance = asked.target.card.instance;
    asked.door.desk.ask(|tell| Ask::Next { instance, places, hold, tell }).await.map_err(|_gone| unavailable())
}

/// The task with its attempt, for whoever asked.
pub(super) fn with_attempt(body: &[u8], attempt: u32) -> Vec<u8> {
    // The stored object always has at least its id, so there is a field to put the attempt before.
    let mut whole = format!("{{\"attempt\":{attempt},").into_bytes();
    whole.extend_from_slice(body.get(1..).unwrap_or_default());
    whole
}

pub(super) fn name(headers: &mut HeaderMap, task: &HandedOut) {
    headers.insert(ATTEMPT, HeaderValue::from(task.granted.attempt));
    if let Ok(id) = HeaderValue::from_str(task.granted.id.as_str()) {
        headers.insert(TASK, id);
    }
}

fn places(value: &HeaderValue) -> Option<u32> {
    let places: u32 = value.to_str().ok()?.trim().parse().ok()?;
    (places > 0).then_some(places.min(limits::PLACES_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_attempt_goes_in_front_of_what_the_submitter_gave() {
        let whole = with_attempt(br#"{"id":"t","prompt":"a\u0062c"}"#, 2);
        assert_eq!(String::from_utf8(whole).unwrap(), r#"{"attempt":2,"id":"t","prompt":"a\u0062c"}"#);
    }

    #[test]
    fn places_are_bounded_and_never_none() {
        let places = |text| places(&HeaderValue::from_static(text));
        assert_eq!((places("3"), places("1000000"), places("0"), places("x")), (Some(3), Some(64), None, None));
    }
}
