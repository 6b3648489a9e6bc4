//! `bellwether upgrade`, at the supervisor: the program is looked at before anything is touched, then the controller is
//! replaced, which costs no request, and then the gateway takes over from itself.
//!
//! The supervisor itself goes on with the program that it was started with.

use std::{
    io::{self, Read},
    net::SocketAddr,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use bellwether_core::{
    port::supervisor::{Formats, PROTOCOL, Progress, Refusal, Step, SupervisorAnswer, SupervisorAsk},
    time::Millis,
};
use bellwether_link::{Hello, Peers, Server};
use tokio::{net::UnixListener, sync::Mutex, time::Instant};

use super::{keeper::Deaths, orders::Handle, program::Program, ready};
use crate::formats;

/// What a program may take to say what it reads and speaks.
const FORMATS_MAX: Duration = Duration::from_secs(10);
const CONTROLLER_MAX: Duration = Duration::from_secs(30);

pub(super) struct Upgrader {
    gateway: Handle,
    controller: Handle,
    /// Where the controller's API listens.
    api: SocketAddr,
    runs: Mutex<Runs>,
}

/// What gateway and controller run.
struct Runs {
    program: Program,
    formats: Formats,
}

type Shown = Peers<SupervisorAnswer, Progress>;

impl Upgrader {
    pub(super) fn new(gateway: Handle, controller: Handle, api: SocketAddr, program: Program) -> Self {
        Self { gateway, controller, api, runs: Mutex::new(Runs { program, formats: formats::ours() }) }
    }

    /// Answers until it is aborted.
    pub(super) async fn serve(self, listener: UnixListener) {
        let this = Arc::new(self);
        let hello = Hello::new(PROTOCOL.0, PROTOCOL.1);
        let (server, mut requests) = Server::<SupervisorAnswer, Progress>::start::<SupervisorAsk>(listener, hello);
        let mut at_work = tokio::task::JoinSet::new();
        while let Some((SupervisorAsk::Upgrade { program, finish_within }, tell)) = requests.recv().await {
            let (this, shown) = (this.clone(), server.peers());
            at_work.spawn(async move {
                let answer = this.upgrade(&program, finish_within, &shown).await;
                tracing::info!(?answer, program = %program.display(), "upgrade");
                // Whoever asked may have gone; what was begun was done all the same.
                drop(tell.send(answer));
            });
            while at_work.try_join_next().is_some() {}
        }
    }

    async fn upgrade(&self, program: &Path, finish_within: Millis, shown: &Shown) -> SupervisorAnswer {
        let Ok(mut runs) = self.runs.try_lock() else {
            return SupervisorAnswer::Refused { refusal: Refusal::Busy };
        };
        let mut steps = Steps { shown, since: Instant::now() };
        let (new, brings) = match self.look_at(program, &runs.formats).await {
            Ok(both) => both,
            Err(refusal) => return SupervisorAnswer::Refused { refusal },
        };
        steps.done(Step::Checked);
        if let Err(why) = self.replace_controller(&new).await {
            let standing = self.back(&runs.program).await;
            return SupervisorAnswer::Failed { step: Step::Controller, why, standing };
        }
        steps.done(Step::Controller);
        let finish_within = Duration::from_millis(finish_within.0);
        match self.gateway.succeed(new.clone(), finish_within).await {
            Ok(took_over) => {
                steps.done(Step::Gateway);
                let from = std::mem::replace(&mut runs.formats, brings.clone()).version;
                runs.program = new;
                SupervisorAnswer::Upgraded { from, to: brings.version, took_over }
            }
            Err(why) => {
                let standing = self.back(&runs.program).await;
                SupervisorAnswer::Failed { step: Step::Gateway, why, standing }
            }
        }
    }

    async fn look_at(&self, path: &Path, runs: &Formats) -> Result<(Program, Formats), Refusal> {
        let not_run = |why: io::Error| Refusal::NotRun { why: why.to_string() };
        let program = Program::at(path).map_err(not_run)?;
        let executable = program.executable();
        let asked = tokio::task::spawn_blocking(move || formats_of(&executable)).await;
        let brings = asked.unwrap_or_else(|error| Err(io::Error::other(error))).map_err(not_run)?;
        fits(runs, &brings)?;
        Ok((program, brings))
    }

    async fn replace_controller(&self, program: &Program) -> Result<(), String> {
        let deaths = self.controller.deaths();
        self.controller.restart(program.clone()).await?;
        let deadline = Instant::now() + CONTROLLER_MAX;
        while !ready::api_is_there(self.api).await {
            let Deaths { times, last, .. } = self.controller.deaths();
            if times > deaths.times {
                return Err(format!("it {last}"));
            }
            if Instant::now() >= deadline {
                return Err(format!("it does not answer within {} s", CONTROLLER_MAX.as_secs()));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// To what ran before. Says what runs then.
    async fn back(&self, program: &Program) -> String {
        match self.replace_controller(program).await {
            Ok(()) => "the program that ran before goes on: its gateway, and its controller anew".to_owned(),
            Err(why) => {
                format!("the gateway goes on; the controller of the program that ran before is started again: {why}")
            }
        }
    }
}

/// Says how far it is.
struct Steps<'a> {
    shown: &'a Shown,
    since: Instant,
}

impl Steps<'_> {
    fn done(&mut self, step: Step) {
        let took = Millis(u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX));
        self.since = Instant::now();
        self.shown.push(&Progress { step, took });
    }
}

/// What is stored has to be read, and what stays has to be understood.
fn fits(runs: &Formats, brings: &Formats) -> Result<(), Refusal> {
    for (what, runs, brings) in [
        ("the gateway's store", runs.gateway_store, brings.gateway_store),
        ("the journal", runs.journal, brings.journal),
    ] {
        if brings < runs {
            return Err(Refusal::Older { what: what.to_owned(), runs, brings });
        }
    }
    // The supervisor stays, and so does the gateway that gives way until it has.
    for (what, runs, brings) in [
        ("the link to the supervisor's driver", formats::ours().driver, brings.driver),
        ("the link between a gateway and its heir", runs.heir, brings.heir),
    ] {
        if brings != runs {
            return Err(Refusal::Speaks { what: what.to_owned(), runs, brings });
        }
    }
    // Controller and gateway are replaced both; one that is older would be a way back that nobody asked for.
    if brings.gateway < runs.gateway {
        let what = "the link between controller and gateway".to_owned();
        return Err(Refusal::Speaks { what, runs: runs.gateway, brings: brings.gateway });
    }
    Ok(())
}

/// Runs it, for as long as it may take.
fn formats_of(program: &Path) -> io::Result<Formats> {
    let mut child = Command::new(program)
        // The path may be one that the system keeps for open files, which says nothing to people.
        .arg0("bellwether")
        .args(["internal", "formats"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let ended = within(&mut child, FORMATS_MAX)?;
    let mut said = String::new();
    if let Some(out) = &mut child.stdout {
        out.take(64 << 10).read_to_string(&mut said)?;
    }
    if !ended.success() {
        return Err(io::Error::other(format!("asked what it reads and speaks, it ended with {ended}")));
    }
    serde_json::from_str(&said)
        .map_err(|error| io::Error::other(format!("it does not say what it reads and speaks: {error}")))
}

fn within(child: &mut Child, limit: Duration) -> io::Result<std::process::ExitStatus> {
    let deadline = std::time::Instant::now() + limit;
    loop {
        if let Some(ended) = child.try_wait()? {
            return Ok(ended);
        }
        if std::time::Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            return Err(io::Error::other(format!("it did not end within {} s", limit.as_secs())));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_or_speaks_otherwise_is_refused_and_what_is_newer_is_not() {
        let runs = formats::ours();
        let with = |change: fn(&mut Formats)| {
            let mut brings = formats::ours();
            change(&mut brings);
            fits(&runs, &brings)
        };
        assert_eq!(with(|_| ()), Ok(()));
        assert_eq!(with(|it| it.gateway_store += 1), Ok(()), "it brings a migration");
        assert_eq!(with(|it| it.gateway += 1), Ok(()), "both ends are replaced");
        assert!(matches!(with(|it| it.gateway_store -= 1), Err(Refusal::Older { .. })));
        assert!(matches!(with(|it| it.journal -= 1), Err(Refusal::Older { .. })));
        assert!(matches!(with(|it| it.driver += 1), Err(Refusal::Speaks { .. })));
        assert!(matches!(with(|it| it.heir += 1), Err(Refusal::Speaks { .. })));
    }

    #[test]
    fn a_program_that_is_not_ours_is_not_taken_for_it() {
        assert!(formats_of("/bin/true".as_ref()).unwrap_err().to_string().contains("does not say"));
        assert!(formats_of("/bin/false".as_ref()).unwrap_err().to_string().contains("ended with"));
    }
}
