//! The side that takes over: before it opens the store, and for as long as the elder has something in flight.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use bellwether_core::{
    port::heir::{Estate, HeirAnswer, HeirAsk, HeirId, Holding, Late, Left, PROTOCOL, Standing, TookOver},
    time::Millis,
};
use bellwether_link::{Client, Error as LinkError, Hello};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::PREFIX;
use crate::{
    board::Board,
    desk::{Account, Ask, TakenIn},
    door::House,
    limits,
    observe::Key,
};

#[derive(Debug, thiserror::Error)]
pub enum NotGiven {
    #[error("the gateway that serves does not give way: {0}")]
    Refused(String),
    #[error("the gateway that serves gives way to another one already")]
    Busy,
    #[error("the gateway that serves has not given way within {} s", limits::GIVES_WAY_MAX.as_secs())]
    Silent,
}

/// What was taken over.
pub(crate) struct Inherited {
    link: Link,
    pub(crate) estate: Estate,
    /// Of the gateway that inherited.
    pub(crate) rank: u64,
    told_at: Instant,
}

struct Link {
    client: Client<HeirAnswer>,
    heir: HeirId,
}

/// What a socket of a gateway leads to.
enum Look {
    Stands(Client<HeirAnswer>, Standing),
    /// Nobody listens there any more.
    Gone,
    /// It lives, and does not answer. If it has the store, that cannot be opened.
    Silent,
}

/// What is wanted of another gateway.
#[derive(Clone, Copy)]
enum Wanted {
    /// All that it has, the store too.
    Place { finish_within: Duration },
    /// What one has in flight that gave way, and whose heir is gone. It is older than who asks.
    InFlight { below: u64 },
}

/// Has the gateway that serves give way, if there is one. Its store is closed then.
pub(crate) async fn succeed(own: &Path, finish_within: Duration) -> Result<Option<Inherited>, NotGiven> {
    seek(own, Wanted::Place { finish_within }).await
}

async fn seek(own: &Path, wanted: Wanted) -> Result<Option<Inherited>, NotGiven> {
    let until = Instant::now() + limits::HEIR_PATIENCE;
    loop {
        let Some((client, standing)) = youngest(own, wanted).await? else { return Ok(None) };
        let heir = fastrand::u64(1..);
        let asked = timeout(limits::GIVES_WAY_MAX, ask(&client, heir, wanted)).await;
        match asked.map_err(|_elapsed| NotGiven::Silent)? {
            Ok(HeirAnswer::Yours(estate)) => {
                let rank = standing.rank + 1;
                let link = Link { client, heir };
                return Ok(Some(Inherited { link, estate: *estate, rank, told_at: Instant::now() }));
            }
            // One that has just lost its heir does not know it yet.
            Ok(HeirAnswer::Busy) if Instant::now() < until => sleep(limits::LENT_EVERY).await,
            Ok(HeirAnswer::Busy) => return Err(NotGiven::Busy),
            Ok(HeirAnswer::Serves) => return Ok(None),
            Ok(HeirAnswer::Refused { reason }) => return Err(NotGiven::Refused(reason)),
            Ok(other) => return Err(NotGiven::Refused(format!("it answers {other:?}"))),
            // It has died since it said how it stands.
            Err(_) => {}
        }
    }
}

/// Whoever serves, or else whoever served last. Those before it are its own elders, and the store is not theirs to give.
async fn youngest(own: &Path, wanted: Wanted) -> Result<Option<(Client<HeirAnswer>, Standing)>, NotGiven> {
    let mut youngest: Option<(Client<HeirAnswer>, Standing)> = None;
    for socket in elders(own) {
        match timeout(limits::STANDING_MAX, look(&socket)).await.unwrap_or(Ok(Look::Silent))? {
            Look::Stands(client, standing) => {
                let age = |standing: &Standing| (standing.serves, standing.rank);
                let is_older = match wanted {
                    Wanted::Place { .. } => true,
                    Wanted::InFlight { below } => !standing.serves && standing.rank < below,
                };
                if is_older && youngest.as_ref().is_none_or(|(_, other)| age(other) < age(&standing)) {
                    youngest = Some((client, standing));
                }
            }
            Look::Gone => drop(std::fs::remove_file(&socket)),
            Look::Silent => {
                let socket = socket.display();
                tracing::error!(%socket, "a gateway does not answer: what it has in flight is not known");
            }
        }
    }
    Ok(youngest)
}

/// The sockets beside our own.
fn elders(own: &Path) -> Vec<PathBuf> {
    let Some(directory) = own.parent() else { return Vec::new() };
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let is_one = |path: &PathBuf| {
        path != own && path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(PREFIX))
    };
    entries.flatten().map(|entry| entry.path()).filter(is_one).collect()
}

/// One that is closing its store answers when that is done.
async fn look(socket: &Path) -> Result<Look, NotGiven> {
    let hello = Hello::new(PROTOCOL.0, PROTOCOL.1);
    let client = match Client::<HeirAnswer>::connect::<()>(socket, hello).await {
        Ok((client, _no_events)) => client,
        Err(error @ LinkError::Protocol { .. }) => return Err(NotGiven::Refused(error.to_string())),
        Err(LinkError::Io(error)) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Err(NotGiven::Refused(error.to_string()));
        }
        Err(_) => return Ok(Look::Gone),
    };
    match client.ask(&HeirAsk::Standing).await {
        Ok(HeirAnswer::Standing(standing)) => Ok(Look::Stands(client, standing)),
        Ok(other) => Err(NotGiven::Refused(format!("asked how it stands, it answers {other:?}"))),
        Err(_) => Ok(Look::Gone),
    }
}

async fn ask(client: &Client<HeirAnswer>, heir: HeirId, wanted: Wanted) -> Result<HeirAnswer, LinkError> {
    // Stays open for as long as the link does; its answer never comes.
    let _never = client.send(&HeirAsk::Stay { heir }).await?;
    let ask = match wanted {
        Wanted::Place { finish_within } => {
            let finish_within = Millis(u64::try_from(finish_within.as_millis()).unwrap_or(u64::MAX));
            HeirAsk::TakeOver { heir, schema: bellwether_store::GATEWAY.schema, finish_within }
        }
        Wanted::InFlight { .. } => HeirAsk::Adopt { heir },
    };
    client.ask(&ask).await
}

/// How the gateway stands whose socket this is; none if it does not say so in time.
pub async fn standing(socket: &Path, within: Duration) -> Option<Standing> {
    match timeout(within, look(socket)).await {
        Ok(Ok(Look::Stands(_, standing))) => Some(standing),
        Ok(Ok(Look::Gone | Look::Silent) | Err(_)) | Err(_) => None,
    }
}

impl Inherited {
    /// Before there is a table and anybody asks for a slot.
    pub(crate) fn enter(&self, board: &Board) {
        board.legacy.told(&self.estate.holding);
        board.recorder.recall(&self.estate.streaks);
        board.waits.put(&self.estate.waits);
    }

    pub(crate) fn took_over(&self) -> TookOver {
        let since = Millis(u64::try_from(self.told_at.elapsed().as_millis()).unwrap_or(u64::MAX));
        TookOver {
            gap: self.estate.shut_for + since,
            connections: self.estate.holding.connections,
            calls: self.estate.holding.calls.len() as u64,
        }
    }
}

/// Keeps up with what the elder still has.
pub(crate) struct Follow {
    pub(crate) house: Arc<House>,
    pub(crate) own: PathBuf,
}

impl Follow {
    /// Until there is no elder any more, or the gateway stops.
    pub(crate) async fn run(self, inherited: Option<Inherited>, stop: CancellationToken) {
        let Some(inherited) = inherited else { return };
        tokio::select! {
            () = self.follow(inherited.link, inherited.rank) => {}
            () = stop.cancelled() => {}
        }
    }

    async fn follow(&self, mut link: Link, rank: u64) {
        loop {
            if self.hear(&link).await {
                return;
            }
            // It died. One that it had inherited from may still be there. What that one has is known before what is gone
            // counts as free.
            match seek(&self.own, Wanted::InFlight { below: rank }).await {
                Ok(Some(inherited)) => {
                    self.house.board.waits.put(&inherited.estate.waits);
                    self.adjust(&inherited.estate.holding).await;
                    link = inherited.link;
                }
                // Those that are left have an heir that lives, and that is not this one.
                Ok(None) | Err(NotGiven::Busy) => return self.adjust(&Holding::default()).await,
                Err(error @ (NotGiven::Refused(_) | NotGiven::Silent)) => {
                    tracing::error!(%error, "what an older gateway has in flight is not known");
                    return self.adjust(&Holding::default()).await;
                }
            }
        }
    }

    /// Until the elder is gone. True if it has finished, and false if it died.
    async fn hear(&self, link: &Link) -> bool {
        let heir = link.heir;
        if link.client.ask(&HeirAsk::Accepting { heir }).await.is_err() {
            return false;
        }
        let (mut taken, mut is_over) = (0, false);
        while let Ok(HeirAnswer::Left(left)) = self.more(link, taken).await {
            (taken, is_over) = (left.number, left.is_last);
            self.take(*left).await;
        }
        if is_over {
            tracing::info!("the gateway before this one has finished");
        }
        is_over
    }

    /// The next part, with an eye on drains that are over meanwhile.
    async fn more(&self, link: &Link, taken: u64) -> Result<HeirAnswer, LinkError> {
        let answer = link.client.send(&HeirAsk::More { heir: link.heir, taken }).await?;
        let mut answer = std::pin::pin!(answer.wait());
        let mut look = interval(limits::LEGACY_LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                answer = answer.as_mut() => return answer,
                _ = look.tick() => for instance in self.house.board.legacy.to_cut() {
                    link.client.ask(&HeirAsk::Cut { instance }).await?;
                },
            }
        }
    }

    async fn take(&self, left: Left) {
        for late in left.late {
            self.write_down(late).await;
        }
        self.adjust(&left.holding).await;
    }

    async fn adjust(&self, holding: &Holding) {
        let board = &self.house.board;
        board.legacy.adjust(&board.table.load(), holding);
        self.house.model.hold(holding.calls.clone(), None).await;
    }

    async fn write_down(&self, late: Late) {
        let House { board, desk, .. } = &*self.house;
        match late {
            Late::Counted { cell } => board.recorder.absorb(&cell),
            Late::Ended { agent, model, drawn, served, outcome } => {
                board.recorder.outcome(&Key { agent, model, drawn, served }, outcome);
            }
            Late::Renewed { id, by } => desk.renew(id, by),
            Late::Waited(waited) => board.waits.put(&[waited]),
            Late::Signed { instance } => {
                if let Some(target) = board.table.load().instance(instance) {
                    target.work.shown(board.clock.mono());
                }
            }
            late @ (Late::Answered { .. } | Late::Given { .. }) => self.pass_to_desk(late).await,
        }
    }

    /// Tried again while the store cannot be written: it was taken from somebody who will not say it twice.
    async fn pass_to_desk(&self, late: Late) {
        let desk = &self.house.desk;
        loop {
            let done = match late.clone() {
                Late::Answered { id, by, told, result, checkpoint } => {
                    let (result, checkpoint) = (result.into_bytes(), checkpoint.map(String::into_bytes));
                    let account = Box::new(Account { told, result, checkpoint, letter: None });
                    desk.ask(|tell| Ask::Complete { id, by, account, tell }).await.is_ok()
                }
                Late::Given { instance, id, body } => {
                    let taken_in = desk.ask(|tell| Ask::TakeIn { instance, id, body: body.into_bytes(), tell }).await;
                    taken_in.is_ok_and(|taken_in| taken_in != TakenIn::Refused)
                }
                other => return tracing::error!(?other, "it is not the desk's"),
            };
            if done {
                return;
            }
            if desk.is_closed() {
                // Given away ourselves meanwhile: it goes to whoever has the store.
                return desk.leave(late);
            }
            sleep(limits::COURIER_WAIT).await;
        }
    }
}
