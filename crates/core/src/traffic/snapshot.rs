//! What is stored, as a value: the state that is left after a list of changes.
//!
//! A store keeps the same in tables. Simulation and property tests keep one of these, so that every restart they
//! make goes through the same door as a real one.

use std::collections::BTreeMap;

use crate::{
    id::{AgentName, Generation, InstanceId, Side},
    port::gateway::Move,
};

use super::{
    change::Change,
    roster::Enrolled,
    route::Route,
    task::{State, Task, TaskId},
};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    pub generation: Generation,
    /// Of the intent that made the generation.
    pub moves: Vec<Move>,
    pub routes: BTreeMap<AgentName, Route>,
    pub instances: BTreeMap<InstanceId, Enrolled>,
    /// Those that have not ended.
    pub tasks: BTreeMap<TaskId, Task>,
    /// Highest place in line and highest completion number given so far.
    pub last_order: u64,
    pub last_seq: u64,
}

impl Snapshot {
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Enrolled { card } => {
                self.instances.insert(card.instance, Enrolled::new(card.clone()));
            }
            Change::Settled { instance } => self.instance(*instance, |known| known.card.side = Side::Blue),
            Change::Places { instance, places } => self.instance(*instance, |known| known.places = *places),
            Change::Gone { instance } => self.instance(*instance, |known| {
                known.gone = true;
                known.drain_limit = None;
            }),
            Change::Forgotten { instance, token: _ } => {
                self.instances.remove(instance);
            }
            Change::Generation { generation, moves } => {
                self.generation = *generation;
                self.moves.clone_from(moves);
            }
            Change::Routed { agent, route } => {
                self.routes.insert(agent.clone(), *route);
            }
            Change::Opened { instance, generation: _ } | Change::DrainOver { instance } => {
                self.instance(*instance, |known| known.drain_limit = None);
            }
            Change::Retired { instance, limit } => self.instance(*instance, |known| known.drain_limit = Some(*limit)),
            Change::FellBack { .. } => {}
            Change::Queued { task } => {
                self.last_order = task.order;
                self.tasks.insert(task.id.clone(), task.clone());
            }
            Change::Revived { task } => {
                self.last_order = task.order;
                self.tasks.insert(task.id.clone(), task.clone());
            }
            Change::Checkpoint { .. } => {}
            Change::LeaseLost { task, .. } | Change::Retried { task, .. } => {
                self.tasks.insert(task.id.clone(), task.clone());
            }
            Change::Leased { id, attempts, lease } => {
                if let Some(task) = self.tasks.get_mut(id) {
                    task.attempts = *attempts;
                    task.state = State::Leased(lease.clone());
                }
            }
            Change::Finished { task, seq, .. } => {
                self.last_seq = *seq;
                self.tasks.remove(&task.id);
            }
        }
    }

    fn instance(&mut self, instance: InstanceId, change: impl FnOnce(&mut Enrolled)) {
        if let Some(known) = self.instances.get_mut(&instance) {
            change(known);
        }
    }
}
