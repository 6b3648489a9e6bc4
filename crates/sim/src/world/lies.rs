//! A driver that lies: it says that something happened which did not, keeps quiet about what did, or names the wrong
//! instances when it is asked what runs. What it says in the end, when it is asked, is the truth.

use bellwether_core::{id::InstanceId, time::Millis};

use super::{Happening, World};

/// How long a lie about what runs is upheld, on average.
const UPHELD: Millis = Millis::from_mins(2);

impl World {
    pub(super) fn lies(&mut self, rate: f64) -> bool {
        self.faults() && self.fate.hit(rate)
    }

    /// It denies that something runs, to whoever asks.
    pub(super) fn denies(&mut self) {
        let running: Vec<InstanceId> = self.driver.running().map(|(instance, _)| instance).collect();
        if running.is_empty() {
            return;
        }
        let instance = running[self.fate.below(running.len())];
        if let Some(process) = self.driver.get_mut(instance) {
            process.denied = true;
            let agent = process.agent.clone();
            self.driver.stirred += 1;
            self.referee.discredit(instance, &agent);
            self.will_confess(instance);
        }
    }

    /// It upholds that something runs which has ended.
    pub(super) fn conjures(&mut self, instance: InstanceId) {
        self.driver.ghosts.insert(instance);
        self.driver.stirred += 1;
        self.will_confess(instance);
    }

    fn will_confess(&mut self, instance: InstanceId) {
        let at = (self.now() + self.fate.exponential(UPHELD)).min(self.faults_until);
        self.agenda.at(at, Happening::Confesses { instance });
    }

    pub(super) fn confesses(&mut self, instance: InstanceId) {
        self.driver.ghosts.remove(&instance);
        self.driver.stirred += 1;
        if let Some(process) = self.driver.get_mut(instance) {
            process.denied = false;
        }
    }
}
