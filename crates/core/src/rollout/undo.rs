//! How a rollout is undone, whole or in part, and what makes it so. Level-triggered like the way forward.

use std::collections::BTreeSet;

use super::{
    command::Command,
    event::Only,
    fleet::Fleet,
    progress::World,
    seat::{Is, Want},
    state::{PauseReason, Retreat, RollbackRecord, RollbackStep, Rollout, State, Trigger},
};
use crate::{
    id::{AgentName, AgentType, Side},
    spec::{OnSharedFault, Scope},
    watch::Alarm,
};

/// Where there is no room for blue beside green and green is not blamed, so many agents at most are without an
/// instance at a time, and their requests wait.
const GAP_MAX: usize = 16;

impl Rollout {
    pub(crate) fn roll_back(&mut self, trigger: Trigger, world: &mut World<'_>) {
        world.stage_ends_after(RollbackRecord::END_TO_END_MAX);
        self.paused = None;
        self.committing = false;
        self.ended = None;
        if let Some(record) = self.phase_mut() {
            record.ended.get_or_insert(world.now.wall);
        }
        let blames = trigger.blames_green();
        match &mut self.rollback {
            // Begun again: what it was for, and how long it took in all, stays to be seen.
            Some(record) => record.begin_again(trigger),
            None => self.rollback = Some(RollbackRecord::new(trigger, world.now.wall)),
        }
        self.state = State::RollingBack { step: RollbackStep::Shift };
        let planned: Vec<AgentName> = self.plan.agents().map(|planned| planned.agent.clone()).collect();
        for name in planned {
            send_back(&name, blames, world);
        }
    }

    /// Takes a part back while the rest goes on; what is in it stays on blue for the rest of the rollout. Returns
    /// false if all of it is back already, or was never going to move.
    pub(crate) fn retreat(&mut self, trigger: Trigger, agents: BTreeSet<AgentName>, world: &mut World<'_>) -> bool {
        let held_back = self.held_back();
        let planned: BTreeSet<&AgentName> = self.plan.agents().map(|planned| &planned.agent).collect();
        let agents: BTreeSet<AgentName> =
            agents.into_iter().filter(|name| planned.contains(name) && !held_back.contains(name)).collect();
        if agents.is_empty() {
            return false;
        }
        if agents.len() + held_back.len() == planned.len() {
            self.roll_back(trigger, world);
            return true;
        }
        let blames = trigger.blames_green();
        for name in &agents {
            send_back(name, blames, world);
        }
        self.retreats.push(Retreat { agents, record: RollbackRecord::new(trigger, world.now.wall) });
        true
    }

    /// What a trigger of the watch brings about.
    pub(crate) fn alarmed(&mut self, alarm: Alarm, world: &mut World<'_>) {
        match self.state {
            State::Progressing { .. } | State::Validating { .. } | State::Completed => {}
            State::RollingBack { .. } | State::NeedsAttention => {
                if let Some(record) = &mut self.rollback {
                    record.add(Trigger::Alarm(Box::new(alarm)));
                }
                return;
            }
            State::Preflight | State::Committed | State::RolledBack | State::PreflightFailed => return,
        }
        let why = alarm.why.clone();
        if alarm.shared && self.plan.triggers.on_shared_fault == OnSharedFault::Hold {
            self.hold(PauseReason::SharedFault { why });
            return;
        }
        let part = self.blamed_part(&alarm.agents, alarm.types.clone(), world.fleet);
        let trigger = Trigger::Alarm(Box::new(alarm));
        match part {
            None => self.roll_back(trigger, world),
            Some(agents) => {
                if self.retreat(trigger, agents, world) {
                    self.hold(PauseReason::PartlyRolledBack { why });
                }
            }
        }
    }

    /// Goes on judging, and goes no further, until a person has decided.
    fn hold(&mut self, reason: PauseReason) {
        match self.state {
            State::Progressing { .. } | State::Validating { .. } => {
                self.paused.get_or_insert(reason);
            }
            // Nothing is going on that could be held.
            State::Preflight
            | State::Completed
            | State::Committed
            | State::RollingBack { .. }
            | State::RolledBack
            | State::NeedsAttention
            | State::PreflightFailed => {}
        }
    }

    /// Whom a trigger takes back under the policy's scope; `None` is everybody.
    fn blamed_part(&self, agents: &[AgentName], types: Vec<AgentType>, fleet: &Fleet) -> Option<BTreeSet<AgentName>> {
        let part: BTreeSet<AgentName> = match self.plan.triggers.scope {
            Scope::Rollout => return None,
            Scope::Phase => self.phase_agents(self.phases.len().checked_sub(1)?),
            Scope::Type => self.part(&Only::Types(types.into_iter().collect()), fleet)?,
            Scope::Agent => agents.iter().cloned().collect(),
        };
        // Where all that has moved is to blame, what comes next would be as well.
        let spared = self.touched(fleet).any(|name| !part.contains(name));
        (!part.is_empty() && spared).then_some(part)
    }

    /// A trigger that names one agent.
    pub(crate) fn failed_hard(&mut self, trigger: Trigger, world: &mut World<'_>) {
        let agent = match &trigger {
            Trigger::CrashLoop { agent, .. } | Trigger::OutOfMemory { agent, .. } => agent.clone(),
            Trigger::Operator { .. } | Trigger::Gate { .. } | Trigger::Alarm(_) | Trigger::Drill => {
                return self.roll_back(trigger, world);
            }
        };
        let types = world.fleet.agents.get(&agent).map(|agent| agent.agent_type.clone()).into_iter().collect();
        match self.blamed_part(&[agent], types, world.fleet) {
            None => self.roll_back(trigger, world),
            Some(agents) => {
                let why = trigger.to_string();
                if self.retreat(trigger, agents, world) {
                    self.hold(PauseReason::PartlyRolledBack { why });
                }
            }
        }
    }

    /// The agents that a person named, as far as the rollout moves them. `None` if there is no such.
    pub(crate) fn part(&self, only: &Only, fleet: &Fleet) -> Option<BTreeSet<AgentName>> {
        let named = |name: &AgentName| match only {
            Only::Agents(agents) => agents.contains(name),
            Only::Types(types) => fleet.agents.get(name).is_some_and(|agent| types.contains(&agent.agent_type)),
            Only::Phase(_) => true,
        };
        let phases = self.plan.phases.iter().enumerate().filter(|(_, phase)| match only {
            Only::Phase(name) => &phase.name == name,
            Only::Agents(_) | Only::Types(_) => true,
        });
        let agents: BTreeSet<AgentName> =
            phases.flat_map(|(phase, _)| self.phase_agents(phase)).filter(named).collect();
        let all_known = match only {
            Only::Agents(asked) => asked.len() == agents.len(),
            Only::Types(_) | Only::Phase(_) => true,
        };
        (!agents.is_empty() && all_known).then_some(agents)
    }

    pub(crate) fn phase_agents(&self, phase: usize) -> BTreeSet<AgentName> {
        let batches = self.plan.phases.get(phase).into_iter().flat_map(|phase| &phase.batches);
        batches.flat_map(|batch| &batch.agents).map(|planned| planned.agent.clone()).collect()
    }

    /// What stands against blue now that it has the traffic, if anything does.
    pub(crate) fn checked(&mut self, fault: Option<String>) {
        match self.state {
            State::RollingBack { step: RollbackStep::Validate } | State::NeedsAttention => {
                if let Some(record) = &mut self.rollback {
                    record.checked = true;
                    record.fault = fault;
                }
            }
            // Of an earlier check: blue did not have the traffic then.
            State::Preflight
            | State::Progressing { .. }
            | State::Validating { .. }
            | State::Completed
            | State::Committed
            | State::RollingBack { step: RollbackStep::Shift | RollbackStep::Swap }
            | State::RolledBack
            | State::PreflightFailed => {}
        }
    }

    /// One step of the whole way back. False if its condition does not hold yet.
    pub(crate) fn undo_once(&mut self, step: RollbackStep, world: &mut World<'_>) -> bool {
        let now = world.now.wall;
        let Some(record) = &mut self.rollback else { return false };
        match step {
            RollbackStep::Shift => {
                let agents = in_reverse(&self.plan.agents().map(|planned| planned.agent.clone()).collect::<Vec<_>>());
                swap_what_fits(&agents, world);
                if world.fleet.is_moving() || !agents.iter().all(|name| is_back(name, world.fleet)) {
                    return false;
                }
                record.shifted.get_or_insert(now);
                self.state = State::RollingBack { step: RollbackStep::Swap };
            }
            RollbackStep::Swap => {
                if !self.plan.agents().all(|planned| is_clear(&planned.agent, world.fleet)) {
                    return false;
                }
                record.swapped.get_or_insert(now);
                (record.checked, record.fault) = (false, None);
                self.state = State::RollingBack { step: RollbackStep::Validate };
                self.ask_again(world);
            }
            RollbackStep::Validate => {
                let untouched = self.phases.is_empty();
                if !(untouched || record.checked && record.fault.is_none())
                    || !world.fleet.agents.values().all(|agent| agent.served_by(Side::Blue))
                {
                    return false;
                }
                record.validated = Some(now);
                world.fleet.forget_green(self.plan.agents().map(|planned| &planned.agent));
                self.over(State::RolledBack, world);
            }
        }
        true
    }

    /// Brings the parts that are taken back further. False if nothing moved.
    pub(crate) fn retreat_further(&mut self, world: &mut World<'_>) -> bool {
        if !self.retreats.iter().any(Retreat::is_under_way) {
            return false;
        }
        let order: Vec<AgentName> = self.plan.agents().map(|planned| planned.agent.clone()).collect();
        let order = in_reverse(&order);
        let now = world.now.wall;
        let mut moved = false;
        for Retreat { agents, record } in self.retreats.iter_mut().filter(|retreat| retreat.is_under_way()) {
            let part: Vec<AgentName> = order.iter().filter(|name| agents.contains(name)).cloned().collect();
            swap_what_fits(&part, world);
            if record.shifted.is_none() && !world.fleet.is_moving() && part.iter().all(|n| is_back(n, world.fleet)) {
                record.shifted = Some(now);
                moved = true;
            }
            if record.shifted.is_some() && part.iter().all(|name| is_clear(name, world.fleet)) {
                record.swapped = Some(now);
                record.validated = Some(now);
                world.fleet.forget_green(part.iter());
                moved = true;
            }
        }
        moved
    }

    /// Agents that have a green seat.
    fn touched<'a>(&'a self, fleet: &'a Fleet) -> impl Iterator<Item = &'a AgentName> {
        let names = self.plan.agents().map(|planned| &planned.agent);
        names.filter(|name| fleet.agents.get(*name).is_some_and(|agent| agent.green.is_some()))
    }

    pub(crate) fn ask_to_check(&self, world: &mut World<'_>) {
        if !self.phases.is_empty() {
            world.out.push(Command::CheckBlue { rollout: self.id });
        }
    }
}

fn in_reverse(agents: &[AgentName]) -> Vec<AgentName> {
    agents.iter().rev().cloned().collect()
}

fn send_back(name: &AgentName, blames: bool, world: &mut World<'_>) {
    if world.fleet.agents.get(name).is_none_or(|agent| agent.green.is_none()) {
        return;
    }
    if let Some(agent) = world.fleet.agent_mut(name) {
        agent.desired = Side::Blue;
        agent.blamed |= blames;
    }
}

/// Blue has the traffic, or never lost it.
fn is_back(name: &AgentName, fleet: &Fleet) -> bool {
    fleet.agents.get(name).is_none_or(|agent| agent.green.is_none() || agent.served_by(Side::Blue))
}

/// Nothing of green runs any more, and blue has the traffic.
fn is_clear(name: &AgentName, fleet: &Fleet) -> bool {
    let clear = |green: &super::seat::Seat| green.is == Is::Empty;
    is_back(name, fleet) && fleet.agents.get(name).and_then(|agent| agent.green.as_ref()).is_none_or(clear)
}

/// Blue in, green out, in the reverse of the order in which the plan moved the agents: undone that way, the fleet
/// passes through the same mixtures that were seen to fit on the way there.
///
/// Where blue does not fit beside green, green goes first and requests wait: all at once where green is blamed, for
/// what it does meanwhile is harm, and a few at a time where it is not.
fn swap_what_fits(agents: &[AgentName], world: &mut World<'_>) {
    let away =
        |name: &&AgentName| world.fleet.agents.get(*name).is_some_and(|a| a.abandoned && !a.served_by(Side::Blue));
    let mut gap = agents.iter().filter(away).count();
    let mut room = true;
    for name in agents {
        let Some(agent) = world.fleet.agents.get(name) else { continue };
        let Some(green) = &agent.green else { continue };
        let (blue_want, green_want) = (agent.blue.want, green.want);
        let (blamed, abandoned) = (agent.blamed, agent.abandoned);
        if agent.served_by(Side::Blue) {
            if green_want != Want::Stopped {
                world.fleet.want(name, Side::Green, Want::Stopped);
            }
            continue;
        }
        if blue_want == Want::Running {
            continue;
        }
        room = room && world.fleet.has_room(name, Side::Blue);
        if room {
            world.fleet.want(name, Side::Blue, Want::Running);
        } else if !abandoned && (blamed || gap < GAP_MAX) {
            gap += 1;
            world.fleet.abandon_green(name);
        }
    }
}
