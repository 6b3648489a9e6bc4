//! Reads the accepted completions, in their order and to the last.

use std::{sync::Arc, time::Duration};

use tokio::{select, time::sleep};

use super::{
    Run,
    client::{Page, Refusal},
};

const WAIT: Duration = Duration::from_secs(5);
const AGAIN_FIRST: Duration = Duration::from_millis(50);
const AGAIN_LONGEST: Duration = Duration::from_secs(1);

pub(super) async fn follow(run: Arc<Run>) {
    let mut after = 0;
    let mut again = AGAIN_FIRST;
    while !run.end.is_cancelled() {
        let page = select! {
            biased;
            () = run.end.cancelled() => break,
            page = run.client.completions(after, WAIT) => page,
        };
        match enter(&run, page) {
            Some((next, _)) => {
                after = next;
                again = AGAIN_FIRST;
            }
            // Reading again loses nothing, so an outage of the gateway only delays the books.
            None => {
                sleep(again).await;
                again = (again * 2).min(AGAIN_LONGEST);
            }
        }
    }
    // What was accepted since the last page, so that a second completion of the last task is seen too.
    loop {
        match enter(&run, run.client.completions(after, Duration::ZERO).await) {
            Some((next, some)) if some => after = next,
            Some(_) | None => return,
        }
    }
}

/// The number to go on from, and whether there was anything on the page; None if there was no page.
fn enter(run: &Run, page: Result<Page, Refusal>) -> Option<(u64, bool)> {
    let now = run.now();
    let mut ledger = run.ledger();
    ledger.polled(page.is_ok());
    let page = match page {
        Ok(page) => page,
        Err(refusal) => {
            tracing::warn!(%refusal, "completions could not be read");
            return None;
        }
    };
    for completion in &page.completions {
        ledger.completed(&completion.id, completion.status == "completed", completion.attempt, now);
    }
    if ledger.open() == 0 {
        run.closed.notify_waiters();
    }
    Some((page.next, !page.completions.is_empty()))
}
