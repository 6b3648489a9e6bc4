//! The agent's loop: next, process, complete, for ever.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use crate::{
    clock,
    config::Config,
    http::segment,
    json::Json,
    log::{Level, Log},
};

const HEARTBEAT_EVERY: Duration = Duration::from_secs(30);
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(5);
const BACKEND_TIMEOUT: Duration = Duration::from_secs(10);
const MODEL_TIMEOUT: Duration = Duration::from_secs(30);
const WAIT_AFTER_ERROR: Duration = Duration::from_secs(10);
/// The thread formats a line and reads an answer of a few bytes; hundreds of agents share one machine.
const HEARTBEAT_STACK_BYTES: usize = 128 << 10;

pub(crate) struct Agent {
    config: Arc<Config>,
    log: Log,
    tasks_processed: Arc<AtomicU64>,
}

enum Turn {
    Worked,
    Idle,
}

impl Agent {
    pub(crate) fn new(config: Config) -> Self {
        let log = Log { least: config.level };
        Self { config: Arc::new(config), log, tasks_processed: Arc::default() }
    }

    pub(crate) fn run(self) -> ! {
        // Touched, so that it is really there.
        let _ballast = std::hint::black_box(vec![1_u8; self.config.ballast_mb << 20]);
        thread::sleep(self.config.boot);
        self.register();
        self.start_heartbeat();
        loop {
            match self.turn() {
                Ok(Turn::Worked) => {}
                Ok(Turn::Idle) => thread::sleep(self.config.idle),
                Err(error) => {
                    self.log.write(Level::Error, error);
                    thread::sleep(WAIT_AFTER_ERROR);
                }
            }
        }
    }

    /// An agent that could not register goes on all the same.
    fn register(&self) {
        let body = Json::object([
            ("agent_name", Json::text(&self.config.agent_name)),
            ("agent_type", Json::text(&self.config.agent_type)),
            ("capabilities", Json::List(Vec::new())),
            ("status", Json::text("active")),
            ("timestamp", Json::text(clock::timestamp())),
        ]);
        match self.config.backend.post("api/agents/register", &body.to_string(), BACKEND_TIMEOUT) {
            Ok(answer) if answer.status == 200 => self.log.write(Level::Info, "registered"),
            Ok(answer) => self.log.write(Level::Warning, format_args!("not registered: status {}", answer.status)),
            Err(error) => self.log.write(Level::Warning, format_args!("not registered: {error}")),
        }
    }

    fn start_heartbeat(&self) {
        let (config, log, processed) = (self.config.clone(), self.log, self.tasks_processed.clone());
        let beat = move || {
            loop {
                heartbeat(&config, log, processed.load(Ordering::Relaxed));
                thread::sleep(HEARTBEAT_EVERY);
            }
        };
        let started = thread::Builder::new().name("heartbeat".into()).stack_size(HEARTBEAT_STACK_BYTES).spawn(beat);
        if let Err(error) = started {
            self.log.write(Level::Error, format_args!("no heartbeat: {error}"));
        }
    }

    fn turn(&self) -> Result<Turn, Trouble> {
        let Some(task) = self.next()? else { return Ok(Turn::Idle) };
        let id = task.get("id").ok_or(Trouble::Task("has no id"))?;
        let prompt = prompt(&task).ok_or(Trouble::Task("has neither prompt nor payload"))?;
        let answer = self.ask_model(&prompt);
        self.complete(id, answer)?;
        Ok(Turn::Worked)
    }

    fn next(&self) -> Result<Option<Json>, Trouble> {
        let path = format!("api/tasks/next/{}", segment(&self.config.agent_type));
        let answer =
            self.config.backend.get(&path, BACKEND_TIMEOUT).map_err(|error| Trouble::Next(error.to_string()))?;
        match answer.status {
            204 => Ok(None),
            200 if answer.body.trim_ascii().is_empty() => Ok(None),
            200 => match Json::parse(&answer.body) {
                Some(Json::Null) => Ok(None),
                Some(task) => Ok(Some(task)),
                None => Err(Trouble::Task("is not JSON")),
            },
            status => Err(Trouble::Next(format!("status {status}"))),
        }
    }

    /// Whatever goes wrong, the answer is empty and the task goes on.
    fn ask_model(&self, prompt: &str) -> String {
        let body = Json::object([
            ("model", Json::text(&self.config.model)),
            ("prompt", Json::text(prompt)),
            ("stream", Json::Bool(false)),
        ]);
        let failure = match self.config.ollama.post("api/generate", &body.to_string(), MODEL_TIMEOUT) {
            Ok(answer) if answer.status == 200 => match Json::parse(&answer.body) {
                Some(answer) => return answer.get("response").and_then(Json::as_text).unwrap_or_default().to_owned(),
                None => "the answer is not JSON".to_owned(),
            },
            Ok(answer) => format!("status {}", answer.status),
            Err(error) => error.to_string(),
        };
        self.log.write(Level::Error, format_args!("model call failed: {failure}"));
        String::new()
    }

    fn complete(&self, id: &Json, result: String) -> Result<(), Trouble> {
        let body = Json::object([
            ("task_id", id.clone()),
            ("agent_name", Json::text(&self.config.agent_name)),
            ("status", Json::text("completed")),
            ("result", Json::text(result)),
            ("timestamp", Json::text(clock::timestamp())),
        ]);
        let answer = self
            .config
            .backend
            .post("api/tasks/complete", &body.to_string(), BACKEND_TIMEOUT)
            .map_err(|error| Trouble::Complete(error.to_string()))?;
        if answer.status == 200 {
            self.tasks_processed.fetch_add(1, Ordering::Relaxed);
        } else {
            self.log.write(Level::Warning, format_args!("completion of {id} dropped: status {}", answer.status));
        }
        Ok(())
    }
}

fn heartbeat(config: &Config, log: Log, tasks_processed: u64) {
    let body = Json::object([
        ("agent_name", Json::text(&config.agent_name)),
        ("status", Json::text("active")),
        ("tasks_processed", Json::Number(tasks_processed.to_string())),
        ("timestamp", Json::text(clock::timestamp())),
    ]);
    match config.backend.post("api/agents/heartbeat", &body.to_string(), HEARTBEAT_TIMEOUT) {
        Ok(answer) if answer.status == 200 => log.write(Level::Debug, "heartbeat"),
        Ok(answer) => log.write(Level::Warning, format_args!("heartbeat refused: status {}", answer.status)),
        Err(error) => log.write(Level::Warning, format_args!("heartbeat failed: {error}")),
    }
}

/// The text for the model: the prompt, or else the payload as it stands.
fn prompt(task: &Json) -> Option<String> {
    let payload = || match task.get("payload")? {
        Json::Null => None,
        Json::Text(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    task.get("prompt").and_then(Json::as_text).map(str::to_owned).or_else(payload)
}

/// Why a turn ended without a report.
enum Trouble {
    Next(String),
    Task(&'static str),
    Complete(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Next(why) => write!(f, "no next task: {why}"),
            Self::Task(why) => write!(f, "a task cannot be processed: it {why}"),
            Self::Complete(why) => write!(f, "a completion could not be sent: {why}"),
        }
    }
}
