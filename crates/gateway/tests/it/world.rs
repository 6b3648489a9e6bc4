//! A real gateway on real sockets, with a controller's link to it and clients in front.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    thread::JoinHandle,
    time::Duration,
};

use bellwether_core::{
    id::{Generation, InstanceId, InstanceToken, ModelName, Side},
    observation::Second,
    port::gateway::{
        GatewayAnswer, GatewayEvent, GatewayIntent, GatewayView, InstanceCard, InstanceView, Move, PROTOCOL,
    },
    spec::{Sources, Spec, parse_fleet},
    time::Millis,
};
use bellwether_gateway::{Config, Error};
use bellwether_link::{Client, Events, Hello};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Method, Request, StatusCode, body::Incoming};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Longer than anything here takes; only a failing test waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const BLUE: u64 = 1;
pub(crate) const GREEN: u64 = 2;

/// A directory that goes away with the test.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("bw-gateway-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

pub(crate) struct World {
    pub(crate) address: SocketAddr,
    pub(crate) http: Http,
    /// Of the link to it; `None` while it is down.
    gateway: Option<Running>,
    listener: TcpListener,
    spec: Spec,
    scratch: Scratch,
    generation: u64,
    /// Gateways that gave way.
    elders: Vec<Running>,
    /// Gateways that were started.
    started: u32,
    pub(crate) finish_within: Duration,
}

struct Running {
    link: Client<GatewayAnswer>,
    events: Events<GatewayEvent>,
    thread: JoinHandle<Result<(), Error>>,
    stop: CancellationToken,
}

/// Two agents of type `worker`.
pub(crate) const FLEET: &str = "
version: 1
fleet: test
ollama: {url: \"http://127.0.0.1:9\", parallel: 2}
agents:
  defaults: {command: [agent], type: worker}
  list: [a, b]
";

impl World {
    /// With blue of `a` enrolled, green too, and no route.
    pub(crate) async fn new() -> Self {
        Self::of(FLEET).await
    }

    pub(crate) async fn of(fleet: &str) -> Self {
        let sources = Sources { name: "fleet.yaml", text: fleet, read: &|_| Err("no files here".to_owned()) };
        let spec = parse_fleet(&sources).unwrap();
        // The address that clients call names instance 1 too.
        let listener = TcpListener::bind((InstanceId(BLUE).address(), 0)).unwrap();
        let mut world = Self {
            address: listener.local_addr().unwrap(),
            http: Http::new(listener.local_addr().unwrap()),
            gateway: None,
            listener,
            spec,
            scratch: Scratch::new(),
            generation: 0,
            elders: Vec::new(),
            started: 0,
            finish_within: Duration::from_secs(60),
        };
        world.start().await;
        world
    }

    /// With blue of `a` active, served at `blue`, and green ready at `green`.
    pub(crate) async fn pushing(blue: SocketAddr, green: SocketAddr) -> Self {
        let mut world = Self::new().await;
        let cards = vec![card(BLUE, Side::Blue, Some(blue)), card(GREEN, Side::Green, Some(green))];
        world.done(GatewayIntent::Enrol { cards }).await;
        world.cut_over(BLUE).await;
        world
    }

    /// With blue of `a` active; neither side serves HTTP.
    pub(crate) async fn pulling() -> Self {
        let mut world = Self::new().await;
        let cards = vec![card(BLUE, Side::Blue, None), card(GREEN, Side::Green, None)];
        world.done(GatewayIntent::Enrol { cards }).await;
        world.cut_over(BLUE).await;
        world
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.scratch.path().join("gateway.sqlite")
    }

    pub(crate) fn config(&self) -> Config {
        Config {
            listener: self.listener.try_clone().unwrap(),
            store: self.store(),
            link: self.scratch.path().join("gateway.sock"),
            heir: self.heir_socket(),
            finish_within: self.finish_within,
            port: self.address.port(),
            spec: self.spec.clone(),
            threads: 2,
        }
    }

    /// Of the gateway that was started last.
    pub(crate) fn heir_socket(&self) -> PathBuf {
        self.scratch.path().join(format!("heir-{}", self.started))
    }

    /// A new gateway takes the place of the one that serves.
    pub(crate) async fn hand_over(&mut self) {
        self.elders.extend(self.gateway.take());
        self.start().await;
    }

    /// Every gateway that gave way has ended by itself.
    pub(crate) async fn elders_gone(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        for elder in std::mem::take(&mut self.elders) {
            while !elder.thread.is_finished() {
                assert!(Instant::now() < deadline, "an elder does not end");
                sleep(Duration::from_millis(5)).await;
            }
            elder.thread.join().unwrap().unwrap();
        }
    }

    /// Gateways that gave way are ended before they have finished.
    pub(crate) async fn end_elders(&mut self) {
        self.elders.iter().for_each(|elder| elder.stop.cancel());
        self.elders_gone().await;
    }

    pub(crate) async fn start(&mut self) {
        self.started += 1;
        let config = self.config();
        let (link, serves) = (config.link.clone(), config.heir.clone());
        let stop = CancellationToken::new();
        let told = stop.clone();
        let thread = std::thread::spawn(move || bellwether_gateway::run(config, told));
        let (name, version) = PROTOCOL;
        let deadline = Instant::now() + PATIENCE;
        // Until then the link is that of the one before.
        while !serves.exists() && !thread.is_finished() {
            assert!(Instant::now() < deadline, "the gateway does not serve");
            sleep(Duration::from_millis(2)).await;
        }
        let (client, events) = loop {
            match Client::connect(&link, Hello::new(name, version)).await {
                Ok(both) => break both,
                Err(_) if Instant::now() < deadline && !thread.is_finished() => sleep(Duration::from_millis(5)).await,
                Err(error) => panic!("{error}: {:?}", thread.is_finished().then(|| thread.join())),
            }
        };
        self.gateway = Some(Running { link: client, events, thread, stop });
    }

    pub(crate) async fn stop(&mut self) {
        let Running { thread, stop, link, events } = self.gateway.take().unwrap();
        stop.cancel();
        tokio::task::spawn_blocking(move || thread.join()).await.unwrap().unwrap().unwrap();
        drop((link, events));
    }

    pub(crate) async fn restart(&mut self) {
        self.stop().await;
        self.start().await;
    }

    pub(crate) async fn intent(&self, intent: GatewayIntent) -> GatewayAnswer {
        let link = &self.gateway.as_ref().unwrap().link;
        timeout(PATIENCE, link.ask(&intent)).await.expect("answered in time").unwrap()
    }

    pub(crate) async fn done(&self, intent: GatewayIntent) -> Generation {
        match self.intent(intent.clone()).await {
            GatewayAnswer::Done { generation } => generation,
            other => panic!("{intent:?}: {other:?}"),
        }
    }

    /// Agent `a` to this instance, with a drain that nothing here reaches.
    pub(crate) async fn cut_over(&mut self, to: u64) {
        self.cut_over_with(to, None, Millis::from_mins(10)).await;
    }

    pub(crate) async fn cut_over_with(&mut self, to: u64, fallback: Option<u64>, drain: Millis) {
        self.generation += 1;
        let moves = vec![Move { agent: "a".into(), to: InstanceId(to), fallback: fallback.map(InstanceId) }];
        let generation = Generation(self.generation);
        self.done(GatewayIntent::CutOver { generation, moves, drain, revoke: false }).await;
    }

    pub(crate) async fn observe(&self) -> GatewayView {
        match self.intent(GatewayIntent::Observe).await {
            GatewayAnswer::Observed(view) => *view,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn instance(&self, instance: u64) -> InstanceView {
        let view = self.observe().await;
        view.instances.into_iter().find(|it| it.instance == InstanceId(instance)).unwrap()
    }

    /// The next event that `wanted` makes something of.
    pub(crate) async fn event<T>(&mut self, wanted: impl Fn(GatewayEvent) -> Option<T>) -> T {
        let events = &mut self.gateway.as_mut().unwrap().events;
        let found = async {
            loop {
                if let Some(found) = wanted(events.recv().await.expect("the link is up")) {
                    return found;
                }
            }
        };
        timeout(PATIENCE, found).await.expect("the event came in time")
    }

    /// The next one-second record.
    pub(crate) async fn second(&mut self) -> Second {
        self.event(|event| match event {
            GatewayEvent::Second { record } => Some(*record),
            _ => None,
        })
        .await
    }

    pub(crate) async fn empty(&mut self, instance: u64) -> u64 {
        self.event(|event| match event {
            GatewayEvent::Empty { instance: which, revoked } if which == InstanceId(instance) => Some(revoked),
            _ => None,
        })
        .await
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for gateway in self.elders.drain(..).chain(self.gateway.take()) {
            gateway.stop.cancel();
            if gateway.thread.join().is_err() && !std::thread::panicking() {
                panic!("the gateway panicked");
            }
        }
    }
}

pub(crate) fn card(instance: u64, side: Side, upstream: Option<SocketAddr>) -> InstanceCard {
    let instance = InstanceId(instance);
    InstanceCard {
        instance,
        agent: "a".into(),
        agent_type: "worker".into(),
        model: ModelName::new("tinyllama"),
        side,
        token: InstanceToken::new(format!("token-{instance}")),
        address: instance.address(),
        upstream,
        delivery: bellwether_core::spec::Delivery::Pull,
    }
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// A client that keeps its connections and never asks twice.
#[derive(Clone)]
pub(crate) struct Http {
    client: legacy::Client<HttpConnector, Full<Bytes>>,
    address: SocketAddr,
}

impl Http {
    pub(crate) fn new(address: SocketAddr) -> Self {
        let client = legacy::Client::builder(TokioExecutor::new()).retry_canceled_requests(false).build_http();
        Self { client, address }
    }

    pub(crate) async fn open(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<hyper::Response<Incoming>, legacy::Error> {
        let mut request = Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.client.request(request.body(Full::new(body.into())).unwrap()).await
    }

    pub(crate) async fn call(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let answered = async {
            let response = self.open(method, path, headers, body.to_owned()).await.unwrap();
            let (head, body) = response.into_parts();
            Answer { status: head.status, headers: head.headers, body: body.collect().await.unwrap().to_bytes() }
        };
        timeout(PATIENCE, answered).await.unwrap_or_else(|_| panic!("{path} was answered in time"))
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, &[], "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> Answer {
        self.call(Method::POST, path, &[], body).await
    }
}

/// Polls until it is so.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, is_so: impl Fn() -> F) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < deadline, "{what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// An address at which nothing listens.
pub(crate) fn nowhere() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}
