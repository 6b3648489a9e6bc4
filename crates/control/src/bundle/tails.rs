//! The ends of instances' logs. An agent may have put anything in the place of its log, so only a plain file is
//! read, and never more of it than the bound.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use bellwether_core::id::InstanceId;
use rustix::fs::OFlags;

use super::facts::{Member, Tail, plain};

const TAIL_MAX_BYTES: u64 = 256 << 10;

/// Fails with the reason in one line.
pub(super) fn read(logs: &Path, instance: InstanceId, member: Member) -> Result<Tail, (String, io::Error)> {
    // Named by the driver (docs/architecture.md); what it cut off lies beside it.
    let name = format!("{}.{instance}.log", plain(member.agent.as_str()));
    let (mut bytes, mut left_out) = match end_of(&logs.join(&name), TAIL_MAX_BYTES) {
        Ok(end) => end,
        Err(error) => return Err((name, error)),
    };
    let room = TAIL_MAX_BYTES.saturating_sub(bytes.len() as u64);
    if left_out == 0 && room > 0 {
        match end_of(&logs.join(format!("{name}.1")), room) {
            Ok((mut before, more)) => {
                before.append(&mut bytes);
                (bytes, left_out) = (before, more);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err((format!("{name}.1"), error)),
        }
    }
    if left_out > 0 {
        left_out += whole_lines(&mut bytes);
    }
    Ok(Tail { instance, member, bytes, left_out })
}

/// At most `max` bytes, and how many are before them.
fn end_of(path: &Path, max: u64) -> io::Result<(Vec<u8>, u64)> {
    let mut file = open(path)?;
    let length = file.metadata()?.len();
    let left_out = length.saturating_sub(max);
    file.seek(SeekFrom::Start(left_out))?;
    let mut bytes = Vec::new();
    file.take(max).read_to_end(&mut bytes)?;
    Ok((bytes, left_out))
}

fn open(path: &Path) -> io::Result<File> {
    // Without these a link would lead elsewhere, and a pipe would make the reader wait for ever.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is not a plain file")) }
}

/// Drops the part of a line with which it begins; says how many bytes that were.
fn whole_lines(bytes: &mut Vec<u8>) -> u64 {
    let Some(end) = bytes.iter().position(|&byte| byte == b'\n') else { return 0 };
    bytes.drain(..=end);
    end as u64 + 1
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use bellwether_core::{id::Side, time::UnixMillis};

    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("bw-tails-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&dir));
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    fn member() -> Member {
        Member { agent: "a/b".into(), side: Side::Green, enrolled: UnixMillis(0) }
    }

    #[test]
    fn what_the_driver_cut_off_comes_first() {
        let dir = scratch("cut");
        fs::write(dir.join("a_b.7.log.1"), "old\n").unwrap();
        fs::write(dir.join("a_b.7.log"), "new\n").unwrap();
        let tail = read(&dir, InstanceId(7), member()).unwrap();
        assert_eq!((tail.bytes.as_slice(), tail.left_out), (b"old\nnew\n".as_slice(), 0));
        assert_eq!(tail.file_name(), "a_b-green-7.log");
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_long_log_is_cut_at_a_line() {
        let dir = scratch("long");
        let lines: String = (0..40_000).map(|n| format!("line {n:05}\n")).collect();
        fs::write(dir.join("a_b.7.log"), &lines).unwrap();
        let tail = read(&dir, InstanceId(7), member()).unwrap();
        assert!(tail.bytes.len() as u64 <= TAIL_MAX_BYTES && tail.bytes.starts_with(b"line "));
        assert_eq!(tail.left_out + tail.bytes.len() as u64, lines.len() as u64);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn only_a_plain_file_is_a_log() {
        let dir = scratch("link");
        fs::write(dir.join("secret"), "secret").unwrap();
        std::os::unix::fs::symlink(dir.join("secret"), dir.join("a_b.7.log")).unwrap();
        assert!(read(&dir, InstanceId(7), member()).is_err());
        fs::remove_file(dir.join("a_b.7.log")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, dir.join("a_b.7.log"), rustix::fs::Mode::RUSR).unwrap();
        let (name, error) = read(&dir, InstanceId(7), member()).err().unwrap();
        assert_eq!((name.as_str(), error.to_string().as_str()), ("a_b.7.log", "it is not a plain file"));
        fs::remove_dir_all(dir).unwrap();
    }
}
