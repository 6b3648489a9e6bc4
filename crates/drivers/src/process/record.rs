//! What is kept on disk about an instance, so that a later driver knows its own.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use bellwether_core::{
    id::{AgentName, Generation, InstanceId, Side},
    port::driver::Exit,
};
use serde::{Deserialize, Serialize};

/// Ended instances that are remembered, so that none is started twice. The controller asks for nothing
/// older: it has long seen those end.
const ENDED_KEPT: usize = 4096;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) instance: InstanceId,
    pub(super) agent: AgentName,
    pub(super) side: Side,
    /// The last one that was seen.
    pub(super) generation: Generation,
    pub(super) pid: u32,
    pub(super) started_ticks: u64,
    pub(super) boot: String,
    /// The memory limit that no control group enforces.
    pub(super) watch_bytes: Option<u64>,
    /// A stop was asked for.
    pub(super) asked: bool,
    pub(super) ended: Option<Exit>,
}

/// The directory of the records, one file each, replaced as a whole.
#[derive(Clone, Debug)]
pub(super) struct Records {
    directory: PathBuf,
}

#[derive(Debug, thiserror::Error)]
#[error("cannot use the instance record {}", path.display())]
pub struct RecordError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl Records {
    pub(super) fn open(directory: PathBuf) -> Result<Self, RecordError> {
        match fs::create_dir_all(&directory) {
            Ok(()) => Ok(Self { directory }),
            Err(source) => Err(RecordError { path: directory, source }),
        }
    }

    pub(super) fn path(&self, instance: InstanceId) -> PathBuf {
        self.directory.join(format!("{instance}.json"))
    }

    /// Not synced to the disk: after a power cut there are no processes left to know.
    pub(super) fn write(&self, record: &Record) -> Result<(), RecordError> {
        let path = self.path(record.instance);
        let partial = path.with_extension("partial");
        serde_json::to_vec(record)
            .map_err(io::Error::other)
            .and_then(|json| fs::write(&partial, json))
            .and_then(|()| fs::rename(&partial, &path))
            .map_err(|source| RecordError { path, source })
    }

    /// Everything known, but for the oldest of the ended, whose files are removed.
    pub(super) fn load(&self) -> Result<BTreeMap<InstanceId, Record>, RecordError> {
        let mut all = BTreeMap::new();
        let listed = fs::read_dir(&self.directory).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        for entry in listed.map_err(|source| RecordError { path: self.directory.clone(), source })? {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                let record = read(&path).map_err(|source| RecordError { path, source })?;
                all.insert(record.instance, record);
            }
        }
        let ended: Vec<InstanceId> = all.values().filter(|r| r.ended.is_some()).map(|r| r.instance).collect();
        for instance in ended.iter().take(ended.len().saturating_sub(ENDED_KEPT)) {
            all.remove(instance);
            if let Err(error) = fs::remove_file(self.path(*instance)) {
                tracing::warn!(%instance, %error, "cannot remove the record of an instance that ended long ago");
            }
        }
        Ok(all)
    }
}

fn read(path: &Path) -> io::Result<Record> {
    serde_json::from_slice(&fs::read(path)?).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_cannot_be_read_is_named() {
        let directory = std::env::temp_dir().join(format!("bw-records-{}", std::process::id()));
        let records = Records::open(directory.clone()).unwrap();
        fs::write(directory.join("7.json"), "{").unwrap();
        let error = records.load().unwrap_err();
        assert!(error.to_string().ends_with("7.json"), "{error}");
        fs::remove_dir_all(directory).unwrap();
    }
}
