//! The model's thread against a scripted model server over real sockets.

mod server;
mod servers;

use std::time::Duration;

use bellwether_core::{
    id::{AgentName, InstanceId, Side},
    inference::{BreakerSettings, Limits, ServerId},
    observation::Calls,
    time::{Millis, UnixMillis},
};
use http_body_util::{BodyExt, Full};
use hyper::{Method, StatusCode, body::Bytes, client::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, time::timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use self::server::{Script, Seen, Server};
use super::*;
use crate::{
    breakers::Breakers,
    clock::Clock,
    observe::{Gauges, Recorder},
    waits::Waits,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// A gateway of one route in front of a scripted server.
struct Front {
    model: Arc<Model>,
    recorder: Arc<Recorder>,
    waits: Arc<Waits>,
    address: std::net::SocketAddr,
}

impl Front {
    async fn new(url: &str, limits: Limits) -> Self {
        Self::with_breakers(url, limits, BreakerSettings::default()).await
    }

    async fn with_breakers(url: &str, limits: Limits, settings: BreakerSettings) -> Self {
        Self::with(&[url], limits, settings).await
    }

    async fn of(urls: &[&str], limits: Limits) -> Self {
        Self::with(urls, limits, BreakerSettings::default()).await
    }

    async fn with(urls: &[&str], limits: Limits, settings: BreakerSettings) -> Self {
        Self::with_contexts(urls, limits, settings, BTreeMap::new()).await
    }

    async fn with_contexts(
        urls: &[&str],
        limits: Limits,
        settings: BreakerSettings,
        contexts: BTreeMap<ModelName, Option<u64>>,
    ) -> Self {
        let recorder = Arc::new(Recorder::default());
        let waits = Arc::new(Waits::default());
        let breakers = Breakers::new(settings, Clock::start(), Arc::clone(&recorder));
        let books = Books { recorder: Arc::clone(&recorder), waits: Arc::clone(&waits), breakers };
        let upstreams = urls.iter().map(|&url| UpstreamSettings { url: url.to_owned(), slots: 1 }).collect();
        let weights = BTreeMap::new();
        let settings = ModelSettings { upstreams, allow: Allow::default(), weights, contexts };
        let model = Model::with_limits(&settings, limits, books);
        let address = listen(&model).await;
        Self { model, recorder, waits, address }
    }

    async fn scripted(script: Script, slots: u32) -> (Self, Server) {
        let server = Server::start(script).await;
        let front = Self::new(&server.url(), Limits::for_slots(slots)).await;
        (front, server)
    }

    async fn send(&self, method: Method, path: &str, body: &str) -> hyper::Response<hyper::body::Incoming> {
        self.send_as("a", method, path, body).await
    }

    async fn send_as(
        &self,
        agent: &str,
        method: Method,
        path: &str,
        body: &str,
    ) -> hyper::Response<hyper::body::Incoming> {
        let stream = tokio::net::TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = hyper::Request::builder()
            .method(method)
            .uri(path)
            .header("host", "gateway.example")
            .header("x-agent", agent)
            .body(Full::new(Bytes::from(body.to_owned())))
            .unwrap();
        timeout(PATIENCE, sender.send_request(request)).await.unwrap().unwrap()
    }

    /// Another door to the same model server, on a thread of its own until the guard is dropped.
    async fn on_another_thread(&self) -> (Self, DropGuard) {
        let stop = CancellationToken::new();
        let (stopped, model) = (stop.clone(), Arc::clone(&self.model));
        let (tell, told) = oneshot::channel();
        thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
                tell.send(listen(&model).await).unwrap();
                stopped.cancelled().await;
            });
        });
        let (model, recorder, waits) = (Arc::clone(&self.model), Arc::clone(&self.recorder), Arc::clone(&self.waits));
        (Self { model, recorder, waits, address: told.await.unwrap() }, stop.drop_guard())
    }

    /// As an agent of this name.
    async fn generate_as(&self, agent: &str, prompt: &str) -> hyper::Response<Bytes> {
        let body = format!("{{\"model\":\"m\",\"prompt\":\"{prompt}\"}}");
        let (head, body) = self.send_as(agent, Method::POST, "/api/generate", &body).await.into_parts();
        // Read to its end, because a caller who leaves earlier has cancelled.
        let bytes = timeout(PATIENCE, body.collect()).await.unwrap().unwrap().to_bytes();
        hyper::Response::from_parts(head, bytes)
    }

    /// Counts openings of breakers until there have been so many.
    async fn tripped(&self, times: u64) {
        let mut trips = 0;
        poll(|| {
            let cells = self.recorder.close(1, UnixMillis(0), Gauges::default()).cells;
            trips += cells.iter().map(|cell| cell.signs.trips).sum::<u64>();
            trips >= times
        })
        .await;
        assert_eq!(trips, times);
    }

    async fn ask(&self, path: &str, body: &str) -> (StatusCode, String) {
        let response = self.send(Method::POST, path, body).await;
        let status = response.status();
        let bytes = timeout(PATIENCE, response.into_body().collect()).await.unwrap().unwrap().to_bytes();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    /// What was recorded, once as many calls as this have ended.
    async fn recorded(&self, ended: u64) -> Calls {
        let mut all = Calls::default();
        poll(|| {
            for cell in self.recorder.close(1, UnixMillis(0), Gauges::default()).cells {
                assert_eq!((cell.drawn, cell.served), (Side::Green, Side::Green));
                all.succeeded += cell.calls.succeeded;
                all.failed += cell.calls.failed;
                all.unreachable += cell.calls.unreachable;
                all.cancelled += cell.calls.cancelled;
                all.refused += cell.calls.refused;
                all.queue_wait.merge(&cell.calls.queue_wait);
                all.service.merge(&cell.calls.service);
                all.prompt_tokens += cell.calls.prompt_tokens;
                all.output_tokens += cell.calls.output_tokens;
                all.slot_micros += cell.calls.slot_micros;
            }
            all.succeeded + all.failed + all.cancelled + all.refused >= ended
        })
        .await;
        all
    }
}

/// A door of the gateway on the runtime that this is called on.
async fn listen(model: &Arc<Model>) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (serving, lane) = (Arc::clone(model), Arc::new(model.lane()));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let (model, lane) = (Arc::clone(&serving), Arc::clone(&lane));
            tokio::spawn(async move {
                let service = service_fn(|request: Request| {
                    let (model, lane) = (Arc::clone(&model), Arc::clone(&lane));
                    async move {
                        let agent = request.headers().get("x-agent").map_or("a", |name| name.to_str().unwrap());
                        let caller = Caller {
                            agent: AgentName::from(agent),
                            instance: Some(InstanceId(1)),
                            side: Side::Green,
                            task: Some("t".to_owned()),
                            signs: None,
                            hold: None,
                        };
                        let path = request.uri().path_and_query().unwrap().as_str().to_owned();
                        Ok::<_, std::convert::Infallible>(
                            model.serve(&lane, caller, &path, request).await.expect("the slots stay here"),
                        )
                    }
                });
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
            });
        }
    });
    address
}

async fn poll(mut done: impl FnMut() -> bool) {
    timeout(PATIENCE, async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("in time");
}

fn generate(model: &str) -> String {
    format!("{{\"model\":\"{model}\",  \"prompt\":\"hi\"}}")
}

#[tokio::test]
async fn a_call_passes_byte_for_byte_and_is_counted() {
    let (front, server) = Front::scripted(Script::default(), 2).await;
    let body = generate("m");
    let (status, text) = front.ask("/api/generate", &body).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(text, server::LINES.concat());
    let seen = server.seen();
    assert_eq!(seen.len(), 2, "a load of the gateway's own, then the call");
    assert!(!seen[0].body.contains("prompt") && seen[0].body.contains("keep_alive"), "{}", seen[0].body);
    assert_eq!(seen[1].body, body);
    assert_eq!(seen[1].header("host"), Some(server.authority().as_str()));
    let calls = front.recorded(1).await;
    assert_eq!((calls.succeeded, calls.failed), (1, 0));
    assert_eq!((calls.prompt_tokens, calls.output_tokens), (11, 2));
    assert_eq!((calls.service.count(), calls.queue_wait.count()), (1, 1));
    assert!(calls.slot_micros > 0);
    let gauges = front.model.gauges();
    assert_eq!((gauges.slots_busy, gauges.slots_peak, gauges.model_switches), (0, 1, 1));
    assert_eq!(front.model.gauges().model_switches, 0, "switches are told once");
}

#[tokio::test]
async fn waits_are_known_before_the_caller_has_its_answer() {
    for whole in [false, true] {
        let (front, _server) = Front::scripted(Script { whole, ..Script::default() }, 1).await;
        assert_eq!(front.ask("/api/generate", &generate("m")).await.0, StatusCode::OK);
        let waited = Duration::from_micros(front.waits.take("t", InstanceId(1)));
        assert!(waited >= server::LOAD, "whole: {whole}, {waited:?}");
    }
}

#[tokio::test]
async fn lines_arrive_as_they_are_written() {
    let (front, server) = Front::scripted(Script { pause_after_first: true, ..Script::default() }, 2).await;
    let mut body = front.send(Method::POST, "/api/chat", &generate("m")).await.into_body();
    let first = timeout(PATIENCE, body.frame()).await.unwrap().unwrap().unwrap().into_data().unwrap();
    assert_eq!(first, server::LINES[0], "the first line is here while the server holds back the second");
    server.resume();
    assert_eq!(body.collect().await.unwrap().to_bytes(), server::LINES[1..].concat());
}

#[tokio::test]
async fn never_more_in_flight_than_slots() {
    let (front, server) = Front::scripted(Script { think: Duration::from_millis(3), ..Script::default() }, 2).await;
    let front = &front;
    let calls = (0..40).map(|i| async move {
        let (status, _) = front.ask("/api/generate", &generate(&format!("m{}", i % 3))).await;
        assert_eq!(status, StatusCode::OK);
    });
    join_all(calls).await;
    assert_eq!(server.peak(), 2);
    let loads = server.seen().iter().filter(|request| request.body.contains("keep_alive")).count();
    assert!(loads <= 4, "one model's calls are batched: {loads} loads");
    assert_eq!(front.recorded(40).await.succeeded, 40);
    assert_eq!(front.model.gauges().slots_peak, 2);
}

#[tokio::test]
async fn slots_are_a_ceiling_over_all_threads_and_go_from_one_to_the_other() {
    let (front, server) = Front::scripted(Script { think: Duration::from_millis(3), ..Script::default() }, 1).await;
    let (other, _stop) = front.on_another_thread().await;
    let doors = [&front, &other];
    let calls = (0..20).map(|i| async move {
        let (status, _) = doors[i % 2].ask("/api/generate", &generate("m")).await;
        assert_eq!(status, StatusCode::OK);
    });
    join_all(calls).await;
    assert_eq!(server.peak(), 1);
    assert_eq!(front.recorded(20).await.succeeded, 20);
    let gauges = front.model.gauges();
    assert_eq!((gauges.slots_busy, gauges.slots_peak, gauges.calls_waiting), (0, 1, 0));
}

#[tokio::test]
async fn a_caller_who_leaves_frees_the_slot_after_the_server_is_rid_of_it() {
    let (front, server) = Front::scripted(Script { pause_after_first: true, ..Script::default() }, 1).await;
    let response = front.send(Method::POST, "/api/generate", &generate("m")).await;
    assert_eq!(server.open_calls(), 1);
    drop(response);
    let calls = front.recorded(1).await;
    assert_eq!((calls.cancelled, calls.succeeded, calls.failed), (1, 0, 0));
    assert_eq!(server.open_calls(), 0, "recorded after the server had closed its side");
    server.resume();
    assert_eq!(front.ask("/api/generate", &generate("m")).await.0, StatusCode::OK);
    assert_eq!(server.peak(), 1);
}

#[tokio::test]
async fn a_slot_of_which_nothing_is_known_is_used_again_once_a_generation_came_through_it() {
    let script = Script { pause_after_first: true, clings: true, ..Script::default() };
    let (front, server) = Front::scripted(script, 1).await;
    drop(front.send(Method::POST, "/api/generate", &generate("m")).await);
    let body = generate("m");
    let next = front.ask("/api/generate", &body);
    tokio::pin!(next);
    let proof = |server: &Server| server.seen().iter().any(|seen| seen.body.contains("num_predict"));
    poll_with(&mut next, || proof(&server)).await;
    assert_eq!(front.model.load(), (1, 1), "the slot is held, and the next one waits");
    server.resume();
    assert_eq!(next.await.0, StatusCode::OK);
    assert_eq!(server.seen().len(), 4, "a load, the call, the proof, the next call");
}

#[tokio::test]
async fn a_caller_who_leaves_the_queue_is_forgotten() {
    let (front, server) = Front::scripted(Script { pause_after_first: true, ..Script::default() }, 1).await;
    let held = front.send(Method::POST, "/api/generate", &generate("m")).await;
    {
        let body = generate("m");
        let waiting = front.send(Method::POST, "/api/generate", &body);
        tokio::pin!(waiting);
        poll_with(&mut waiting, || front.model.gauges().calls_waiting == 1).await;
    }
    poll(|| front.model.gauges().calls_waiting == 0).await;
    assert_eq!(front.recorded(1).await.cancelled, 1);
    server.resume();
    held.into_body().collect().await.unwrap();
    assert_eq!(server.seen().len(), 2, "a load and the one call");
}

#[tokio::test]
async fn a_stream_that_breaks_off_ends_with_an_error_of_its_dialect() {
    for (path, ending) in [("/api/generate", "{\"error\":"), ("/v1/chat/completions", "data: {\"error\":{")] {
        for clean in [true, false] {
            let script = Script { cut: true, cut_cleanly: clean, ..Script::default() };
            let (front, _server) = Front::scripted(script, 1).await;
            let (status, text) = front.ask(path, &generate("m")).await;
            assert_eq!(status, StatusCode::OK);
            let last = text.trim_end().lines().last().unwrap();
            assert!(last.starts_with(ending), "{path} {clean}: {text}");
            let calls = front.recorded(1).await;
            assert_eq!((calls.failed, calls.succeeded), (1, 0));
        }
    }
}

#[tokio::test]
async fn a_busy_server_is_asked_again_within_a_budget() {
    let (front, _server) = Front::scripted(Script { busy: 2, ..Script::default() }, 1).await;
    assert_eq!(front.ask("/api/generate", &generate("m")).await.0, StatusCode::OK);
    let (front, _server) = Front::scripted(Script { busy: usize::MAX, ..Script::default() }, 1).await;
    let (status, text) = front.ask("/api/generate", &generate("m")).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(text.contains("server busy"), "the server's own answer: {text}");
    assert_eq!(front.recorded(1).await.failed, 1);
}

#[tokio::test]
async fn a_server_that_is_away_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let front = Front::new(&url, Limits::for_slots(1)).await;
    let (status, text) = front.ask("/v1/chat/completions", &generate("m")).await;
    assert_eq!(status, StatusCode::BAD_GATEWAY);
    assert!(text.contains("\"message\":\"the model server cannot be reached"), "{text}");
    let calls = front.recorded(1).await;
    assert_eq!((calls.failed, calls.unreachable), (1, 1));
}

#[tokio::test]
async fn a_connection_that_died_while_idle_fails_no_request() {
    let (front, server) = Front::scripted(Script { close_idle: true, ..Script::default() }, 2).await;
    for i in 0..50 {
        assert_eq!(front.ask("/api/generate", &generate("m")).await.0, StatusCode::OK, "call {i}");
    }
    assert!(server.connections() > 1);
    assert_eq!(front.recorded(50).await.succeeded, 50);
}

#[tokio::test]
async fn a_connection_is_used_again() {
    let (front, server) = Front::scripted(Script::default(), 2).await;
    for _ in 0..20 {
        front.ask("/api/generate", &generate("m")).await;
    }
    assert!(server.connections() <= 3, "{}", server.connections());
}

#[tokio::test]
async fn what_would_change_the_server_is_refused() {
    let (front, server) = Front::scripted(Script::default(), 1).await;
    let (status, text) = front.ask("/api/pull", &generate("m")).await;
    assert_eq!((status, text.starts_with("{\"error\":\"")), (StatusCode::FORBIDDEN, true));
    let (status, text) = front.ask("/v1/chat/completions", &generate("big:120b-cloud")).await;
    assert_eq!((status, text.contains("permission_error")), (StatusCode::FORBIDDEN, true));
    assert_eq!(front.ask("/api/generate", "{}").await.0, StatusCode::BAD_REQUEST);
    assert_eq!(front.ask("/api/secret", "{}").await.0, StatusCode::NOT_FOUND);
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn what_only_reads_needs_no_slot() {
    let (front, server) = Front::scripted(Script { pause_after_first: true, ..Script::default() }, 1).await;
    let held = front.send(Method::POST, "/api/generate", &generate("m")).await;
    let response = front.send(Method::GET, "/api/tags", "").await;
    assert_eq!(response.status(), StatusCode::OK);
    let head = front.send(Method::HEAD, "/", "").await;
    assert_eq!(head.status(), StatusCode::OK);
    server.resume();
    drop(held);
}

#[tokio::test]
async fn over_the_bound_is_refused_with_a_time_to_come_back() {
    let server = Server::start(Script { pause_after_first: true, ..Script::default() }).await;
    let limits = Limits { per_agent_max: 1, quantum: Millis(500), ..Limits::for_slots(1) };
    let front = Front::new(&server.url(), limits).await;
    let held = front.send(Method::POST, "/api/generate", &generate("m")).await;
    let body = generate("m");
    let waiting = front.send(Method::POST, "/api/generate", &body);
    tokio::pin!(waiting);
    poll_with(&mut waiting, || front.model.gauges().calls_waiting == 1).await;
    let refused = front.send(Method::POST, "/api/generate", &body).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap() >= 1);
    assert_eq!(front.recorded(1).await.refused, 1);
    server.resume();
    held.into_body().collect().await.unwrap();
    assert_eq!(waiting.await.status(), StatusCode::OK);
}

#[tokio::test]
async fn an_agent_whose_calls_fail_is_stopped_alone_and_tried_again() {
    let server = Server::start(Script { refuses: Some(("poison", 500)), ..Script::default() }).await;
    let settings = BreakerSettings { wait_duration_in_open_state: Millis(1500), ..BreakerSettings::default() };
    let front = Front::with_breakers(&server.url(), Limits::for_slots(2), settings).await;
    for _ in 0..5 {
        assert_eq!(front.generate_as("bad", "poison").await.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
    front.tripped(1).await;
    let refused = front.generate_as("bad", "fine").await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers()["retry-after"], "2");
    let text = refused.into_body();
    assert!(text.starts_with(b"{\"error\":\"too many of this agent's model calls failed"), "{text:?}");
    assert!(!server.seen().iter().any(|seen| seen.body.contains("fine")), "it takes no slot");
    assert_eq!(front.recorded(1).await.refused, 1);
    assert_eq!(front.generate_as("good", "fine").await.status(), StatusCode::OK, "one agent's failures are its own");

    // Half-open: a failure among the two trials opens it again, two successes close it.
    while front.generate_as("bad", "poison").await.status() == StatusCode::SERVICE_UNAVAILABLE {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    front.generate_as("bad", "fine").await;
    front.tripped(1).await;
    let mut closed = 0;
    while closed < 2 {
        closed += usize::from(front.generate_as("bad", "fine").await.status() == StatusCode::OK);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for _ in 0..4 {
        assert_eq!(front.generate_as("bad", "poison").await.status(), StatusCode::INTERNAL_SERVER_ERROR, "closed");
    }
}

#[tokio::test]
async fn what_is_not_an_agents_doing_opens_no_breaker() {
    let (front, _server) = Front::scripted(Script { refuses: Some(("wrong", 404)), ..Script::default() }, 2).await;
    for _ in 0..12 {
        assert_eq!(front.generate_as("a", "wrong").await.status(), StatusCode::NOT_FOUND);
    }
    assert_eq!(front.recorded(12).await.refused, 0, "requests that were wrong");

    let (front, _server) = Front::scripted(Script { busy: usize::MAX, ..Script::default() }, 8).await;
    join_all((0..8).map(|_| async {
        let (_, text) = front.ask("/api/generate", &generate("m")).await;
        assert!(text.contains("server busy"), "the server's own answer: {text}");
    }))
    .await;
    assert_eq!(front.ask("/api/generate", &generate("m")).await.1, "{\"error\":\"server busy, please try again\"}");
}

fn sized(size: u64) -> String {
    format!("{{\"model\":\"m\",\"prompt\":\"x\",\"options\":{{\"num_ctx\":{size}}}}}")
}

/// R100.
#[tokio::test]
async fn two_context_sizes_of_one_model_are_loaded_one_after_the_other_and_that_is_told() {
    let (front, server) = Front::scripted(Script::default(), 2).await;
    for size in [2048, 8192, 2048] {
        assert_eq!(front.ask("/api/generate", &sized(size)).await.0, StatusCode::OK);
    }
    let loads: Vec<String> = server.seen().into_iter().filter(Seen::is_load).map(|seen| seen.body).collect();
    assert_eq!(loads.len(), 3);
    assert!(loads[1].contains("8192"), "it is loaded as it will be asked for: {}", loads[1]);
    let told = front.recorder.metrics.render(&Slots::default(), &[]).unwrap();
    assert!(told.contains("bellwether_model_reloads_total 2"), "{told}");
}

/// R100.
#[tokio::test]
async fn a_context_size_for_all_keeps_a_model_loaded() {
    let server = Server::start(Script::default()).await;
    let contexts = BTreeMap::from([(ModelName::new("m"), Some(4096))]);
    let breakers = BreakerSettings::default();
    let front = Front::with_contexts(&[&server.url()], Limits::for_slots(2), breakers, contexts).await;
    for size in [2048, 8192] {
        assert_eq!(front.ask("/api/generate", &sized(size)).await.0, StatusCode::OK);
    }
    let (loads, calls): (Vec<Seen>, Vec<Seen>) = server.seen().into_iter().partition(Seen::is_load);
    assert_eq!((loads.len(), calls.len()), (1, 2));
    assert!(calls.iter().all(|call| call.body == sized(4096)), "{calls:?}");
}

/// R92.
#[tokio::test]
async fn two_connections_of_each_of_131_agents_are_all_served_through_two_slots() {
    let (front, server) = Front::scripted(Script { think: Duration::from_millis(2), ..Script::default() }, 2).await;
    let agents: Vec<String> = (0..262).map(|n| format!("agent-{}", n % 131)).collect();
    join_all(agents.iter().map(|agent| async {
        assert_eq!(front.generate_as(agent, "x").await.status(), StatusCode::OK);
    }))
    .await;
    assert_eq!((server.peak(), front.recorded(262).await.succeeded), (2, 262));
}

/// R94.
#[tokio::test]
async fn clients_that_give_up_and_ask_again_cause_no_generation_but_the_one_that_is_read() {
    let (front, server) = Front::scripted(Script { pause_after_first: true, ..Script::default() }, 1).await;
    let held = front.send(Method::POST, "/api/generate", &generate("m")).await;
    for _ in 0..20 {
        let body = generate("m");
        let waiting = front.send(Method::POST, "/api/generate", &body);
        tokio::pin!(waiting);
        poll_with(&mut waiting, || front.model.load().1 == 1).await;
    }
    poll(|| front.model.load().1 == 0).await;
    server.resume();
    held.into_body().collect().await.unwrap();
    assert_eq!(front.ask("/api/generate", &generate("m")).await.0, StatusCode::OK);
    assert_eq!(server.seen().len(), 3, "a load and two calls: of the twenty the server never heard");
}

/// Drives `future`, which must not end, until `done`.
async fn poll_with<F: Future>(future: &mut std::pin::Pin<&mut F>, done: impl FnMut() -> bool) {
    tokio::select! {
        _ = future.as_mut() => panic!("ended too early"),
        () = poll(done) => {}
    }
}

async fn join_all(futures: impl Iterator<Item = impl Future<Output = ()>>) {
    let mut futures: Vec<_> = futures.map(Box::pin).collect();
    std::future::poll_fn(|cx| {
        futures.retain_mut(|future| future.as_mut().poll(cx).is_pending());
        if futures.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}
