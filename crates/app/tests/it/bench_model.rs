//! `bench model` against simulated servers, as a user runs both.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::world::{BIN, Process, scratch, signal};

struct Server {
    url: String,
    _process: Process,
}

/// A simulated server with times of its own, and models that load within a millisecond.
fn server(name: &str, output_token_us: u64) -> Server {
    let dir = scratch(name);
    let times = format!("{{\"load_us\": 1000, \"unload_us\": 1000, \"output_token_us\": {output_token_us}}}");
    fs::write(dir.join("times.json"), times).expect("written");
    let line =
        ["sim-ollama", "--listen", "127.0.0.1:0", "--models", "a,b", "--params", "times.json", "--output", "json"];
    let mut process = Process::start_in(&dir, &line);
    let url = process.says()["url"].as_str().expect("it says where it is").to_owned();
    fs::remove_dir_all(dir).expect("it was read");
    Server { url, _process: process }
}

fn measured(arguments: &[&str]) -> Value {
    let done = Command::new(BIN)
        .args(["bench", "model", "--models", "a,b", "--output", "json"])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("the binary starts");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}");
    serde_json::from_slice(&done.stdout).unwrap_or_else(|error| panic!("no report: {error}\n{said}"))
}

#[test]
fn servers_are_measured_side_by_side() {
    let (slow, quick) = (server("slow", 40_000), server("quick", 100));
    let report = measured(&[
        "--clients",
        "4",
        "--greedy",
        "3",
        "--for",
        "1s",
        "--warm-up",
        "0s",
        "--rounds",
        "2",
        "--name-clients",
        &slow.url,
        &quick.url,
    ]);
    let endpoints = report["endpoints"].as_array().expect("both");
    for (endpoint, server) in endpoints.iter().zip([&slow, &quick]) {
        let figures = &endpoint["figures"];
        assert_eq!(endpoint["url"], server.url);
        assert_eq!((&figures["failed"], &figures["refused"], &figures["given_up"]), (&0.into(), &0.into(), &0.into()));
        assert_eq!(figures["success"], 1.0);
        let rounds: u64 = endpoint["rounds"].as_array().expect("two").iter().map(answers).sum();
        assert_eq!(rounds, answers(figures));
        for apart in ["by_model", "by_client"] {
            let counts = figures[apart].as_object().expect("counts").values();
            assert_eq!(counts.map(|count| count.as_u64().expect("a count")).sum::<u64>(), answers(figures), "{apart}");
        }
        assert_eq!(figures["by_client"].as_object().expect("counts").len(), 5);
        // Eight tokens an answer, unless it is said otherwise.
        let tokens = figures["tokens_per_second"].as_f64().expect("each answer tells") / 8.0;
        assert!((tokens / figures["answers_per_second"].as_f64().expect("a rate") - 1.0).abs() < 1e-9);
        assert!(figures["switches"].as_u64().expect("it tells") > 0);
    }
    let ratio = endpoints[1]["to_first"]["answers_per_second"].as_f64().expect("both gave answers");
    assert!(ratio > 1.5, "one takes 320 ms for what takes the other 1.7 ms, and yet: {ratio}");
    assert_eq!(endpoints[0]["to_first"], Value::Null);
}

fn answers(figures: &Value) -> u64 {
    figures["answers"].as_u64().expect("a count")
}

#[test]
fn every_dialect_is_understood() {
    let server = server("dialects", 100);
    for (api, stream, tells_tokens) in [
        ("native", false, true),
        ("native", true, true),
        ("openai", false, true),
        ("openai", true, false),
        ("embed", false, false),
    ] {
        let mut line = vec!["--clients", "2", "--for", "300ms", "--warm-up", "0s", "--api", api];
        if stream {
            line.push("--stream");
        }
        line.push(&server.url);
        let report = measured(&line);
        let figures = &report["endpoints"][0]["figures"];
        assert!(answers(figures) > 0 && figures["causes"].as_object().expect("causes").is_empty(), "{api}: {figures}");
        assert_eq!(figures["tokens_per_second"].is_number(), tells_tokens, "{api}, {stream}");
    }
}

#[test]
fn an_interrupt_shows_what_there_is() {
    let server = server("interrupt", 100);
    let mut load = Command::new(BIN)
        .args(["bench", "model", "--models", "a", "--for", "200ms", "--warm-up", "0s", "--rounds", "1000"])
        .args(["--output", "json", &server.url, &server.url])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut told = String::new();
    BufReader::new(load.stderr.as_mut().expect("piped")).read_line(&mut told).expect("a line of the first turn");
    assert!(told.starts_with("round 1 of 1000"), "{told}");
    signal(load.id(), "INT");
    let done = load.wait_with_output().expect("it ends");
    let report: Value = serde_json::from_slice(&done.stdout).expect("a report");
    assert_eq!((done.status.code(), &report["interrupted"]), (Some(1), &true.into()));
    assert!(answers(&report["endpoints"][0]["figures"]) > 0);
}
