//! A runtime thread: accepts, serves, and lets what is in flight end when it is told to stop.

use std::{convert::Infallible, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::OwnedSemaphorePermit,
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    answer::answer,
    house::{House, Way},
};
use crate::limits;

/// A pause before the next try to accept, where the last one failed: for want of open files, mostly.
const BREATH: Duration = Duration::from_millis(50);
/// How often idle connections to the model servers are looked at.
const SWEEP: Duration = Duration::from_secs(5);

pub(super) fn run(
    listener: std::net::TcpListener,
    house: &Arc<House>,
    finish_within: Duration,
    stop: &CancellationToken,
    cut: &CancellationToken,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::from_std(listener)?;
        let connections = TaskTracker::new();
        let way = Arc::new(house.way());
        tokio::select! {
            () = accept(&listener, house, &way, &connections, stop) => {}
            () = sweep(&way) => {}
            () = stop.cancelled() => {}
        }
        drop(listener);
        connections.close();
        let ended = async {
            connections.wait().await;
            if let Way::Admitted { lane, .. } = &*way {
                lane.finished().await;
            }
        };
        tokio::select! {
            () = ended => return Ok(()),
            () = sleep(finish_within) => {}
            () = cut.cancelled() => {}
        }
        // With the runtime they are dropped, and closed.
        tracing::warn!(connections = connections.len(), "cut: they had their time to end");
        Ok(())
    })
}

async fn sweep(way: &Way) {
    loop {
        sleep(SWEEP).await;
        if let Way::Admitted { lane, .. } = way {
            lane.sweep();
        }
    }
}

async fn accept(
    listener: &TcpListener,
    house: &Arc<House>,
    way: &Arc<Way>,
    connections: &TaskTracker,
    stop: &CancellationToken,
) {
    loop {
        let Ok(permit) = house.connections.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, peer)) => {
                drop(connections.spawn(serve(stream, peer, permit, (house.clone(), way.clone()), stop.clone())));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept");
                sleep(BREATH).await;
            }
        }
    }
}

/// `_place`: under the bound of connections, until this one ends.
async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    _place: OwnedSemaphorePermit,
    (house, way): (Arc<House>, Arc<Way>),
    stop: CancellationToken,
) {
    if let Err(error) = stream.set_nodelay(true) {
        return tracing::debug!(%error, "the client left at once");
    }
    let service = service_fn(|request| {
        let (house, way) = (house.clone(), way.clone());
        async move { Ok::<_, Infallible>(answer(&house, &way, peer.ip(), request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::HEAD_TIMEOUT)
        .max_buf_size(limits::BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}
