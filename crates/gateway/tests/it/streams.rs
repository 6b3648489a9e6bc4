//! What is in flight for long, while its agent is cut over.

use bellwether_core::time::Millis;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http_body_util::BodyExt;
use hyper::{Method, StatusCode};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    agent::{Agent, websocket},
    world::{BLUE, GREEN, PATIENCE, World},
};

async fn spans_a_cutover(pieces: [&'static str; 3]) {
    let (blue, green) = (Agent::start("blue").await, Agent::start("green").await);
    let mut world = World::pushing(blue.address, green.address).await;
    let mut response = world.http.open(Method::GET, "/a/a/stream", &[], "").await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    for (n, piece) in pieces.into_iter().enumerate() {
        blue.feed.send(Bytes::from_static(piece.as_bytes())).await.unwrap();
        // Unbuffered: each piece is here before the next is written.
        let frame = timeout(PATIENCE, response.frame()).await.unwrap().unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), piece);
        if n == 0 {
            world.cut_over(GREEN).await;
            assert_eq!(world.http.get("/a/a/x").await.text(), "green");
            assert_eq!(world.instance(BLUE).await.held, 1, "the stream is in use");
        }
    }
    blue.feed.send(Bytes::new()).await.unwrap();
    assert!(response.frame().await.is_none());
    assert_eq!(world.empty(BLUE).await, 0);
}

#[tokio::test]
async fn ndjson_spans_a_cutover() {
    spans_a_cutover(["{\"n\":1}\n", "{\"n\":2}\n", "{\"done\":true}\n"]).await;
}

#[tokio::test]
async fn server_sent_events_span_a_cutover() {
    spans_a_cutover(["data: 1\n\n", "data: 2\n\n", "data: [DONE]\n\n"]).await;
}

#[tokio::test]
async fn an_upload_streams_too() {
    let blue = Agent::start("blue").await;
    let world = World::pushing(blue.address, blue.address).await;
    let body: String = (0..300_000).map(|n| char::from(b'a' + (n % 26) as u8)).collect();
    let answer = world.http.post("/a/a/echo", &body).await;
    assert!(answer.text() == body, "byte for byte");
    assert_eq!(answer.headers["x-agent"], "blue");
}

#[tokio::test]
async fn a_websocket_spans_a_cutover_and_ends_with_its_peer() {
    let (blue, green) = (websocket("blue").await, websocket("green").await);
    let mut world = World::pushing(blue, green).await;
    let mut old = connect(&world).await;
    assert_eq!(say(&mut old, "1").await, "blue:1");
    world.cut_over(GREEN).await;
    assert_eq!(say(&mut old, "2").await, "blue:2");
    let mut new = connect(&world).await;
    assert_eq!(say(&mut new, "3").await, "green:3");
    assert_eq!(world.instance(BLUE).await.held, 1);
    old.close(None).await.unwrap();
    while timeout(PATIENCE, old.next()).await.unwrap().is_some_and(|it| it.is_ok()) {}
    drop(old);
    assert_eq!(world.empty(BLUE).await, 0);
}

#[tokio::test]
async fn at_the_drain_limit_what_is_left_is_cut_and_counted() {
    let (blue, green) = (websocket("blue").await, websocket("green").await);
    let mut world = World::pushing(blue, green).await;
    let mut socket = connect(&world).await;
    assert_eq!(say(&mut socket, "1").await, "blue:1");
    world.cut_over_with(GREEN, None, Millis(20)).await;
    assert_eq!(world.empty(BLUE).await, 1);
    let end = timeout(PATIENCE, socket.next()).await.unwrap();
    assert!(!matches!(end, Some(Ok(Message::Text(_)))), "{end:?}");
}

type Socket = tokio_tungstenite::WebSocketStream<TcpStream>;

async fn connect(world: &World) -> Socket {
    let stream = TcpStream::connect(world.address).await.unwrap();
    let url = format!("ws://{}/a/a/ws", world.address);
    let (socket, response) = tokio_tungstenite::client_async(url, stream).await.unwrap();
    assert_eq!(response.status().as_u16(), 101);
    socket
}

async fn say(socket: &mut Socket, text: &str) -> String {
    socket.send(text.to_owned().into()).await.unwrap();
    let answer = timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
    answer.into_text().unwrap().to_string()
}
