//! What becomes of a connection after `101 Switching Protocols`: bytes, both ways, until either side ends.

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;
use tokio_util::sync::CancellationToken;

use crate::guard::Ended;

/// Runs until an end, or until it is cut at the drain limit.
pub(crate) async fn run(client: OnUpgrade, upstream: OnUpgrade, cut: CancellationToken) -> Ended {
    let (client, upstream) = match tokio::try_join!(client, upstream) {
        Ok(both) => both,
        Err(error) => {
            tracing::debug!(%error, "an upgrade did not come about");
            return Ended::Broken;
        }
    };
    let (mut client, mut upstream) = (TokioIo::new(client), TokioIo::new(upstream));
    tokio::select! {
        copied = copy_bidirectional(&mut client, &mut upstream) => match copied {
            Ok(_) => Ended::Whole,
            Err(error) => {
                tracing::debug!(%error, "a tunnel broke");
                Ended::Broken
            }
        },
        () = cut.cancelled() => Ended::Cut,
    }
}
