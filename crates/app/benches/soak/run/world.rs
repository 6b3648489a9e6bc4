//! The processes of the run, and the commands of a user.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{
    Plan, fleet,
    held::Held,
    kills::Hunt,
    outcome::Way,
    results::{self, Results},
};
use crate::common::{account::Account, control, hunt::Family, process::Process};

const READY_MAX: Duration = Duration::from_secs(180);
const WAY_MAX: Duration = Duration::from_secs(600);
const TAKEN_MAX: Duration = Duration::from_secs(30);
/// How long the generator asks again where answers are lost: longer than a gateway is ever away.
const REPEAT_FOR: &str = "60s";

pub(super) struct World {
    dir: PathBuf,
    program: PathBuf,
    gateway: String,
    control: String,
    serve: Process,
    _ollama: Process,
}

/// The load generator, at work.
pub(super) struct Load(Process);

impl World {
    /// Until all agents are served by blue.
    pub(super) fn start(plan: &Plan) -> Result<Self, String> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("bw-soak-{}-{number}", std::process::id()));
        let write = |name: &str, text: &str| fs::write(dir.join(name), text);
        let path = |name: &str| dir.join(name).display().to_string();
        let program = dir.join("bellwether");
        fs::create_dir_all(&dir)
            .and_then(|()| write("fleet.yaml", &fleet::fleet(plan)))
            .and_then(|()| write("release.yaml", fleet::release()))
            .and_then(|()| write("model-times.json", &fleet::model_times(plan)))
            // A build that goes on beside the run must not change what the supervisor starts again.
            .and_then(|()| fs::copy(env!("CARGO_BIN_EXE_bellwether"), &program).map(drop))
            .map_err(|error| format!("{}: {error}", dir.display()))?;
        let slots = fleet::slots(plan).to_string();
        let (times, log) = (path("model-times.json"), dir.join("sim-ollama.log"));
        let ollama =
            ["sim-ollama", "--listen", "127.0.0.1:0", "--slots", &slots, "--params", &times, "--output", "json"];
        let mut ollama = Process::start(&program, &ollama, &log)?;
        let url = text(&ollama.says()?, "url")?;
        let (fleet, state) = (path("fleet.yaml"), path("state"));
        let serve = ["serve", "--fleet", &fleet, "--state", &state, "--ollama", &url, "--listen", "127.0.0.1:0"];
        let how = ["--control", "127.0.0.1:0", "--stop-agents", "--end-with-parent", "--output", "json"];
        let mut serve = Process::start(&program, &[&serve[..], &how].concat(), &dir.join("serve.log"))?;
        let served = serve.says()?;
        let (gateway, control) = (text(&served, "gateway")?, text(&served, "control")?);
        let world = Self { dir, program, gateway, control, serve, _ollama: ollama };
        world.until("all agents are on blue", READY_MAX, |status| control::on(status, "blue") == plan.agents)?;
        Ok(world)
    }

    pub(super) fn load(&self, plan: &Plan) -> Result<Load, String> {
        let (rate, seed) = (plan.rate.to_string(), plan.seed.to_string());
        let settle = format!("{}ms", plan.settle.as_millis());
        let (fleet, log) = (self.dir.join("fleet.yaml"), self.dir.join("load.log"));
        let fleet = fleet.display().to_string();
        let who = ["load", "--gateway", &self.gateway, "--fleet", &fleet, "--rate", &rate, "--seed", &seed];
        let how = ["--until-stdin-closes", "--repeat-for", REPEAT_FOR, "--settle", &settle, "--output", "json"];
        Process::start(&self.program, &[&who[..], &how].concat(), &log).map(Load)
    }

    /// Where those are that may be killed.
    pub(super) fn hunt(&self) -> Hunt {
        Hunt {
            family: Family { supervisor: self.serve.pid() },
            instances: self.dir.join("state").join("instances"),
            control: self.control.clone(),
        }
    }

    pub(super) fn until_submitted(&self, tasks: u64) -> Result<(), String> {
        let enough = |held: &Held| held.all() >= tasks;
        control::until(&self.gateway, "/tasks", WAY_MAX, &format!("{tasks} tasks"), enough).map(drop)
    }

    pub(super) fn counts(&self) -> Result<Held, String> {
        control::until(&self.gateway, "/tasks", TAKEN_MAX, "an answer", |_| true)
    }

    pub(super) fn results(&self, account: &Account) -> Result<Results, String> {
        results::of(&self.gateway, account).map_err(|error| format!("the results cannot be read: {error}"))
    }

    pub(super) fn roll_out(&self, plan: &Plan) -> Result<Way, String> {
        let began = Instant::now();
        let release = self.dir.join("release.yaml").display().to_string();
        let begun = |status: &Value| !status["rollout"].is_null();
        self.insist(&["rollout", "start", "--release", &release, "--by", "soak"], begun)?;
        let status = self.until("the rollout is over", WAY_MAX, |status| {
            !matches!(control::state(status), "preflight" | "progressing" | "validating" | "rolling_back")
        })?;
        let way = Way::of(&status, began, control::on(&status, "green"));
        if way.state == "completed" {
            self.until("all agents are on green", WAY_MAX, |status| control::on(status, "green") == plan.agents)?;
        }
        Ok(way)
    }

    pub(super) fn roll_back(&self) -> Result<Way, String> {
        let began = Instant::now();
        let begun =
            |status: &Value| matches!(control::state(status), "rolling_back" | "rolled_back" | "needs_attention");
        self.insist(&["rollout", "rollback", "--reason", "soak", "--by", "soak"], begun)?;
        let over = |status: &Value| matches!(control::state(status), "rolled_back" | "needs_attention");
        let status = self.until("the rollback is over", WAY_MAX, over)?;
        Ok(Way::of(&status, began, control::on(&status, "blue")))
    }

    /// The state is kept where something went wrong.
    pub(super) fn end(self, all_is_well: bool) -> Result<(), String> {
        let Self { dir, mut serve, .. } = self;
        serve.end()?;
        if all_is_well {
            return fs::remove_dir_all(&dir).map_err(|error| error.to_string());
        }
        eprintln!("state and logs are kept in {}", dir.display());
        Ok(())
    }

    /// Gives the command again as long as the controller, killed in the middle of it, did not take it.
    fn insist(&self, arguments: &[&str], is_taken: impl Fn(&Value) -> bool) -> Result<(), String> {
        let deadline = Instant::now() + TAKEN_MAX;
        loop {
            let refused = command(&self.program, &self.control, arguments).err();
            if self.until("an answer", TAKEN_MAX, |_| true).is_ok_and(|status| is_taken(&status)) {
                return Ok(());
            }
            if Instant::now() > deadline {
                let why = refused.unwrap_or_else(|| "it was said to be done".to_owned());
                return Err(format!("{} was not taken: {why}", arguments.join(" ")));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn until(&self, what: &str, within: Duration, will_do: impl Fn(&Value) -> bool) -> Result<Value, String> {
        control::until(&self.control, "/v1/status", within, what, will_do)
    }
}

impl Load {
    /// From here on counts are of the window of this name.
    pub(super) fn window(&mut self, name: &str) -> Result<(), String> {
        self.0.tell(name)
    }

    /// Ends the arrivals; waits until all that is open has ended, or has had its time.
    pub(super) fn account(self) -> Result<Account, String> {
        let said = self.0.last_words()?;
        serde_json::from_str(&said).map_err(|error| format!("{error} in {said:?}"))
    }
}

fn command(program: &Path, control: &str, arguments: &[&str]) -> Result<(), String> {
    let done = Command::new(program)
        .args(arguments)
        .env("BELLWETHER_CONTROL", control)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    if done.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&done.stderr).into_owned()) }
}

fn text(value: &Value, name: &str) -> Result<String, String> {
    value[name].as_str().map(str::to_owned).ok_or_else(|| format!("no {name} in {value}"))
}
