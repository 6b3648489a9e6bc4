//! Runtime threads that share one listener.
//!
//! Several current-thread runtimes instead of one that steals work: a request stays on the thread that accepted
//! it, and so does its upstream connection.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::OwnedSemaphorePermit,
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    door::{Door, House},
    heir::{gate::Standing, pass},
    limits, service,
};

/// A connection's place under the bound. A tunnel that grows from the connection keeps it.
#[derive(Clone)]
pub(crate) struct Place {
    _permit: Arc<OwnedSemaphorePermit>,
    /// Where it comes from.
    pub(crate) peer: IpAddr,
}

/// Whether the last request of a connection was passed on to another gateway.
#[derive(Clone, Default)]
pub(crate) struct Passage(Arc<AtomicBool>);

impl Passage {
    pub(crate) fn set_elsewhere(&self, elsewhere: bool) {
        self.0.store(elsewhere, Ordering::Relaxed);
    }

    fn leads_elsewhere(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Serves until another gateway accepts, and then until what is in flight has ended or had its time; or until told to
/// stop, and then until what is in flight has ended or the grace is over.
pub(crate) fn run(listener: std::net::TcpListener, house: Arc<House>, shutdown: CancellationToken) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::from_std(listener)?;
        let door = Arc::new(Door::new(house));
        let connections = TaskTracker::new();
        tokio::select! {
            () = accept(&listener, &door, &connections, &shutdown) => {}
            () = sweep(&door) => {}
            () = shutdown.cancelled() => {}
        }
        drop(listener);
        connections.close();
        door.tunnels.close();
        if door.gate.standing() == Standing::Moved {
            finish(&door, &connections, &shutdown).await;
        }
        let ended = timeout(limits::SHUTDOWN_GRACE, async {
            connections.wait().await;
            door.tunnels.wait().await;
            door.lane.finished().await;
        });
        if ended.await.is_err() {
            tracing::warn!(
                connections = connections.len(),
                tunnels = door.tunnels.len(),
                "cut at the end of the grace for a stop"
            );
        }
        Ok(())
    })
}

/// Connections of which the client does not know yet that another gateway accepts are kept: what comes on them is passed
/// on, and they end with its answer.
async fn finish(door: &Door, connections: &TaskTracker, shutdown: &CancellationToken) {
    let ended = async {
        connections.wait().await;
        door.tunnels.wait().await;
    };
    tokio::select! {
        () = ended => {}
        () = sweep(door) => {}
        () = shutdown.cancelled() => {}
    }
}

/// Until another gateway does.
async fn accept(listener: &TcpListener, door: &Arc<Door>, connections: &TaskTracker, shutdown: &CancellationToken) {
    loop {
        if door.gate.not_shut().await != Some(Standing::Open) {
            return;
        }
        let parting = door.gate.parting();
        let Ok(permit) = door.connections.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = parting.cancelled() => continue,
        };
        match accepted {
            Ok((stream, peer)) if peer.ip().to_canonical().is_loopback() => {
                connections.spawn(serve(stream, peer.ip(), permit, door.clone(), shutdown.clone()));
            }
            Ok((_, peer)) => tracing::warn!(%peer, "refused: not from this machine"),
            Err(error) => {
                tracing::warn!(%error, "cannot accept");
                sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn serve(
    stream: TcpStream,
    peer: IpAddr,
    permit: OwnedSemaphorePermit,
    door: Arc<Door>,
    shutdown: CancellationToken,
) {
    let called = match stream.set_nodelay(true).and_then(|()| stream.local_addr()) {
        Ok(address) => SocketAddr::new(address.ip().to_canonical(), address.port()),
        Err(error) => return tracing::debug!(%error, "the client left at once"),
    };
    let SocketAddr::V4(called) = called else { return tracing::debug!(%called, "not an IPv4 connection") };
    let place = Place { _permit: Arc::new(permit), peer };
    let passage = Passage::default();
    let service = service_fn(|request| {
        let (door, place, passage) = (door.clone(), place.clone(), passage.clone());
        async move {
            let mut response = service::answer(&door, called, (place, passage), request).await;
            pass::part(&door, &mut response);
            Ok::<_, std::convert::Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::HEAD_TIMEOUT)
        .max_buf_size(limits::BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        // By a stop too: each wake of the connection looks at what it waits for besides, so it waits for one thing.
        () = door.cut_all.cancelled() => {
            if shutdown.is_cancelled() {
                connection.as_mut().graceful_shutdown();
                connection.await
            // What was passed on is the other gateway's, and has its bounds there.
            } else if passage.leads_elsewhere() {
                tokio::select! {
                    ended = connection.as_mut() => ended,
                    () = shutdown.cancelled() => return,
                }
            } else {
                connection.as_mut().graceful_shutdown();
                let Ok(ended) = timeout(limits::CUT_GRACE, connection.as_mut()).await else {
                    return tracing::warn!("a request was cut: it did not end in the time that an upgrade gives");
                };
                return drop(ended);
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

/// Retired instances lose their idle connections at once, all others when they were idle for too long.
async fn sweep(door: &Door) {
    let mut changed = door.board.changed.subscribe();
    let mut tick = interval(limits::IDLE_LIMIT / 3);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            there_is_more = changed.changed() => if there_is_more.is_err() {
                return;
            },
        }
        door.pool.sweep();
        door.lane.sweep();
    }
}
