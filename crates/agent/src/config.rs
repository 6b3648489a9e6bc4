//! What an agent needs to know before it starts.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{base::Base, fault::Fault};

#[derive(Clone, Debug)]
pub struct Config {
    pub agent_name: String,
    pub agent_type: String,
    pub model: String,
    /// Given to the model with each prompt.
    pub system: Option<String>,
    pub backend: Base,
    pub ollama: Base,
    /// The model is loaded before the first task is taken, and kept for so long after each use; in Ollama's words: `30m`,
    /// or `-1` for ever.
    pub preload: Option<String>,
    /// Tasks held at once.
    pub concurrency: usize,
    /// Between two questions for a task when there was none. Up to a quarter more or less is drawn, so that
    /// a fleet does not ask in step.
    pub idle: Duration,
    /// Where `/health`, `/ready` and `/metrics` are served.
    pub listen: Option<SocketAddr>,
    /// What is wrong with it on purpose.
    pub fault: Option<Fault>,
    /// The fault sleeps until this file is there.
    pub fault_from: Option<PathBuf>,
    /// How long it does nothing before it registers, as agents do that load much.
    pub boot_delay: Duration,
    /// Memory that it holds for nothing, as such agents do.
    pub ballast_bytes: u64,
    pub limits: Limits,
}

/// Times and bounds that rarely change. The defaults are those of the agents that this base replaces,
/// where those had one.
#[derive(Clone, Debug)]
pub struct Limits {
    pub heartbeat_every: Duration,
    pub heartbeat_timeout: Duration,
    /// Register and complete.
    pub backend_timeout: Duration,
    /// Next. The backend is asked to hold the question for a little less.
    pub next_timeout: Duration,
    /// How long to go on reporting a finished task to a backend that cannot be reached.
    pub report_for: Duration,
    /// How long what is held may take to finish after the agent was asked to end.
    pub drain: Duration,
    pub model_connections: usize,
    pub connect_timeout: Duration,
    /// Without a byte from the model server.
    pub model_read_timeout: Duration,
    /// For a connection of the pool. The agents that this base replaces gave up after 60 s; where hundreds share two
    /// slots, that fails tasks for nothing but waiting.
    pub acquire_timeout: Duration,
    /// On a quiet connection the kernel asks after so long whether the other side is still there.
    pub keep_alive: Duration,
    /// An idle connection is closed after so long.
    pub connection_idle: Duration,
    /// How long the first connection to the model server is tried for before tasks are taken without it.
    pub warm_up: Duration,
    /// Consecutive failures of the model server after which no task is taken for `breaker_open`.
    pub breaker_failures: u32,
    pub breaker_open: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            heartbeat_every: Duration::from_secs(30),
            heartbeat_timeout: Duration::from_secs(5),
            backend_timeout: Duration::from_secs(10),
            next_timeout: Duration::from_secs(60),
            report_for: Duration::from_secs(120),
            drain: Duration::from_secs(30),
            model_connections: 2,
            connect_timeout: Duration::from_secs(30),
            model_read_timeout: Duration::from_secs(300),
            acquire_timeout: Duration::from_secs(300),
            keep_alive: Duration::from_secs(300),
            connection_idle: Duration::from_secs(30 * 60),
            warm_up: Duration::from_secs(10),
            breaker_failures: 5,
            breaker_open: Duration::from_secs(30),
        }
    }
}

/// A variable whose value cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the environment variable {variable} has the unusable value {value:?}")]
pub struct BadConfig {
    pub variable: &'static str,
    pub value: String,
}

impl Config {
    /// The fault that acts now.
    pub(crate) fn faulty(&self) -> Option<Fault> {
        self.fault.filter(|_| self.fault_from.as_deref().is_none_or(Path::exists))
    }

    /// From `AGENT_NAME`, `AGENT_TYPE`, `MODEL_NAME`, `BACKEND_URL`, `OLLAMA_BASE_URL` (or `OLLAMA_URL`, or
    /// `OLLAMA_HOST`), `PORT` (or `HEALTH_PORT`), `BELLWETHER_ADDRESS` and `BELLWETHER_IDLE_MS`, each with a
    /// default.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, BadConfig> {
        let set = |variable: &'static str| Some((variable, lookup(variable).filter(|value| !value.is_empty())?));
        let or = |variable, default: &str| set(variable).map_or_else(|| default.to_owned(), |(_, value)| value);
        let ollama = set("OLLAMA_BASE_URL").or_else(|| set("OLLAMA_URL")).or_else(|| set("OLLAMA_HOST"));
        let address = parsed(set("BELLWETHER_ADDRESS"))?.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let port = parsed::<u16>(set("PORT").or_else(|| set("HEALTH_PORT")))?;
        Ok(Self {
            agent_name: or("AGENT_NAME", "agent"),
            agent_type: or("AGENT_TYPE", "general"),
            model: or("MODEL_NAME", "tinyllama"),
            system: None,
            backend: base("BACKEND_URL", set("BACKEND_URL"), "http://127.0.0.1:8000")?,
            ollama: base("OLLAMA_BASE_URL", ollama, "http://127.0.0.1:11434")?,
            preload: None,
            concurrency: 3,
            idle: Duration::from_millis(parsed(set("BELLWETHER_IDLE_MS"))?.unwrap_or(1000)),
            listen: port.map(|port| SocketAddr::new(address, port)),
            fault: None,
            fault_from: None,
            boot_delay: Duration::ZERO,
            ballast_bytes: 0,
            limits: Limits::default(),
        })
    }
}

fn base(name: &'static str, set: Option<(&'static str, String)>, default: &str) -> Result<Base, BadConfig> {
    let (variable, value) = set.unwrap_or_else(|| (name, default.to_owned()));
    Base::parse(&value).ok_or(BadConfig { variable, value })
}

fn parsed<T: std::str::FromStr>(set: Option<(&'static str, String)>) -> Result<Option<T>, BadConfig> {
    set.map(|(variable, value)| value.parse().map_err(|_unusable| BadConfig { variable, value })).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(set: &'static [(&str, &str)]) -> Result<Config, BadConfig> {
        Config::from_lookup(|variable| set.iter().find(|(name, _)| *name == variable).map(|(_, v)| (*v).to_owned()))
    }

    #[test]
    fn the_server_is_on_the_address_of_the_instance() {
        let config = from(&[("PORT", "8080"), ("BELLWETHER_ADDRESS", "127.64.0.7")]).unwrap();
        assert_eq!(config.listen, Some(SocketAddr::from(([127, 64, 0, 7], 8080))));
        assert_eq!(from(&[("HEALTH_PORT", "81")]).unwrap().listen, Some(SocketAddr::from(([127, 0, 0, 1], 81))));
        assert_eq!(from(&[]).unwrap().listen, None);
    }

    #[test]
    fn the_most_exact_name_of_the_model_server_wins() {
        let config = from(&[("OLLAMA_HOST", "a:1"), ("OLLAMA_BASE_URL", "http://b:2/i/t/ollama")]).unwrap();
        assert_eq!(config.ollama, Base::parse("http://b:2/i/t/ollama").unwrap());
    }

    #[test]
    fn a_bad_value_names_its_variable() {
        assert_eq!(from(&[("PORT", "many")]).unwrap_err().variable, "PORT");
        assert_eq!(from(&[("OLLAMA_HOST", "https://x")]).unwrap_err().variable, "OLLAMA_HOST");
        assert_eq!(from(&[("BELLWETHER_IDLE_MS", "-1")]).unwrap_err().variable, "BELLWETHER_IDLE_MS");
    }
}
