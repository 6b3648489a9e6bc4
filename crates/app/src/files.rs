//! Reads what the core must not read itself: fleet and release files, and how much memory there is.

use std::{
    cell::RefCell,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use bellwether_control::calendar;
use bellwether_core::{
    diagnostic::Diagnostic,
    plan::Plan,
    spec::{Release, Sources, Spec, parse_fleet_in, parse_release},
    time::UnixMillis,
};

use crate::failure::Failure;

/// A file of 100,000 agents stays below this; what is larger was named by mistake.
const FILE_MAX_BYTES: u64 = 64 << 20;

/// A file as it was read.
pub(crate) struct SourceFile {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

/// Reads and checks a fleet file and the inventory beside it.
pub(crate) fn load_fleet(path: &Path) -> Result<Spec, Failure> {
    load_fleet_and_sources(path).map(|(spec, _sources)| spec)
}

/// The same, with every file that went into it: first the fleet file, then what it names.
pub(crate) fn load_fleet_and_sources(path: &Path) -> Result<(Spec, Vec<SourceFile>), Failure> {
    let text = named_file(path, "fleet file")?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let beside = RefCell::new(Vec::new());
    let read = |name: &str| {
        let path = folder.join(name);
        let text = read(&path).map_err(|error| error.to_string())?;
        beside.borrow_mut().push(SourceFile { path, text: text.clone() });
        Ok(text)
    };
    let name = path.display().to_string();
    let sources = Sources { name: &name, text: &text, read: &read };
    let spec = parse_fleet_in(&sources, &calendar::knows_zone).map_err(Failure::invalid)?;
    let mut sources = vec![SourceFile { path: path.to_owned(), text }];
    sources.extend(beside.take());
    Ok((spec, sources))
}

/// Reads and checks a release file.
pub(crate) fn load_release(path: &Path) -> Result<Release, Failure> {
    let (name, text) = read_release(path)?;
    parse_release(&name, &text).map_err(Failure::invalid)
}

/// The name and text of a release file that is known to be sound.
pub(crate) fn read_release(path: &Path) -> Result<(String, String), Failure> {
    let text = named_file(path, "release file")?;
    let name = path.display().to_string();
    parse_release(&name, &text).map_err(Failure::invalid)?;
    Ok((name, text))
}

/// The plan as it would be if it began now, among the freeze windows of its fleet.
pub(crate) fn now(plan: Plan, spec: &Spec) -> Result<Plan, Vec<Diagnostic>> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
    calendar::among(plan, &spec.rollout, now).map_err(|refused| vec![refused])
}

/// The memory of this machine or, where that is less, what a container lets its processes have.
pub(crate) fn present_memory() -> Option<u64> {
    let machine = read(Path::new("/proc/meminfo")).ok().and_then(|text| total_of(&text));
    let limits = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let limits = limits.iter().filter_map(|path| read(Path::new(path)).ok()?.trim().parse().ok());
    machine.into_iter().chain(limits).min()
}

fn named_file(path: &Path, what: &str) -> Result<String, Failure> {
    read(path).map_err(|error| {
        let message = format!("the {what} {:?} cannot be read", path.display().to_string());
        let help = match error.kind() {
            io::ErrorKind::NotFound => {
                "check the path; it is taken from the directory in which the command was started"
            }
            io::ErrorKind::InvalidData => "save the file as UTF-8 text",
            _ => "see what the operating system says, and who may read the file",
        };
        Failure::invalid(vec![Diagnostic::new("BW0100", message).because(error).help(help)])
    })
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(FILE_MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 64 MiB"));
    }
    Ok(text)
}

/// `MemTotal` of `/proc/meminfo`, in bytes.
fn total_of(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_figure_is_in_kib() {
        assert_eq!(total_of("MemTotal:       16384000 kB\nMemFree: 1 kB\n"), Some(16_384_000 * 1024));
        assert_eq!(total_of("MemFree: 1 kB\n"), None);
        assert!(present_memory().is_some_and(|bytes| bytes > 1 << 20));
    }

    #[test]
    fn the_example_loads_with_the_inventory_beside_it() {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/sutazai");
        assert_eq!(load_fleet(&example.join("fleet.yaml")).expect("it is sound").agents.len(), 131);
        assert_eq!(load_release(&example.join("release-v2.yaml")).expect("it is sound").revision.as_str(), "v2");
    }

    #[test]
    fn a_file_that_is_not_there_is_an_invalid_file_with_a_code() {
        let failure = load_fleet(Path::new("nowhere/fleet.yaml")).expect_err("there is none");
        assert_eq!(failure.exit, crate::failure::Exit::Invalid);
        let text = failure.to_string();
        assert!(text.starts_with("error[BW0100]: the fleet file \"nowhere/fleet.yaml\" cannot be read"), "{text}");
    }
}
