//! A model server, and the gateway in front of it.

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::llama::Llama;

pub(crate) const BIN: &str = env!("CARGO_BIN_EXE_bellwether");
const MODELS: [&str; 3] = ["a", "b", "c"];
/// Seconds that weights take to come from a disk. Those of the tiny models take none.
const LOAD_DELAY: &str = "0.2";
const SLOTS: &str = "2";

pub(crate) struct Engine {
    pub(crate) name: &'static str,
    /// As `bench model --api` knows it.
    pub(crate) api: &'static str,
    pub(crate) models: Vec<String>,
    pub(crate) straight: String,
    pub(crate) gateway: String,
    /// In the order in which they are to end.
    _front: Ours,
    _behind: Behind,
}

enum Behind {
    Simulated {
        _process: Ours,
    },
    Llama {
        _process: Llama,
    },
    /// It is not ours to end.
    Elsewhere,
}

impl Engine {
    /// With the frozen times.
    pub(crate) fn simulated() -> Result<Self, String> {
        let (ollama, url) = Ours::start(&["sim-ollama", "--listen", "127.0.0.1:0", "--models", &MODELS.join(",")])?;
        Self::behind_a_gateway(
            "simulated Ollama",
            "native",
            MODELS.map(str::to_owned).into(),
            url,
            Behind::Simulated { _process: ollama },
        )
    }

    /// With Ollama's own API beside OpenAI's, or without it.
    pub(crate) fn llama(python: &OsStr, native: bool) -> Result<Self, String> {
        let models = MODELS.join(",");
        let mut flags = vec!["--models", &models, "--slots", SLOTS, "--load-delay", LOAD_DELAY];
        let (name, api) = if native { ("llama.cpp, /api", "native") } else { ("llama.cpp, /v1 alone", "openai") };
        if !native {
            flags.push("--no-api");
        }
        let llama = Llama::start(Path::new(python), &flags)?;
        let url = llama.url.clone();
        Self::behind_a_gateway(name, api, MODELS.map(str::to_owned).into(), url, Behind::Llama { _process: llama })
    }

    /// Somebody's own, with the smallest of the models that it has.
    pub(crate) fn ollama(url: &str) -> Result<Self, String> {
        let url = url.trim_end_matches('/');
        let said = tags(url).map_err(|why| format!("BELLWETHER_TEST_OLLAMA, {url}: {why}"))?;
        let mut models: Vec<(u64, String)> = said["models"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|model| Some((model["size"].as_u64().unwrap_or(0), model["name"].as_str()?.to_owned())))
            .filter(|(_, name)| !name.contains("embed"))
            .collect();
        models.sort();
        models.truncate(MODELS.len());
        if models.is_empty() {
            return Err(format!("BELLWETHER_TEST_OLLAMA, {url}: it has no model that generates"));
        }
        let models = models.into_iter().map(|(_, name)| name).collect();
        Self::behind_a_gateway("real Ollama", "native", models, url.to_owned(), Behind::Elsewhere)
    }

    fn behind_a_gateway(
        name: &'static str,
        api: &'static str,
        models: Vec<String>,
        straight: String,
        behind: Behind,
    ) -> Result<Self, String> {
        let (front, gateway) =
            Ours::start(&["gateway", "--ollama", &straight, "--listen", "127.0.0.1:0", "--slots", SLOTS])?;
        Ok(Self { name, api, models, straight, gateway, _front: front, _behind: behind })
    }
}

fn tags(url: &str) -> Result<Value, String> {
    let authority = url.strip_prefix("http://").ok_or("it has to begin with http://")?;
    let mut stream = TcpStream::connect(authority).map_err(|error| error.to_string())?;
    // In the older version of HTTP an answer comes whole and ends with its connection.
    write!(stream, "GET /api/tags HTTP/1.0\r\nHost: {authority}\r\n\r\n").map_err(|error| error.to_string())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(|error| error.to_string())?;
    let (_, body) = answer.split_once("\r\n\r\n").ok_or("that is no answer")?;
    serde_json::from_str(body).map_err(|error| error.to_string())
}

/// A process of our own binary that says where it listens. Ends when it is dropped.
struct Ours {
    child: Child,
    /// Kept open, so that it can always write.
    output: BufReader<ChildStdout>,
}

impl Ours {
    fn start(words: &[&str]) -> Result<(Self, String), String> {
        let mut child = Command::new(BIN)
            .args(words)
            .args(["--output", "json"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| error.to_string())?;
        let output = BufReader::new(child.stdout.take().ok_or("it has no output")?);
        let mut ours = Self { child, output };
        let mut said = String::new();
        ours.output.read_line(&mut said).map_err(|error| error.to_string())?;
        let said: Value =
            serde_json::from_str(&said).map_err(|error| format!("{} said {said:?}: {error}", words[0]))?;
        let url = said["url"].as_str().ok_or("it says no address")?.to_owned();
        Ok((ours, url))
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // It may be gone; then there is nobody to tell.
            kill_process(pid, Signal::TERM).ok();
        }
        self.child.wait().ok();
    }
}
