//! What would come of an event, without anything coming of it: the same step, taken by a copy of the machine.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    command::Command,
    controller::{Controller, Refusal},
    event::Event,
    state::State,
    view::RolloutView,
};
use crate::{
    id::{AgentName, InstanceId, Side},
    time::{Millis, Now},
};

/// What a request would do at once. What follows from that (greens become ready, gates are judged) is the rollout's own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Preview {
    /// None if no rollout was there.
    pub before: Option<RolloutView>,
    pub after: Option<RolloutView>,
    /// The controller has just started and has not seen the world yet: it would act as soon as it has, and how is not
    /// told here.
    pub blind: bool,
    /// Traffic that one cutover would move.
    pub moves: Vec<Shift>,
    /// Traffic that would follow, as soon as there is a ready instance to take it.
    pub follows: Vec<Shift>,
    pub starts: Vec<Seated>,
    pub stops: Vec<Seated>,
    pub freezes: Vec<Seated>,
    pub thaws: Vec<Seated>,
    /// The window that would be judged: a phase, or the validation.
    pub judges: Option<String>,
    /// Where agents would be taken back: how long the plan says that takes at most, until their traffic is on blue.
    pub undo: Option<Millis>,
}

/// Traffic of an agent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Shift {
    pub agent: AgentName,
    pub to: Side,
}

/// An instance, by where it sits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Seated {
    pub agent: AgentName,
    pub side: Side,
}

impl Controller {
    /// Refuses what [`Controller::step`] would refuse. Changes nothing.
    pub fn preview(&self, now: Now, event: Event) -> Result<Preview, Refusal> {
        let mut after = self.clone();
        let commands = after.step(now, event)?;
        let view = |machine: &Self| machine.rollout().map(|rollout| machine.rollout_view(rollout, now));
        let mut preview = Preview {
            before: view(self),
            after: view(&after),
            blind: after.fleet.is_blind(),
            moves: Vec::new(),
            follows: Vec::new(),
            starts: Vec::new(),
            stops: Vec::new(),
            freezes: Vec::new(),
            thaws: Vec::new(),
            judges: None,
            undo: self.undoes(&after),
        };
        // Who sat where is known of old instances before the step, and of new ones after it.
        let seated = |instance: InstanceId| {
            let (agent, side) = self.seat_of(instance).or_else(|| after.seat_of(instance))?;
            Some(Seated { agent: agent.clone(), side })
        };
        let mut starts: BTreeMap<InstanceId, Seated> = BTreeMap::new();
        for command in commands {
            match command {
                // A start follows as soon as the gateway knows the instance.
                Command::Enrol { instance, agent, side, .. } | Command::Start { instance, agent, side, .. } => {
                    starts.insert(instance, Seated { agent, side });
                }
                Command::Stop { instance, .. } => preview.stops.extend(seated(instance)),
                Command::Freeze { instance } => preview.freezes.extend(seated(instance)),
                Command::Thaw { instance } => preview.thaws.extend(seated(instance)),
                Command::CutOver { moves, .. } => preview.moves.extend(moves.into_iter().filter_map(|one| {
                    let to = seated(one.to)?.side;
                    Some(Shift { agent: one.agent, to })
                })),
                Command::Judge { window, .. } => {
                    preview.judges = after.rollout().map(|rollout| window.name(&rollout.plan));
                }
                Command::Probe { .. }
                | Command::TryOut { .. }
                | Command::Lost { .. }
                | Command::Retire { .. }
                | Command::Settle { .. }
                | Command::Observe
                | Command::OpenWindow { .. }
                | Command::MeasureBaseline { .. }
                | Command::CheckBlue { .. } => {}
            }
        }
        preview.starts = starts.into_values().collect();
        preview.follows = self.follows(&after, &preview.moves);
        Ok(preview)
    }

    /// Traffic that the step has in mind for a side that it is not on and not moved to yet.
    fn follows(&self, after: &Self, moved: &[Shift]) -> Vec<Shift> {
        let moved: BTreeSet<&AgentName> = moved.iter().map(|shift| &shift.agent).collect();
        let goes_back = after.rollout().is_some_and(|rollout| matches!(rollout.state, State::RollingBack { .. }));
        let agents = after.fleet.agents.iter().filter(|(name, agent)| {
            let decided = self.fleet.agents.get(*name).is_some_and(|before| before.desired != agent.desired);
            let elsewhere = agent.serving().is_some_and(|side| side != agent.desired);
            (decided || goes_back) && elsewhere && !moved.contains(name)
        });
        agents.map(|(name, agent)| Shift { agent: name.clone(), to: agent.desired }).collect()
    }

    fn undoes(&self, after: &Self) -> Option<Millis> {
        let (before, then) = (self.rollout()?, after.rollout()?);
        let back = matches!(then.state, State::RollingBack { .. } | State::RolledBack) && !before.state.is_over();
        let begins = back && !matches!(before.state, State::RollingBack { .. });
        let in_part = then.retreats.len() > before.retreats.len();
        if begins || in_part { before.time_to_undo() } else { None }
    }
}
