//! The demo: a fleet file, `serve`, `rollout start`, a watch and a load generator, put together. It uses the
//! commands that a user has, and no path of its own through the product.

mod children;
mod files;
mod memory;
mod outcome;

use std::{
    io::Write,
    path::PathBuf,
    time::{Duration, Instant},
};

use bellwether_control::types::{Report, Started, Status};
use bellwether_core::{diagnostic::Diagnostic, id::Side, rollout::State, time::Millis};
use rustix::process::Pid;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use self::{
    children::Process,
    files::Files,
    memory::{MemoryWatch, family},
    outcome::{Requests, Summary, Tasks},
};
use crate::{
    client::Control,
    command::rollout,
    failure::Failure,
    load::{Handle, Load, Options, Targets},
    view::{Frame, Narrator, Screen, frame},
};

/// What a demo is asked for.
pub(crate) struct Demo {
    pub(crate) speed: f64,
    pub(crate) baseline: Millis,
    /// Tasks per second.
    pub(crate) rate: f64,
    /// A real model server instead of the simulated one.
    pub(crate) ollama: Option<String>,
    /// Of the arrivals.
    pub(crate) seed: u64,
    pub(crate) keep: bool,
    pub(crate) quiet: bool,
}

#[derive(Deserialize)]
struct Served {
    gateway: String,
    control: String,
}

#[derive(Deserialize)]
struct Simulated {
    url: String,
}

const BOOT_MAX: Duration = Duration::from_secs(60);
const BEAT: Duration = Duration::from_millis(250);
const SETTLE_MAX: Duration = Duration::from_secs(30);
const END_MAX: Duration = Duration::from_secs(15);
/// The load runs this long before the baseline begins, so that connections and models are warm.
const WARM_UP: Duration = Duration::from_secs(3);

impl Demo {
    /// Runs everything and leaves nothing behind, also when it fails or is interrupted.
    pub(crate) async fn run(self) -> Result<Summary, Failure> {
        let mut files = Files::write(self.keep).map_err(cannot_prepare)?;
        // What outlives its parent comes to the demo, which then ends it.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid())).map_err(cannot_prepare)?;
        let memory = MemoryWatch::start();
        let stop = CancellationToken::new();
        let signals = tokio::spawn(on_signal(stop.clone()));
        let mut processes = Processes::default();
        let result = tokio::select! {
            result = self.drive(&files, &mut processes, &memory) => result,
            () = stop.cancelled() => Err(interrupted()),
        };
        signals.abort();
        let ended = processes.end().await;
        if result.is_err() && !stop.is_cancelled() {
            files.keep();
        }
        ended?;
        result
    }

    async fn drive(&self, files: &Files, processes: &mut Processes, memory: &MemoryWatch) -> Result<Summary, Failure> {
        let ollama = match &self.ollama {
            Some(url) => url.clone(),
            None => {
                let arguments = ["sim-ollama", "--listen", "127.0.0.1:0", "--output", "json"].map(String::from);
                let simulated = processes.start("the simulated Ollama", &arguments)?;
                simulated.says::<Simulated>().await?.url
            }
        };
        let path = |path: &PathBuf| path.display().to_string();
        let arguments = [
            "serve",
            "--fleet",
            &path(&files.fleet),
            "--state",
            &path(&files.state),
            "--listen",
            "127.0.0.1:0",
            "--control",
            "127.0.0.1:0",
            "--ollama",
            &ollama,
            "--stop-agents",
            "--end-with-parent",
            "--output",
            "json",
        ];
        let served: Served = processes.start("serve", &arguments.map(String::from))?.says().await?;
        let control = Control::new(&served.control);
        let mut watch = Watch::new(self.quiet);
        watch.say(&format!("gateway {} · control {} · model server {ollama}", served.gateway, served.control))?;
        self.booted(&control, &mut watch).await?;

        let load = self.load(&served.gateway, files)?;
        tokio::time::sleep(WARM_UP).await;
        let request = rollout::request(&files.release, self.speed, Some(self.baseline), "demo")?;
        let started: Started = control.post("/v1/rollouts", &request).await?;
        load.mark("baseline");
        let status = follow(&control, &load, &mut watch).await?;
        watch.say("the rollout is over; waiting for the tasks that are still under way")?;
        let account = load.stop().await;
        let slower = account.slower_than("baseline", 1.5);
        // What a client noticed since the baseline, in numbers of the same span.
        let since = account.windows.iter().skip_while(|window| window.name != "baseline").skip(1);
        let (total, failed) = since
            .fold((0, 0), |(total, failed), window| (total + window.requests.total, failed + window.requests.failed));
        let path = format!(
            "/v1/rollouts/{}/report?client_requests={total}&client_failed={failed}&client_slower={slower}&client_cut_streams=0",
            started.rollout
        );
        let report: Report = control.get(&path).await?;
        let requests = Requests { total: account.requests.total, failed: account.requests.failed };
        let tasks = Tasks {
            submitted: account.tasks.submitted,
            completed: account.tasks.completed,
            lost: account.tasks.lost,
            duplicated: account.tasks.duplicated,
        };
        Ok(Summary::new(report, &status.controller.agents, requests, tasks, memory.peak_bytes()))
    }

    /// Tasks for the types of the fleet, each type by the number of its agents, so that the gateway draws the agent.
    fn load(&self, gateway: &str, files: &Files) -> Result<Handle, Failure> {
        let spec = crate::files::load_fleet(&files.fleet)?;
        let targets = Targets::by_type(&spec).ok_or_else(|| cannot_prepare("the fleet has no agents"))?;
        let options = Options {
            gateway: gateway.to_owned(),
            targets,
            rate: self.rate,
            prompt_tokens: 12,
            output_tokens: None,
            seed: self.seed,
            settle: SETTLE_MAX,
            first_window: "warm-up".to_owned(),
        };
        Load::start(options).map_err(cannot_prepare)
    }

    async fn booted(&self, control: &Control, watch: &mut Watch) -> Result<(), Failure> {
        let deadline = Instant::now() + BOOT_MAX;
        loop {
            let status: Status = control.get("/v1/status").await?;
            let agents = &status.controller.agents;
            let ready = agents.iter().filter(|agent| agent.serving == Some(Side::Blue)).count();
            if ready == agents.len() && ready > 0 {
                return watch.say(&format!("{ready} blue agents are ready"));
            }
            if Instant::now() > deadline {
                return Err(Failure::error(
                    Diagnostic::new(
                        "BW0309",
                        format!("{ready} of {} agents were ready after {} s", agents.len(), BOOT_MAX.as_secs()),
                    )
                    .help("the logs in the state directory tell what the others wait for"),
                ));
            }
            watch.draw(&status, None)?;
            tokio::time::sleep(BEAT).await;
        }
    }
}

/// Watches until the rollout is over, and begins a window of the load's account at each phase.
async fn follow(control: &Control, load: &Handle, watch: &mut Watch) -> Result<Status, Failure> {
    let mut stage = None;
    loop {
        let status: Status = control.get("/v1/status").await?;
        let Some(view) = &status.controller.rollout else { return Err(cannot_prepare("the rollout is gone")) };
        let now = match view.state {
            State::Progressing { phase, .. } => view.phases.get(phase).map(|phase| phase.name.to_string()),
            State::Validating { .. } => Some("validation".to_owned()),
            State::RollingBack { .. } => Some("rollback".to_owned()),
            State::Preflight
            | State::Completed
            | State::Committed
            | State::RolledBack
            | State::NeedsAttention
            | State::PreflightFailed => None,
        };
        if let Some(name) = now.filter(|name| stage.as_ref() != Some(name)) {
            load.mark(&name);
            stage = Some(name);
        }
        watch.draw(&status, Some(load))?;
        if rollout::ended(view).is_some() {
            return Ok(status);
        }
        tokio::time::sleep(BEAT).await;
    }
}

struct Watch {
    began: Instant,
    screen: Option<Screen>,
    narrator: Narrator,
}

impl Watch {
    fn new(quiet: bool) -> Self {
        Self { began: Instant::now(), screen: Screen::on_terminal().filter(|_| !quiet), narrator: Narrator::default() }
    }

    fn elapsed(&self) -> Millis {
        Millis(u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    fn say(&mut self, text: &str) -> Result<(), Failure> {
        if self.screen.is_some() {
            return Ok(());
        }
        writeln!(std::io::stderr(), "[{:>6.1}s] {text}", self.elapsed().as_secs_f64())
            .map_err(crate::output::cannot_write)
    }

    fn draw(&mut self, status: &Status, load: Option<&Handle>) -> Result<(), Failure> {
        let elapsed = self.elapsed();
        let drawn = match &mut self.screen {
            Some(screen) => {
                let account: Vec<String> = load.map(|load| load.snapshot().to_string()).into_iter().collect();
                let picture = Frame { status, elapsed, account: &account, width: Screen::width(), colour: true };
                screen.draw(&frame(&picture))
            }
            None => {
                let mut lines = self.narrator.tell(status, elapsed).into_iter();
                lines.try_for_each(|line| writeln!(std::io::stderr(), "{line}"))
            }
        };
        drawn.map_err(crate::output::cannot_write)
    }
}

/// In the order in which they were started; they end in the opposite one.
#[derive(Default)]
struct Processes(Vec<Process>);

impl Processes {
    fn start(&mut self, name: &'static str, arguments: &[String]) -> Result<&mut Process, Failure> {
        let process = Process::start(name, arguments)?;
        self.0.push(process);
        self.0.last_mut().ok_or_else(|| cannot_prepare("no process was started"))
    }

    /// Ends all, and makes sure of it: what descended from them and is still there is killed and reported.
    async fn end(self) -> Result<(), Failure> {
        let mut result = Ok(());
        for process in self.0.into_iter().rev() {
            result = result.and(process.end(END_MAX).await);
        }
        for pid in family(std::process::id()).into_iter().filter(|&pid| pid != std::process::id()) {
            eprintln!("process {pid} was still there and is killed");
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw)
                && let Err(error) = rustix::process::kill_process(pid, rustix::process::Signal::KILL)
            {
                eprintln!("it could not be killed: {error}");
            }
        }
        result
    }
}

async fn on_signal(stop: CancellationToken) {
    use tokio::signal::unix::{SignalKind, signal};
    let (interrupt, terminate) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    match (interrupt, terminate) {
        (Ok(mut interrupt), Ok(mut terminate)) => {
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
            stop.cancel();
        }
        (Err(error), _) | (_, Err(error)) => eprintln!("signals cannot be heard: {error}"),
    }
}

fn interrupted() -> Failure {
    Failure::error(Diagnostic::new("BW0310", "interrupted; every process of the demo was ended"))
}

fn cannot_prepare(why: impl std::fmt::Display) -> Failure {
    Failure::error(
        Diagnostic::new("BW0311", "the demo cannot be prepared")
            .because(why)
            .help("check that the temporary directory can be written"),
    )
}
