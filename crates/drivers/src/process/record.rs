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

/// Ended instances that are remembered one by one, so that none is started twice. Of older ones the highest number is
/// remembered: the controller asks for nothing older, as it has long seen those end.
pub(super) const ENDED_KEPT: usize = 4096;
const FLOOR: &str = "floor";

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

/// What is remembered of instances whose records are gone: no number up to this one is started again, and no older decision
/// about one is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Floor {
    pub(super) instance: InstanceId,
    pub(super) generation: Generation,
}

impl Floor {
    pub(super) fn raise(&mut self, instance: InstanceId, generation: Generation) {
        self.instance = self.instance.max(instance);
        self.generation = self.generation.max(generation);
    }
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
        self.replace(&self.path(record.instance), record)
    }

    fn replace(&self, path: &Path, value: &impl Serialize) -> Result<(), RecordError> {
        let partial = path.with_extension("partial");
        serde_json::to_vec(value)
            .map_err(io::Error::other)
            .and_then(|json| fs::write(&partial, json))
            .and_then(|()| fs::rename(&partial, path))
            .map_err(|source| RecordError { path: path.to_owned(), source })
    }

    /// Everything known, but for the oldest of the ended, whose files are removed.
    pub(super) fn load(&self) -> Result<(Floor, BTreeMap<InstanceId, Record>), RecordError> {
        let mut all = self.read_all()?;
        let mut floor = self.floor()?;
        let ended: Vec<InstanceId> = all.values().filter(|r| r.ended.is_some()).map(|r| r.instance).collect();
        let mut gone = Vec::new();
        for instance in ended.iter().take(ended.len().saturating_sub(ENDED_KEPT)) {
            if let Some(record) = all.remove(instance) {
                floor.raise(*instance, record.generation);
                gone.push(*instance);
            }
        }
        self.forget(floor, &gone)?;
        Ok((floor, all))
    }

    /// Removes records of instances that ended long ago. What is remembered of them is on the disk before they go.
    pub(super) fn forget(&self, floor: Floor, gone: &[InstanceId]) -> Result<(), RecordError> {
        if gone.is_empty() {
            return Ok(());
        }
        self.replace(&self.directory.join(format!("{FLOOR}.json")), &floor)?;
        for instance in gone {
            if let Err(error) = fs::remove_file(self.path(*instance)) {
                tracing::warn!(%instance, %error, "cannot remove the record of an instance that ended long ago");
            }
        }
        Ok(())
    }

    fn floor(&self) -> Result<Floor, RecordError> {
        let path = self.directory.join(format!("{FLOOR}.json"));
        match fs::read(&path).map(|text| serde_json::from_slice(&text)) {
            Ok(floor) => floor.map_err(|error| RecordError { path, source: error.into() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Floor::default()),
            Err(source) => Err(RecordError { path, source }),
        }
    }

    /// Every record that is there.
    pub(super) fn read_all(&self) -> Result<BTreeMap<InstanceId, Record>, RecordError> {
        let mut all = BTreeMap::new();
        let listed = fs::read_dir(&self.directory).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        for entry in listed.map_err(|source| RecordError { path: self.directory.clone(), source })? {
            let path = entry.path();
            let is_floor = path.file_stem().is_some_and(|stem| stem == FLOOR);
            if path.extension().is_some_and(|extension| extension == "json") && !is_floor {
                let record = read(&path).map_err(|source| RecordError { path, source })?;
                all.insert(record.instance, record);
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

    #[test]
    fn what_ended_long_ago_leaves_a_floor_and_nothing_else() {
        let directory = std::env::temp_dir().join(format!("bw-records-floor-{}", std::process::id()));
        drop(fs::remove_dir_all(&directory));
        let records = Records::open(directory.clone()).unwrap();
        let exit = Exit { code: Some(0), signal: None, out_of_memory: false, asked: true };
        for n in 1..=ENDED_KEPT as u64 + 10 {
            let record = Record {
                instance: InstanceId(n),
                agent: "a".into(),
                side: Side::Blue,
                generation: Generation(n),
                pid: 1,
                started_ticks: 1,
                boot: String::new(),
                watch_bytes: None,
                asked: true,
                // The first runs on.
                ended: (n > 1).then(|| exit.clone()),
            };
            records.write(&record).unwrap();
        }
        for _ in 0..2 {
            let (floor, known) = records.load().unwrap();
            assert_eq!(floor, Floor { instance: InstanceId(10), generation: Generation(10) });
            assert_eq!((known.len(), known.keys().next()), (ENDED_KEPT + 1, Some(&InstanceId(1))), "what runs stays");
        }
        fs::remove_dir_all(directory).unwrap();
    }
}
