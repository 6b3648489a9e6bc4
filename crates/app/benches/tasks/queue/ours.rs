//! The gateway: each client submits for one agent, and is that agent.

use serde_json::Value;

use super::payload;
use crate::{
    http::Connection,
    measure::{self, Queue, Row},
    options::Options,
    stage::{Agent, Scratch, Stage, until},
};

const NAME: &str = "bellwether";

pub(crate) fn measure(options: &Options, connections: usize) -> Result<Row, String> {
    let scratch = Scratch::new()?;
    let stage = Stage::set(&scratch, connections)?;
    let clients = stage.agents.iter().map(|agent| Client::ready(&stage, agent, options.payload));
    let clients = clients.collect::<Result<Vec<_>, _>>()?;
    measure::measure(NAME, options.span(), clients)
}

struct Client {
    connection: Connection,
    agent: Agent,
    payload: String,
    held: String,
}

impl Client {
    /// When what is submitted for the agent goes to it.
    fn ready(stage: &Stage, agent: &Agent, bytes: usize) -> Result<Box<dyn Queue>, String> {
        stage.wake(agent)?;
        let connection = stage.connect()?;
        let mut client = Self { connection, agent: agent.clone(), payload: payload(bytes), held: String::new() };
        client.submit(u64::MAX)?;
        // The controller has to see it ask before it gives it traffic.
        let client = std::cell::RefCell::new(client);
        until("the agent gets its first task", || client.borrow_mut().take().ok())?;
        let mut client = client.into_inner();
        client.complete()?;
        Ok(Box::new(client))
    }
}

impl Queue for Client {
    fn submit(&mut self, number: u64) -> Result<(), String> {
        let Self { agent: Agent { name, .. }, payload, .. } = self;
        let task = format!("{{\"id\":\"{name}-{number}\",\"agent\":\"{name}\",\"prompt\":\"{payload}\"}}");
        let answer = self.connection.post("/tasks", &task).and_then(|answer| answer.expect(202));
        answer.map(drop).map_err(|error| error.to_string())
    }

    fn take(&mut self) -> Result<(), String> {
        let path = format!("{}/api/tasks/next/worker", self.agent.base);
        let answer = self.connection.get(&path).and_then(|answer| answer.expect(200));
        let answer = answer.map_err(|error| error.to_string())?;
        let task: Value = serde_json::from_slice(&answer.body).map_err(|error| error.to_string())?;
        self.held = task["id"].as_str().unwrap_or_default().to_owned();
        Ok(())
    }

    fn complete(&mut self) -> Result<(), String> {
        let path = format!("{}/api/tasks/complete", self.agent.base);
        let Self { agent: Agent { name, .. }, payload, held, .. } = self;
        let report = format!(
            "{{\"task_id\":\"{held}\",\"agent_name\":\"{name}\",\"status\":\"completed\",\"result\":\"{payload}\"}}"
        );
        let answer = self.connection.post(&path, &report).and_then(|answer| answer.expect(200));
        answer.map(drop).map_err(|error| error.to_string())
    }
}
