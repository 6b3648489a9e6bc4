//! A server whose answers the test gives, and that can go away with all of its connections.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    net::TcpListener,
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep},
};

use crate::world::PATIENCE;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) head: hyper::http::request::Parts,
    pub(crate) body: Bytes,
}

impl Asked {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.head.method, self.head.uri)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Asked>>>,
    accepting: JoinHandle<()>,
}

/// Drops with the connection, so that a test sees that a request was given up.
pub(crate) type Reply = (u16, String);

impl Served {
    pub(crate) async fn start<F, R>(answer: F) -> Self
    where
        F: Fn(Asked) -> R + Clone + Send + 'static,
        R: Future<Output = Reply> + Send + 'static,
    {
        Self::at((Ipv4Addr::LOCALHOST, 0).into(), answer).await
    }

    pub(crate) async fn at<F, R>(address: SocketAddr, answer: F) -> Self
    where
        F: Fn(Asked) -> R + Clone + Send + 'static,
        R: Future<Output = Reply> + Send + 'static,
    {
        let deadline = Instant::now() + PATIENCE;
        let listener = loop {
            match TcpListener::bind(address).await {
                Ok(listener) => break listener,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            sleep(Duration::from_millis(5)).await;
        };
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::default());
        let noted: Arc<Mutex<Vec<Asked>>> = Arc::clone(&seen);
        let accepting = tokio::spawn(async move {
            // Its connections end with it.
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (answer, noted) = (answer.clone(), noted.clone());
                let service = service_fn(move |request: Request<Incoming>| {
                    let (answer, noted) = (answer.clone(), noted.clone());
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await?.to_bytes();
                        let asked = Asked { head, body };
                        noted.lock().unwrap().push(asked.clone());
                        let (status, body) = answer(asked).await;
                        let response = Response::builder().status(StatusCode::from_u16(status).unwrap());
                        Ok::<_, hyper::Error>(response.body(Full::new(Bytes::from(body))).unwrap())
                    }
                });
                connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { address, seen, accepting }
    }

    pub(crate) fn seen(&self) -> Vec<Asked> {
        self.seen.lock().unwrap().clone()
    }

    /// Waits until it has seen so many.
    pub(crate) async fn saw(&self, count: usize) -> Vec<Asked> {
        let deadline = Instant::now() + PATIENCE;
        while self.seen().len() < count {
            assert!(Instant::now() < deadline, "{count} requests: {:?}", self.seen());
            sleep(Duration::from_millis(5)).await;
        }
        self.seen()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
