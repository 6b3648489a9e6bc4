//! The simulated driver: which instances run, what they hold, how much memory that takes.
//!
//! Keeps the promises of the driver's contract: an instance number names one run for ever, commands of an older
//! generation are refused, what does not run is unknown.

use std::collections::{BTreeMap, BTreeSet};

use bellwether_core::{
    id::{AgentName, Generation, InstanceId, RevisionId, Side},
    time::Nanos,
    traffic::TaskId,
};

pub(crate) struct Driver {
    /// The process that it runs in, the supervisor's, is there.
    pub(crate) up: bool,
    /// Counts processes.
    pub(crate) life: u64,
    /// Counts what changes in what it would say runs.
    pub(crate) stirred: u64,
    running: BTreeMap<InstanceId, Process>,
    /// The newest decision about each instance, those that have ended included.
    seen: BTreeMap<InstanceId, Generation>,
    /// Could not be started, however often it is tried.
    pub(crate) unstartable: BTreeSet<InstanceId>,
    /// Ended, and a driver that lies says that they run.
    pub(crate) ghosts: BTreeSet<InstanceId>,
    memory_bytes: u64,
    pub(crate) memory_peak_bytes: u64,
}

/// One run of an instance.
pub(crate) struct Process {
    pub(crate) agent: AgentName,
    pub(crate) side: Side,
    pub(crate) revision: RevisionId,
    pub(crate) bytes: u64,
    /// It has asked for a task.
    pub(crate) polled: bool,
    pub(crate) healthy_at: Option<Nanos>,
    pub(crate) frozen: bool,
    /// It was asked to end and takes nothing new.
    pub(crate) stopping: bool,
    /// It is on the driver's record, so that the next driver knows it.
    pub(crate) recorded: bool,
    /// A driver that lies says that it does not run.
    pub(crate) denied: bool,
    /// It was ended for using more memory than it may.
    pub(crate) out_of_memory: bool,
    /// Tasks that it works on at once.
    pub(crate) places: u32,
    pub(crate) work: Vec<TaskId>,
    /// A request for a task is on its way.
    pub(crate) asks: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Action {
    Start { agent: AgentName, side: Side, revision: RevisionId },
    Stop { grace: bellwether_core::time::Millis },
    Freeze,
    Thaw,
}

#[derive(Clone, Debug)]
pub(crate) struct DriverCommand {
    pub(crate) instance: InstanceId,
    pub(crate) generation: Generation,
    pub(crate) action: Action,
}

/// What becomes of a command before anything is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// It is for an instance that runs.
    Running,
    /// It would be the instance's first run.
    New,
    /// Taken, and nothing to do.
    Ended,
    Unknown,
    Stale,
}

impl Default for Driver {
    fn default() -> Self {
        Self {
            up: true,
            life: 0,
            stirred: 0,
            running: BTreeMap::new(),
            seen: BTreeMap::new(),
            unstartable: BTreeSet::new(),
            ghosts: BTreeSet::new(),
            memory_bytes: 0,
            memory_peak_bytes: 0,
        }
    }
}

impl Driver {
    pub(crate) fn way(&mut self, command: &DriverCommand) -> Way {
        let before = self.seen.get(&command.instance).copied();
        if before.is_some_and(|seen| command.generation < seen) {
            return Way::Stale;
        }
        let starts = matches!(command.action, Action::Start { .. });
        if before.is_some() {
            self.seen.insert(command.instance, command.generation);
        }
        match (self.running.contains_key(&command.instance), before.is_some(), starts) {
            (true, _, _) => Way::Running,
            (false, true, true) => Way::Ended,
            (false, false, true) => Way::New,
            (false, _, false) => Way::Unknown,
        }
    }

    pub(crate) fn begin(&mut self, instance: InstanceId, generation: Generation, process: Process) {
        self.stirred += 1;
        self.seen.insert(instance, generation);
        self.memory_bytes += process.bytes;
        self.memory_peak_bytes = self.memory_peak_bytes.max(self.memory_bytes);
        self.running.insert(instance, process);
    }

    pub(crate) fn end(&mut self, instance: InstanceId) -> Option<Process> {
        let process = self.running.remove(&instance)?;
        self.stirred += 1;
        self.memory_bytes -= process.bytes;
        Some(process)
    }

    pub(crate) fn get(&self, instance: InstanceId) -> Option<&Process> {
        self.running.get(&instance)
    }

    pub(crate) fn get_mut(&mut self, instance: InstanceId) -> Option<&mut Process> {
        self.running.get_mut(&instance)
    }

    pub(crate) fn running(&self) -> impl ExactSizeIterator<Item = (InstanceId, &Process)> {
        self.running.iter().map(|(&instance, process)| (instance, process))
    }

    /// What an earlier driver started and did not live to record.
    pub(crate) fn unrecorded(&self) -> Vec<InstanceId> {
        self.running.iter().filter(|(_, process)| !process.recorded).map(|(&instance, _)| instance).collect()
    }

    /// It was never on record: its number is free for another attempt.
    pub(crate) fn forget(&mut self, instance: InstanceId) {
        self.seen.remove(&instance);
    }

    /// What it answers to who asks what runs.
    pub(crate) fn observed(&self) -> BTreeSet<InstanceId> {
        let running = self.running.iter().filter(|(_, process)| !process.denied).map(|(&instance, _)| instance);
        running.chain(self.ghosts.iter().copied()).collect()
    }

    /// What these use together, as far as they run.
    pub(crate) fn bytes_of<'i>(&self, instances: impl Iterator<Item = &'i InstanceId>) -> u64 {
        instances.filter_map(|instance| self.running.get(instance)).map(|process| process.bytes).sum()
    }

    pub(crate) fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }
}

impl Process {
    /// It can be given traffic and will do something with it.
    pub(crate) fn serves(&self) -> bool {
        self.polled && !self.frozen && !self.stopping
    }
}
