//! The whole agent against a small gateway in this process.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic")]

mod drain;
mod faults;
mod gateway;
mod health;
mod metrics;
mod progress;
mod prometheus;
mod pull;
mod tasks;
mod trace;

use std::time::Duration;

use bellwether_agent::{Base, Config, Ended, Handler, PromptHandler, StartError, run};
use gateway::{Gateway, Reply, Seen, status};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const NEXT: &str = "api/tasks/next/security";
const GENERATE: &str = "ollama/api/generate";
const VERSION: &str = "ollama/api/version";
const PROGRESS: &str = "api/tasks/progress";
const COMPLETE: &str = "api/tasks/complete";
const HEARTBEAT: &str = "api/agents/heartbeat";
const REGISTER: &str = "api/agents/register";

struct Running {
    shutdown: CancellationToken,
    agent: JoinHandle<Result<Ended, StartError>>,
}

impl Running {
    async fn end(self) -> Ended {
        self.shutdown.cancel();
        self.agent.await.unwrap().unwrap()
    }
}

fn config(gateway: &Gateway) -> Config {
    let mut config = Config::from_lookup(|_| None).unwrap();
    config.agent_name = "auditor".into();
    config.agent_type = "security".into();
    config.model = "phi".into();
    config.backend = Base::parse(&gateway.url()).unwrap();
    config.ollama = Base::parse(&format!("{}/ollama", gateway.url())).unwrap();
    config.idle = Duration::from_millis(10);
    config
}

fn start(config: Config) -> Running {
    start_with(config, PromptHandler)
}

fn start_with(config: Config, handler: impl Handler) -> Running {
    let shutdown = CancellationToken::new();
    let agent = tokio::spawn(run(config, handler, shutdown.clone()));
    Running { shutdown, agent }
}

/// Hands out `tasks` in order and then none; says yes to all else that is not about the model.
fn backend(seen: &Seen, nth: usize, tasks: &[&str]) -> Reply {
    match seen.path.as_str() {
        NEXT => tasks.get(nth).map_or_else(
            || status(204),
            |id| gateway::json(format!(r#"{{"id":"{id}","attempt":1,"prompt":"p-{id}"}}"#)),
        ),
        _ => gateway::json("{}"),
    }
}

fn completes(id: &'static str) -> impl Fn(&Seen) -> bool {
    move |seen| seen.path == COMPLETE && seen.body["task_id"] == id
}
