//! A call that is at a model server. Whatever becomes of it, it is written down once, and its slot is given back when the
//! server is done with it.

use std::{sync::Arc, time::Instant};

use bellwether_core::inference::{CallEnd, Permitted, ServerId};
use hyper::StatusCode;
use tokio::sync::OwnedSemaphorePermit;

use super::{
    admission::Permit,
    call::Charged,
    carriage::Carriage,
    dialect::Dialect,
    exchange::{Line, Outcome, Passed, reach},
    owner::Ways,
    upstream::{Broken, Outgoing},
};
use crate::body::Response;

pub(super) struct Dispatched {
    pub(super) ways: Arc<Ways>,
    pub(super) server: ServerId,
    pub(super) started: Instant,
    pub(super) line: Line,
    pub(super) account: Account,
}

/// What it takes up, and on whose account.
#[expect(clippy::large_enum_variant, reason = "it is boxed with the call, and most calls are charged")]
pub(super) enum Account {
    /// What needs no slot.
    Reading(#[expect(dead_code, reason = "held for as long as it is read")] OwnedSemaphorePermit),
    Charged {
        charged: Charged,
        permit: Permit,
        permitted: Option<Permitted>,
    },
}

/// Lands it as one whose caller has left, unless it is taken.
struct Leaving(Option<Box<Dispatched>>);

impl Leaving {
    fn dispatched(&mut self) -> &mut Dispatched {
        self.0.as_mut().expect("only `take` takes it, and takes us along")
    }

    fn take(mut self) -> Box<Dispatched> {
        self.0.take().expect("only this takes it")
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        if let Some(dispatched) = self.0.take() {
            dispatched.left();
        }
    }
}

impl Dispatched {
    pub(super) fn reading(ways: &Arc<Ways>, server: ServerId, permit: OwnedSemaphorePermit) -> Box<Self> {
        Self::new(ways.clone(), server, Account::Reading(permit))
    }

    pub(super) fn charged(charged: Charged, permit: Permit, id: ServerId) -> Box<Self> {
        let ways = charged.ways.clone();
        let server = ways.owner.server(id);
        let permitted = server.admit();
        server.called();
        Self::new(ways, id, Account::Charged { charged, permit, permitted })
    }

    fn new(ways: Arc<Ways>, server: ServerId, account: Account) -> Box<Self> {
        Box::new(Self { ways, server, started: Instant::now(), line: Line::default(), account })
    }

    /// The server's answer, or ours that there is none. It comes back if the server could not be reached and `another` one
    /// is there.
    pub(super) async fn fly(
        self: Box<Self>,
        outgoing: &Outgoing<'_>,
        dialect: Dialect,
        another: bool,
    ) -> Result<Response, Option<Charged>> {
        let flight = self.ways.owner.take_off();
        let ways = self.ways.clone();
        let upstream = &ways.upstreams[self.server.0];
        let mut leaving = Leaving(Some(self));
        let reached = reach(upstream, outgoing, &flight, &mut leaving.dispatched().line, another).await;
        let dispatched = leaving.take();
        match reached {
            Ok(head) => Ok(Carriage::begin(head, dispatched, flight, dialect)),
            Err(Broken::Unreachable(_)) if another => Err(dispatched.missed()),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "a model call failed");
                let outcome = match error {
                    Broken::Unreachable(_) => Outcome::Unreachable,
                    Broken::Exchange(_) | Broken::Stalled => Outcome::Failed,
                };
                let passed = Passed::unanswered(outcome, dispatched.started);
                dispatched.landed(&passed);
                Ok(dialect.answer(StatusCode::BAD_GATEWAY, &error.to_string()))
            }
        }
    }

    /// The caller has gone before the end.
    pub(super) fn left(self: Box<Self>) {
        let passed = Passed::unanswered(Outcome::Cancelled, self.started);
        self.given_up(passed);
    }

    /// Lands when the connection is closed at the other end too, because until then the server may be computing.
    pub(super) fn given_up(mut self: Box<Self>, passed: Passed) {
        let ways = self.ways.clone();
        ways.spawn(async move {
            self.line.give_up().await;
            self.landed(&passed);
        });
    }

    /// The server is done with it, or it is doubtful whether it is.
    pub(super) fn landed(self: Box<Self>, passed: &Passed) {
        let Self { ways, server, started, line, account } = *self;
        let Account::Charged { mut charged, permit, permitted } = account else { return };
        let doubtful = if line.is_doubtful() {
            Some(permit)
        } else {
            // First of all, because somebody waits for it.
            drop(permit);
            None
        };
        let of_server = match passed.outcome {
            Outcome::Succeeded => CallEnd::Success,
            Outcome::Unreachable => CallEnd::Failure,
            // An answer that somebody else is to blame for, perhaps.
            Outcome::Failed | Outcome::Cancelled => CallEnd::Ignored,
        };
        if let Some(permitted) = permitted {
            ways.owner.server_ended(server, permitted, of_server);
        }
        if charged.releases && passed.outcome == Outcome::Succeeded {
            ways.owner.admission.unloaded(server);
        }
        charged.ended(passed, started.elapsed());
        if let Some(permit) = doubtful {
            let prove = charged.prove(permit, server);
            ways.spawn(prove);
        }
    }

    /// The server could not be reached, and somebody else is tried.
    fn missed(self: Box<Self>) -> Option<Charged> {
        let Self { ways, server, account, .. } = *self;
        let Account::Charged { charged, permit, permitted } = account else { return None };
        drop(permit);
        if let Some(permitted) = permitted {
            ways.owner.server_ended(server, permitted, CallEnd::Failure);
        }
        Some(charged)
    }
}
