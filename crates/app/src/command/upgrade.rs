//! `bellwether upgrade`.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use bellwether_core::{
    diagnostic::{Diagnostic, chain},
    port::supervisor::{PROTOCOL, Progress, Refusal, Step, SupervisorAnswer, SupervisorAsk},
    spec,
    time::Millis,
};
use bellwether_link::{Client, Error as LinkError, Events, Hello};
use serde::Serialize;

use crate::{
    failure::{Exit, Failure, Outcome},
    output::{Output, cannot_write, print_json},
    runtime,
};

/// Replace the gateway and the controller of a running fleet by this program, with no failed request.
///
/// The program is looked at first, and refused before anything is touched if it could not read what is stored. Then its
/// controller takes over, and then its gateway: the one that ran finishes what it has in flight, the new one takes
/// everything else. Agents, sockets and the supervisor stay; the supervisor takes the new program when `serve` is started
/// the next time.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// State directory of the `serve` that runs
    #[arg(long, value_name = "DIR", default_value = ".bellwether")]
    state: PathBuf,
    /// The program to take over; without it the one that runs this command
    #[arg(long, value_name = "PATH")]
    program: Option<PathBuf>,
    /// What the gateway that goes may take to finish what it has in flight; what is left then is cut
    #[arg(long, value_name = "DURATION", value_parser = spec::millis, default_value = "10m")]
    finish_within: Millis,
    #[command(flatten)]
    output: Output,
}

#[derive(Serialize)]
struct Upgraded {
    from: String,
    to: String,
    /// For how long no connection was accepted.
    gap_ms: u64,
    /// What the gateway that goes still had.
    connections: u64,
    calls: u64,
}

pub(crate) fn run(args: Args) -> Outcome {
    let program = program(args.program)?;
    runtime::block_on(async {
        let (supervisor, progress) = connect(&args.state).await?;
        let ask = SupervisorAsk::Upgrade { program: program.clone(), finish_within: args.finish_within };
        let answer = answered(&supervisor, ask, progress).await;
        let upgraded = judge(answer.map_err(|error| gone(&args.state, &error))?, &program)?;
        if args.output.is_json() {
            print_json(&upgraded)?;
        } else {
            let mut out = std::io::stdout().lock();
            upgraded.text().iter().try_for_each(|line| writeln!(out, "{line}")).map_err(cannot_write)?;
        }
        Ok(Exit::Done)
    })?
}

/// The supervisor is in another directory, and this program may have been replaced since it was started.
fn program(named: Option<PathBuf>) -> Result<PathBuf, Failure> {
    let named = match named {
        Some(named) => Ok(named),
        None => std::env::current_exe(),
    };
    named.and_then(|path| path.canonicalize()).map_err(|error| {
        not_run(Path::new("the program"), &error.to_string(), "name the program to take over with --program PATH")
    })
}

async fn connect(state: &Path) -> Result<(Client<SupervisorAnswer>, Events<Progress>), Failure> {
    let socket = state.join("supervisor.sock");
    let hello = Hello::new(PROTOCOL.0, PROTOCOL.1);
    Client::connect::<Progress>(&socket, hello).await.map_err(|error| match error {
        error @ LinkError::Protocol { .. } => Failure::error(
            Diagnostic::new("BW0334", "the supervisor that runs does not know this kind of upgrade")
                .because(chain(&error))
                .help("stop `serve` and start it with the new program: agents run on meanwhile, and it adopts them"),
        ),
        error => nobody(state, &error),
    })
}

/// Shows the steps as they are done.
async fn answered(
    supervisor: &Client<SupervisorAnswer>,
    ask: SupervisorAsk,
    mut progress: Events<Progress>,
) -> Result<SupervisorAnswer, LinkError> {
    let mut answer = std::pin::pin!(supervisor.ask(&ask));
    loop {
        tokio::select! {
            // What was shown before the answer is told before it.
            biased;
            Some(Progress { step, took }) = progress.recv() => eprintln!("{} ({} ms)", done(step), took.0),
            answer = answer.as_mut() => return answer,
        }
    }
}

fn done(step: Step) -> &'static str {
    match step {
        Step::Checked => "the program runs and can read what is stored",
        Step::Controller => "the controller is replaced",
        Step::Gateway => "the gateway is replaced",
    }
}

fn judge(answer: SupervisorAnswer, program: &Path) -> Result<Upgraded, Failure> {
    match answer {
        SupervisorAnswer::Upgraded { from, to, took_over } => Ok(Upgraded {
            from,
            to,
            gap_ms: took_over.gap.0,
            connections: took_over.connections,
            calls: took_over.calls,
        }),
        SupervisorAnswer::Refused { refusal } => Err(refused(refusal, program)),
        SupervisorAnswer::Failed { step, why, standing } => {
            let part = if step == Step::Gateway { "gateway" } else { "controller" };
            Err(Failure::error(
                Diagnostic::new("BW0336", format!("the {part} of {} did not take over", program.display()))
                    .because(why)
                    .help(format!("{standing}; its log in the state directory says more")),
            ))
        }
    }
}

fn refused(refusal: Refusal, program: &Path) -> Failure {
    match refusal {
        Refusal::NotRun { why } => not_run(
            program,
            &why,
            "nothing was touched; name a program of this kind for this machine with --program PATH",
        ),
        Refusal::Older { what, runs, brings } => Failure::error(
            Diagnostic::new("BW0334", format!("{} is older than what is stored", program.display()))
                .because(format!("{what} has schema {runs}, and that program knows {brings}"))
                .help(
                    "nothing was touched. To go back, stop `serve`, restore the state directory from a backup that the \
                     older program wrote, and start `serve` with it",
                ),
        ),
        Refusal::Speaks { what, runs, brings } => Failure::error(
            Diagnostic::new("BW0334", format!("{} does not fit what runs", program.display()))
                .because(format!("{what} is of version {runs}, and that program speaks {brings}"))
                .help(
                    "nothing was touched. Stop `serve` and start it with that program: agents run on meanwhile, and it \
                     adopts them; connections wait until it listens",
                ),
        ),
        Refusal::Busy => Failure::error(
            Diagnostic::new("BW0335", "an upgrade is under way")
                .help("wait for its end; the log of the supervisor in the state directory tells it"),
        ),
    }
}

fn not_run(program: &Path, why: &str, help: &str) -> Failure {
    Failure::error(
        Diagnostic::new("BW0333", format!("{} cannot be run as a Bellwether", program.display()))
            .because(why)
            .help(help),
    )
}

fn nobody(state: &Path, error: &LinkError) -> Failure {
    Failure::error(
        Diagnostic::new("BW0332", format!("nobody serves from the state directory {}", state.display()))
            .because(chain(error))
            .help("name the directory of the `serve` that runs with --state, or start one"),
    )
}

/// The answer did not come.
fn gone(state: &Path, error: &LinkError) -> Failure {
    Failure::error(
        Diagnostic::new("BW0336", "the supervisor went away during the upgrade")
            .because(chain(error))
            .help(format!("start `serve` again; {} says what became of it", state.join("logs").display())),
    )
}

impl Upgraded {
    fn text(&self) -> Vec<String> {
        let Self { from, to, gap_ms, connections, calls } = self;
        let mut lines = vec![format!("gateway and controller run {to}, in place of {from}")];
        lines.push(format!("for {gap_ms} ms connections waited to be accepted"));
        if connections + calls > 0 {
            lines.push(format!(
                "the gateway before finishes what it has: {connections} connections, {calls} model calls"
            ));
        }
        lines.push(format!("the supervisor and agents go on; the supervisor runs {to} when `serve` is started again"));
        lines
    }
}

#[cfg(test)]
mod tests {
    use bellwether_core::port::heir::TookOver;

    use super::*;

    fn told(answer: SupervisorAnswer) -> String {
        match judge(answer, Path::new("/opt/bellwether")) {
            Ok(upgraded) => upgraded.text().join("\n"),
            Err(failure) => failure.to_string(),
        }
    }

    #[test]
    fn what_became_of_it_is_said() {
        let took_over = TookOver { gap: Millis(31), connections: 4, calls: 2 };
        let upgraded = SupervisorAnswer::Upgraded { from: "0.1.0".into(), to: "0.2.0".into(), took_over };
        insta::assert_snapshot!(told(upgraded), @r"
        gateway and controller run 0.2.0, in place of 0.1.0
        for 31 ms connections waited to be accepted
        the gateway before finishes what it has: 4 connections, 2 model calls
        the supervisor and agents go on; the supervisor runs 0.2.0 when `serve` is started again
        ");
        let older = Refusal::Older { what: "the journal".into(), runs: 2, brings: 1 };
        insta::assert_snapshot!(told(SupervisorAnswer::Refused { refusal: older }), @r"
        error[BW0334]: /opt/bellwether is older than what is stored
          = cause: the journal has schema 2, and that program knows 1
          = help: nothing was touched. To go back, stop `serve`, restore the state directory from a backup that the older program wrote, and start `serve` with it
        ");
        let failed = SupervisorAnswer::Failed {
            step: Step::Gateway,
            why: "it ended with code 1".into(),
            standing: "the program that ran before goes on".into(),
        };
        insta::assert_snapshot!(told(failed), @r"
        error[BW0336]: the gateway of /opt/bellwether did not take over
          = cause: it ended with code 1
          = help: the program that ran before goes on; its log in the state directory says more
        ");
    }
}
