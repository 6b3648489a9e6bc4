//! The processes of the run.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use serde_json::Value;

use super::{Plan, fleet};
use crate::common::{
    account::Account,
    control,
    hunt::{Family, Held},
    process::Process,
};

const READY_MAX: Duration = Duration::from_secs(180);
/// How long the generator asks again where answers are lost: longer than anything is ever away.
const REPEAT_FOR: &str = "120s";

pub(super) struct World {
    dir: PathBuf,
    program: PathBuf,
    /// The same over the whole run, whoever serves.
    pub(super) gateway: String,
    pub(super) control: String,
    ollama: String,
    serve: Process,
    lives: u32,
    _ollama: Process,
}

/// The load generator, at work.
pub(super) struct Load(Process);

/// What the driver knows of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Instance {
    pub(super) pid: u64,
    pub(super) asked: bool,
    pub(super) ended: bool,
}

impl World {
    /// Until all agents are served by blue.
    pub(super) fn start(plan: &Plan) -> Result<Self, String> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("bw-kills-{}-{number}", std::process::id()));
        let write = |name: &str, text: &str| fs::write(dir.join(name), text);
        let path = |name: &str| dir.join(name).display().to_string();
        let program = dir.join("bellwether");
        let script = fleet::script(&path("bellwether"), &path("pushed.py"));
        fs::create_dir_all(&dir)
            .and_then(|()| write("fleet.yaml", &fleet::fleet(plan, &path("agent.sh"))))
            .and_then(|()| write("release.yaml", fleet::release()))
            .and_then(|()| write("agent.sh", &script))
            .and_then(|()| write("pushed.py", fleet::PUSHED_AGENT))
            .and_then(|()| write("model-times.json", &fleet::model_times(plan)))
            // A build that goes on beside the run must not change what is started again.
            .and_then(|()| fs::copy(env!("CARGO_BIN_EXE_bellwether"), &program).map(drop))
            .map_err(|error| format!("{}: {error}", dir.display()))?;
        let (slots, times) = (fleet::SLOTS.to_string(), path("model-times.json"));
        let ollama =
            ["sim-ollama", "--listen", "127.0.0.1:0", "--slots", &slots, "--params", &times, "--output", "json"];
        let mut ollama = Process::start(&program, &ollama, &dir.join("sim-ollama.log"))?;
        let url = text(&ollama.says()?, "url")?;
        let mut serve = serve(&dir, &program, &url, ["127.0.0.1:0", "127.0.0.1:0"], 1)?;
        let served = serve.says()?;
        let (gateway, control) = (text(&served, "gateway")?, text(&served, "control")?);
        let world = Self { dir, program, gateway, control, ollama: url, serve, lives: 1, _ollama: ollama };
        let all = |status: &Value| control::on(status, "blue") == plan.agents + plan.pushed;
        control::until(&world.control, "/v1/status", READY_MAX, "all agents are on blue", all)?;
        Ok(world)
    }

    /// Another one on the same state and the same addresses, after the one before was killed.
    pub(super) fn serve_again(&mut self) -> Result<(), String> {
        self.lives += 1;
        let addresses = [&self.gateway, &self.control].map(|base| base.trim_start_matches("http://"));
        self.serve = serve(&self.dir, &self.program, &self.ollama, addresses, self.lives)?;
        Ok(())
    }

    /// Until it says that it serves.
    pub(super) fn is_served(&mut self) -> Result<(), String> {
        let lives = self.lives;
        self.serve.says().map(drop).map_err(|why| format!("serve {lives}: {why}"))
    }

    pub(super) fn family(&self) -> Family {
        Family { supervisor: self.serve.pid() }
    }

    pub(super) fn supervisor(&self) -> Option<Held> {
        Held::open(self.serve.pid())
    }

    pub(super) fn controller_log(&self) -> PathBuf {
        self.dir.join("state").join("logs").join("controller.log")
    }

    /// By number.
    pub(super) fn instances(&self) -> Result<BTreeMap<u64, Instance>, String> {
        let records = fs::read_dir(self.dir.join("state").join("instances")).map_err(|error| error.to_string())?;
        let records = records.flatten().filter(|entry| entry.path().extension().is_some_and(|it| it == "json"));
        let record = |path: PathBuf| {
            let record: Value = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
            let ended = !record["ended"].is_null();
            let asked = record["asked"].as_bool().unwrap_or(false);
            Some((record["instance"].as_u64()?, Instance { pid: record["pid"].as_u64()?, asked, ended }))
        };
        Ok(records.filter_map(|entry| record(entry.path())).collect())
    }

    pub(super) fn load(&self, plan: &Plan) -> Result<Load, String> {
        let (rate, seed) = (plan.tasks.to_string(), plan.seed.to_string());
        let settle = format!("{}ms", plan.settle.as_millis());
        let who = ["load", "--gateway", &self.gateway, "--rate", &rate, "--seed", &seed];
        let types = fleet::TYPES.map(|name| ["--type", name]).concat();
        let how = ["--until-stdin-closes", "--repeat-for", REPEAT_FOR, "--settle", &settle, "--output", "json"];
        let load = Process::start(&self.program, &[&who[..], &types, &how].concat(), &self.dir.join("load.log"))?;
        Ok(Load(load))
    }

    pub(super) fn commands(&self) -> Commands {
        let release = self.dir.join("release.yaml").display().to_string();
        Commands { program: self.program.clone(), control: self.control.clone(), release }
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
}

/// The commands of an operator.
pub(super) struct Commands {
    program: PathBuf,
    pub(super) control: String,
    release: String,
}

impl Commands {
    pub(super) fn roll_out(&self) -> Result<(), String> {
        self.give(&["rollout", "start", "--release", &self.release, "--by", "kills"])
    }

    pub(super) fn roll_back(&self) -> Result<(), String> {
        self.give(&["rollout", "rollback", "--reason", "kills", "--by", "kills"])
    }

    fn give(&self, arguments: &[&str]) -> Result<(), String> {
        let done = Command::new(&self.program)
            .args(arguments)
            .env("BELLWETHER_CONTROL", &self.control)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| error.to_string())?;
        if done.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&done.stderr).into_owned()) }
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

fn serve(dir: &Path, program: &Path, ollama: &str, [listen, api]: [&str; 2], life: u32) -> Result<Process, String> {
    let path = |name: &str| dir.join(name).display().to_string();
    let (fleet, state) = (path("fleet.yaml"), path("state"));
    let what = ["serve", "--fleet", &fleet, "--state", &state, "--ollama", ollama];
    let how = ["--listen", listen, "--control", api, "--stop-agents", "--end-with-parent", "--output", "json"];
    Process::start(program, &[&what[..], &how].concat(), &dir.join(format!("serve-{life}.log")))
}

fn text(value: &Value, name: &str) -> Result<String, String> {
    value[name].as_str().map(str::to_owned).ok_or_else(|| format!("no {name} in {value}"))
}
