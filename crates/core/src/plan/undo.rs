//! How long the way back takes from each step of a plan (R47): until everything that has moved so far has its
//! traffic on blue again.
//!
//! Warm blues take over in one cutover. Frozen ones are thawed and stopped ones booted, so many at once as boot at
//! once on the way there, in the reverse of the order in which they moved; where blue has no room beside green,
//! green goes first and requests wait. Whole rounds always fit: green out first, each round ends in a mixture that
//! the rollout passed through, and on its way never holds more than that or than it began with.

use std::collections::BTreeMap;

use super::{Need, Standby, batches::PackedPhase, fit::Stuck};
use crate::{
    id::{AgentName, PhaseName},
    time::Millis,
};

/// One generation at the gateway, with the questions and answers around it. Measured well below a second.
const CUTOVER: Millis = Millis::from_secs(1);
/// A round of thawing: an order to the kernel each, then a cutover.
const THAW: Millis = Millis::from_secs(1);
/// What a blamed green is given to end, after which it is made to.
const GREEN_OUT: Millis = Millis::from_secs(2);

/// What has moved so far, and what it takes to bring it back.
#[derive(Default)]
struct Moved<'n> {
    any: bool,
    frozen: usize,
    stopped: Vec<&'n AgentName>,
}

impl Moved<'_> {
    fn undo(&self, needs: &BTreeMap<AgentName, Need>, at_once: usize) -> Millis {
        let cutover = if self.any { CUTOVER } else { Millis::ZERO };
        let thaws = Millis(THAW.0 * self.frozen.div_ceil(at_once) as u64);
        let boots = self.stopped.rchunks(at_once).fold(Millis::ZERO, |sum, round| {
            sum + GREEN_OUT + round.iter().map(|agent| needs[*agent].boot).max().unwrap_or_default()
        });
        cutover + thaws + boots
    }
}

/// Fills in the time of each batch, if none is longer than `undo_max`.
pub(super) fn time(
    phases: &mut [PackedPhase<'_>],
    names: &[PhaseName],
    needs: &BTreeMap<AgentName, Need>,
    at_once: u32,
    undo_max: Millis,
) -> Result<(), Stuck> {
    let at_once = usize::try_from(at_once).unwrap_or(usize::MAX).max(1);
    let mut moved = Moved::default();
    let mut too_long = None;
    let mut longest = Millis::ZERO;
    for (phase, name) in phases.iter_mut().zip(names) {
        for (i, batch) in phase.batches.iter_mut().enumerate() {
            for (agent, standby) in &batch.agents {
                moved.any = true;
                match standby {
                    Standby::Warm => {}
                    Standby::Frozen => moved.frozen += 1,
                    Standby::Stopped => moved.stopped.push(&agent.name),
                }
            }
            batch.undo = moved.undo(needs, at_once);
            longest = longest.max(batch.undo);
            if batch.undo > undo_max && too_long.is_none() {
                too_long = Some((name.clone(), i + 1));
            }
        }
    }
    let Some((phase, batch)) = too_long else { return Ok(()) };
    let boots = || moved.stopped.iter().map(|agent| needs[*agent]);
    Err(Stuck::Undo {
        phase,
        batch,
        longest,
        undo_max,
        stopped: moved.stopped.iter().map(|agent| (*agent).clone()).collect(),
        frozen: moved.frozen,
        at_once,
        boot_longest: boots().map(|need| need.boot).max().unwrap_or_default(),
        boots_assumed: boots().filter(|need| !need.boot_measured).count(),
    })
}
