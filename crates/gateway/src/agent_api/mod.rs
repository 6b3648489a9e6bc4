//! The protocols that the seed's agents speak, for an instance that is known.
//!
//! Two dialects lead to the same machine: what differs are paths and the form of questions and answers.

mod asking;
mod first;
mod report;
mod second;

use std::sync::Arc;

use bellwether_core::spec::TaskMode;
use hyper::{HeaderMap, Method, StatusCode, http::uri::PathAndQuery};
use serde::Serialize;
use serde_json::{Map, Value};

pub(crate) use self::{
    asking::{ATTEMPT, TASK},
    report::{id as id_of, judged},
};
use crate::{
    body::{self, Request, Response},
    door::Door,
    heir::gate::Visit,
    problem::{method_not_allowed, problem},
    relay,
    target::Target,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call<'a> {
    Register,
    Heartbeat,
    Next {
        agent_type: &'a str,
    },
    Progress,
    Complete,
    Health,
    /// Of the second dialect, as are those that follow.
    RegisterNamed,
    Beat {
        name: &'a str,
    },
    Tasks {
        name: &'a str,
    },
    Status {
        id: &'a str,
    },
    Goodbye {
        name: &'a str,
    },
}

impl<'a> Call<'a> {
    pub(crate) fn of(path: &'a str) -> Option<Self> {
        let only = |name: &'a str| (!name.is_empty() && !name.contains('/')).then_some(name);
        Some(match path {
            "/api/agents/register" => Self::Register,
            "/api/agents/heartbeat" => Self::Heartbeat,
            "/api/tasks/progress" => Self::Progress,
            "/api/tasks/complete" => Self::Complete,
            "/health" => Self::Health,
            "/api/v1/agents/register" => Self::RegisterNamed,
            _ => {
                if let Some(agent_type) = path.strip_prefix("/api/tasks/next/") {
                    return Some(Self::Next { agent_type });
                }
                if let Some(of_task) = path.strip_prefix("/api/v1/tasks/") {
                    return only(of_task.strip_suffix("/status")?).map(|id| Self::Status { id });
                }
                let of_agent = path.strip_prefix("/api/v1/agents/")?;
                match of_agent.split_once('/') {
                    None => Self::Goodbye { name: only(of_agent)? },
                    Some((name, "heartbeat")) => Self::Beat { name: only(name)? },
                    Some((name, "tasks")) => Self::Tasks { name: only(name)? },
                    Some(_) => return None,
                }
            }
        })
    }

    fn method(self) -> &'static str {
        match self {
            Self::Register
            | Self::Heartbeat
            | Self::Progress
            | Self::Complete
            | Self::RegisterNamed
            | Self::Beat { .. } => "POST",
            Self::Next { .. } | Self::Health | Self::Tasks { .. } => "GET",
            Self::Status { .. } => "PUT",
            Self::Goodbye { .. } => "DELETE",
        }
    }
}

/// `path`: below what names the instance.
pub(crate) async fn answer(door: &Arc<Door>, target: &Arc<Target>, path: &PathAndQuery, request: Request) -> Response {
    let Some(call) = Call::of(path.path()) else {
        return match &door.backend {
            Some(backend) => backend.pass_on(target, path, request).await,
            None => problem(StatusCode::NOT_FOUND, "there is nothing at this path"),
        };
    };
    if request.method().as_str() != call.method() {
        return method_not_allowed(call.method());
    }
    // Needed only where the backend is asked too.
    let headers = door.backend.as_ref().map(|_| relay::passed(request.headers())).unwrap_or_default();
    let visit = Visit::of(&request);
    let asked = Asked { door, target, path, headers: &headers, visit: visit.as_deref() };
    let answered = match call {
        Call::Register => first::register(asked, request).await,
        Call::Heartbeat => first::heartbeat(asked, request).await,
        Call::Next { agent_type } => first::next(asked, agent_type, &request).await,
        Call::Progress => first::progress(asked, request).await,
        Call::Complete => first::complete(asked, request).await,
        Call::Health => Ok(health(door, target)),
        Call::RegisterNamed => second::register(asked, request).await,
        Call::Beat { name } => second::heartbeat(asked, name, request).await,
        Call::Tasks { name } => second::tasks(asked, name, &request).await,
        Call::Status { id } => second::status(asked, id, request).await,
        Call::Goodbye { name } => second::goodbye(asked, name, request).await,
    };
    answered.unwrap_or_else(|refusal| refusal)
}

/// What every call has at hand.
#[derive(Clone, Copy)]
struct Asked<'a> {
    door: &'a Arc<Door>,
    target: &'a Arc<Target>,
    path: &'a PathAndQuery,
    /// Those that the backend gets too.
    headers: &'a HeaderMap,
    visit: Option<&'a Visit>,
}

impl Asked<'_> {
    /// The backend's own answer to a notice, where tasks are its and it gave one; else ours.
    async fn or_of_backend(self, method: Method, body: bytes::Bytes, ours: Response) -> Response {
        match &self.door.backend {
            Some(backend) if self.is_active() => {
                // What is ours is done.
                self.visit.inspect(|visit| visit.step_out());
                backend.notice(method, self.path, self.headers, body).await.unwrap_or(ours)
            }
            Some(_) | None => ours,
        }
    }

    /// Whether new tasks and requests come to this instance.
    fn is_active(self) -> bool {
        let table = self.door.board.table.load();
        table.active(self.target.card.agent.as_str()).is_some_and(|active| Arc::ptr_eq(active, self.target))
    }

    fn relays(self) -> bool {
        self.door.tasks.mode == TaskMode::Relay
    }
}

#[derive(Serialize)]
struct Word<'a> {
    status: &'a str,
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
    active: bool,
    heartbeat_age_ms: Option<u64>,
    /// What the instance said of itself last.
    heartbeat: Option<Map<String, Value>>,
}

fn health(door: &Door, target: &Arc<Target>) -> Response {
    let table = door.board.table.load();
    let active = table.active(target.card.agent.as_str()).is_some_and(|active| Arc::ptr_eq(active, target));
    let heartbeat = target.heartbeat();
    let age = heartbeat.as_ref().map(|it| u64::try_from(it.at.elapsed().as_millis()).unwrap_or(u64::MAX));
    let health = Health { status: "ok", active, heartbeat_age_ms: age, heartbeat: heartbeat.map(|it| it.fields) };
    body::json(StatusCode::OK, &health)
}

/// For who cannot be told apart: that the gateway is there.
pub(crate) fn health_of_gateway() -> Response {
    body::json(StatusCode::OK, &Word { status: "ok" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_paths_are_known_in_both_dialects() {
        assert_eq!(Call::of("/api/tasks/next/monitor"), Some(Call::Next { agent_type: "monitor" }));
        assert_eq!(Call::of("/api/v1/agents/register"), Some(Call::RegisterNamed));
        assert_eq!(Call::of("/api/v1/agents/a/heartbeat"), Some(Call::Beat { name: "a" }));
        assert_eq!(Call::of("/api/v1/agents/a/tasks"), Some(Call::Tasks { name: "a" }));
        assert_eq!(Call::of("/api/v1/agents/a"), Some(Call::Goodbye { name: "a" }));
        assert_eq!(Call::of("/api/v1/tasks/t1/status"), Some(Call::Status { id: "t1" }));
        for other in ["/api/tags", "/api/v1/agents/", "/api/v1/agents/a/b", "/api/v1/tasks/t1", "/api/v1/tasks//status"]
        {
            assert_eq!(Call::of(other), None, "{other}");
        }
    }
}
