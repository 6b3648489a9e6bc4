//! Evidence goes when it is old, but for the newest.

use std::{
    cmp::Reverse,
    fs, io,
    path::Path,
    time::{Duration, SystemTime},
};

const KEPT: Duration = Duration::from_secs(90 * 24 * 3600);
/// So many are kept whatever their age.
const NEWEST_KEPT: usize = 20;

/// Returns how many folders were removed.
pub(super) fn tidy(evidence: &Path, now: SystemTime) -> io::Result<usize> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(evidence)? {
        let entry = entry?;
        let is_ours = entry.file_name().to_string_lossy().starts_with("rollout-");
        if is_ours && entry.file_type()?.is_dir() {
            folders.push((entry.metadata()?.modified()?, entry.path()));
        }
    }
    folders.sort_by_key(|(written, _)| Reverse(*written));
    let mut gone = 0;
    for (written, path) in folders.into_iter().skip(NEWEST_KEPT) {
        if now.duration_since(written).is_ok_and(|age| age > KEPT) {
            fs::remove_dir_all(path)?;
            gone += 1;
        }
    }
    Ok(gone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_stay_whatever_their_age_and_nothing_else_is_touched() {
        let evidence = std::env::temp_dir().join(format!("bw-evidence-{}", std::process::id()));
        drop(fs::remove_dir_all(&evidence));
        let now = SystemTime::now();
        let day = Duration::from_secs(24 * 3600);
        for n in 1..=30_u32 {
            let folder = evidence.join(format!("rollout-{n}"));
            fs::create_dir_all(&folder).unwrap();
            // From 82 days on, a day each: the oldest is 111 days old.
            fs::File::open(&folder).unwrap().set_modified(now - day * (112 - n)).unwrap();
        }
        fs::create_dir_all(evidence.join("notes")).unwrap();
        assert_eq!(tidy(&evidence, now).unwrap(), 10);
        assert!(!evidence.join("rollout-10").exists() && evidence.join("rollout-11").exists());
        assert!(evidence.join("notes").exists());
        assert_eq!(tidy(&evidence, now + 400 * day).unwrap(), 0, "these are the newest");
        fs::remove_dir_all(evidence).unwrap();
    }
}
