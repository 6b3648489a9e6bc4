//! Real clients with the environment of an instance: not one of their calls may reach the model server without
//! the gateway knowing whose it is. `docs/identity.md` is the table that this proves.
//!
//! Two counts are held against each other. A tap in front of the model server sees every byte that reaches it, and
//! counts calls by the mark in their prompts, whatever the gateway made of them. The gateway's one-second records say
//! whom it charged. A call that reached the server unidentified is in the first and not in the second.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use bellwether_core::{
    observation::Second,
    port::gateway::{GatewayAnswer, GatewayEvent, GatewayIntent, PROTOCOL},
};
use bellwether_link::{Client, Events, Hello};
use serde_json::{Value, json};

use crate::{
    languages::{link, node_modules, python, root},
    tap::Tap,
    world::{left, post, scratch, serve_in, start_ollama},
};

const UNIDENTIFIED: &str = "unidentified";
const WITHIN: Duration = Duration::from_secs(90);

/// A client, which is an agent of its own, and how many calls it makes that need the model.
struct Row {
    client: &'static str,
    command: &'static str,
    calls: u64,
}

const PYTHON: [Row; 5] = [
    Row { client: "python-ollama", command: ".venv/bin/python, clients/python_ollama.py", calls: 7 },
    Row { client: "python-openai", command: ".venv/bin/python, clients/python_openai.py", calls: 4 },
    Row { client: "python-urljoin", command: ".venv/bin/python, clients/python_urljoin.py", calls: 3 },
    Row { client: "langchain-ollama", command: ".venv/bin/python, clients/python_langchain_ollama.py", calls: 8 },
    Row { client: "langchain-openai", command: ".venv/bin/python, clients/python_langchain_openai.py", calls: 4 },
];
const NODE: [Row; 2] = [
    Row { client: "js-ollama", command: "node, clients/js_ollama.mjs", calls: 6 },
    Row { client: "js-openai", command: "node, clients/js_openai.mjs", calls: 4 },
];
const SHELL: [Row; 1] = [Row { client: "curl", command: "sh, clients/curl.sh", calls: 4 }];

#[test]
fn no_call_of_any_client_reaches_the_model_server_unidentified() {
    let dir = scratch("identity");
    let rows = clients(&dir);
    let (_ollama, url) = start_ollama("127.0.0.1:0");
    let tap = Tap::start(url.trim_start_matches("http://"));
    fs::write(dir.join("fleet.yaml"), fleet(&rows)).expect("written");
    let (serve, served) = serve_in(&dir, &format!("http://{}", tap.address));
    let gateway = served["gateway"].as_str().expect("an address").to_owned();

    let mut books = Books::open(&dir.join("state/gateway.sock"));
    let made = |books: &Books| rows.iter().all(|row| books.calls_of(row.client) >= row.calls);
    books.follow_until(made, || logs(&dir));
    for row in &rows {
        let reached = tap.heard(&format!("[{}]", row.client));
        assert_eq!((reached, books.calls_of(row.client)), (row.calls, row.calls), "{}: {:?}", row.client, books.calls);
    }
    assert_eq!(books.calls_of(UNIDENTIFIED), 0, "{:?}", books.calls);

    // Both counts do count what they must not find.
    let stranger = json!({"model": "tinyllama", "prompt": "[stranger] Say hello.", "stream": false});
    assert_eq!(post(&gateway, "/api/generate", &stranger).0, 200);
    books.follow_until(|books| books.calls_of(UNIDENTIFIED) == 1, || "nobody counted the stranger".to_owned());
    assert_eq!(tap.heard("[stranger]"), 1);

    serve.signal("TERM");
    assert_eq!(serve.ended(Duration::from_secs(30)).0, Some(0));
    assert_eq!(left(&dir), Vec::<String>::new());
    fs::remove_dir_all(&dir).expect("it can be removed");
}

#[test]
fn the_table_of_clients_names_the_versions_that_are_tested() {
    let read = |path: &str| fs::read_to_string(root().join(path)).expect("it is there");
    let table = read("docs/identity.md");
    let python = read("crates/app/tests/it/clients/requirements.txt");
    let packages: Value = serde_json::from_str(&read("crates/app/tests/it/clients/package.json")).expect("JSON");
    let node = packages["dependencies"].as_object().expect("packages").iter();
    let node = node.map(|(name, version)| format!("JavaScript `{name}` {}", version.as_str().expect("a version")));
    let python = python.lines().filter_map(|line| line.split_once("=="));
    for tested in python.map(|(name, version)| format!("`{name}` {version}")).chain(node) {
        assert!(table.contains(&tested), "{tested}");
    }
}

/// A directory to serve from, and the clients that this machine has.
fn clients(dir: &Path) -> Vec<Row> {
    let from = root().join("crates/app/tests/it/clients");
    fs::create_dir(dir.join("clients")).expect("made");
    for file in fs::read_dir(from).expect("it is there").flatten().filter(|file| file.path().is_file()) {
        // Copied, because Node looks for packages beside the file that a link leads to.
        fs::copy(file.path(), dir.join("clients").join(file.file_name())).expect("copied");
    }
    let mut rows = Vec::new();
    if Command::new("curl").arg("--version").output().is_ok() {
        rows.extend(SHELL);
    } else {
        println!("skipped: curl is not installed");
    }
    if let Some(environment) = python() {
        link(&environment, &dir.join(".venv"));
        rows.extend(PYTHON);
    }
    if let Some(modules) = node_modules() {
        link(&modules, &dir.join("node_modules"));
        rows.extend(NODE);
    }
    rows
}

fn fleet(rows: &[Row]) -> String {
    let mut fleet =
        "version: 1\nfleet: clients\nagents:\n  defaults: {type: client, model: tinyllama}\n  list:\n".to_owned();
    for Row { client, command, .. } in rows {
        writeln!(fleet, "    - {{name: {client}, command: [{command}]}}").expect("a string takes it");
    }
    fleet
}

/// What the agents have said, for whoever has to find out why a test failed.
fn logs(dir: &Path) -> String {
    let files = fs::read_dir(dir.join("state/logs")).into_iter().flatten().flatten();
    let tell = |path: PathBuf| format!("{}:\n{}", path.display(), fs::read_to_string(&path).unwrap_or_default());
    files.map(|file| tell(file.path())).collect()
}

/// What the gateway has written down, read as the controller reads it.
struct Books {
    runtime: tokio::runtime::Runtime,
    link: Client<GatewayAnswer>,
    /// Not read; kept, because they end with the link.
    _events: Events<GatewayEvent>,
    last: u64,
    /// Answered calls, by who was charged.
    calls: BTreeMap<String, u64>,
}

impl Books {
    fn open(socket: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (name, version) = PROTOCOL;
        let connected = runtime.block_on(Client::connect(socket, Hello::new(name, version)));
        let (link, events) = connected.expect("the gateway takes the link");
        Self { runtime, link, _events: events, last: 0, calls: BTreeMap::new() }
    }

    /// None was charged as long as there is no entry. Calls that failed or were refused count as well.
    fn calls_of(&self, account: &str) -> u64 {
        self.calls.get(account).copied().unwrap_or(0)
    }

    fn read(&mut self) {
        let asked = self.runtime.block_on(self.link.ask(&GatewayIntent::Seconds { after: self.last }));
        let Ok(GatewayAnswer::Seconds { records, .. }) = asked else { panic!("no records: {asked:?}") };
        for Second { number, cells, .. } in records {
            self.last = number;
            for cell in cells {
                let calls = &cell.calls;
                let all = calls.succeeded + calls.failed + calls.cancelled + calls.refused;
                *self.calls.entry(cell.agent.to_string()).or_default() += all;
            }
        }
    }

    fn follow_until(&mut self, holds: impl Fn(&Self) -> bool, why: impl Fn() -> String) {
        let deadline = Instant::now() + WITHIN;
        while !holds(self) {
            assert!(Instant::now() < deadline, "not within {WITHIN:?}: {:?}\n{}", self.calls, why());
            std::thread::sleep(Duration::from_millis(100));
            self.read();
        }
    }
}
