//! The journal, read once from its newest snapshot: the slice that the bundle holds, and who each instance was. The
//! journal knows instances by number; the machine that replays it knows who they are.

use std::{collections::VecDeque, path::Path};

use bellwether_core::{rollout::Command, time::UnixMillis};

use super::facts::{Entry, Member, Roster, Slice};
use crate::{
    error::Error,
    journal::{Journal, Memory},
};

/// Older events of the slice than these are left out.
const ENTRIES_MAX: usize = 5000;

#[derive(Default)]
pub(super) struct History {
    pub(super) slice: Slice,
    pub(super) roster: Roster,
    /// What ended the reading early.
    pub(super) broken: Option<Error>,
}

pub(super) fn read(journal: &Path, from: UnixMillis) -> History {
    let mut entries = VecDeque::new();
    let mut history = History { slice: Slice { from, ..Slice::default() }, ..History::default() };
    let path = journal;
    let read = Journal::reader(journal).and_then(|journal| {
        let (after, Memory { mut machine, .. }) = journal.snapshot()?;
        // Who was there when the snapshot was made was enrolled before anything that is told here.
        for (instance, agent, side) in machine.instances() {
            history.roster.insert(instance, Member { agent: agent.clone(), side, enrolled: UnixMillis::default() });
        }
        journal.events(after, |seq, now, event| {
            if now.wall >= from {
                if entries.len() == ENTRIES_MAX {
                    entries.pop_front();
                    history.slice.left_out += 1;
                }
                entries.push_back(Entry { seq, at: now.wall, event: event.clone() });
            }
            let unreplayable = |refusal: bellwether_core::rollout::Refusal| Error::Unreplayable {
                path: path.to_owned(),
                seq,
                why: refusal.to_string(),
            };
            for command in machine.step(now, event).map_err(unreplayable)? {
                if let Command::Enrol { instance, agent, side, .. } = command {
                    history.roster.insert(instance, Member { agent, side, enrolled: now.wall });
                }
            }
            Ok(())
        })
    });
    history.broken = read.err();
    history.slice.entries = entries.into();
    history
}
