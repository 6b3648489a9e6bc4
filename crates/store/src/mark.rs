//! A word that can be written when nothing else can.
//!
//! Two blocks that are allocated beforehand and written over in place, in turn: a write that is cut off leaves the one
//! before it.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};

use crate::copy::sync_directory;

pub struct Mark {
    path: PathBuf,
    file: File,
    turn: u64,
}

const BLOCK: usize = 4096;
const MAGIC: &[u8; 8] = b"BWMARK01";
/// Magic, turn, length, checksum.
const HEAD: usize = 8 + 8 + 4 + 32;

impl Mark {
    /// Allocates it, unset. One that is there already stays as it is.
    pub fn prepare(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        if file.metadata()?.len() < 2 * BLOCK as u64 {
            file.write_all_at(&[0; 2 * BLOCK], 0)?;
            file.sync_all()?;
            sync_directory(path)?;
        }
        let turn = valid(&file).map_or(0, |(turn, _)| turn);
        Ok(Self { path: path.to_owned(), file, turn })
    }

    /// What was set and not cleared. A mark that cannot be read was never written whole, and says nothing.
    pub fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let Some((_, text)) = valid(&file) else { return Ok(None) };
        if text.is_empty() { Ok(None) } else { Ok(Some(serde_json::from_slice(&text)?)) }
    }

    /// When this returns, it outlives a power cut. Takes no room.
    pub fn set(&mut self, value: &impl Serialize) -> io::Result<()> {
        self.write(&serde_json::to_vec(value)?)
    }

    pub fn clear(&mut self) -> io::Result<()> {
        self.write(&[])
    }

    /// Gives its room back.
    pub fn remove(self) -> io::Result<()> {
        fs::remove_file(self.path)
    }

    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        if text.len() > BLOCK - HEAD {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is longer than a block"));
        }
        self.turn += 1;
        let mut block = vec![0; BLOCK];
        block[..8].copy_from_slice(MAGIC);
        block[8..16].copy_from_slice(&self.turn.to_le_bytes());
        let length = u32::try_from(text.len()).map_err(io::Error::other)?;
        block[16..20].copy_from_slice(&length.to_le_bytes());
        block[HEAD..HEAD + text.len()].copy_from_slice(text);
        let sum = sum(self.turn, text);
        block[20..HEAD].copy_from_slice(sum.as_bytes());
        self.file.write_all_at(&block, (self.turn % 2) * BLOCK as u64)?;
        self.file.sync_data()
    }
}

fn sum(turn: u64, text: &[u8]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&turn.to_le_bytes()).update(text);
    hasher.finalize()
}

/// The newest block that was written whole.
fn valid(file: &File) -> Option<(u64, Vec<u8>)> {
    let read = |at: u64| {
        let mut block = vec![0; BLOCK];
        file.read_exact_at(&mut block, at).ok()?;
        let turn = u64::from_le_bytes(block[8..16].try_into().ok()?);
        let length = u32::from_le_bytes(block[16..20].try_into().ok()?) as usize;
        let text = block.get(HEAD..HEAD.checked_add(length)?)?;
        let whole = &block[..8] == MAGIC && block[20..HEAD] == *sum(turn, text).as_bytes();
        whole.then(|| (turn, text.to_vec()))
    };
    [read(0), read(BLOCK as u64)].into_iter().flatten().max_by_key(|(turn, _)| *turn)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("bw-mark-{name}-{}", std::process::id()));
        drop(fs::remove_file(&path));
        path
    }

    #[test]
    fn it_is_set_cleared_and_known_to_the_next_process() {
        let path = path("set");
        assert_eq!(Mark::read::<u32>(&path).unwrap(), None);
        let mut mark = Mark::prepare(&path).unwrap();
        assert_eq!(Mark::read::<u32>(&path).unwrap(), None);
        mark.set(&7).unwrap();
        assert_eq!(Mark::read(&path).unwrap(), Some(7));
        let mut next = Mark::prepare(&path).unwrap();
        assert_eq!(Mark::read(&path).unwrap(), Some(7), "preparing it again leaves it");
        next.set(&8).unwrap();
        assert_eq!(Mark::read(&path).unwrap(), Some(8));
        next.clear().unwrap();
        assert_eq!(Mark::read::<u32>(&path).unwrap(), None);
        next.remove().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_write_that_is_cut_off_anywhere_leaves_the_one_before() {
        let path = path("torn");
        let mut mark = Mark::prepare(&path).unwrap();
        mark.set(&"before").unwrap();
        let before = fs::read(&path).unwrap();
        mark.set(&"after").unwrap();
        let after = fs::read(&path).unwrap();
        let changed: Vec<usize> = (0..after.len()).filter(|&at| before[at] != after[at]).collect();
        for cut in 0..=changed.len() {
            let mut torn = before.clone();
            changed[..cut].iter().for_each(|&at| torn[at] = after[at]);
            fs::write(&path, &torn).unwrap();
            let expected = if cut == changed.len() { "after" } else { "before" };
            assert_eq!(Mark::read::<String>(&path).unwrap().as_deref(), Some(expected), "{cut}");
        }
        fs::remove_file(path).unwrap();
    }
}
