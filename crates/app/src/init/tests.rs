//! The files that come out, as people read them; each is accepted by the parser.

use std::{fs, path::PathBuf};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let dir = std::env::temp_dir().join(format!("bw-init-{}-{name}", std::process::id())).join("my-fleet");
        fs::create_dir_all(&dir).unwrap();
        for (name, text) in files {
            fs::write(dir.join(name), text).unwrap();
        }
        Self(dir)
    }

    /// On a machine that is the same wherever the test runs.
    async fn written(&self, server: &str) -> String {
        let mut found = Found::look(&self.0, "fleet.yaml", server).await;
        found.machine = Machine { memory_bytes: Some(16 << 30), cpus: 8 };
        found.server.url = server::DEFAULT.to_owned();
        found.write(&self.0).unwrap_or_else(|failure| panic!("{failure}"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(self.0.parent().unwrap()));
    }
}

/// Answers as Ollama does, with two models.
async fn ollama() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 2048];
            let read = stream.read(&mut head).await.unwrap();
            let body = if String::from_utf8_lossy(&head[..read]).contains("/api/tags") {
                json!({"models": [
                    {"name": "nomic-embed-text:latest", "size": 274_302_450_u64, "details": {"family": "nomic-bert"}},
                    {"name": "qwen2.5-coder:7b", "size": 4_683_087_561_u64, "details": {"family": "qwen2"}},
                    {"name": "tinyllama:latest", "size": 637_700_138_u64, "details": {"family": "llama"}},
                ]})
            } else {
                json!({"version": "0.12.3"})
            };
            let body = body.to_string();
            let answer =
                format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    url
}

const NOWHERE: &str = "http://127.0.0.1:9";

#[tokio::test]
async fn without_anything_it_is_an_example() {
    let folder = Folder::new("nothing", &[]);
    insta::assert_snapshot!(folder.written(NOWHERE).await);
}

#[tokio::test]
async fn an_inventory_is_named_and_its_phases_are_kept() {
    let csv = include_str!("../../../../examples/sutazai/agents.csv");
    let folder = Folder::new("csv", &[("agents.csv", csv), ("prices.csv", "item,price\nx,1\n")]);
    insta::assert_snapshot!(folder.written(&ollama().await).await);
}

#[tokio::test]
async fn an_inventory_of_another_form_is_written_out() {
    let csv = "name,type,owner,critical\nLog Reader,monitoring,ann,\nWriter,text,bob,\nBilling,money,eve,yes\nWriter,text,bob,\n";
    let folder = Folder::new("foreign", &[("team.csv", csv)]);
    insta::assert_snapshot!(folder.written(NOWHERE).await);
}

#[tokio::test]
async fn services_of_a_compose_file_that_are_agents_are_taken() {
    let compose = r#"
x-common: &common
  restart: unless-stopped
services:
  ollama: {image: "ollama/ollama:latest", environment: {OLLAMA_NUM_PARALLEL: 2}}
  db: {image: "postgres:16", environment: {POSTGRES_PASSWORD: x}}
  webui: {image: "ghcr.io/open-webui/open-webui:main", environment: [OLLAMA_BASE_URL=http://ollama:11434]}
  triage:
    <<: *common
    image: example/triage:3
    command: python -m triage --fast
    environment:
      OLLAMA_HOST: http://ollama:11434
      OLLAMA_MODEL: qwen2.5-coder:7b
      AGENT_TYPE: support
      LOG_LEVEL: debug
      SERPER_API_KEY: abc
    deploy: {resources: {limits: {memory: 512M}}}
  reply-agent:
    build: ./reply
    environment: ["OLLAMA_URL=http://ollama:11434", "DEPTH=${DEPTH}", "MODE=fast: really"]
"#;
    let folder = Folder::new("compose", &[("docker-compose.yml", compose)]);
    insta::assert_snapshot!(folder.written(NOWHERE).await);
}

#[tokio::test]
async fn a_large_inventory_without_phases_gets_the_products_own() {
    let rows: String = (0..40).map(|i| format!("agent-{i}\n")).collect();
    let folder = Folder::new("large", &[("agents.csv", &format!("name\n{rows}"))]);
    let text = folder.written(NOWHERE).await;
    assert!(text.contains("# Phases: 10, 25, 50 and 100 %") && !text.contains("phases:\n"), "{text}");
}
