//! Reads what a bundle is made from. Each source may fail by itself; then it is named and the others go on.

use std::{collections::BTreeSet, path::PathBuf};

use bellwether_core::{
    diagnostic::chain,
    observation::Second,
    port::gateway::{GatewayAnswer, GatewayIntent},
    rollout::{RollbackRecord, Rollout, State},
    time::{Millis, UnixMillis},
};

use super::{
    BundleError, Request,
    blame::Blame,
    facts::{Facts, Missing},
    history, tails, tally,
};
use crate::{error::Error, journal::Journal, usage::Beat};

/// How far back one-second records and samples go.
pub(super) const BACK: Millis = Millis::from_mins(10);
/// One record each second.
const RECORDS_MAX: u64 = BACK.0 / 1000;
/// As long as traffic is not on blue: reading keeps the gateway from cutting over, and there is a second time.
const RECORDS_MOVING_MAX: u64 = 120;
/// Answers of the gateway until its newest record is there.
const PAGES_MAX: u32 = 5;

pub(super) async fn gather(request: Request) -> Result<Facts, BundleError> {
    let record = record(&request).cloned().ok_or(BundleError::NoRollback(request.rollout.id))?;
    let mut missing = Vec::new();
    let records_max = if record.shifted.is_some() { RECORDS_MAX } else { RECORDS_MOVING_MAX };
    let seconds = match seconds(&request, records_max).await {
        Ok(seconds) => seconds,
        Err(why) => {
            missing.push(Missing { what: "the one-second records of the gateway".into(), why });
            Vec::new()
        }
    };
    Ok(tokio::task::spawn_blocking(move || from_disk(request, record, seconds, missing)).await?)
}

pub(super) fn record(request: &Request) -> Option<&RollbackRecord> {
    match request.retreat {
        None => request.rollout.rollback.as_ref(),
        Some(retreat) => request.rollout.retreats.get(retreat).map(|retreat| &retreat.record),
    }
}

async fn seconds(request: &Request, records_max: u64) -> Result<Vec<Second>, String> {
    let mut after = request.last_second.saturating_sub(records_max);
    let mut seconds: Vec<Second> = Vec::new();
    for _ in 0..PAGES_MAX {
        let (records, last) = match request.gateway.ask_now(&GatewayIntent::Seconds { after }).await {
            Ok(GatewayAnswer::Seconds { records, last }) => (records, last),
            Ok(other) => return Err(format!("the gateway answered something else: {other:?}")),
            Err(error) => return Err(chain(&error)),
        };
        if last > after + 2 * records_max {
            // A controller that has just started does not know how far the gateway is.
            after = last - records_max;
            continue;
        }
        let Some(newest) = records.last().map(|record| record.number) else { break };
        seconds.extend(records);
        after = newest;
        if newest >= last {
            break;
        }
    }
    let surplus = seconds.len().saturating_sub(usize::try_from(records_max).unwrap_or(usize::MAX));
    seconds.drain(..surplus);
    Ok(seconds)
}

fn from_disk(request: Request, record: RollbackRecord, seconds: Vec<Second>, mut missing: Vec<Missing>) -> Facts {
    let phase_began = phase_began(&request.rollout, record.began);
    let history = history::read(&request.journal, phase_began);
    if let Some(error) = &history.broken {
        missing.push(Missing { what: "the rest of the journal".into(), why: chain(error) });
    }
    let from = UnixMillis(request.now.0.saturating_sub(BACK.0));
    let beats = beats(request.journal, from, request.now).unwrap_or_else(|why| {
        missing.push(Missing { what: "the samples of memory and CPU".into(), why });
        Vec::new()
    });
    let mut facts = Facts {
        fleet: request.spec.fleet.clone(),
        rollout: request.rollout,
        retreat: request.retreat,
        record,
        written: request.now,
        agents: request.view.agents,
        seconds,
        beats,
        blame: Blame::default(),
        slice: history.slice,
        roster: history.roster,
        tails: Vec::new(),
        missing,
    };
    let sums = tally::by_agent(&facts.seconds, &facts.beats, phase_began, facts.record.began);
    facts.blame = Blame::new(&facts.record, &facts.concerned(), &sums);
    read_tails(&mut facts, &request.state_dir.join("logs"));
    facts
}

fn read_tails(facts: &mut Facts, logs: &std::path::Path) {
    // While it goes back, everybody is on the way.
    let stuck = if facts.rollout.state == State::NeedsAttention { facts.not_on_blue() } else { Vec::new() };
    let chosen = facts.blame.instances(&facts.roster, facts.rollout.started, &stuck);
    let known: BTreeSet<_> = facts.roster.keys().copied().collect();
    for instance in chosen.into_iter().filter(|instance| known.contains(instance)) {
        let Some(member) = facts.roster.get(&instance).cloned() else { continue };
        let (agent, side) = (member.agent.clone(), member.side);
        match tails::read(logs, instance, member) {
            Ok(tail) => facts.tails.push(tail),
            Err((name, error)) => facts.missing.push(Missing {
                what: format!("logs/{name}, the log of {agent} ({side}, instance {instance})"),
                why: error.to_string(),
            }),
        }
    }
}

/// Of the phase in which the rollback began.
fn phase_began(rollout: &Rollout, rollback_began: UnixMillis) -> UnixMillis {
    let phases = rollout.phases.iter().map(|phase| phase.began);
    phases.filter(|&began| began <= rollback_began).max().unwrap_or(rollout.started)
}

fn beats(journal: PathBuf, from: UnixMillis, until: UnixMillis) -> Result<Vec<(UnixMillis, Beat)>, String> {
    let read = Journal::reader(&journal).and_then(|journal| journal.timed_usage(from.0, until.0));
    let samples = read.map_err(|error: Error| chain(&error))?;
    let parsed = samples.into_iter().map(|(at, text)| Ok((UnixMillis(at), serde_json::from_str(&text)?)));
    parsed.collect::<serde_json::Result<_>>().map_err(|error| error.to_string())
}
