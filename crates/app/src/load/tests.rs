//! The generator against a gateway that loses, doubles and refuses on purpose.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep, timeout},
};

use super::{Load, Options, Report, Target, Targets};

/// What becomes of the nth submission.
enum Fate {
    Complete,
    Fail,
    Lose,
    CompleteTwice,
    CompleteAtThirdAttempt,
    Refuse(u16),
    /// The task is taken and done, and the connection closed without an answer.
    TakeAndClose,
    /// The completion is there before the answer to the submission.
    CompleteFirst,
}

struct Gateway {
    url: String,
    state: Arc<State>,
    server: JoinHandle<()>,
}

struct State {
    fate: Box<dyn Fn(usize) -> Fate + Send + Sync>,
    books: Mutex<Books>,
    grown: Notify,
}

#[derive(Default)]
struct Books {
    submitted: Vec<Value>,
    completions: Vec<Value>,
    polls: usize,
}

impl Gateway {
    async fn start(fate: impl Fn(usize) -> Fate + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(State { fate: Box::new(fate), books: Mutex::default(), grown: Notify::new() });
        let shared = state.clone();
        let server = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(serve(BufReader::new(stream), shared.clone()));
            }
        });
        Self { url, state, server }
    }

    fn submitted(&self) -> Vec<Value> {
        self.state.books.lock().unwrap().submitted.clone()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(mut stream: BufReader<TcpStream>, state: Arc<State>) -> Option<()> {
    loop {
        let (path, body) = read(&mut stream).await?;
        let (status, answer) =
            if path == "/tasks" { submit(&state, &body).await? } else { completions(&state, &path).await };
        let answer = answer.to_string();
        let length = answer.len();
        let text = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n{answer}");
        stream.write_all(text.as_bytes()).await.ok()?;
    }
}

async fn submit(state: &State, body: &[u8]) -> Option<(u16, Value)> {
    let task: Value = serde_json::from_slice(body).unwrap();
    let id = task["id"].clone();
    let nth = {
        let mut books = state.books.lock().unwrap();
        if books.submitted.iter().any(|known| known["id"] == id) {
            return Some((200, json!({"id": id, "agent": "x"})));
        }
        books.submitted.push(task);
        books.submitted.len() - 1
    };
    let complete = |status: &str, attempt: u64| {
        let mut books = state.books.lock().unwrap();
        let seq = books.completions.len() + 1;
        books
            .completions
            .push(json!({"seq": seq, "id": id, "agent": "x", "status": status, "attempt": attempt, "at_ms": 0}));
        state.grown.notify_waiters();
    };
    match (state.fate)(nth) {
        Fate::Complete => complete("completed", 1),
        Fate::Fail => complete("failed", 1),
        Fate::Lose => {}
        Fate::CompleteTwice => (1..=2).for_each(|attempt| complete("completed", attempt)),
        Fate::CompleteAtThirdAttempt => complete("completed", 3),
        Fate::Refuse(status) => return Some((status, json!({"title": "no"}))),
        Fate::TakeAndClose => {
            complete("completed", 1);
            return None;
        }
        Fate::CompleteFirst => {
            let polls = state.books.lock().unwrap().polls;
            complete("completed", 1);
            // The reader has it when it asks for what comes after.
            until(|| state.books.lock().unwrap().polls > polls).await;
        }
    }
    Some((202, json!({"id": id, "agent": "x"})))
}

async fn completions(state: &State, path: &str) -> (u16, Value) {
    let parameter = |name: &str| -> usize {
        let query = path.split_once('?').unwrap().1;
        query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).unwrap().parse().unwrap()
    };
    let (after, wait) = (parameter("after"), Duration::from_millis(parameter("wait_ms") as u64));
    state.books.lock().unwrap().polls += 1;
    let page = || {
        let page = state.books.lock().unwrap().completions[after..].to_vec();
        (!page.is_empty()).then_some(page)
    };
    let some = async {
        loop {
            let grown = state.grown.notified();
            if let Some(page) = page() {
                return page;
            }
            grown.await;
        }
    };
    let page = timeout(wait, some).await.ok().or_else(page).unwrap_or_default();
    let next = after + page.len();
    (200, json!({"completions": page, "next": next}))
}

async fn read(stream: &mut BufReader<TcpStream>) -> Option<(String, Vec<u8>)> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut length = 0;
    loop {
        line.clear();
        stream.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((path, body))
}

async fn until(done: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < deadline, "it did not happen in time");
        sleep(Duration::from_millis(2)).await;
    }
}

fn options(gateway: &Gateway) -> Options {
    Options {
        gateway: gateway.url.clone(),
        targets: Targets::new([(Target::Type("security".into()), 2.0), (Target::Agent("auditor".into()), 1.0)])
            .unwrap(),
        rate: 400.0,
        prompt_tokens: 8,
        output_tokens: None,
        seed: 11,
        tasks: None,
        repeat_for: Duration::ZERO,
        settle: Duration::from_secs(10),
        first_window: "baseline".to_owned(),
    }
}

/// Runs until that many submissions were made.
async fn run(gateway: &Gateway, options: Options, submissions: usize) -> Report {
    let load = Load::start(options).unwrap();
    until(|| gateway.submitted().len() >= submissions).await;
    load.stop().await
}

#[tokio::test]
async fn one_lost_and_one_accepted_twice_are_reported_exactly() {
    let gateway = Gateway::start(|nth| match nth {
        3 => Fate::Lose,
        5 => Fate::CompleteTwice,
        7 => Fate::Fail,
        9 => Fate::CompleteAtThirdAttempt,
        11 => Fate::CompleteFirst,
        _ => Fate::Complete,
    })
    .await;
    let mut options = options(&gateway);
    options.settle = Duration::from_millis(100);
    let report = run(&gateway, options, 20).await;
    let submitted = gateway.submitted();
    let all = submitted.len() as u64;
    assert_eq!((report.requests.total, report.requests.failed), (all, 0));
    assert_eq!((report.tasks.submitted, report.tasks.completed), (all, all - 2));
    assert_eq!((report.tasks.failed, report.tasks.lost, report.tasks.duplicated), (1, 1, 1));
    assert_eq!(report.lost_ids, [submitted[3]["id"].as_str().unwrap()]);
    assert_eq!(report.reattempted, 1);
    assert!(!report.is_clean());
}

#[tokio::test]
async fn refusals_are_counted_and_never_repeated() {
    let gateway = Gateway::start(|nth| match nth {
        0 => Fate::Refuse(429),
        1 => Fate::TakeAndClose,
        2 => Fate::Refuse(404),
        _ => Fate::Complete,
    })
    .await;
    let report = run(&gateway, options(&gateway), 10).await;
    let submitted = gateway.submitted();
    assert_eq!(report.requests.total, submitted.len() as u64);
    assert_eq!(report.requests.failed, 3);
    assert_eq!(report.tasks.submitted, report.requests.total - 3);
    assert_eq!((report.tasks.lost, report.tasks.unacknowledged), (0, 1));
    let refusals: Vec<_> = report.refusals.iter().map(|(why, count)| (why.as_str(), *count)).collect();
    assert_eq!(refusals, [("connection broke", 1), ("status 404", 1), ("status 429", 1)]);
    let mut ids: Vec<_> = submitted.iter().map(|task| task["id"].to_string()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), submitted.len());
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_under_the_same_id_if_that_was_wished() {
    let gateway = Gateway::start(|nth| if nth % 4 == 1 { Fate::TakeAndClose } else { Fate::Complete }).await;
    let mut options = options(&gateway);
    options.tasks = Some(40);
    options.repeat_for = Duration::from_secs(10);
    let load = Load::start(options).unwrap();
    load.submitted().await;
    let report = load.stop().await;
    assert_eq!((report.requests.total, report.requests.failed), (40, 0));
    assert_eq!((report.tasks.submitted, report.tasks.completed, report.tasks.duplicated), (40, 40, 0));
    assert_eq!(report.unanswered.into_iter().collect::<Vec<_>>(), [("connection broke".to_owned(), 10)]);
    assert_eq!(gateway.submitted().len(), 40);
}

#[tokio::test]
async fn a_refusal_is_an_answer_and_is_not_asked_for_again() {
    let gateway = Gateway::start(|_| Fate::Refuse(429)).await;
    let mut options = options(&gateway);
    options.tasks = Some(5);
    options.repeat_for = Duration::from_secs(10);
    let load = Load::start(options).unwrap();
    load.submitted().await;
    let report = load.stop().await;
    assert_eq!((report.requests.failed, report.unanswered.len(), gateway.submitted().len()), (5, 0, 5));
}

#[tokio::test]
async fn arrivals_do_not_wait_for_completions() {
    let gateway = Gateway::start(|_| Fate::Lose).await;
    let mut options = options(&gateway);
    options.settle = Duration::ZERO;
    let report = run(&gateway, options, 50).await;
    assert!(report.tasks.lost >= 50);
    assert_eq!((report.tasks.lost, report.tasks.completed), (report.tasks.submitted, 0));
}

#[tokio::test]
async fn a_gateway_that_is_not_there_fails_requests_and_loses_nothing() {
    let gateway = Gateway::start(|_| Fate::Complete).await;
    let mut options = options(&gateway);
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    options.gateway = format!("http://{free}");
    let load = Load::start(options).unwrap();
    until(|| load.snapshot().requests.failed >= 5).await;
    let report = load.stop().await;
    assert_eq!(report.requests.failed, report.requests.total);
    assert_eq!((report.tasks.submitted, report.tasks.lost), (0, 0));
    assert!(report.polls.failed > 0);
}

#[tokio::test]
async fn windows_and_targets_are_as_marked_and_weighted() {
    let gateway = Gateway::start(|_| Fate::Complete).await;
    let load = Load::start(options(&gateway)).unwrap();
    until(|| load.snapshot().tasks.completed >= 20).await;
    load.mark("canary");
    assert_eq!(load.snapshot().window, "canary");
    let before = load.snapshot().tasks.completed;
    until(|| load.snapshot().tasks.completed >= before + 20).await;
    let report = load.stop().await;
    let names: Vec<_> = report.windows.iter().map(|window| window.name.as_str()).collect();
    assert_eq!(names, ["baseline", "canary", "settle"]);
    assert!(report.windows[..2].iter().all(|window| window.completed >= 20 && window.p95_ms.is_some()));
    assert_eq!(report.windows.iter().map(|window| window.completed).sum::<u64>(), report.tasks.completed);
    assert!(report.is_clean());

    let submitted = gateway.submitted();
    assert!(submitted.iter().any(|task| task["type"] == "security" && task.get("agent").is_none()));
    assert!(submitted.iter().any(|task| task["agent"] == "auditor" && task.get("type").is_none()));
    assert!(submitted.iter().all(|task| task["prompt"].as_str().unwrap().starts_with("Task ")));
}

#[tokio::test]
async fn an_unusable_address_is_refused_at_once() {
    let gateway = Gateway::start(|_| Fate::Complete).await;
    for bad in ["", "127.0.0.1:7400", "https://127.0.0.1:7400", "http://"] {
        let mut options = options(&gateway);
        options.gateway = bad.to_owned();
        assert!(Load::start(options).is_err(), "{bad}");
    }
}
