//! One task brought to one instance, and what came of it told to the machine.

use std::{sync::Arc, time::Duration};

use bellwether_core::{
    port::heir::Late,
    traffic::{TaskId, Traffic},
};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::{
    HeaderMap, Method,
    header::{CONTENT_TYPE, HOST, HeaderValue},
    http::response::Parts,
};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{answer, parcel};
use crate::{
    agent_api::{ATTEMPT, TASK},
    desk::{Account, Ask, HandedOut},
    door::House,
    hop, limits,
    pool::Pool,
    target::{Target, UnderWay},
    wire::{Asked, Exchange},
    work::CallSigns,
};

const PATH: &str = "/execute";
/// Pieces of an answer renew the lease, but not each of them.
const RENEW_EVERY: Duration = Duration::from_secs(1);

pub(super) struct Errand {
    pub(super) house: Arc<House>,
    pub(super) pool: Arc<Pool>,
    pub(super) target: Arc<Target>,
    pub(super) task: HandedOut,
    pub(super) _under_way: UnderWay,
}

pub(super) enum Ended {
    /// Its end was told, or the lease had ended already.
    Told,
    /// Not a byte of it reached the instance, and it is back in its place in line.
    Unreached,
}

impl Errand {
    pub(super) async fn run(mut self) -> Ended {
        let id = self.task.granted.id.clone();
        let is_try_out = Traffic::is_try_out(&id);
        let over = match self.target.work.over(&id) {
            Some(over) => over,
            // A synthetic task is under no lease.
            None if is_try_out => CancellationToken::new(),
            None => {
                self.task.delivered();
                return Ended::Told;
            }
        };
        let limit = Duration::from_millis(self.house.tasks.lease.0);
        let (clock, work) = (self.house.board.clock, &self.target.work);
        let signs = work.call(clock, true, Some(&id));
        let account = tokio::select! {
            account = self.execute(&id, &signs) => account,
            // Revoked, expired or cancelled: what the instance would answer counts no more.
            () = over.cancelled() => None,
            () = sleep(limit), if is_try_out => Some(answer::broken("it did not answer in time")),
        };
        let Some(account) = account else {
            if over.is_cancelled() {
                self.task.delivered();
                return Ended::Told;
            }
            return Ended::Unreached;
        };
        self.task.delivered();
        self.target.work.sign(clock.mono());
        self.tell(&id, account, &over).await;
        Ended::Told
    }

    /// None if it never reached the instance.
    async fn execute(&self, id: &TaskId, signs: &CallSigns) -> Option<Account> {
        let instance = self.target.card.instance;
        let parcel = match parcel::pack(&self.task.body, &self.task.granted, &self.target.card) {
            Ok(parcel) => parcel,
            Err(error) => return Some(answer::broken(&format!("the task cannot be written as a request: {error}"))),
        };
        let (head, mut body) = match self.post(&parcel).await {
            Ok(both) => both,
            Err(Unsent::Unreached) => return None,
            Err(Unsent::Broken) => return Some(answer::broken("the instance broke off before it answered")),
        };
        let mut whole = BytesMut::new();
        let mut renewed = Instant::now();
        while let Some(frame) = body.frame().await {
            signs.sign();
            if renewed.elapsed() >= RENEW_EVERY {
                renewed = Instant::now();
                self.house.desk.renew(id.clone(), instance);
            }
            match frame.map(|frame| frame.into_data()) {
                Ok(Ok(data)) if whole.len() + data.len() <= limits::TASK_BYTES => whole.extend_from_slice(&data),
                Ok(Ok(_)) => {
                    let why = format!("the instance answered more than {} bytes", limits::TASK_BYTES);
                    return Some(answer::broken(&why));
                }
                Ok(Err(_trailers)) => {}
                Err(error) => {
                    tracing::debug!(%error, %instance, task = %id, "broke off");
                    return Some(answer::broken("the instance broke off its answer"));
                }
            }
        }
        if let Some(connection) = body.release() {
            self.pool.put(&self.target, connection, hop::kept_idle_secs(&head.headers).map(Duration::from_secs));
        }
        let rule = self.house.board.result_rule(&self.target.card.agent);
        Some(answer::account(head.status, &whole, rule))
    }

    async fn post(&self, parcel: &parcel::Parcel) -> Result<(Parts, Exchange<Full<Bytes>>), Unsent> {
        let instance = self.target.card.instance;
        let upstream = self.target.card.upstream.ok_or(Unsent::Unreached)?;
        let headers = self.headers(parcel, &upstream.to_string());
        let asked = Asked {
            method: &Method::POST,
            prefix: "",
            path_and_query: PATH,
            headers: &headers,
            without: &[],
            host: None,
        };
        loop {
            let connection = match self.pool.take(instance) {
                Some(connection) => connection,
                None => self.pool.connect(upstream).await.map_err(|error| {
                    tracing::debug!(%error, %instance, "cannot connect");
                    Unsent::Unreached
                })?,
            };
            let is_fresh = !connection.is_used();
            let exchange = Exchange::new(connection, asked, Full::new(parcel.body.clone()));
            let mut exchange = exchange.map_err(|(error, _)| {
                tracing::warn!(%error, %instance, "a task cannot be written as a request");
                Unsent::Broken
            })?;
            match exchange.head().await {
                Ok(head) => return Ok((head, exchange)),
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::debug!(error, %instance, "no answer");
                    match exchange.unsent() {
                        Some(_) if is_fresh => return Err(Unsent::Unreached),
                        Some(_) => {}
                        None => return Err(Unsent::Broken),
                    }
                }
            }
        }
    }

    fn headers(&self, parcel: &parcel::Parcel, host: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ATTEMPT, HeaderValue::from(self.task.granted.attempt));
        for (name, text) in [(HOST, host), (TASK, self.task.granted.id.as_str())] {
            if let Ok(value) = HeaderValue::from_str(text) {
                headers.insert(name, value);
            }
        }
        if let Some(traceparent) = &parcel.traceparent {
            headers.insert("traceparent", traceparent.clone());
        }
        headers
    }

    /// An answer is not lost because the store cannot be written at the moment.
    async fn tell(&self, id: &TaskId, account: Account, over: &CancellationToken) {
        let by = self.target.card.instance;
        let Account { told, result, checkpoint, .. } = account;
        loop {
            let again = Account { told, result: result.clone(), checkpoint: checkpoint.clone(), letter: None };
            let (this, again) = (id.clone(), Box::new(again));
            match self.house.desk.ask(|tell| Ask::Complete { id: this, by, account: again, tell }).await {
                Ok(completion) => {
                    tracing::debug!(task = %id, instance = %by, ?completion, "answered");
                    return;
                }
                Err(_) if over.is_cancelled() => return,
                Err(_) if self.house.desk.is_closed() => {
                    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
                    let (result, checkpoint) = (text(result), checkpoint.map(text));
                    let late = Late::Answered { id: id.clone(), by, told, result, checkpoint };
                    return self.house.desk.leave(late);
                }
                Err(_) => sleep(limits::COURIER_WAIT).await,
            }
        }
    }
}

enum Unsent {
    Unreached,
    Broken,
}
