//! The load client against servers that do what a test wants.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;

/// Longer than any of these measurements.
const DEADLINE: Duration = Duration::from_secs(60);

/// What a server was asked.
#[derive(Clone, Debug)]
struct Asked {
    path: String,
    agent: Option<String>,
    model: String,
}

enum Does {
    Answers(Value),
    Says(u16, &'static str),
    /// Until the client has gone.
    Nothing,
}

struct Server {
    url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    /// Calls that were dropped before they were answered.
    dropped: Arc<Mutex<usize>>,
    _serving: AbortOnDropHandle<()>,
}

/// Counted unless it is disarmed.
struct Drops(Arc<Mutex<usize>>, bool);

impl Drop for Drops {
    fn drop(&mut self) {
        *self.0.lock().unwrap() += usize::from(self.1);
    }
}

impl Server {
    /// `does` is told what is asked, and how much was asked before.
    async fn start(does: impl Fn(&Asked, usize) -> Does + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (asked, dropped) = (Arc::<Mutex<Vec<Asked>>>::default(), Arc::<Mutex<usize>>::default());
        let (all, drops, does) = (Arc::clone(&asked), Arc::clone(&dropped), Arc::new(does));
        let serving = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (all, drops, does) = (Arc::clone(&all), Arc::clone(&drops), Arc::clone(&does));
                let service = service_fn(move |request| {
                    let (all, drops, does) = (Arc::clone(&all), Arc::clone(&drops), Arc::clone(&does));
                    async move { Ok::<_, Infallible>(answer(request, &all, drops, &*does).await) }
                });
                connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { url, asked, dropped, _serving: AbortOnDropHandle::new(serving) }
    }

    /// The calls for models.
    fn calls(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().iter().filter(|asked| !asked.model.is_empty()).cloned().collect()
    }
}

async fn answer(
    request: Request<Incoming>,
    all: &Mutex<Vec<Asked>>,
    drops: Arc<Mutex<usize>>,
    does: &(dyn Fn(&Asked, usize) -> Does + Send + Sync),
) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let model = serde_json::from_slice(&body).ok().and_then(|body: Value| Some(body["model"].as_str()?.to_owned()));
    let agent = head.headers.get("x-agent").map(|value| value.to_str().unwrap().to_owned());
    let asked = Asked { path: head.uri.path().to_owned(), agent, model: model.unwrap_or_default() };
    let before = all.lock().unwrap().iter().filter(|before| !before.model.is_empty()).count();
    all.lock().unwrap().push(asked.clone());
    let (status, text) = match does(&asked, before) {
        Does::Answers(value) => (200, value.to_string()),
        Does::Says(status, text) => (status, text.to_owned()),
        Does::Nothing => {
            let _counted = Drops(drops, true);
            std::future::pending::<()>().await;
            unreachable!()
        }
    };
    // A small server takes a while; a loop without waiting would keep this runtime to itself.
    tokio::time::sleep(Duration::from_millis(1)).await;
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status.try_into().unwrap();
    response
}

fn done() -> Does {
    Does::Answers(json!({"message": {"content": "yes"}, "done": true, "eval_count": 2}))
}

fn options(urls: &[String]) -> Options {
    Options {
        endpoints: urls.iter().map(|url| Endpoint::parse(url).unwrap()).collect(),
        clients: 3,
        greedy: None,
        models: vec!["a".to_owned(), "b".to_owned()],
        patience: Duration::from_secs(5),
        think: Duration::ZERO,
        span: Duration::from_millis(300),
        warm_up: Duration::from_millis(20),
        rounds: 1,
        api: Api::Native,
        stream: false,
        tokens: 2,
        prompt_tokens: 3,
        leave: 0.0,
        headers: Vec::new(),
        seed: 1,
    }
}

async fn measured(options: &Options) -> Result<Report, Unfit> {
    timeout(DEADLINE, measure(options, &CancellationToken::new(), |_line| {})).await.expect("it ends")
}

#[tokio::test]
async fn each_client_says_who_it_is_in_address_and_header() {
    let server = Server::start(|_, _| done()).await;
    let url = format!("{}/m/{{client}}", server.url);
    let headers = vec![Header::names_clients()];
    let report = measured(&Options { greedy: Some(4), headers, ..options(&[url]) }).await.unwrap();
    let figures = &report.endpoints[0].figures;
    assert!(report.is_whole() && figures.failed == 0, "{report}");
    assert_eq!(figures.by_client.keys().collect::<Vec<_>>(), ["client-1", "client-2", "client-3", "greedy"]);
    assert_eq!(figures.by_client.values().sum::<u64>(), figures.answers);
    assert_eq!(figures.by_model.values().sum::<u64>(), figures.answers);
    let calls = server.calls();
    for call in &calls {
        let name = call.agent.as_deref().expect("each says who it is");
        assert_eq!(call.path, format!("/m/{name}/api/chat"));
    }
    for name in figures.by_client.keys() {
        assert!(calls.iter().any(|call| call.agent.as_ref() == Some(name)), "{name} never called");
    }
}

#[tokio::test]
async fn addresses_take_turns_and_are_compared_with_the_first() {
    let (first, second) = (Server::start(|_, _| done()).await, Server::start(|_, _| done()).await);
    let told = Mutex::new(Vec::new());
    let options = Options { rounds: 2, ..options(&[first.url.clone(), second.url.clone()]) };
    let stop = CancellationToken::new();
    let measuring = measure(&options, &stop, |line| told.lock().unwrap().push(line.to_owned()));
    let report = timeout(DEADLINE, measuring).await.expect("it ends").unwrap();
    let turns: Vec<bool> = told.lock().unwrap().iter().map(|line| line.ends_with(&first.url)).collect();
    assert_eq!(turns, [true, false, true, false]);
    assert_eq!(report.endpoints.iter().map(|measured| measured.rounds.len()).collect::<Vec<_>>(), [2, 2]);
    assert_eq!((report.endpoints[0].to_first, report.endpoints[1].to_first.is_some()), (None, true));
}

#[tokio::test]
async fn every_address_is_asked_the_same() {
    let (first, second) = (Server::start(|_, _| done()).await, Server::start(|_, _| done()).await);
    let options = Options { clients: 1, ..options(&[first.url.clone(), second.url.clone()]) };
    measured(&options).await.unwrap();
    // One of them may have been slower.
    let models = |server: &Server| server.calls().into_iter().map(|call| call.model).collect::<Vec<_>>();
    let (first, second) = (models(&first), models(&second));
    let both = first.len().min(second.len());
    assert!(both > 3 && first[..both] == second[..both], "{first:?}\n{second:?}");
}

#[tokio::test]
async fn impatience_closes_the_connection_and_counts() {
    let server = Server::start(|_, before| if before < 2 { done() } else { Does::Nothing }).await;
    let patience = Duration::from_millis(30);
    let report = measured(&Options { patience, ..options(std::slice::from_ref(&server.url)) }).await.unwrap();
    let figures = &report.endpoints[0].figures;
    assert_eq!((figures.answers, figures.failed, figures.success), (0, 0, Some(0.0)));
    assert!(figures.given_up > 0 && !report.is_whole());
    assert!(report.to_string().contains("A: nobody was answered"), "{report}");
    // Each client's last call may be open yet.
    let all = server.calls().len() - 2;
    let dropped = || *server.dropped.lock().unwrap();
    timeout(DEADLINE, async {
        while dropped() < all {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the server learns of each");
}

#[tokio::test]
async fn those_who_leave_do_it_before_the_answer() {
    let server = Server::start(|asked, _| if asked.agent.is_some() { Does::Nothing } else { done() }).await;
    let report =
        measured(&Options { clients: 4, leave: 0.5, ..options(std::slice::from_ref(&server.url)) }).await.unwrap();
    let figures = &report.endpoints[0].figures;
    let leavers = figures.leavers.expect("half of them leave");
    assert_eq!(leavers.clients, 2);
    assert!(leavers.left > 0 && figures.given_up == 0 && figures.answers > 0, "{report}");
}

#[tokio::test]
async fn refusals_and_failures_are_told_apart_and_not_hurried() {
    let server = Server::start(|_, before| match before {
        0 | 1 => done(),
        n if n % 3 == 0 => Does::Says(503, "busy"),
        n if n % 3 == 1 => Does::Says(500, "no"),
        _ => Does::Says(200, "{\"done\":false}"),
    })
    .await;
    let span = Duration::from_millis(900);
    let report = measured(&Options { span, ..options(std::slice::from_ref(&server.url)) }).await.unwrap();
    let figures = &report.endpoints[0].figures;
    assert_eq!(figures.answers, 0);
    assert_eq!(figures.refused, figures.causes["status 503"]);
    assert_eq!(figures.failed, figures.causes["status 500"] + figures.causes["answer ended too soon"]);
    // Three clients that wait at least 50, 100, 200, 400 ms.
    assert!((3..=18).contains(&(figures.refused + figures.failed)), "{report}");
}

/// A server on bare sockets that answers once per connection and closes it, which it does not announce.
async fn closing(answers: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            connections.spawn(async move {
                let mut asked = [0; 4096];
                for _ in 0..answers {
                    if stream.read(&mut asked).await.unwrap_or(0) == 0 {
                        return;
                    }
                    let body = "{\"done\":true}";
                    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
                // The next call is on its way.
                stream.readable().await.unwrap();
            });
        }
    });
    url
}

#[tokio::test]
async fn a_kept_connection_that_is_being_closed_fails_no_call() {
    let url = closing(2).await;
    let report = measured(&Options { models: vec!["a".to_owned()], ..options(&[url]) }).await.unwrap();
    let figures = &report.endpoints[0].figures;
    assert!(figures.answers > 0 && figures.redialled > 0 && figures.failed == 0, "{report}");
    // But one that is new and answers nothing does.
    let unfit = measured(&options(&[closing(0).await])).await.unwrap_err();
    assert!(matches!(&unfit, Unfit::NoAnswer { why, .. } if why == "connection broke"), "{unfit:?}");
}

#[tokio::test]
async fn a_model_that_is_not_there_is_told_before_anything_is_measured() {
    let server = Server::start(|asked, _| if asked.model == "a" { done() } else { Does::Says(404, "no such model") });
    let server = server.await;
    let unfit = measured(&options(std::slice::from_ref(&server.url))).await.unwrap_err();
    let why = "status 404: no such model".to_owned();
    assert_eq!(unfit, Unfit::NoModel { url: server.url.clone(), model: "b".to_owned(), why });
    assert_eq!(server.calls().len(), 2);
}

#[tokio::test]
async fn what_is_no_answer_is_told_before_anything_is_measured() {
    let server = Server::start(|_, _| Does::Says(200, "<html>welcome</html>")).await;
    let unfit = measured(&options(std::slice::from_ref(&server.url))).await.unwrap_err();
    let why = "answer not understood: <html>welcome</html>".to_owned();
    assert_eq!(unfit, Unfit::NoAnswer { url: server.url.clone(), model: "a".to_owned(), why });
}

#[tokio::test]
async fn switches_are_known_where_the_endpoint_tells_what_is_in_memory() {
    // As many models as it may have at once are in memory.
    let with = |resident: &'static [&'static str]| async move {
        let server = Server::start(move |asked, _| match asked.path.as_str() {
            "/api/ps" => {
                let models: Vec<Value> = resident.iter().map(|name| json!({"name": name})).collect();
                Does::Answers(json!({"models": models}))
            }
            _ => done(),
        })
        .await;
        let report = measured(&Options { clients: 1, ..options(std::slice::from_ref(&server.url)) }).await.unwrap();
        let models: Vec<String> = server.calls().into_iter().skip(2).map(|call| call.model).collect();
        (report.endpoints[0].figures.switches, models.windows(2).filter(|pair| pair[0] != pair[1]).count() as u64)
    };
    let (switches, changes) = with(&["a"]).await;
    let switches = switches.expect("it tells");
    // All but those of the warm-up.
    assert!(switches > 0 && switches <= changes, "{switches} of {changes}");
    assert_eq!(with(&["a", "b"]).await.0, Some(0));
    let silent = Server::start(|asked, _| if asked.path == "/api/ps" { Does::Says(404, "") } else { done() }).await;
    let span = Duration::from_millis(1500);
    let report = measured(&Options { span, ..options(std::slice::from_ref(&silent.url)) }).await.unwrap();
    assert_eq!(report.endpoints[0].figures.switches, None);
}

#[tokio::test]
async fn a_signal_ends_it_with_what_there_is() {
    let server = Server::start(|_, _| done()).await;
    let stop = CancellationToken::new();
    let long = Options { span: DEADLINE * 10, ..options(std::slice::from_ref(&server.url)) };
    let stopped = async {
        while server.calls().len() < 20 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(long.warm_up * 2).await;
        stop.cancel();
    };
    let (report, ()) =
        timeout(DEADLINE, async { tokio::join!(measure(&long, &stop, |_line| {}), stopped) }).await.expect("it ends");
    let report = report.unwrap();
    assert!(report.interrupted && !report.is_whole() && report.endpoints[0].figures.answers > 0, "{report}");
    assert!(report.endpoints[0].figures.seconds < DEADLINE.as_secs_f64());
    let before = CancellationToken::new();
    before.cancel();
    assert_eq!(measure(&long, &before, |_line| {}).await.unwrap_err(), Unfit::Stopped);
}
