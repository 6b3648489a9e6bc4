//! Puts files into a state directory in place of those that are there. What was there is kept aside.
//!
//! All of them lie ready in the directory, and a plan says so, before the first is moved. From then on it goes to its end,
//! if need be by another process: nobody starts anything on a state directory before that.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use bellwether_store::sync_directory;
use serde::{Deserialize, Serialize};

const PLAN: &str = "restore.json";

#[derive(Serialize, Deserialize)]
pub(crate) struct Plan {
    /// Where what is there goes.
    pub(crate) aside: String,
    /// What belonged to the files that go, and has no successor.
    pub(crate) gone: Vec<String>,
    pub(crate) files: Vec<String>,
}

/// What a file is called until it is moved to its place.
pub(crate) fn ready(name: &str) -> String {
    format!("{name}.restoring")
}

/// Every file of the plan lies ready. When this returns, they are where they belong.
pub(crate) fn carry_out(state: &Path, plan: &Plan) -> io::Result<()> {
    let partial = state.join(format!("{PLAN}.partial"));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
    file.write_all(&serde_json::to_vec_pretty(plan)?)?;
    file.sync_all()?;
    fs::rename(&partial, state.join(PLAN))?;
    sync_directory(&partial)?;
    finish(state)
}

/// Brings a plan that was begun to its end. Nothing to do is nothing done. The lock must be held.
pub(crate) fn finish(state: &Path) -> io::Result<()> {
    let text = match fs::read(state.join(PLAN)) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let Plan { aside, gone, files } = serde_json::from_slice(&text)?;
    let aside = state.join(aside);
    DirBuilder::new().recursive(true).mode(0o700).create(&aside)?;
    // A log of writes must not meet the file that it does not belong to: it goes first.
    for name in &gone {
        move_if_there(&state.join(name), &aside.join(name))?;
    }
    for name in &files {
        let next = state.join(ready(name));
        if next.exists() {
            move_if_there(&state.join(name), &aside.join(name))?;
            fs::rename(next, state.join(name))?;
        }
    }
    sync_directory(&aside.join(PLAN))?;
    sync_directory(&aside)?;
    fs::remove_file(state.join(PLAN))?;
    sync_directory(&state.join(PLAN))
}

fn move_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, path::PathBuf};

    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("bw-put-back-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&dir));
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    fn plan() -> Plan {
        let names = |names: [&str; 2]| names.map(str::to_owned).to_vec();
        Plan { aside: "aside".to_owned(), gone: names(["a-wal", "b-wal"]), files: names(["a", "b"]) }
    }

    fn prepare(dir: &Path) {
        for (name, text) in [("a", "old a"), ("a-wal", "old log"), ("a.restoring", "new a"), ("b.restoring", "new b")] {
            fs::write(dir.join(name), text).unwrap();
        }
    }

    fn files(dir: &Path) -> BTreeMap<String, String> {
        let files = fs::read_dir(dir).unwrap().flatten().filter(|entry| entry.path().is_file());
        files.map(|e| (e.file_name().into_string().unwrap(), fs::read_to_string(e.path()).unwrap())).collect()
    }

    #[test]
    fn what_was_there_is_kept_aside() {
        let dir = scratch("whole");
        prepare(&dir);
        carry_out(&dir, &plan()).unwrap();
        let expected = |all: &[(&str, &str)]| all.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        assert_eq!(files(&dir), expected(&[("a", "new a"), ("b", "new b")]));
        assert_eq!(files(&dir.join("aside")), expected(&[("a", "old a"), ("a-wal", "old log")]));
        finish(&dir).unwrap();
        fs::remove_dir_all(dir).unwrap();
    }

    /// A crash between any two of its steps, each of which is a rename: the same as if only so many had been done.
    #[test]
    fn whoever_comes_after_a_crash_goes_on_where_it_stopped() {
        let steps: [(&str, &str); 4] =
            [("a-wal", "aside/a-wal"), ("a", "aside/a"), ("a.restoring", "a"), ("b.restoring", "b")];
        for done in 0..=steps.len() {
            let dir = scratch(&format!("crash-{done}"));
            prepare(&dir);
            fs::write(dir.join(PLAN), serde_json::to_vec(&plan()).unwrap()).unwrap();
            fs::create_dir(dir.join("aside")).unwrap();
            for (from, to) in &steps[..done] {
                fs::rename(dir.join(from), dir.join(to)).unwrap();
            }
            finish(&dir).unwrap();
            assert_eq!(files(&dir)["a"], "new a", "after {done} steps");
            assert_eq!(files(&dir).len(), 2, "after {done} steps");
            assert_eq!(files(&dir.join("aside"))["a"], "old a", "after {done} steps");
            fs::remove_dir_all(dir).unwrap();
        }
    }
}
