//! Room on the disk that is held back, so that there is some when there is none.
//!
//! A file that is really allocated. It is given back slice by slice, because whoever filled the disk is still there and
//! takes what it finds: no more than one slice is ever in the open.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::{fs::FallocateFlags, io::Errno};

pub struct Reserve {
    path: PathBuf,
    held: u64,
}

const SLICE_BYTES: u64 = 1 << 20;
const BLOCK_BYTES: u64 = 512;

impl Reserve {
    /// What an earlier process held is held.
    pub fn open(path: &Path) -> Self {
        let held = fs::metadata(path).map_or(0, |meta| meta.len());
        Self { path: path.to_owned(), held }
    }

    pub fn held(&self) -> u64 {
        self.held
    }

    /// Holds so many bytes. On an error nothing is held that was not before.
    pub fn hold(&mut self, bytes: u64) -> io::Result<()> {
        if self.held >= bytes {
            return Ok(());
        }
        let before = self.held;
        match allocate(&self.path, bytes) {
            Ok(()) => {
                self.held = bytes;
                Ok(())
            }
            Err(error) => {
                self.cut_to(before)?;
                Err(error)
            }
        }
    }

    /// Gives one slice back to the disk. False if there is none left.
    pub fn give_back(&mut self) -> io::Result<bool> {
        if self.held == 0 {
            return Ok(false);
        }
        self.cut_to(self.held.saturating_sub(SLICE_BYTES))?;
        Ok(true)
    }

    /// Gives back everything.
    pub fn release(&mut self) -> io::Result<()> {
        self.cut_to(0)
    }

    fn cut_to(&mut self, bytes: u64) -> io::Result<()> {
        let cut = if bytes == 0 {
            fs::remove_file(&self.path)
        } else {
            OpenOptions::new().write(true).open(&self.path).and_then(|file| file.set_len(bytes))
        };
        match cut {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => {
                self.held = bytes;
                Ok(())
            }
        }
    }
}

fn allocate(path: &Path, bytes: u64) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes) {
        Ok(()) => {}
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => fill(&mut file, bytes)?,
        Err(error) => return Err(error.into()),
    }
    if file.metadata()?.blocks() * BLOCK_BYTES < bytes {
        fill(&mut file, bytes)?;
    }
    file.sync_all()
}

/// For file systems that promise nothing.
fn fill(file: &mut File, bytes: u64) -> io::Result<()> {
    io::Seek::rewind(file)?;
    let zeros = [0; 1 << 16];
    let mut left = bytes;
    while left > 0 {
        let part = usize::try_from(left).map_or(zeros.len(), |left| left.min(zeros.len()));
        file.write_all(&zeros[..part])?;
        left -= part as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_really_allocated_and_comes_back_in_slices() {
        let path = std::env::temp_dir().join(format!("bw-reserve-{}", std::process::id()));
        let mut reserve = Reserve::open(&path);
        reserve.hold(5 * SLICE_BYTES / 2).unwrap();
        let allocated = || fs::metadata(&path).map_or(0, |meta| meta.blocks() * BLOCK_BYTES);
        assert!(allocated() >= 5 * SLICE_BYTES / 2);
        assert_eq!(Reserve::open(&path).held(), 5 * SLICE_BYTES / 2, "the next process knows of it");
        for left in [3 * SLICE_BYTES / 2, SLICE_BYTES / 2, 0] {
            assert!(reserve.give_back().unwrap());
            assert_eq!(reserve.held(), left);
            assert!(allocated() <= left + 4096);
        }
        assert!(!reserve.give_back().unwrap() && !path.exists());
        reserve.hold(1).unwrap();
        reserve.release().unwrap();
        assert!(!path.exists());
    }
}
