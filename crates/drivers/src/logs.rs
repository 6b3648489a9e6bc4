//! Bounds the logs that child processes write themselves. They write to files and not through their parent, so
//! that they live on without it; therefore a log is cut from outside: its newer part is copied to `….log.1`, and
//! the file, which all writers append to, starts again from nothing.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::{Duration, SystemTime},
};

/// Cuts the log if it is longer than `max_bytes`; half as much is kept. What is written between copy and cut
/// is lost: an agent that logs that much in one beat has more to say than anyone reads.
pub fn bound(path: &Path, max_bytes: u64) -> io::Result<()> {
    let length = match fs::metadata(path) {
        Ok(meta) => meta.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if length <= max_bytes {
        return Ok(());
    }
    let mut log = OpenOptions::new().read(true).write(true).open(path)?;
    let mut old = path.as_os_str().to_owned();
    old.push(".1");
    let mut kept: File = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(old)?;
    log.seek(SeekFrom::Start(length - max_bytes / 2))?;
    io::copy(&mut Read::by_ref(&mut log).take(max_bytes / 2), &mut kept)?;
    log.set_len(0)
}

/// How long the log of an instance is kept after it was last written to, and how much all of them may take up.
pub const ENDED_LOGS_KEPT: Duration = Duration::from_secs(14 * 24 * 3600);
pub const ENDED_LOGS_MAX_BYTES: u64 = 1 << 30;

/// Removes logs of instances that are gone: those that nobody has written to for long, and the oldest of more than there is
/// room for. Returns how many.
pub fn tidy(directory: &Path, living: &BTreeSet<u64>, now: SystemTime) -> io::Result<usize> {
    tidy_to(directory, living, now, ENDED_LOGS_MAX_BYTES)
}

fn tidy_to(directory: &Path, living: &BTreeSet<u64>, now: SystemTime, max_bytes: u64) -> io::Result<usize> {
    let mut ended = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if instance_of(&name.to_string_lossy()).is_some_and(|instance| !living.contains(&instance)) {
            let meta = entry.metadata()?;
            ended.push((meta.modified()?, meta.len(), entry.path()));
        }
    }
    ended.sort_by_key(|(written, ..)| std::cmp::Reverse(*written));
    let (mut bytes, mut gone) = (0, 0);
    for (written, length, path) in ended {
        bytes += length;
        // One that was written in the future is of a clock that was set back.
        let old = now.duration_since(written).is_ok_and(|age| age > ENDED_LOGS_KEPT);
        if old || bytes > max_bytes {
            fs::remove_file(path)?;
            gone += 1;
        }
    }
    Ok(gone)
}

/// `AGENT.NUMBER.log`, and the older part beside it.
fn instance_of(name: &str) -> Option<u64> {
    let name = name.strip_suffix(".1").unwrap_or(name).strip_suffix(".log")?;
    name.rsplit_once('.')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_long_log_is_cut_and_its_writer_goes_on() {
        let directory = std::env::temp_dir().join(format!("bw-log-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join("a.1.log");
        let mut writer = OpenOptions::new().append(true).create(true).open(&path).unwrap();
        writer.write_all(&[b'x'; 90]).unwrap();
        writer.write_all(&[b'y'; 20]).unwrap();
        bound(&path, 200).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 110);
        bound(&path, 100).unwrap();
        writer.write_all(b"on").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "on");
        let kept = fs::read_to_string(directory.join("a.1.log.1")).unwrap();
        assert!(kept.len() == 50 && kept.ends_with(&"y".repeat(20)), "{kept}");
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn logs_of_those_that_are_gone_go_when_they_are_old_or_too_many() {
        let directory = std::env::temp_dir().join(format!("bw-log-tidy-{}", std::process::id()));
        drop(fs::remove_dir_all(&directory));
        fs::create_dir_all(&directory).unwrap();
        let now = SystemTime::now();
        let day = Duration::from_secs(24 * 3600);
        let write = |name: &str, age: Duration| {
            let file = File::create(directory.join(name)).unwrap();
            file.set_len(100).unwrap();
            file.set_modified(now - age).unwrap();
        };
        write("a.1.log", 15 * day);
        write("a.1.log.1", 15 * day);
        write("a.b.2.log", 13 * day);
        write("a.3.log", 15 * day);
        write("a.4.log", day);
        write("gateway.log", 90 * day);
        let names = || -> BTreeSet<String> {
            fs::read_dir(&directory).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
        };
        let living = BTreeSet::from([3]);
        assert_eq!(tidy(&directory, &living, now).unwrap(), 2);
        assert_eq!(names(), ["a.3.log", "a.4.log", "a.b.2.log", "gateway.log"].map(str::to_owned).into());
        assert_eq!(tidy_to(&directory, &living, now, 150).unwrap(), 1, "the older of the two");
        assert_eq!(names(), ["a.3.log", "a.4.log", "gateway.log"].map(str::to_owned).into());
        fs::remove_dir_all(directory).unwrap();
    }
}
