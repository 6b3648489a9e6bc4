//! A way through a proxy to the upstream.

use std::net::SocketAddr;

use serde::Serialize;

use crate::fleet;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Way {
    Nginx,
    Haproxy,
    /// `/a/{agent}/…` of the gateway.
    Push,
    /// `/i/{token}/ollama/…` of the gateway: a model call of an instance, with admission and breaker.
    Model,
}

impl Way {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Push => "gateway, push route",
            Self::Model => "gateway, model route",
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) way: Way,
    pub(crate) address: SocketAddr,
    /// The proxy, whose children count with it.
    pub(crate) pid: u32,
}

impl Route {
    /// What comes before the upstream's own path.
    pub(crate) fn prefix(&self) -> String {
        match self.way {
            Way::Nginx | Way::Haproxy => String::new(),
            Way::Push => format!("/a/{}", fleet::AGENT),
            Way::Model => format!("/i/{}/ollama", fleet::TOKEN),
        }
    }
}
