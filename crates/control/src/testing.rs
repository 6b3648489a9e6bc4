//! For benchmarks: a journal on a disk as a controller writes it, and what a controller makes of it when it starts.

use std::path::Path;

use bellwether_core::{
    rollout::{Controller, Event},
    time::Now,
};

use crate::{error::Error, journal::Journal, run};

/// What a controller takes into one transaction at most.
const BATCH: usize = 256;

/// Appends the records as a controller does that has much to do.
pub fn write_journal(path: &Path, records: &[(Now, Event)]) -> Result<(), Error> {
    let mut journal = Journal::open(path)?;
    let mut last = 0;
    for batch in records.chunks(BATCH) {
        last = journal.append(last, batch)?;
    }
    Ok(())
}

/// Reads a journal from its beginning to its end, as a controller does before it looks at the world.
pub fn replay(path: &Path) -> Result<Controller, Error> {
    let (_, memory) = run::replay(&Journal::open(path)?, path)?;
    Ok(memory.machine)
}
