//! Exchanges with scripted servers over real sockets.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::{
    HeaderMap, Method, StatusCode,
    body::Frame,
    header::{HeaderName, HeaderValue},
    http::response::Parts,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::timeout,
};

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

fn asked<'a>(method: &'a Method, headers: &'a HeaderMap) -> Asked<'a> {
    Asked { method, prefix: "", path_and_query: "/path?x=1", headers, without: &[], host: None }
}

async fn pair() -> (Connection, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connection = Connection::dial(listener.local_addr().unwrap(), PATIENCE).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    server.set_nodelay(true).unwrap();
    (connection, server)
}

/// Reads a request, writes these pieces, each by itself, and closes.
fn says(mut server: TcpStream, pieces: Vec<Vec<u8>>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            assert!(server.read_buf(&mut request).await.unwrap() > 0);
        }
        for piece in pieces {
            // The client may have had enough.
            if server.write_all(&piece).await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
    })
}

/// What an answer comes to: its status, its body, and whether the connection can be used again.
type Came = Result<(StatusCode, Bytes, bool), String>;

async fn ask(method: Method, pieces: Vec<Vec<u8>>) -> Came {
    let (connection, server) = pair().await;
    let said = says(server, pieces);
    let headers = HeaderMap::new();
    let mut exchange = Exchange::new(connection, asked(&method, &headers), Empty::new()).map_err(|_| "unwritable")?;
    let came = timeout(PATIENCE, async {
        let head = exchange.head().await?;
        let body = (&mut exchange).collect().await?.to_bytes();
        Ok((head.status, body, exchange.release().is_some()))
    });
    let came = came.await.unwrap().map_err(|error: Broken| error.to_string());
    said.await.unwrap();
    came
}

async fn get(answer: &str) -> Came {
    ask(Method::GET, vec![answer.into()]).await
}

#[tokio::test]
async fn an_answer_is_the_same_wherever_it_is_cut() {
    let answers = [
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwhole",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nwho\r\n2;x\r\nle\r\n0\r\nt: 1\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole",
    ];
    for answer in answers {
        for cut in 1..answer.len() {
            let came = ask(Method::GET, vec![answer[..cut].into(), answer[cut..].into()]).await;
            assert_eq!(came, Ok((StatusCode::OK, Bytes::from("whole"), true)), "{cut} in {answer}");
        }
        let bytes = answer.bytes().map(|byte| vec![byte]).collect();
        assert_eq!(ask(Method::GET, bytes).await, Ok((StatusCode::OK, Bytes::from("whole"), true)));
    }
}

#[tokio::test]
async fn cuts_at_random_places_make_no_difference() {
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    for seed in 0..200 {
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut answer, mut body) = (head.as_bytes().to_vec(), Vec::new());
        for _ in 0..random.usize(0..5) {
            let data = vec![random.u8(..); random.usize(1..40_000)];
            answer.extend(format!("{:X}\r\n", data.len()).bytes());
            answer.extend(data.iter().copied().chain(*b"\r\n"));
            body.extend(data);
        }
        answer.extend(b"0\r\n\r\n");
        let mut pieces = Vec::new();
        while !answer.is_empty() {
            let rest = answer.split_off(random.usize(1..=answer.len()));
            pieces.push(std::mem::replace(&mut answer, rest));
        }
        assert_eq!(ask(Method::GET, pieces).await, Ok((StatusCode::OK, Bytes::from(body), true)), "seed {seed}");
    }
}

#[tokio::test]
async fn where_no_body_can_be_there_is_none() {
    let head = ask(Method::HEAD, vec!["HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n".into()]).await;
    assert_eq!(head, Ok((StatusCode::OK, Bytes::new(), true)));
    for status in [204, 304] {
        let came = get(&format!("HTTP/1.1 {status} -\r\ncontent-length: 5\r\n\r\n")).await.unwrap();
        assert_eq!((came.0.as_u16(), came.1.len(), came.2), (status, 0, true));
    }
}

#[tokio::test]
async fn a_connection_is_used_again_only_if_both_sides_mean_it() {
    let keeps = async |answer: &str| get(answer).await.unwrap().2;
    assert!(keeps("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await);
    assert!(keeps("HTTP/1.0 200 OK\r\ncontent-length: 0\r\nconnection: keep-alive\r\n\r\n").await);
    assert!(!keeps("HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n").await);
    assert!(!keeps("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: x, Close\r\n\r\n").await);
    assert!(!keeps("HTTP/1.1 200 OK\r\n\r\nuntil the end").await);
    assert!(!keeps("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nab").await, "more than was asked for");
    assert!(!keeps("HTTP/1.1 101 Switching\r\nupgrade: x\r\n\r\n").await);
}

#[tokio::test]
async fn an_answer_whose_end_is_not_certain_is_none() {
    let refused = [
        "content-length: 1\r\ncontent-length: 2\r\n\r\na",
        "content-length: 1, 1\r\n\r\na",
        "content-length: +1\r\n\r\na",
        "content-length: 99999999999999999999\r\n\r\na",
        "content-length:\r\n\r\n",
        "content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "transfer-encoding: identity\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\n1\r\na\r\n",
        "content-length: 2\r\n\r\na",
        "x: folded\r\n over\r\n\r\n",
        "x : spaced\r\n\r\n",
        "no colon\r\n\r\n",
        "x: a\rb\r\n\r\n",
        "x: a\0b\r\n\r\n",
        "x: no end",
    ];
    for rest in refused {
        let came = get(&format!("HTTP/1.1 200 OK\r\n{rest}")).await;
        assert!(came.is_err(), "{rest:?}: {came:?}");
    }
    for answer in ["", "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", "HTTP/2 200 OK\r\n\r\n", "x"] {
        assert!(get(answer).await.is_err(), "{answer:?}");
    }
    assert!(get("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\na").await.is_ok(), "the same twice");
}

#[tokio::test]
async fn what_has_no_end_is_bounded() {
    let long = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(64 << 10));
    assert_eq!(get(&long).await.unwrap_err(), "what came is no answer: its head is too long");
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(101));
    assert!(get(&many).await.is_err());
    assert!(get(&"HTTP/1.1 100 Continue\r\n\r\n".repeat(17)).await.unwrap_err().contains("interim"));
}

/// What arrives of a request.
async fn sent<B>(asked: Asked<'_>, body: B) -> String
where
    B: hyper::body::Body<Data = Bytes, Error: Into<BoxError> + std::fmt::Debug> + Unpin,
{
    let (connection, mut server) = pair().await;
    let mut exchange = Exchange::new(connection, asked, body).map_err(|(error, _)| error).unwrap();
    let reading = tokio::spawn(async move {
        let mut all = Vec::new();
        while !all.ends_with(b"\r\n\r\n") && !all.ends_with(b"body") {
            let read = server.read_buf(&mut all).await.unwrap();
            assert!(read > 0, "{all:?}");
        }
        server.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        String::from_utf8(all).unwrap()
    });
    exchange.head().await.unwrap();
    assert!(exchange.release().is_some());
    reading.await.unwrap()
}

#[tokio::test]
async fn framing_is_written_anew() {
    let mut headers = HeaderMap::new();
    for (name, value) in [("content-length", "77"), ("host", "theirs"), ("x-own", "1"), ("transfer-encoding", "x")] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let host = HeaderValue::from_static("ours");
    let without = [HeaderName::from_static("x-own")];
    let get = Asked { host: Some(&host), prefix: "/under", without: &without, ..asked(&Method::GET, &headers) };
    let text = sent(get, Empty::new()).await;
    assert_eq!(text, "GET /under/path?x=1 HTTP/1.1\r\nhost: ours\r\n\r\n");
    let text = sent(asked(&Method::POST, &headers), Empty::new()).await;
    assert_eq!(text, "POST /path?x=1 HTTP/1.1\r\nhost: theirs\r\nx-own: 1\r\ncontent-length: 0\r\n\r\n");
    let text = sent(asked(&Method::PUT, &headers), Full::new(Bytes::from("a body"))).await;
    assert_eq!(text, "PUT /path?x=1 HTTP/1.1\r\nhost: theirs\r\nx-own: 1\r\ncontent-length: 6\r\n\r\na body");
    let pieces = ["a", "", " piece"].map(|piece| Ok::<_, Infallible>(Frame::data(Bytes::from(piece))));
    let text = sent(asked(&Method::POST, &HeaderMap::new()), StreamBody::new(stream::iter(pieces))).await;
    assert_eq!(text, "POST /path?x=1 HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n6\r\n piece\r\n0\r\n\r\n");
}

#[tokio::test]
async fn a_path_cannot_end_the_head() {
    let headers = HeaderMap::new();
    for path in ["/ HTTP/1.1\r\nx: y", "/\n", "/a b", "/\x7f"] {
        let (connection, _server) = pair().await;
        let asked = Asked { path_and_query: path, ..asked(&Method::GET, &headers) };
        assert!(matches!(Exchange::new(connection, asked, Empty::new()), Err((Broken::Unwritable(_), _))), "{path:?}");
    }
}

/// A body of which a piece comes whenever one is sent, and that breaks off with its sender.
fn body() -> (tokio::sync::mpsc::UnboundedSender<Bytes>, impl hyper::body::Body<Data = Bytes, Error = BoxError> + Unpin)
{
    let (sender, pieces) = tokio::sync::mpsc::unbounded_channel::<Bytes>();
    let pieces = stream::unfold(Some(pieces), async |pieces| {
        let mut pieces = pieces?;
        match pieces.recv().await {
            Some(piece) => Some((Ok(Frame::data(piece)), Some(pieces))),
            None => Some((Err(BoxError::from("broke off")), None)),
        }
    });
    (sender, StreamBody::new(Box::pin(pieces)))
}

async fn head<B>(exchange: &mut Exchange<B>) -> Result<Parts, Broken>
where
    B: hyper::body::Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    timeout(PATIENCE, exchange.head()).await.unwrap()
}

#[tokio::test]
async fn an_answer_may_come_before_the_request_has_ended_and_the_rest_is_sent_meanwhile() {
    let (connection, mut server) = pair().await;
    let (pieces, body) = body();
    let headers = HeaderMap::new();
    let mut exchange = Exchange::new(connection, asked(&Method::POST, &headers), body).map_err(|(e, _)| e).unwrap();
    pieces.send("first".into()).unwrap();
    server.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n").await.unwrap();
    assert_eq!(head(&mut exchange).await.unwrap().status, StatusCode::OK);
    let server = tokio::spawn(async move {
        let mut all = Vec::new();
        while !all.ends_with(b"6\r\nsecond\r\n") {
            assert!(server.read_buf(&mut all).await.unwrap() > 0);
        }
        server.write_all(b"whole").await.unwrap();
    });
    pieces.send("second".into()).unwrap();
    let whole = timeout(PATIENCE, (&mut exchange).collect()).await.unwrap().unwrap().to_bytes();
    assert_eq!(whole, "whole");
    assert!(exchange.release().is_none(), "the request has not ended");
    server.await.unwrap();
}

#[tokio::test]
async fn a_refusal_is_read_though_the_peer_takes_no_more() {
    let (connection, mut server) = pair().await;
    let headers = HeaderMap::new();
    let large = Full::new(Bytes::from(vec![0; 16 << 20]));
    let mut exchange = Exchange::new(connection, asked(&Method::POST, &headers), large).map_err(|(e, _)| e).unwrap();
    let refuses = tokio::spawn(async move {
        server.write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        server
    });
    assert_eq!(head(&mut exchange).await.unwrap().status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(exchange.release().is_none());
    drop(refuses.await.unwrap());
}

#[tokio::test]
async fn a_body_that_breaks_off_ends_the_exchange() {
    let (connection, _server) = pair().await;
    let (pieces, body) = body();
    let headers = HeaderMap::new();
    let mut exchange = Exchange::new(connection, asked(&Method::POST, &headers), body).map_err(|(e, _)| e).unwrap();
    drop(pieces);
    assert!(matches!(head(&mut exchange).await, Err(Broken::Body(_))));
    assert!(exchange.unsent().is_none());
}

#[tokio::test]
async fn a_connection_that_was_closed_or_spoken_on_meanwhile_is_not_idle() {
    let (connection, server) = pair().await;
    assert!(connection.is_idle());
    drop(server);
    timeout(PATIENCE, async {
        while connection.is_idle() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    let (connection, mut server) = pair().await;
    server.write_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n").await.unwrap();
    timeout(PATIENCE, async {
        while connection.is_idle() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
}
