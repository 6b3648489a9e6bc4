//! `bellwether gateway`, as a user has it: in front of a simulated Ollama, or of a server that shows every byte.

mod scripted;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use self::scripted::Scripted;
use crate::world::{BIN, Process, asked, get, post, request, start_ollama};

const PATIENCE: Duration = Duration::from_secs(30);
/// The simulated model takes about four seconds for it.
const LONG: &str = "Tell the whole story in about 4000 words.";

struct Front {
    process: Process,
    url: String,
    /// What it said first.
    said: Value,
}

impl Front {
    fn of(ollama: &str, flags: &[&str]) -> Self {
        let mut words = vec!["gateway", "--ollama", ollama, "--listen", "127.0.0.1:0", "--output", "json"];
        words.extend(flags);
        let mut process = Process::start(&words);
        let said = process.says();
        Self { url: said["url"].as_str().expect("an address").to_owned(), said, process }
    }

    fn health(&self) -> Value {
        get(&self.url, "/health")
    }

    fn until(&self, what: &str, holds: impl Fn(&Value) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let health = self.health();
            if holds(&health) {
                return;
            }
            assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}; it says {health}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn generates(&self, path: &str, headers: &str) {
        let body = json!({"model": "tinyllama", "prompt": "Hello", "stream": false}).to_string();
        let (status, answer) = request(&self.url, &format!("POST {path}"), headers, &body);
        assert_eq!(status, 200, "{answer}");
    }
}

impl Front {
    /// Says no more of itself than where it comes from. Returns how many clients are known then.
    fn generates_from(&self, address: [u8; 4]) -> u64 {
        let to: SocketAddr = self.url.trim_start_matches("http://").parse().expect("an address");
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("there are descriptors left");
        socket.bind(&SocketAddr::from((address, 0)).into()).expect("all of 127.0.0.0/8 is here");
        socket.connect(&to.into()).expect("it listens");
        let mut stream = TcpStream::from(socket);
        let body = json!({"model": "tinyllama", "prompt": "Hello", "stream": false}).to_string();
        let length = body.len();
        let head =
            format!("POST /api/generate HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
        stream.write_all(format!("{head}{body}").as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        self.health()["clients"].as_u64().expect("a count")
    }
}

/// Of a front that does not come to serve.
fn told(words: &[&str]) -> Output {
    Command::new(BIN).arg("gateway").args(words).stdin(Stdio::null()).output().expect("the binary starts")
}

#[test]
fn a_front_says_what_it_is_and_how_it_stands() {
    let (_ollama, url) = start_ollama("127.0.0.1:0");
    let front = Front::of(&format!("{url}=3"), &[]);
    let upstreams = json!([{"url": url, "slots": 3, "reachable": true}]);
    assert_eq!(front.said, json!({"url": front.url, "bypass": false, "slots": 3, "upstreams": upstreams}));
    assert_eq!(
        front.health(),
        json!({
            "status": "ok", "bypass": false, "slots": 3, "busy": 0, "waiting": 0, "clients": 0, "upstreams": upstreams
        })
    );
    assert_eq!(request(&front.url, "POST /health", "", "").0, 405);
    // What belongs to a fleet is not there.
    for path in
        ["POST /tasks", "GET /tasks/1", "GET /a/helper/info", "GET /i/token/ollama/api/tags", "GET /completions"]
    {
        assert_eq!(request(&front.url, path, "", "{}").0, 404, "{path}");
    }
}

#[test]
fn a_client_is_known_by_path_token_header_and_address_in_this_order() {
    let (_ollama, url) = start_ollama("127.0.0.1:0");
    let front = Front::of(&url, &[]);
    let known = |path: &str, headers: &str| {
        front.generates(path, headers);
        front.health()["clients"].as_u64().expect("a count")
    };
    let token = "authorization: Bearer one\r\n";
    assert_eq!(known("/api/generate", ""), 0, "whoever says nothing is one of the unidentified");
    assert_eq!(known("/m/ci/api/generate", &format!("{token}x-agent: a\r\n")), 1);
    assert_eq!(known("/m/ci/api/generate", "authorization: Bearer two\r\nx-agent: b\r\n"), 1, "the path counts first");
    assert_eq!(known("/api/generate", &format!("{token}x-agent: a\r\n")), 2);
    assert_eq!(known("/api/generate", &format!("{token}x-agent: b\r\n")), 2, "the token counts before the header");
    assert_eq!(known("/api/generate", "x-agent: b\r\n"), 3);
    assert_eq!(known("/api/generate", "x-agent: ci\r\n"), 3, "one name is one client, wherever it stands");
    assert_eq!((front.generates_from([127, 0, 0, 2]), front.generates_from([127, 0, 0, 1])), (4, 4));
    assert_eq!(front.generates_from([127, 0, 0, 3]), 5);
}

#[test]
fn a_greedy_client_takes_no_more_than_its_share() {
    let (_ollama, url) = start_ollama("127.0.0.1:0");
    let front = Front::of(&url, &["--slots", "1"]);
    // The first call of a model waits for it to be loaded.
    front.generates("/api/generate", "");
    let greedy = 40;
    let behind = greedy_calls_before_five_of_another(&front, greedy);
    assert!(behind <= 15, "{behind} calls of the greedy client were served before 5 of the other");

    // Without the queue the other one has to wait for all that came before.
    let bypassed = Front::of(&url, &["--slots", "1", "--bypass"]);
    let behind = greedy_calls_before_five_of_another(&bypassed, greedy);
    assert!(behind >= 25, "only {behind} calls of the greedy client were served before 5 of the other");
}

/// One client asks for everything at once, another one at a time.
fn greedy_calls_before_five_of_another(front: &Front, greedy: usize) -> usize {
    let body = json!({"model": "tinyllama", "prompt": "in about 30 words", "stream": false}).to_string();
    let ask = |client: &str| {
        let (status, answer) = request(&front.url, &format!("POST /m/{client}/api/generate"), "", &body);
        assert_eq!(status, 200, "{answer}");
    };
    let served = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..greedy {
            scope.spawn(|| {
                ask("greedy");
                served.fetch_add(1, Ordering::Relaxed);
            });
        }
        let deadline = Instant::now() + PATIENCE;
        while served.load(Ordering::Relaxed) == 0 {
            assert!(Instant::now() < deadline, "nobody is served");
            thread::sleep(Duration::from_millis(1));
        }
        let before = served.load(Ordering::Relaxed);
        (0..5).for_each(|_| ask("modest"));
        served.load(Ordering::Relaxed) - before
    })
}

const STREAM: [&str; 2] = [
    "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n\
     15\r\n{\"status\":\"pulling\"}\n\r\n",
    "15\r\n{\"status\":\"success\"}\n\r\n0\r\n\r\n",
];

#[test]
fn what_changes_the_server_for_everybody_is_refused_unless_it_is_allowed() {
    let server = Scripted::start(&STREAM);
    let pull = json!({"model": "tinyllama"}).to_string();
    let front = Front::of(&server.url, &[]);
    for call in
        ["POST /api/pull", "POST /api/create", "DELETE /api/delete", "POST /api/blobs/sha256:00", "POST /m/x/api/copy"]
    {
        let (status, answer) = request(&front.url, call, "", &pull);
        assert_eq!(status, 403, "{call}: {answer}");
        assert!(answer.contains("--allow-manage"), "{answer}");
    }
    assert_eq!(server.asked().len(), 0, "nothing of it came to the server");

    let front = Front::of(&server.url, &["--allow-manage"]);
    let mut answer = BufReader::new(asked(&front.url, "POST /m/ci/api/pull?x=1", "", &pull));
    let mut line = String::new();
    while !line.contains("pulling") {
        line.clear();
        assert_ne!(answer.read_line(&mut line).expect("it can be read"), 0, "progress comes as it is made");
    }
    server.go_on();
    answer.read_to_string(&mut line).expect("it can be read");
    assert!(line.contains("success"), "{line}");
    let asked = server.asked();
    assert_eq!((asked[0].line(), asked[0].body.as_slice()), ("POST /api/pull?x=1 HTTP/1.1", pull.as_bytes()));
    assert_eq!(asked[0].header("host"), server.url.strip_prefix("http://"));
}

const CLOUD: [&str; 1] =
    ["HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{\"done\": true }\n"];

#[test]
fn a_cloud_model_is_refused_unless_it_is_allowed_and_takes_no_slot_then() {
    let server = Scripted::start(&CLOUD);
    let call = json!({"model": "gpt-oss:120b-cloud", "prompt": "x", "stream": false});
    let front = Front::of(&server.url, &["--allow-manage"]);
    let (status, answer) = post(&front.url, "/api/generate", &call);
    assert_eq!(status, 403, "{answer}");
    assert!(answer["error"].as_str().is_some_and(|error| error.contains("--allow-cloud")), "{answer}");
    assert_eq!(server.asked().len(), 0);

    let front = Front::of(&server.url, &["--allow-cloud"]);
    assert_eq!(post(&front.url, "/api/generate", &call), (200, json!({"done": true})));
    let asked = server.asked();
    assert_eq!(asked.len(), 1, "it was not loaded first, as what takes a slot is: {asked:?}");
    assert_eq!(asked[0].body, call.to_string().as_bytes());
}

const ODD: [&str; 1] = ["HTTP/1.1 418 I'm a teapot\r\nX-Mine: 1\r\nContent-Length: 10\r\n\r\n\u{0}\u{1}{not JSO"];

#[test]
fn bypassed_everything_goes_straight_through() {
    let server = Scripted::start(&ODD);
    let front = Front::of(&server.url, &["--bypass"]);
    assert_eq!((&front.said["bypass"], &front.health()["bypass"]), (&json!(true), &json!(true)));
    let headers = "accept-encoding: br\r\nauthorization: Bearer s3cret\r\nx-agent: a\r\n";
    for (call, reaches) in [
        ("POST /api/pull", "POST /api/pull HTTP/1.1"),
        ("DELETE /tasks/%41?b=%20", "DELETE /tasks/%41?b=%20 HTTP/1.1"),
        ("POST /api/generate", "POST /api/generate HTTP/1.1"),
        ("PATCH /m/ci/no/such", "PATCH /no/such HTTP/1.1"),
    ] {
        let (status, answer) = request(&front.url, call, headers, "{\"model\": no JSON");
        assert_eq!((status, answer.as_str()), (418, "\u{0}\u{1}{not JSO"), "{call}");
        let last = server.asked().pop().expect("it came through");
        assert_eq!((last.line(), last.body.as_slice()), (reaches, b"{\"model\": no JSON".as_slice()));
        assert_eq!(last.header("host"), server.url.strip_prefix("http://"), "a foreign one is refused by Ollama");
        for (name, value) in [("accept-encoding", "br"), ("authorization", "Bearer s3cret"), ("x-agent", "a")] {
            assert_eq!(last.header(name), Some(value), "{call}");
        }
    }
    assert_eq!(server.asked().len(), 4, "nothing was asked that no client asked");
}

#[test]
fn told_to_stop_it_lets_what_is_in_flight_end() {
    let (_ollama, url) = start_ollama("127.0.0.1:0");
    let front = Front::of(&url, &[]);
    let body = json!({"model": "tinyllama", "prompt": LONG}).to_string();
    let mut stream = BufReader::new(asked(&front.url, "POST /api/generate", "", &body));
    let idle = TcpStream::connect(front.url.trim_start_matches("http://")).expect("it listens");
    let mut text = String::new();
    while !text.contains("\"done\":false") {
        assert_ne!(stream.read_line(&mut text).expect("it can be read"), 0, "{text}");
    }
    front.process.signal("TERM");
    let address = front.url.trim_start_matches("http://").to_owned();
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(&address).is_ok() {
        assert!(Instant::now() < deadline, "it still accepts");
        thread::sleep(Duration::from_millis(5));
    }
    stream.read_to_string(&mut text).expect("the stream comes to its end");
    assert!(text.contains("\"done\":true"), "{}", &text[text.len().saturating_sub(300)..]);
    assert_eq!(front.process.ended(PATIENCE).0, Some(0));
    drop(idle);
}

#[test]
fn what_does_not_end_in_its_time_is_cut_and_so_is_everything_at_a_second_signal() {
    let (_ollama, url) = start_ollama("127.0.0.1:0");
    let body = json!({"model": "tinyllama", "prompt": LONG}).to_string();
    for (within, signals) in [("100ms", ["TERM"].as_slice()), ("10m", &["INT", "INT"])] {
        let front = Front::of(&url, &["--finish-within", within]);
        let mut stream = BufReader::new(asked(&front.url, "POST /api/generate", "", &body));
        let mut text = String::new();
        while !text.contains("\"done\":false") {
            assert_ne!(stream.read_line(&mut text).expect("it can be read"), 0, "{text}");
        }
        for signal in signals {
            front.process.signal(signal);
            // Two that arrive together are one.
            thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(front.process.ended(PATIENCE).0, Some(0));
        // Closed or reset, and in no case as if it had ended well.
        drop(stream.read_to_string(&mut text));
        assert!(!text.contains("\"done\":true") && !text.ends_with("\r\n0\r\n\r\n"), "{text}");
    }
}

#[test]
fn a_server_that_is_away_is_told_and_found_when_it_comes() {
    let (ollama, url) = start_ollama("127.0.0.1:0");
    drop(ollama);
    let front = Front::of(&url, &[]);
    assert_eq!(front.said["upstreams"][0]["reachable"], false);
    assert_eq!((&front.health()["status"], request(&front.url, "GET /api/tags", "", "").0), (&json!("degraded"), 502));
    let (_ollama, _) = start_ollama(url.trim_start_matches("http://"));
    front.until("the model server is there", |health| health["status"] == "ok");
    front.generates("/api/generate", "");
}

#[test]
fn what_cannot_work_is_refused_with_a_code_and_a_way_on() {
    let holder = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let held = holder.local_addr().expect("it has one").to_string();
    let itself = format!("http://{held}");
    drop(holder);
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken_address = taken.local_addr().expect("it has one").to_string();
    for (words, code, exit) in [
        (vec!["--listen", &taken_address], "BW0450", 1),
        (vec!["--ollama", "ftp://models"], "BW0451", 2),
        (vec!["--slots", "0"], "BW0452", 2),
        (vec!["--ollama", "http://127.0.0.1:1=0"], "BW0452", 2),
        (vec!["--bypass", "--ollama", "http://127.0.0.1:1", "--ollama", "http://127.0.0.1:2=4"], "BW0453", 2),
        (vec!["--weight", "ci=0"], "BW0319", 2),
        (vec!["--num-ctx", "tinyllama=big"], "BW0319", 2),
        (vec!["--ollama", &itself, "--listen", &held], "BW0454", 2),
    ] {
        let told = told(&words);
        let said = String::from_utf8_lossy(&told.stderr);
        assert_eq!(told.status.code(), Some(exit), "{said}");
        assert!(said.contains(&format!("error[{code}]")) && said.contains("= help: "), "{said}");
        assert_eq!(told.stdout, b"", "nothing is said of serving");
    }
}

#[test]
fn beyond_loopback_it_warns_that_anybody_can_call() {
    let mut child = Command::new(BIN)
        .args(["gateway", "--ollama", "http://127.0.0.1:9", "--listen", "0.0.0.0:0"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut first = String::new();
    BufReader::new(child.stdout.take().expect("it was asked for")).read_line(&mut first).expect("it says where");
    let mut warned = String::new();
    BufReader::new(child.stderr.take().expect("it was asked for")).read_line(&mut warned).expect("it warns");
    child.kill().and_then(|()| child.wait()).expect("it ends");
    assert!(
        first.starts_with("gateway at http://0.0.0.0:") && first.contains("http://127.0.0.1:9: 2 slots"),
        "{first}"
    );
    assert!(warned.starts_with("warning: 0.0.0.0:") && warned.contains("no authentication"), "{warned}");
}
