//! Memory and CPUs.

use bellwether_core::spec::unit::Size;

use crate::{files::present_memory, wording::counted};

#[derive(Clone, Debug)]
pub(super) struct Machine {
    pub(super) memory_bytes: Option<u64>,
    pub(super) cpus: usize,
}

impl Machine {
    pub(super) fn look() -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { memory_bytes: present_memory(), cpus }
    }

    pub(super) fn told(&self) -> String {
        let cpus = counted(self.cpus, "CPU", "CPUs");
        match self.memory_bytes {
            Some(bytes) => format!("{} of memory and {cpus}", Size(bytes)),
            None => format!("{cpus}; how much memory there is cannot be found out"),
        }
    }

    /// In GiB: what the largest model may take if it runs on this machine too, and one for everything else; at most
    /// half of what is there.
    pub(super) fn reserve_gib(&self, model_bytes: u64) -> Option<u64> {
        let wanted = 1 + model_bytes.div_ceil(1 << 30);
        Some(wanted.min((self.memory_bytes? >> 30) / 2)).filter(|&gib| gib > 0)
    }
}
