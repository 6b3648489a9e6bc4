//! The demo: a fleet file, `serve`, `rollout start`, a watch and a load generator, put together. It uses the
//! commands that a user has, and no path of its own through the product.

mod children;
mod files;
mod memory;
mod onset;
mod outcome;
mod realistic;
mod scenario;
mod undone;

use std::{
    io::Write,
    path::Path,
    time::{Duration, Instant},
};

use bellwether_control::types::{Report, Started, Status};
use bellwether_core::{diagnostic::Diagnostic, id::Side, rollout::State, time::Millis};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

pub(crate) use self::scenario::{Fault, Planted};
use self::{
    children::Processes,
    files::Files,
    memory::MemoryWatch,
    onset::Onset,
    outcome::{Requests, Summary, Tasks},
    scenario::Scenario,
};
use crate::{
    client::Control,
    command::rollout,
    failure::Failure,
    load::{Handle, Load, Options, Targets},
    view::{Frame, Narrator, Screen, frame},
};

/// What a demo is asked for. What is not said is as the scenario has it.
pub(crate) struct Demo {
    pub(crate) realistic: bool,
    pub(crate) planted: Option<Planted>,
    pub(crate) speed: Option<f64>,
    pub(crate) baseline: Option<Millis>,
    /// Tasks per second.
    pub(crate) rate: Option<f64>,
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

#[derive(Clone, Deserialize)]
struct Simulated {
    url: String,
}

impl Simulated {
    fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }
}

const BOOT_MAX: Duration = Duration::from_secs(60);
const BEAT: Duration = Duration::from_millis(250);
/// The load runs this long before the baseline begins, so that connections and models are warm.
const WARM_UP: Duration = Duration::from_secs(3);

impl Demo {
    /// Runs everything and leaves nothing behind, also when it fails or is interrupted.
    pub(crate) async fn run(self) -> Result<Summary, Failure> {
        let scenario = self.scenario()?;
        let mut files = Files::write(&scenario, self.keep).map_err(cannot_prepare)?;
        // What outlives its parent comes to the demo, which then ends it.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid())).map_err(cannot_prepare)?;
        let memory = MemoryWatch::start();
        let stop = CancellationToken::new();
        let signals = tokio::spawn(on_signal(stop.clone()));
        let mut processes = Processes::default();
        let result = tokio::select! {
            result = self.drive(&scenario, &files, &mut processes, &memory) => result,
            () = stop.cancelled() => Err(interrupted()),
        };
        signals.abort();
        let ended = processes.end().await;
        if result.is_err() && !stop.is_cancelled() {
            files.keep();
        }
        ended?;
        let mut summary = result?;
        if let Some(rollback) = &mut summary.rollback {
            rollback.evidence = files.save_evidence(rollback.rollout).map_err(cannot_prepare)?;
        }
        Ok(summary)
    }

    fn scenario(&self) -> Result<Scenario, Failure> {
        let mut scenario = if self.realistic { Scenario::realistic()? } else { Scenario::compressed() };
        if let Some(planted) = self.planted {
            scenario = scenario.with(planted)?;
        }
        scenario.speed = self.speed.unwrap_or(scenario.speed);
        scenario.baseline = self.baseline.unwrap_or(scenario.baseline);
        scenario.rate = self.rate.unwrap_or(scenario.rate);
        Ok(scenario)
    }

    async fn drive(
        &self,
        scenario: &Scenario,
        files: &Files,
        processes: &mut Processes,
        memory: &MemoryWatch,
    ) -> Result<Summary, Failure> {
        let mut watch = Watch::new(self.quiet);
        for line in &scenario.told {
            watch.say(line)?;
        }
        let ollama = match &self.ollama {
            Some(url) => Simulated { url: url.clone() },
            None => {
                let arguments = ollama_arguments("127.0.0.1:0", files.model_times.as_deref());
                processes.start(onset::NAME, &arguments)?.says().await?
            }
        };
        let served: Served = processes.start("serve", &serve_arguments(files, &ollama.url))?.says().await?;
        let control = Control::new(&served.control);
        let (gateway, at) = (&served.gateway, &served.control);
        watch.say(&format!("gateway {gateway} · control {at} · model server {}", ollama.url))?;
        self.booted(&control, &mut watch).await?;

        let load = self.load(scenario, gateway)?;
        tokio::time::sleep(WARM_UP).await;
        let request = rollout::request(&files.release, scenario.speed, Some(scenario.baseline), "demo")?;
        let started: Started = control.post("/v1/rollouts", &request).await?;
        load.mark("baseline");
        let mut onset = self.planted.map(Onset::new);
        let status = loop {
            let status: Status = control.get("/v1/status").await?;
            if let Some(onset) = &mut onset
                && let Some(done) = onset.look(&status, &ollama, processes).await?
            {
                watch.say(done)?;
            }
            if follow(&status, &load, &mut watch)? {
                break status;
            }
            tokio::time::sleep(BEAT).await;
        };
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
            failed: account.tasks.failed,
            lost: account.tasks.lost,
            duplicated: account.tasks.duplicated,
        };
        let mut summary = Summary::new(report, &status.controller.agents, requests, tasks, memory.peak_bytes());
        summary.scenario.clone_from(&scenario.told);
        Ok(summary)
    }

    /// Tasks for the types of the fleet, each type by the number of its agents, so that the gateway draws the agent.
    fn load(&self, scenario: &Scenario, gateway: &str) -> Result<Handle, Failure> {
        let targets = Targets::by_type(&scenario.spec()?).ok_or_else(|| cannot_prepare("the fleet has no agents"))?;
        let options = Options {
            gateway: gateway.to_owned(),
            targets,
            rate: scenario.rate,
            prompt_tokens: 12,
            output_tokens: None,
            tasks: None,
            repeat_for: Duration::ZERO,
            seed: self.seed,
            settle: scenario.settle.to_std(),
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

/// Shows where the rollout stands, and begins a window of the load's account at each phase. True when it is over.
fn follow(status: &Status, load: &Handle, watch: &mut Watch) -> Result<bool, Failure> {
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
    if let Some(name) = now.filter(|name| watch.stage.as_ref() != Some(name)) {
        load.mark(&name);
        watch.stage = Some(name);
    }
    watch.draw(status, Some(load))?;
    Ok(rollout::ended(view).is_some())
}

fn serve_arguments(files: &Files, ollama: &str) -> Vec<String> {
    let path = |path: &Path| path.display().to_string();
    let (fleet, state) = (path(&files.fleet), path(&files.state));
    let any = "127.0.0.1:0";
    let words = ["serve", "--fleet", &fleet, "--state", &state, "--listen", any, "--control", any, "--ollama", ollama];
    let ends = ["--stop-agents", "--end-with-parent", "--output", "json"];
    words.into_iter().chain(ends).map(str::to_owned).collect()
}

fn ollama_arguments(listen: &str, times: Option<&Path>) -> Vec<String> {
    let words = ["sim-ollama", "--listen", listen, "--output", "json"].map(str::to_owned);
    let times = times.into_iter().flat_map(|path| ["--params".to_owned(), path.display().to_string()]);
    words.into_iter().chain(times).collect()
}

struct Watch {
    began: Instant,
    /// Whose window of the load's account is open.
    stage: Option<String>,
    screen: Option<Screen>,
    narrator: Narrator,
}

impl Watch {
    fn new(quiet: bool) -> Self {
        Self {
            began: Instant::now(),
            stage: None,
            screen: Screen::on_terminal().filter(|_| !quiet),
            narrator: Narrator::default(),
        }
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
