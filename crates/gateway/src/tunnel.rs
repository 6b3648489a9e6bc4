//! What becomes of a connection after `101 Switching Protocols`: bytes, both ways, until either side ends.

use bytes::BytesMut;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncWriteExt, copy_bidirectional},
    net::TcpStream,
};
use tokio_util::sync::CancellationToken;

use crate::guard::Ended;

/// Runs until an end, or until it is cut at the drain limit. `said`: what has come from upstream already.
pub(crate) async fn run(
    client: OnUpgrade,
    (mut upstream, said): (TcpStream, BytesMut),
    cut: CancellationToken,
) -> Ended {
    let mut client = match client.await {
        Ok(client) => TokioIo::new(client),
        Err(error) => {
            tracing::debug!(%error, "an upgrade did not come about");
            return Ended::Broken;
        }
    };
    let copied = async {
        client.write_all(&said).await?;
        drop(said);
        copy_bidirectional(&mut client, &mut upstream).await
    };
    tokio::select! {
        copied = copied => match copied {
            Ok(_) => Ended::Whole,
            Err(error) => {
                tracing::debug!(%error, "a tunnel broke");
                Ended::Broken
            }
        },
        () = cut.cancelled() => Ended::Cut,
    }
}
