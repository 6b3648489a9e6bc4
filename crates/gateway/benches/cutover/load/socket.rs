//! A WebSocket for the whole run: each message is numbered and has to come back before the next is sent.

use std::{sync::Arc, time::Duration};

use futures_util::{SinkExt, StreamExt};
use tokio::{
    net::TcpStream,
    sync::mpsc::UnboundedSender,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message},
};

use super::{Clients, PATIENCE, answered_by, path};
use crate::{
    fleet::Agent,
    ledger::{Failure, Kind, Opened, Stream},
    targets::{self, BEAT},
};

type Socket = WebSocketStream<TcpStream>;

pub(super) async fn converse(clients: Arc<Clients>, agent: Agent, opened: UnboundedSender<()>) {
    let sent = clients.clock.now();
    let mut stream = Stream {
        kind: Kind::WebSocket,
        agent,
        lasting: true,
        sent,
        opened: None,
        ended: sent,
        pieces: 0,
        longest_pause: Duration::ZERO,
        end: Ok(()),
    };
    stream.end = talk(&clients, &mut stream, opened).await;
    stream.ended = clients.clock.now();
    clients.note(|ledger| ledger.streams.push(stream));
}

async fn talk(clients: &Clients, stream: &mut Stream, opened: UnboundedSender<()>) -> Result<(), Failure> {
    let mut socket = open(clients, stream).await?;
    // Nobody waits any more: the load gave up, which it says itself.
    let _ = opened.send(());
    drop(opened);
    let mut beat = interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = clients.stop.cancelled() => break,
            _ = beat.tick() => {}
        }
        let text = format!("{} {}", stream.agent, stream.pieces);
        let said = clients.clock.now();
        socket.send(Message::text(text.as_str())).await.map_err(|error| failure(&error))?;
        match hear(&mut socket).await? {
            Some(Message::Text(echo)) if echo.as_str() == text => stream.pieces += 1,
            Some(_) => return Err(Failure::Altered),
            None => return Err(Failure::Broken),
        }
        stream.longest_pause = stream.longest_pause.max(clients.clock.now() - said);
    }
    socket.close(None).await.map_err(|error| failure(&error))?;
    while let Some(message) = hear(&mut socket).await? {
        if !message.is_close() {
            return Err(Failure::Altered);
        }
    }
    Ok(())
}

async fn open(clients: &Clients, stream: &mut Stream) -> Result<Socket, Failure> {
    let connection = TcpStream::connect(clients.gateway).await.map_err(|_io| Failure::Connect)?;
    connection.set_nodelay(true).map_err(|_io| Failure::Connect)?;
    stream.sent = clients.clock.now();
    let url = format!("ws://{}{}", clients.gateway, path(stream.agent, targets::SOCKET));
    let opened = timeout(PATIENCE, client_async(url, connection)).await.map_err(|_late| Failure::TimedOut)?;
    let (socket, response) = opened.map_err(|error| failure(&error))?;
    let by = answered_by(response.headers(), stream.agent)?;
    stream.opened = Some(Opened { by, at: clients.clock.now() });
    Ok(socket)
}

/// `None` after the closing handshake.
async fn hear(socket: &mut Socket) -> Result<Option<Message>, Failure> {
    match timeout(PATIENCE, socket.next()).await {
        Ok(message) => message.transpose().map_err(|error| failure(&error)),
        Err(_late) => Err(Failure::TimedOut),
    }
}

fn failure(error: &Error) -> Failure {
    match error {
        Error::Http(response) => Failure::Status(response.status().as_u16()),
        _ => Failure::Broken,
    }
}
