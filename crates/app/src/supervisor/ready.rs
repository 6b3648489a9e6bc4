//! Waits until both children answer.

use std::{io, net::SocketAddr, path::Path, time::Duration};

use bellwether_core::port::gateway::{GatewayAnswer, GatewayEvent, PROTOCOL};
use bellwether_link::{Client, Hello};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};

use super::{failures, keeper::Kept, state::State};
use crate::failure::Failure;

const READY_MAX: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(10);
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// A child that dies this often before it was ever ready will not become ready by more of the same.
const DEATHS_MAX: u32 = 3;

/// What answers.
pub(super) enum Ready {
    Both,
    /// The controller cannot go on before a person has done something. Traffic needs only the gateway.
    GatewayAlone(String),
}

pub(super) async fn wait(state: &State, api: SocketAddr, gateway: &Kept, controller: &Kept) -> Result<Ready, Failure> {
    let deadline = Instant::now() + READY_MAX;
    let socket = state.path().join("gateway.sock");
    until(gateway, deadline, || link_answers(&socket)).await?;
    let answered = until(controller, deadline, || api_answers(api)).await;
    let deaths = controller.deaths.borrow().clone();
    match answered {
        Err(_) if deaths.lasting => Ok(Ready::GatewayAlone(deaths.last)),
        answered => answered.map(|()| Ready::Both),
    }
}

async fn until<F: Future<Output = Result<(), String>>>(
    child: &Kept,
    deadline: Instant,
    look: impl Fn() -> F,
) -> Result<(), Failure> {
    loop {
        let why = match timeout(ANSWER_MAX, look()).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(why)) => why,
            Err(_elapsed) => "it does not answer".to_owned(),
        };
        let deaths = child.deaths.borrow().clone();
        if deaths.lasting || deaths.times >= DEATHS_MAX {
            return Err(failures::not_ready(child.name, &format!("it {}", deaths.last), &child.log));
        }
        if Instant::now() >= deadline {
            return Err(failures::not_ready(child.name, &why, &child.log));
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn link_answers(socket: &Path) -> Result<(), String> {
    let hello = Hello::new(PROTOCOL.0, PROTOCOL.1);
    let connected = Client::<GatewayAnswer>::connect::<GatewayEvent>(socket, hello).await;
    connected.map(drop).map_err(|error| error.to_string())
}

/// Whether the controller answers.
pub(super) async fn api_is_there(api: SocketAddr) -> bool {
    matches!(timeout(ANSWER_MAX, api_answers(api)).await, Ok(Ok(())))
}

/// Any HTTP answer will do: the connection alone says nothing, as the backlog takes it.
async fn api_answers(api: SocketAddr) -> Result<(), String> {
    let ask = async {
        let mut stream = TcpStream::connect(api).await?;
        let request = format!("GET /v1/status HTTP/1.1\r\nHost: {api}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut start = [0; 7];
        stream.read_exact(&mut start).await?;
        if start == *b"HTTP/1." { Ok(()) } else { Err(io::Error::other("the answer is not HTTP")) }
    };
    ask.await.map_err(|error: io::Error| error.to_string())
}
