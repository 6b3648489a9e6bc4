//! A second engine behind the gateway: llama.cpp, which computes what it answers.

#[path = "llama.rs"]
mod llama;

use std::{io::Read, path::PathBuf, thread};

use serde_json::{Value, json};

use self::llama::Llama;
use crate::{
    languages::engine,
    world::{Process, asked, get, post, request},
};

const CALLERS: usize = 6;
const CALLS: usize = 6;

fn python() -> Option<PathBuf> {
    Some(engine()?.join("bin/python"))
}

fn llama(flags: &[&str]) -> Option<Llama> {
    Some(Llama::start(&python()?, flags).expect("it starts"))
}

fn front(server: &Llama) -> (Process, String) {
    let mut process =
        Process::start(&["gateway", "--ollama", &server.url, "--listen", "127.0.0.1:0", "--output", "json"]);
    let url = process.says()["url"].as_str().expect("an address").to_owned();
    (process, url)
}

fn chat(model: &str, stream: bool) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5, "stream": stream})
}

/// What a stream says, without the frame that it came in.
fn streamed(url: &str, path: &str, body: &Value) -> String {
    let mut answer = String::new();
    let mut stream = asked(url, &format!("POST {path}"), "", &body.to_string());
    stream.read_to_string(&mut answer).expect("it comes to its end");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    answer
}

fn answers_as_openai_does(url: &str, model: &str) {
    let (status, answer) = post(url, "/v1/chat/completions", &chat(model, false));
    assert_eq!((status, &answer["usage"]["completion_tokens"]), (200, &json!(5)), "{answer}");
    let answer = streamed(url, "/v1/chat/completions", &chat(model, true));
    let events: Vec<&str> = answer.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    let (last, pieces) = events.split_last().expect("events");
    assert_eq!(*last, "[DONE]");
    let last: Value = serde_json::from_str(pieces.last().expect("more than its end")).expect("JSON");
    assert_eq!((&last["choices"][0]["finish_reason"], &last["timings"]["predicted_n"]), (&json!("length"), &json!(5)));
}

#[test]
fn llama_cpp_is_served_as_an_ollama_and_as_openai() {
    let Some(server) = llama(&["--models", "a,b"]) else { return };
    let (_process, url) = front(&server);
    for model in ["a", "b"] {
        answers_as_openai_does(&url, model);
    }
    let mut call = json!({"model": "a", "prompt": "Hello", "options": {"num_predict": 5}});
    let answer = streamed(&url, "/api/generate", &call);
    let lines: Vec<&str> = answer.lines().filter(|line| line.starts_with('{')).collect();
    let last: Value = serde_json::from_str(lines.last().expect("lines")).expect("JSON");
    assert_eq!((&last["done"], &last["eval_count"]), (&json!(true), &json!(5)), "{answer}");
    call["stream"] = json!(false);
    let (status, answer) = post(&url, "/api/generate", &call);
    assert_eq!((status, &answer["done"], &answer["eval_count"]), (200, &json!(true), &json!(5)), "{answer}");
    let (status, answer) = post(&url, "/v1/chat/completions", &chat("nobody", false));
    assert_eq!((status, &answer["error"]["type"]), (404, &json!("not_found_error")), "{answer}");
    assert_eq!(get(&url, "/v1/models"), get(&server.url, "/v1/models"));
}

#[test]
fn calls_that_alternate_between_two_models_do_not_switch_with_each() {
    let Some(server) = llama(&["--models", "a,b", "--no-api"]) else { return };
    let (_process, url) = front(&server);
    thread::scope(|scope| {
        for caller in 0..CALLERS {
            let url = &url;
            scope.spawn(move || {
                for call in 0..CALLS {
                    let model = ["a", "b"][(caller + call) % 2];
                    let (status, answer) = post(url, "/v1/chat/completions", &chat(model, false));
                    assert_eq!((status, &answer["usage"]["completion_tokens"]), (200, &json!(5)), "{answer}");
                }
            });
        }
    });
    let switches = get(&server.url, "/switches").as_u64().expect("a count");
    assert!(switches <= (CALLERS * CALLS / 2) as u64, "{switches} switches for {} calls", CALLERS * CALLS);
}

#[test]
fn llama_cpp_itself_which_knows_nothing_of_ollama_is_served() {
    let Some(server) = llama(&["--models", "a", "--bare"]) else { return };
    assert_eq!(request(&server.url, "GET /api/version", "", "").0, 404, "there is no such API");
    let (_process, url) = front(&server);
    (0..3).for_each(|_| answers_as_openai_does(&url, "a"));
    assert_eq!(get(&url, "/health")["status"], "ok");
}
