//! `bellwether agent` without a backend, and what it logs with one.

use std::{
    io::Write,
    process::{Command, Output, Stdio},
};

use serde_json::Value;

use crate::world::{BIN, start_ollama};

fn agent(ollama: &str, args: &[&str], input: &str) -> Output {
    let mut child = Command::new(BIN)
        .arg("agent")
        .args(args)
        .env_remove("OLLAMA_BASE_URL")
        .env_remove("OLLAMA_URL")
        .env("OLLAMA_HOST", ollama)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    // One that does not read its input may have ended already.
    drop(child.stdin.take().expect("piped").write_all(input.as_bytes()));
    child.wait_with_output().expect("it ends")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn one_text_gives_one_answer() {
    let (_ollama, address) = start_ollama("127.0.0.1:0");
    let done = agent(&address, &["--once", "hello"], "");
    assert_eq!((done.status.code(), text(&done.stderr)), (Some(0), String::new()));
    assert!(!text(&done.stdout).trim().is_empty());
    let piped = agent(&address, &["--once", "-"], "hello\nwith a second line\n");
    assert_eq!(piped.status.code(), Some(0), "{}", text(&piped.stderr));
}

#[test]
fn lines_are_answered_in_their_order() {
    let (_ollama, address) = start_ollama("127.0.0.1:0");
    let questions = "first\n\nsecond. Answer in about 200 words.\nthird\nfourth\nfifth\nsixth\nseventh\n";
    let done = agent(&address, &["--lines"], questions);
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
    let answers: Vec<Value> =
        text(&done.stdout).lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect();
    let numbers: Vec<_> = answers.iter().map(|answer| answer["line"].as_u64()).collect();
    assert_eq!(numbers, (1..=7).map(Some).collect::<Vec<_>>());
    assert!(answers.iter().all(|answer| answer["status"] == "completed"), "{answers:#?}");
}

#[test]
fn what_is_not_there_is_named() {
    // The discard port; nothing listens there.
    let nobody = agent("127.0.0.1:9", &["--once", "hello"], "");
    assert_eq!(nobody.status.code(), Some(1));
    let said = text(&nobody.stderr);
    assert!(said.starts_with("error[BW0366]: no model server answers at http://127.0.0.1:9\n"), "{said}");
    assert!(said.contains("`ollama serve`"), "{said}");
    let (_ollama, address) = start_ollama("127.0.0.1:0");
    let unknown = agent(&address, &["--model", "nonesuch:7b", "--once", "hello"], "");
    let said = text(&unknown.stderr);
    assert!(said.starts_with("error[BW0367]"), "{said}");
    assert!(said.contains("`ollama pull nonesuch:7b`"), "{said}");
    let lines = agent(&address, &["--model", "nonesuch:7b", "--lines"], "a\n");
    assert_eq!(lines.status.code(), Some(1));
    let line: Value = serde_json::from_str(&text(&lines.stdout)).expect("an object");
    assert_eq!(line["status"], "failed");
}
