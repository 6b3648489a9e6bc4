use http_body_util::BodyExt;
use hyper::client::conn::http1::{self, SendRequest};
use tokio::time::timeout;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

async fn started(shape: Shape, params: Params) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let models = ["a", "b"].map(ModelName::new).to_vec();
    tokio::spawn(async move { serve(listener, shape, params, models).await });
    address
}

fn quick() -> Params {
    Params { load_us: 1_000, unload_us: 1_000, ..Params::default() }
}

const SHAPE: Shape = Shape { slots: 2, resident: 1, queue_max: 512 };

async fn dial(address: std::net::SocketAddr) -> SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn request(path: &str, host: &str, body: &str) -> hyper::Request<Full<Bytes>> {
    let method = if body.is_empty() { Method::GET } else { Method::POST };
    let body = Full::from(body.to_owned());
    hyper::Request::builder().method(method).uri(path).header(HOST, host).body(body).unwrap()
}

async fn ask(address: std::net::SocketAddr, path: &str, body: &str) -> (StatusCode, String, String) {
    let sent = async {
        let mut sender = dial(address).await;
        let response = sender.send_request(request(path, "127.0.0.1:11434", body)).await.unwrap();
        let status = response.status();
        let kind = response.headers()[CONTENT_TYPE].to_str().unwrap().to_owned();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, kind, String::from_utf8(bytes.to_vec()).unwrap())
    };
    timeout(PATIENCE, sent).await.unwrap()
}

#[tokio::test]
async fn a_generation_streams_line_by_line() {
    let address = started(SHAPE, quick()).await;
    let (status, kind, text) =
        ask(address, "/api/generate", r#"{"model":"a","prompt":"one two","options":{"num_predict":3}}"#).await;
    assert_eq!((status, kind.as_str()), (StatusCode::OK, "application/x-ndjson"));
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 4);
    assert!(lines[..3].iter().all(|line| line["done"] == false && !line["response"].as_str().unwrap().is_empty()));
    let last = &lines[3];
    assert_eq!((&last["done"], &last["done_reason"]), (&json!(true), &json!("length")));
    assert_eq!((&last["prompt_eval_count"], &last["eval_count"]), (&json!(2), &json!(3)));
    for figure in ["load_duration", "eval_duration", "total_duration"] {
        assert!(last[figure].as_u64().unwrap() > 0, "{figure}");
    }
}

#[tokio::test]
async fn an_unstreamed_chat_is_one_object() {
    let address = started(SHAPE, quick()).await;
    let body = r#"{"model":"a:latest","stream":false,"messages":[{"role":"user","content":"hello"}]}"#;
    let (_, kind, text) = ask(address, "/api/chat", body).await;
    assert!(kind.starts_with("application/json"));
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(answer["message"]["content"], "this is a simulated answer and no model");
}

#[tokio::test]
async fn the_other_dialect_streams_events() {
    let address = started(SHAPE, quick()).await;
    let body = r#"{"model":"a","stream":true,"stream_options":{"include_usage":true},"messages":[{"content":"x"}]}"#;
    let (_, kind, text) = ask(address, "/v1/chat/completions", body).await;
    assert_eq!(kind, "text/event-stream");
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    assert!(text.contains(r#""finish_reason":"stop""#) && text.contains(r#""completion_tokens":8"#), "{text}");
    let (_, _, text) = ask(address, "/v1/chat/completions", r#"{"model":"a","messages":[{"content":"x"}]}"#).await;
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(answer["usage"]["total_tokens"], 9);
}

#[tokio::test]
async fn embeddings_are_vectors() {
    let address = started(SHAPE, quick()).await;
    let (_, _, text) = ask(address, "/api/embed", r#"{"model":"a","input":["x","y"]}"#).await;
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(answer["embeddings"].as_array().unwrap().len(), 2);
    assert_eq!(answer["prompt_eval_count"], 2);
}

#[tokio::test]
async fn it_says_what_it_is_and_what_it_has() {
    let address = started(SHAPE, quick()).await;
    let get = async |path| ask(address, path, "").await.2;
    assert!(get("/api/version").await.contains("\"simulated\":true"));
    assert!(get("/").await.contains("simulated"));
    assert!(get("/api/tags").await.contains("\"name\":\"b:latest\""));
    assert!(!get("/api/ps").await.contains("a:latest"));
    ask(address, "/api/generate", r#"{"model":"a"}"#).await;
    assert!(get("/api/ps").await.contains("a:latest"));
    assert_eq!(ask(address, "/api/show", r#"{"model":"b"}"#).await.0, StatusCode::OK);
}

#[tokio::test]
async fn what_it_cannot_do_it_says_as_the_real_one() {
    let address = started(SHAPE, quick()).await;
    let (status, _, text) = ask(address, "/api/generate", r#"{"model":"absent","prompt":"x"}"#).await;
    assert_eq!((status, text.as_str()), (StatusCode::NOT_FOUND, r#"{"error":"model 'absent' not found"}"#));
    assert_eq!(ask(address, "/api/generate", "{").await.0, StatusCode::BAD_REQUEST);
    let full = started(Shape { queue_max: 0, ..SHAPE }, quick()).await;
    let (status, _, text) = ask(full, "/api/generate", r#"{"model":"a","prompt":"x"}"#).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(text.contains("server busy"), "{text}");
    let mut sender = dial(address).await;
    let foreign = sender.send_request(request("/api/tags", "gateway.example", "")).await.unwrap();
    assert_eq!(foreign.status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_client_that_leaves_frees_its_slot() {
    let slow = Params { output_token_us: 60_000_000, ..quick() };
    let address = started(Shape { slots: 1, ..SHAPE }, slow).await;
    let body = r#"{"model":"a","prompt":"x","options":{"num_predict":1}}"#;
    let mut sender = dial(address).await;
    let answer = sender.send_request(request("/api/generate", "localhost", body));
    timeout(Duration::from_millis(200), answer).await.expect_err("it takes a minute");
    drop(sender);
    // Evaluates no token, so that it needs the slot and no time.
    let (status, ..) = ask(address, "/api/embed", r#"{"model":"a","input":"x"}"#).await;
    assert_eq!(status, StatusCode::OK);
}
