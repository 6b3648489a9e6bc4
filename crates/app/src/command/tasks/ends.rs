//! `bellwether tasks list --follow`: each end as it comes, in order and without gaps.

use std::{io::Write, time::Duration};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    gateway::Gateway,
    list::Filter,
    refusal::{Asked, strange},
    task::{End, State},
    text,
    wait::{OUTAGE_MAX, Watch},
};
use crate::{
    failure::{Failure, Outcome},
    output::{Output, cannot_write},
};

const HELD: Duration = Duration::from_secs(30);
const PAGE_MAX: usize = 1000;

#[derive(Deserialize)]
struct Page {
    completions: Vec<Box<RawValue>>,
    next: u64,
}

/// For ever, or until there is no gateway any more.
pub(super) async fn follow(gateway: &Gateway, filter: &Filter<'_>, output: Output) -> Outcome {
    let mut watch = Watch::new(gateway, false);
    // What ended before is the list's; the place behind it is found by going past it.
    let mut after = 0;
    loop {
        let page = page(gateway, &mut watch, after, Duration::ZERO).await?;
        if page.completions.is_empty() {
            break;
        }
        after = page.next;
    }
    eprintln!("each task is shown as it ends, from here on; Ctrl-C stops this");
    loop {
        let page = page(gateway, &mut watch, after, HELD).await?;
        after = page.next;
        for raw in &page.completions {
            let end: End = serde_json::from_str(raw.get()).map_err(|error| strange(gateway, &error.to_string()))?;
            if is_meant(&end, filter) {
                let line = if output.is_json() { raw.get().to_owned() } else { text::end(&end) };
                let mut out = std::io::stdout().lock();
                writeln!(out, "{line}").and_then(|()| out.flush()).map_err(cannot_write)?;
            }
        }
    }
}

async fn page(gateway: &Gateway, watch: &mut Watch<'_>, after: u64, held: Duration) -> Result<Page, Failure> {
    let path = format!("/completions?after={after}&limit={PAGE_MAX}&wait_ms={}", held.as_millis());
    watch.ask(&path, held, OUTAGE_MAX, Asked::Read).await?.json(gateway)
}

fn is_meant(end: &End, filter: &Filter<'_>) -> bool {
    let state = match filter.state {
        None => true,
        Some("dead") => matches!(end.status, State::Failed | State::Expired),
        Some(state) => end.status.as_str() == state,
    };
    state && filter.agent.is_none_or(|agent| end.agent == agent)
}
