//! The listening sockets. They belong to the supervisor and outlive the children that use them: while none
//! does, connections wait in the backlog.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    time::Duration,
};

use socket2::{Domain, Socket, Type};
use tokio::time::Instant;

use super::failures;
use crate::failure::Failure;

/// Connections that may wait while a gateway is being replaced; the kernel caps it at `somaxconn`.
const BACKLOG: i32 = 4096;
/// A supervisor that was killed a moment ago has children that are still letting go of the port.
const LET_GO: Duration = Duration::from_millis(500);

/// The data plane's.
pub(super) struct Entrance {
    pub(super) listener: TcpListener,
    pub(super) address: SocketAddr,
    /// It serves all of 127.0.0.0/8, so that the address which was called names the instance.
    pub(super) by_address: bool,
}

pub(super) struct Control {
    pub(super) listener: TcpListener,
    pub(super) address: SocketAddr,
}

impl Entrance {
    pub(super) async fn open(wanted: SocketAddr) -> Result<Self, Failure> {
        refuse_others(wanted, "--listen")?;
        if wanted.is_ipv4() {
            // Bound to the loopback device it hears every loopback address, and nothing from outside.
            let everywhere = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), wanted.port());
            match bind(everywhere, true) {
                Ok(listener) => {
                    let port = local_address(&listener, everywhere)?.port();
                    return Ok(Self { listener, address: SocketAddr::new(wanted.ip(), port), by_address: true });
                }
                Err(error) => tracing::info!(%error, "cannot listen on the loopback device as a whole"),
            }
        }
        let listener = patiently(wanted).await;
        let listener = listener.map_err(|error| failures::port_in_use(wanted, "gateway", "--listen", &error))?;
        let address = local_address(&listener, wanted)?;
        Ok(Self { listener, address, by_address: false })
    }
}

pub(super) async fn control_listener(wanted: SocketAddr) -> Result<Control, Failure> {
    refuse_others(wanted, "--control")?;
    let listener = patiently(wanted).await;
    let listener = listener.map_err(|error| failures::port_in_use(wanted, "control API", "--control", &error))?;
    let address = local_address(&listener, wanted)?;
    Ok(Control { listener, address })
}

fn refuse_others(wanted: SocketAddr, flag: &str) -> Result<(), Failure> {
    if wanted.ip().is_loopback() { Ok(()) } else { Err(failures::not_loopback(wanted, flag)) }
}

async fn patiently(wanted: SocketAddr) -> io::Result<TcpListener> {
    let deadline = Instant::now() + LET_GO;
    loop {
        match bind(wanted, false) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            bound => return bound,
        }
    }
}

/// `loopback_device`: hears nothing from outside, whatever the address.
pub(crate) fn bind(address: SocketAddr, loopback_device: bool) -> io::Result<TcpListener> {
    let domain = match address.ip() {
        IpAddr::V4(_) => Domain::IPV4,
        IpAddr::V6(_) => Domain::IPV6,
    };
    let socket = Socket::new(domain, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    if loopback_device {
        socket.bind_device(Some(b"lo"))?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn local_address(listener: &TcpListener, wanted: SocketAddr) -> Result<SocketAddr, Failure> {
    listener.local_addr().map_err(|error| failures::system(&format!("cannot tell the port of {wanted}"), &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_in_use_is_named_with_a_way_on() {
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = holder.local_addr().unwrap();
        for text in [
            Entrance::open(address).await.err().unwrap().to_string(),
            control_listener(address).await.err().unwrap().to_string(),
        ] {
            assert!(text.contains("BW0301") && text.contains(&address.to_string()), "{text}");
        }
    }

    #[tokio::test]
    async fn only_this_machine_can_reach_it() {
        let text = Entrance::open("0.0.0.0:0".parse().unwrap()).await.err().unwrap();
        assert_eq!(text.exit, crate::failure::Exit::Invalid);
    }

    #[tokio::test]
    async fn every_loopback_address_leads_in() {
        let entrance = Entrance::open("127.0.0.1:0".parse().unwrap()).await.unwrap();
        assert_ne!(entrance.address.port(), 0);
        if entrance.by_address {
            std::net::TcpStream::connect((Ipv4Addr::new(127, 64, 1, 7), entrance.address.port())).unwrap();
        }
    }
}
