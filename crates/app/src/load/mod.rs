//! Open-loop load: tasks arrive when chance says so, whatever became of those before, and every one of them is
//! kept in a ledger from its submission to its accepted completions.
//!
//! The generator repeats no submission, unless it is told to where the answer was lost, and then under the same
//! id. What it reports is what a client saw; nothing comes from agents or from the gateway's own counters.

mod client;
mod follow;
mod ledger;
mod prompt;
mod report;
mod submit;
mod targets;
#[cfg(test)]
mod tests;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{sync::Notify, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

pub(crate) use client::BadGateway;
use client::Client;
use ledger::Ledger;
pub(crate) use report::{Account, Report};
pub(crate) use targets::{Target, Targets};

#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// `http://host:port` of the gateway's data plane.
    pub(crate) gateway: String,
    pub(crate) targets: Targets,
    /// Arrivals per second, on average.
    pub(crate) rate: f64,
    /// Length of a prompt, in words.
    pub(crate) prompt_tokens: usize,
    /// Length of the answer that the prompt asks for, in words; without it the model decides.
    pub(crate) output_tokens: Option<usize>,
    /// Of arrivals, targets and prompts.
    pub(crate) seed: u64,
    /// As many tasks as are submitted; without it they come until [`Handle::stop`].
    pub(crate) tasks: Option<u64>,
    /// How long a submission that got no answer is made again under its id. After that it counts as failed.
    pub(crate) repeat_for: Duration,
    /// How long tasks that are still open at the end are waited for.
    pub(crate) settle: Duration,
    /// Name of the window that is open from the start.
    pub(crate) first_window: String,
}

/// What the parts of one run share.
struct Run {
    options: Options,
    /// What the ids of the run's tasks begin with.
    name: String,
    client: Client,
    began: Instant,
    ledger: Mutex<Ledger>,
    /// Told when the last open task is closed.
    closed: Notify,
    /// No more arrivals.
    stop: CancellationToken,
    /// There are no more, and all were answered.
    spent: CancellationToken,
    /// No more long polls.
    end: CancellationToken,
}

impl Run {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }
}

/// A running load. Dropping it ends it without a report.
pub(crate) struct Handle {
    run: Arc<Run>,
    submitting: JoinHandle<()>,
    following: JoinHandle<()>,
}

pub(crate) struct Load;

impl Load {
    /// Starts to submit at once. Needs a runtime with time and network.
    pub(crate) fn start(options: Options) -> Result<Handle, BadGateway> {
        let client = Client::new(&options.gateway)?;
        // Not drawn from the seed: ids of two runs never meet.
        let name = format!("load-{:012x}", fastrand::u64(..1 << 48));
        let run = Arc::new(Run {
            ledger: Mutex::new(Ledger::new(&name, &options.first_window)),
            name,
            client,
            options,
            began: Instant::now(),
            closed: Notify::new(),
            stop: CancellationToken::new(),
            spent: CancellationToken::new(),
            end: CancellationToken::new(),
        });
        let submitting = tokio::spawn(submit::submit(run.clone()));
        let following = tokio::spawn(follow::follow(run.clone()));
        Ok(Handle { run, submitting, following })
    }
}

impl Handle {
    /// The account as it stands. Cheap enough for several times a second.
    pub(crate) fn snapshot(&self) -> Account {
        self.run.ledger().account(self.run.now())
    }

    /// Closes the open window and opens one of this name.
    pub(crate) fn mark(&self, name: &str) {
        let now = self.run.now();
        self.run.ledger().mark(name, now);
    }

    /// All tasks that were asked for are submitted and answered. Waits for ever where no number was given.
    pub(crate) async fn submitted(&self) {
        self.run.spent.cancelled().await;
    }

    /// Stops the arrivals, waits for what is open, and closes the books.
    pub(crate) async fn stop(mut self) -> Report {
        self.run.stop.cancel();
        joined(&mut self.submitting).await;
        self.mark("settle");
        let settled = async {
            loop {
                let closed = self.run.closed.notified();
                if self.run.ledger().open() == 0 {
                    return;
                }
                closed.await;
            }
        };
        if timeout(self.run.options.settle, settled).await.is_err() {
            tracing::warn!(open = self.run.ledger().open(), "tasks did not complete in time");
        }
        self.run.end.cancel();
        joined(&mut self.following).await;
        self.run.ledger().report(self.run.now())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.submitting.abort();
        self.following.abort();
    }
}

async fn joined(part: &mut JoinHandle<()>) {
    if let Err(error) = part.await {
        tracing::error!(%error, "a part of the load generator ended in an unforeseen way");
    }
}
