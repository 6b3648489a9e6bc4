//! Bounds the logs that child processes write themselves. They write to files and not through their parent, so
//! that they live on without it; therefore a log is cut from outside: its newer part is copied to `….log.1`, and
//! the file, which all writers append to, starts again from nothing.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::OpenOptionsExt,
    path::Path,
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
}
