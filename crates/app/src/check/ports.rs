//! Whether gateway and control API can listen where they are to, or do already.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    time::Duration,
};

use super::{Asked, Check};
use crate::ask::Asker;

const NAME: &str = "ports";
const LOOK: Duration = Duration::from_secs(5);

pub(super) async fn check(asked: &Asked, serving: bool) -> Check {
    let mut seen = Vec::new();
    let mut wrong = Vec::new();
    match bound(asked.listen) {
        Ok(()) if serving => wrong.push(format!("the fleet runs, and its gateway is not at {}", asked.listen)),
        Ok(()) => seen.push(format!("{} is free for the gateway", asked.listen)),
        Err(_in_use) if serving && is_gateway(asked.listen).await => {
            seen.push(format!("the gateway answers at {}", asked.listen));
        }
        Err(error) => wrong.push(format!("{} for the gateway: {error}", asked.listen)),
    }
    if serving {
        seen.push(format!("the control API answers at {}", asked.control));
    } else if let Some(address) = address_of(&asked.control) {
        match bound(address) {
            Ok(()) => seen.push(format!("{address} is free for the control API")),
            Err(error) => wrong.push(format!("{address} for the control API: {error}")),
        }
    }
    // Instances are known by addresses of their own, and their HTTP servers bind them.
    let own = SocketAddr::from((Ipv4Addr::new(127, 64, 0, 1), 0));
    match bound(own) {
        Ok(()) => seen.push("127.64.0.0/10 can be used for instances".to_owned()),
        Err(error) => wrong.push(format!("addresses of instances, 127.64.0.0/10: {error}")),
    }
    if wrong.is_empty() {
        return Check::ok(NAME, seen.join("; "));
    }
    let remedy =
        "`ss -ltnp` names what listens where; --listen and --control of `serve` and of this command choose others";
    Check::failed(NAME, wrong.join("\n"), remedy)
}

fn bound(address: SocketAddr) -> io::Result<()> {
    TcpListener::bind(address).map(drop)
}

async fn is_gateway(address: SocketAddr) -> bool {
    let answer = Asker::new(&format!("http://{address}")).get("/tasks", LOOK).await;
    answer.is_ok_and(|answer| answer.json().is_some_and(|json| json["queued"].is_u64()))
}

/// Of an address on this machine; what is elsewhere cannot be bound from here.
fn address_of(url: &str) -> Option<SocketAddr> {
    let uri: hyper::Uri = url.parse().ok()?;
    let address: SocketAddr = uri.authority()?.as_str().replace("localhost", "127.0.0.1").parse().ok()?;
    address.ip().is_loopback().then_some(address)
}
