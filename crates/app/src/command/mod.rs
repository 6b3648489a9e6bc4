//! One file per command.

pub(crate) mod agent;
pub(crate) mod backup;
pub(crate) mod bench;
pub(crate) mod check;
pub(crate) mod demo;
pub(crate) mod drill;
pub(crate) mod explain;
pub(crate) mod gateway;
pub(crate) mod init;
pub(crate) mod internal;
pub(crate) mod legacy_agent;
pub(crate) mod load;
pub(crate) mod plan;
pub(crate) mod restore;
pub(crate) mod rollout;
pub(crate) mod serve;
pub(crate) mod sim_ollama;
pub(crate) mod simulate;
pub(crate) mod tasks;
pub(crate) mod upgrade;
