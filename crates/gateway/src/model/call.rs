//! One model call: its wait, its exchange, and what is written down of both.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bellwether_core::{
    id::AgentName,
    inference::{Ask, CallEnd, Class, ServerId},
    observation::Calls,
    time::Millis,
};
use tokio::time::sleep;

use super::{
    admission::Permit,
    dialect::Dialect,
    dispatched::Dispatched,
    exchange::{Outcome, Passed},
    owner::{Owner, Ways},
    upstream::Outgoing,
    wanted::Wanted,
};
use crate::{
    body::Response,
    breakers::Pass,
    caller::Caller,
    metrics::{Operation, Told},
    observe::Key,
    work::{CallSigns, Excused},
};

/// The account of the gateway's own generations.
const PROBE: &str = "probe";
/// Between two tries to prove a slot, doubled each time.
const PROOF_PAUSE: Duration = Duration::from_secs(1);
const PROOF_PAUSE_MAX: Duration = Duration::from_secs(30);

pub(super) struct Call<'a> {
    pub(super) outgoing: Outgoing<'a>,
    pub(super) dialect: Dialect,
    /// None for what needs no slot.
    pub(super) charge: Option<Charge>,
}

/// Who is charged, and for what.
pub(super) struct Charge {
    pub(super) caller: Caller,
    pub(super) wanted: Wanted,
    pub(super) operation: Operation,
    pub(super) class: Class,
    /// How long the caller says that it waits for a slot.
    pub(super) patience: Option<Millis>,
}

/// None if it was not begun, because another gateway grants the slots.
pub(super) async fn serve(ways: &Arc<Ways>, call: Call<'_>) -> Option<Response> {
    let Call { outgoing, dialect, charge } = call;
    if let Some(charge) = charge {
        return Charged::new(ways, charge, dialect).admit(&outgoing).await;
    }
    let permit = ways.owner.reading.clone().acquire_owned().await.ok()?;
    let dispatched = Dispatched::reading(ways, ways.owner.any_server().id, permit);
    // With nobody else to be tried it is answered in any case.
    dispatched.fly(&outgoing, dialect, false).await.ok()
}

/// A call that is charged to somebody.
pub(super) struct Charged {
    pub(super) ways: Arc<Ways>,
    operation: Operation,
    key: Key,
    ask: Ask,
    caller: Caller,
    dialect: Dialect,
    patience: Option<Millis>,
    /// The leave of the agent's breaker. Who is no instance needs none.
    pass: Option<Pass>,
    pub(super) releases: bool,
}

impl Charged {
    fn new(ways: &Arc<Ways>, charge: Charge, dialect: Dialect) -> Self {
        let Charge { caller, wanted: Wanted { runner, inputs, releases }, operation, class, patience } = charge;
        let embeds = operation == Operation::Embeddings;
        let key =
            Key { agent: caller.agent.clone(), model: runner.model.clone(), drawn: caller.side, served: caller.side };
        let begun = caller.task.is_some();
        let inputs = if embeds { inputs } else { 1 };
        let ask = Ask { agent: caller.agent.clone(), runner: ways.owner.named(runner), class, begun, inputs, embeds };
        Self { ways: ways.clone(), operation, key, ask, caller, dialect, patience, pass: None, releases }
    }

    async fn admit(mut self, outgoing: &Outgoing<'_>) -> Option<Response> {
        let ways = self.ways.clone();
        let owner = &ways.owner;
        if self.caller.instance.is_some() {
            match owner.books.breakers.admit(&self.key) {
                Ok(pass) => self.pass = Some(pass),
                Err(refused) => return Some(self.refuse(self.dialect.not_permitted(refused))),
            }
        }
        if owner.admission.is_closed() {
            return None;
        }
        loop {
            if let Some(after) = owner.all_down_for() {
                return Some(self.refuse(self.dialect.no_server(after)));
            }
            let permit = match owner.admission.enqueue(self.ask.clone()) {
                Ok(permit) => permit,
                Err(refused) => return Some(self.refuse(self.dialect.refused(refused))),
            };
            let (permit, server) = match self.wait(permit).await {
                Waited::Granted(permit, server) => (permit, server),
                Waited::Gone => return None,
                Waited::TooLong => {
                    let after = self.patience.unwrap_or(Millis::from_secs(1));
                    return Some(self.refuse(self.dialect.waited_too_long(after)));
                }
            };
            if let Some(Err(refused)) = self.pass.as_mut().map(Pass::confirm) {
                return Some(self.refuse(self.dialect.not_permitted(refused)));
            }
            let (dialect, another) = (self.dialect, owner.has_another(server));
            match Dispatched::charged(self, permit, server).fly(outgoing, dialect, another).await {
                Ok(response) => return Some(response),
                // It could not be reached, and somebody else can perhaps.
                Err(back) => self = back?,
            }
        }
    }

    async fn wait(&self, mut permit: Permit) -> Waited {
        let waiting = Waiting {
            charged: self,
            excused: self.caller.signs.as_ref().map(CallSigns::excused),
            enqueued: Instant::now(),
            left: true,
        };
        let patience = async {
            match self.patience {
                Some(patience) => sleep(patience.to_std()).await,
                None => std::future::pending().await,
            }
        };
        let waited = tokio::select! {
            biased;
            granted = permit.granted() => granted.map_or(Waited::Gone, |server| Waited::Granted(permit, server)),
            () = patience => Waited::TooLong,
        };
        // Unanswered it goes back, and on to whoever grants the slots; there it is counted.
        waiting.over(matches!(waited, Waited::Gone) && !self.ways.owner.admission.is_closed());
        waited
    }

    /// Keeps a slot of which nothing is known until a generation of the gateway's own has come through in it.
    pub(super) async fn prove(self, permit: Permit, id: ServerId) {
        let Self { ways, ask, .. } = &self;
        let owner = &ways.owner;
        let model = &ask.runner.model;
        tracing::warn!(%model, "the model server did not close a connection that was given up; its slot is not used until \
                                it is proven to be free");
        owner.admission.doubt(true);
        let mut pause = PROOF_PAUSE;
        while let Err(why) = owner.server(id).generates(&ask.runner, ask.embeds).await {
            tracing::warn!(%model, why, "a slot that was given up is still not free");
            // Whoever cannot be reached any more computes nothing any more.
            if !owner.admission.is_up(id) {
                break;
            }
            sleep(pause).await;
            pause = (pause * 2).min(PROOF_PAUSE_MAX);
        }
        tracing::info!(%model, "a slot that was given up is free again");
        owner.admission.doubt(false);
        drop(permit);
    }

    fn refuse(&self, refusal: Response) -> Response {
        self.count(|calls| calls.refused += 1);
        refusal
    }

    fn count(&self, count: impl FnOnce(&mut Calls)) {
        self.ways.owner.books.recorder.calls(&self.key, count);
    }

    fn waited(&self, wait: Duration) {
        self.ways.owner.books.waits.add(&self.caller, micros(wait));
        self.count(|calls| calls.queue_wait.record(micros(wait)));
    }

    pub(super) fn waited_for_load(&self, load: Millis) {
        if load.0 > 0 {
            self.ways.owner.books.waits.add(&self.caller, load.0 * 1000);
        }
    }

    pub(super) fn ended(&mut self, passed: &Passed, held: Duration) {
        let Passed { outcome, end, first_byte, service, streamed, figures } = *passed;
        let per_token = match (streamed, first_byte, figures.output_tokens) {
            (true, Some(first), tokens @ 2..) => {
                Some(service.saturating_sub(first) / u32::try_from(tokens - 1).unwrap_or(u32::MAX))
            }
            (_, _, _) => None,
        };
        self.count(|calls| {
            match outcome {
                Outcome::Succeeded => {
                    calls.succeeded += 1;
                    calls.service.record(micros(service));
                    if let Some(first_byte) = first_byte {
                        calls.first_byte.record(micros(first_byte));
                    }
                    if figures.load.0 > 0 {
                        calls.load.record(figures.load.0 * 1000);
                    }
                    if let Some(per_token) = per_token {
                        calls.per_token.record(micros(per_token));
                    }
                }
                Outcome::Failed => calls.failed += 1,
                Outcome::Unreachable => {
                    calls.failed += 1;
                    calls.unreachable += 1;
                }
                Outcome::Cancelled => calls.cancelled += 1,
            }
            calls.prompt_tokens += figures.prompt_tokens;
            calls.output_tokens += figures.output_tokens;
            calls.slot_micros += micros(held);
        });
        self.ways.owner.books.recorder.told(Told {
            operation: self.operation,
            model: self.key.model.clone(),
            error: match outcome {
                Outcome::Succeeded => None,
                Outcome::Failed => Some("failed"),
                Outcome::Unreachable => Some("unreachable"),
                Outcome::Cancelled => Some("cancelled"),
            },
            duration: service,
            first_token: first_byte.filter(|_| outcome == Outcome::Succeeded),
            per_token: per_token.filter(|_| outcome == Outcome::Succeeded),
            input_tokens: figures.prompt_tokens,
            output_tokens: figures.output_tokens,
        });
        if let Some(pass) = self.pass.take() {
            pass.ended(end);
        }
    }
}

enum Waited {
    Granted(Permit, ServerId),
    /// Admission has gone.
    Gone,
    TooLong,
}

/// A wait for a slot. It is written down when it is over, and when the caller does not wait for that.
struct Waiting<'a> {
    charged: &'a Charged,
    excused: Option<Excused>,
    enqueued: Instant,
    left: bool,
}

impl Waiting<'_> {
    fn over(mut self, left: bool) {
        self.left = left;
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.excused = None;
        self.charged.waited(self.enqueued.elapsed());
        if self.left {
            self.charged.count(|calls| calls.cancelled += 1);
        }
    }
}

/// A server that nobody called for a while shows that it still generates, with what it has loaded.
pub(super) async fn show(owner: Arc<Owner>, id: ServerId) {
    let Some(runner) = owner.admission.resident(id).filter(|_| owner.admission.is_up(id)) else { return };
    let ask = Ask { class: Class::Probe, ..Ask::new(AgentName::new(PROBE), runner.clone()) };
    let Ok(mut permit) = owner.admission.enqueue(ask) else { return };
    if permit.granted().await != Some(id) {
        return;
    }
    let server = owner.server(id);
    let Some(permitted) = server.admit() else { return };
    let end = match server.generates(&runner, false).await {
        Ok(()) => CallEnd::Success,
        Err(why) => {
            tracing::warn!(model = %runner.model, why, "the model server does not generate");
            CallEnd::Failure
        }
    };
    drop(permit);
    owner.server_ended(id, permitted, end);
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}
