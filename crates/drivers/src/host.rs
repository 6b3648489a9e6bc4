//! Puts a driver behind a link socket, so that the controller can be another process.

use std::sync::Arc;

use bellwether_core::port::driver::{DriverAnswer, DriverEvent, DriverRequest, PROTOCOL};
use bellwether_link::{Hello, Server};
use tokio::{net::UnixListener, task::JoinSet};

use crate::{Driver, Reply};

/// Answers requests and pushes events to every controller that is connected; `seen` sees each event first. Ends when the
/// driver's events end; dropping the future closes the links and leaves the driver as it is.
pub async fn serve(driver: Arc<dyn Driver>, listener: UnixListener, seen: impl Fn(&DriverEvent) + Send) {
    let (server, mut requests) =
        Server::<DriverAnswer, DriverEvent>::start(listener, Hello::new(PROTOCOL.0, PROTOCOL.1));
    let Some(mut events) = driver.events() else {
        tracing::error!("the driver's events have another reader: it is hosted already");
        return;
    };
    let peers = server.peers();
    let mut replies = JoinSet::new();
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Some(event) => {
                    seen(&event);
                    peers.push(&event);
                }
                None => return,
            },
            Some((request, tell)) = requests.recv() => {
                // Handed to the driver here and now, so that commands keep their order; only the wait is apart.
                let reply = ask(driver.as_ref(), request);
                replies.spawn(async move {
                    // A controller that went away has no use for the answer.
                    drop(tell.send(reply.await));
                });
            }
            Some(_) = replies.join_next() => {}
        }
    }
}

fn ask(driver: &dyn Driver, request: DriverRequest) -> Reply<DriverAnswer> {
    match request {
        DriverRequest::Capabilities => {
            let capabilities = driver.capabilities();
            Box::pin(async move { DriverAnswer::Capabilities(capabilities) })
        }
        DriverRequest::Observe => {
            let observed = driver.observe();
            Box::pin(async move { DriverAnswer::Observed { instances: observed.await } })
        }
        DriverRequest::Apply(command) => driver.apply(command),
    }
}
