//! The tests that the official Python client is published with give the same verdicts through the gateway as without.
//!
//! They come with the source package on PyPI, and nothing of them is copied here: `cargo xtask test` fetches it. Their server
//! expects certain requests in a certain order, so that a verdict says whether each arrived as the client had sent it; what
//! arrived is compared as well, to the byte.

mod between;

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use serde_json::Value;

use self::between::Between;
use crate::{
    languages::{ollama_tests, python, root},
    world::{Process, scratch},
};

/// Fewer would mean that the package is another one, or that most of its tests were not found.
const TESTS_MIN: usize = 100;
/// Requests that the tests have to make of their server, if they are to say something.
const REQUESTS_MIN: usize = 45;

#[test]
fn the_clients_own_tests_have_the_same_verdicts_through_the_gateway_as_without() {
    let (Some(environment), Some(tests)) = (python(), ollama_tests()) else { return };
    let dir = scratch("published");
    let run = |name: &str, gateway: Option<&str>, server: SocketAddr| {
        let report = dir.join(format!("{name}.jsonl"));
        run(&environment, &tests, &report, gateway, name == "admitted", server)
    };
    let run = &run;
    let [direct, admitted, bypassed] = thread::scope(|scope| {
        let through = |name: &'static str, flag: &'static str| {
            scope.spawn(move || {
                let server = free();
                let between = Between::start(server);
                let words = ["gateway", "--ollama", &between.url, "--listen", "127.0.0.1:0", flag, "--output", "json"];
                let mut gateway = Process::start(&words);
                let url = gateway.says()["url"].as_str().expect("an address").to_owned();
                let verdicts = run(name, Some(&url), server);
                assert!(between.passed() >= REQUESTS_MIN, "{} requests came through {name}", between.passed());
                assert_eq!(between.loads() > 0, name == "admitted", "models are loaded for those who take a slot");
                verdicts
            })
        };
        let others = [through("admitted", "--allow-manage"), through("bypassed", "--bypass")];
        let direct = run("direct", None, free());
        let [admitted, bypassed] = others.map(|other| other.join().expect("it comes to its end"));
        [direct, admitted, bypassed]
    });

    assert!(direct.len() >= TESTS_MIN, "only {} tests", direct.len());
    let requests: usize = direct.iter().map(|test| test["received"].as_array().map_or(0, Vec::len)).sum();
    assert!(requests >= REQUESTS_MIN, "only {requests} requests");
    assert_same("bypassed", &direct, &bypassed);
    assert_same("admitted", &direct.iter().map(at_the_root).collect::<Vec<_>>(), &admitted);
    fs::remove_dir_all(&dir).expect("it can be removed");
}

fn assert_same(name: &str, direct: &[Value], through: &[Value]) {
    assert_eq!(direct.len(), through.len(), "{name}");
    for (direct, through) in direct.iter().zip(through) {
        assert_eq!(direct, through, "{name}");
    }
}

/// Four tests give the endpoint's own path as base, so that the client asks for `/api/delete/api/delete`. No Ollama has that, and
/// the gateway refuses what it does not know; with admission the base is the root for all tests.
fn at_the_root(test: &Value) -> Value {
    let text =
        ["/api/delete", "/api/copy"].iter().fold(test.to_string(), |text, path| text.replace(&path.repeat(2), path));
    serde_json::from_str(&text).expect("JSON")
}

/// A line for each test.
fn run(
    environment: &Path,
    tests: &Path,
    report: &Path,
    gateway: Option<&str>,
    base_is_root: bool,
    server: SocketAddr,
) -> Vec<Value> {
    let mut pytest = Command::new(environment.join("bin/python"));
    // Its own settings would also look for examples in the package's text.
    pytest.args(["-m", "pytest", "--quiet", "-c", "/dev/null", "-p", "no:cacheprovider", "-p", "plugin"]);
    pytest.arg("--rootdir").arg(tests).arg(tests);
    pytest.env("PYTHONPATH", plugin()).env("PYTHONDONTWRITEBYTECODE", "1").env("BELLWETHER_TEST_REPORT", report);
    pytest.env("PYTEST_HTTPSERVER_HOST", "127.0.0.1").env("PYTEST_HTTPSERVER_PORT", server.port().to_string());
    if let Some(url) = gateway {
        pytest.env("BELLWETHER_TEST_GATEWAY", url);
    }
    if base_is_root {
        pytest.env("BELLWETHER_TEST_BASE", "/");
    }
    let done = pytest.env_remove("OLLAMA_HOST").stdin(Stdio::null()).output().expect("Python starts");
    // What failed is compared, and shown for whoever has to find out why.
    println!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    let text = fs::read_to_string(report).expect("pytest ran");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn plugin() -> PathBuf {
    root().join("crates/app/tests/it/published")
}

/// Where the tests will start their server.
fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}
