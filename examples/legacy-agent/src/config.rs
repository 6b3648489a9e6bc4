//! What the agent reads from its environment.

use std::{env, fmt, time::Duration};

use crate::{http::Base, log::Level};

/// Everything that differs from one agent to the next.
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) agent_name: String,
    pub(crate) agent_type: String,
    pub(crate) backend: Base,
    pub(crate) ollama: Base,
    pub(crate) model: String,
    pub(crate) idle: Duration,
    /// It does nothing for this long before it registers, as agents do that load much.
    pub(crate) boot: Duration,
    /// Memory that it holds for nothing, in MiB, as such agents do.
    pub(crate) ballast_mb: usize,
    pub(crate) level: Level,
}

/// A variable whose value cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadConfig {
    variable: &'static str,
    value: String,
}

impl fmt::Display for BadConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the environment variable {} has the unusable value {:?}", self.variable, self.value)
    }
}

impl std::error::Error for BadConfig {}

impl Config {
    /// `AGENT_NAME`, `AGENT_TYPE`, `BACKEND_URL`, `OLLAMA_URL`, `MODEL_NAME`, `LOG_LEVEL`,
    /// `LEGACY_IDLE_MS`, `BOOT_SECONDS` and `BALLAST_MB`, each with the default of the agents that this one stands for.
    pub fn from_env() -> Result<Self, BadConfig> {
        Self::from_lookup(|variable| env::var(variable).ok())
    }

    /// As [`Config::from_env`], from any source of variables.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, BadConfig> {
        let or = |variable: &str, default: &str| {
            lookup(variable).filter(|value| !value.is_empty()).unwrap_or_else(|| default.to_owned())
        };
        let base = |variable: &'static str, default: &str| {
            let value = or(variable, default);
            Base::parse(&value).ok_or(BadConfig { variable, value })
        };
        Ok(Self {
            agent_name: or("AGENT_NAME", "legacy-agent"),
            agent_type: or("AGENT_TYPE", "general"),
            backend: base("BACKEND_URL", "http://localhost:8000")?,
            ollama: base("OLLAMA_URL", "http://localhost:11434")?,
            model: or("MODEL_NAME", "tinyllama"),
            idle: Duration::from_millis(number("LEGACY_IDLE_MS", &lookup)?.unwrap_or(5000)),
            boot: Duration::from_secs(number("BOOT_SECONDS", &lookup)?.unwrap_or(0)),
            ballast_mb: number("BALLAST_MB", &lookup)?.unwrap_or(0),
            level: Level::named(&or("LOG_LEVEL", "INFO")),
        })
    }
}

fn number<T: std::str::FromStr>(
    variable: &'static str,
    lookup: impl Fn(&str) -> Option<String>,
) -> Result<Option<T>, BadConfig> {
    let value = lookup(variable).filter(|value| !value.is_empty());
    value.map(|value| value.parse().map_err(|_not_a_number| BadConfig { variable, value })).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_environment_has_the_defaults_of_the_seed() {
        let config = Config::from_lookup(|_| None).unwrap();
        assert_eq!(config.model, "tinyllama");
        assert_eq!(config.idle, Duration::from_secs(5));
        assert_eq!(config.backend, Base::parse("http://localhost:8000").unwrap());
    }

    #[test]
    fn a_bad_value_names_its_variable() {
        let with = |name: &'static str, value: &'static str| {
            Config::from_lookup(move |variable| (variable == name).then(|| value.to_owned())).unwrap_err().to_string()
        };
        assert!(with("BACKEND_URL", "https://host").contains("BACKEND_URL"));
        assert!(with("LEGACY_IDLE_MS", "soon").contains("LEGACY_IDLE_MS"));
        assert!(with("BALLAST_MB", "-1").contains("BALLAST_MB"));
    }
}
