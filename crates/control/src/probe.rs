//! Health endpoints, asked from outside.

use std::{net::SocketAddr, time::Duration};

use bellwether_core::{id::InstanceId, rollout::Event};
use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::sync::mpsc;

use crate::{effects::send, reactor::Input};

const BEAT: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(2);
/// The machine's boot deadline ends the instance long before this; it only bounds a probe that was forgotten.
const BEATS_MAX: u32 = 6000;

/// Asks `GET /health` until it answers 200. An instance that is gone by then is found out by its exit.
pub(crate) async fn until_healthy(instance: InstanceId, address: SocketAddr, inputs: mpsc::Sender<Input>) {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let Ok(uri) = format!("http://{address}/health").parse::<hyper::Uri>() else {
        return tracing::error!(%instance, "its address is not a URI");
    };
    for _ in 0..BEATS_MAX {
        match tokio::time::timeout(PATIENCE, client.get(uri.clone())).await {
            Ok(Ok(answer)) if answer.status() == hyper::StatusCode::OK => {
                return send(&inputs, Event::Healthy { instance }).await;
            }
            Ok(Ok(answer)) => tracing::debug!(%instance, status = %answer.status(), "not healthy yet"),
            Ok(Err(error)) => tracing::debug!(%instance, %error, "not reachable yet"),
            Err(_elapsed) => tracing::debug!(%instance, "no answer in time"),
        }
        if inputs.is_closed() {
            return;
        }
        tokio::time::sleep(BEAT).await;
    }
}
