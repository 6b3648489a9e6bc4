//! Control groups of version 2, version 1, a mix of both, or none at all.
//!
//! Groups are made below the group that this process is in, one per instance, and only when an instance has
//! a limit or is to be frozen. Where no hierarchy can be written the driver freezes by signal and watches
//! memory itself.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

/// Which hierarchies may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Use {
    /// Version 2 where it can do it, else version 1, else none.
    #[default]
    Auto,
    V2,
    V1,
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V1,
    V2,
}

/// The hierarchies that were found to be writable, by what they can do.
#[derive(Clone, Debug, Default)]
pub struct Cgroups {
    freezer: Option<Hierarchy>,
    memory: Option<Hierarchy>,
    cpu: Option<Hierarchy>,
}

/// The directory under which the groups of this driver are made.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Hierarchy {
    version: Version,
    base: PathBuf,
}

/// The groups of one instance. Nothing exists before the first call that needs it.
#[derive(Clone, Debug)]
pub struct Groups {
    freezer: Option<Group>,
    memory: Option<Group>,
    cpu: Option<Group>,
}

#[derive(Clone, Debug)]
struct Group {
    version: Version,
    path: PathBuf,
}

impl Cgroups {
    /// `key` keeps two drivers on one machine apart.
    pub fn detect(wanted: Use, key: &str) -> Self {
        let (Ok(mounts), Ok(own)) =
            (fs::read_to_string("/proc/self/mountinfo"), fs::read_to_string("/proc/self/cgroup"))
        else {
            return Self::default();
        };
        Self::among(wanted, &own_directories(&mounts, &own), key)
    }

    fn among(wanted: Use, directories: &[Directory], key: &str) -> Self {
        let find = |controller: &str, file: &str| {
            let fits = |directory: &&Directory| match directory.version {
                Version::V2 => matches!(wanted, Use::Auto | Use::V2),
                Version::V1 => {
                    matches!(wanted, Use::Auto | Use::V1) && directory.controllers.iter().any(|c| c == controller)
                }
            };
            let mut candidates: Vec<_> = directories.iter().filter(fits).collect();
            candidates.sort_by_key(|directory| directory.version == Version::V1);
            candidates.into_iter().find_map(|directory| directory.prepare(controller, file, key))
        };
        Self {
            freezer: find("freezer", "cgroup.freeze").or_else(|| find("freezer", "freezer.state")),
            memory: find("memory", "memory.max").or_else(|| find("memory", "memory.limit_in_bytes")),
            cpu: find("cpu", "cpu.max").or_else(|| find("cpu", "cpu.cfs_quota_us")),
        }
    }

    pub fn freezer(&self) -> Option<Version> {
        self.freezer.as_ref().map(|hierarchy| hierarchy.version)
    }

    pub fn memory(&self) -> Option<Version> {
        self.memory.as_ref().map(|hierarchy| hierarchy.version)
    }

    pub fn of(&self, instance: u64) -> Groups {
        let group = |hierarchy: &Option<Hierarchy>| {
            let Hierarchy { version, base } = hierarchy.as_ref()?;
            Some(Group { version: *version, path: base.join(instance.to_string()) })
        };
        Groups { freezer: group(&self.freezer), memory: group(&self.memory), cpu: group(&self.cpu) }
    }

    /// Removes the directories that hold the groups, as far as no group is left in them.
    pub fn remove_empty(&self) {
        for Hierarchy { base, .. } in [&self.freezer, &self.memory, &self.cpu].into_iter().flatten() {
            // Not empty means that agents run on; absent means that another purpose shared it.
            drop(fs::remove_dir(base));
        }
    }
}

impl Groups {
    /// `false` if no hierarchy can enforce it.
    pub fn limit_memory(&self, pid: u32, bytes: u64) -> io::Result<bool> {
        let Some(group) = &self.memory else { return Ok(false) };
        group.make()?;
        match group.version {
            Version::V2 => {
                group.write("memory.max", &bytes.to_string())?;
                // Without swap to escape to, the limit is what it says; the file is absent where swap is not counted.
                drop(group.write("memory.swap.max", "0"));
            }
            Version::V1 => group.write("memory.limit_in_bytes", &bytes.to_string())?,
        }
        group.add(pid)?;
        Ok(true)
    }

    /// `false` if no hierarchy can enforce it.
    pub fn limit_cpu(&self, pid: u32, cores: f64) -> io::Result<bool> {
        const PERIOD_MICROS: u32 = 100_000;
        let Some(group) = &self.cpu else { return Ok(false) };
        group.make()?;
        // The kernel refuses a quota below a millisecond.
        let quota = (cores * f64::from(PERIOD_MICROS)).round().max(1000.0);
        match group.version {
            Version::V2 => group.write("cpu.max", &format!("{quota} {PERIOD_MICROS}"))?,
            Version::V1 => {
                group.write("cpu.cfs_period_us", &PERIOD_MICROS.to_string())?;
                group.write("cpu.cfs_quota_us", &quota.to_string())?;
            }
        }
        group.add(pid)?;
        Ok(true)
    }

    /// Makes the group for freezing. `false` if there is no hierarchy for it.
    pub fn make_freezer(&self) -> io::Result<bool> {
        self.freezer.as_ref().map_or(Ok(false), |group| group.make().map(|()| true))
    }

    /// Puts processes under the freezer; those that ended meanwhile are left out.
    pub fn hold(&self, pids: &BTreeSet<u32>) -> io::Result<()> {
        let Some(group) = &self.freezer else { return Ok(()) };
        pids.iter().try_for_each(|pid| group.add(*pid))
    }

    pub fn freeze(&self) -> io::Result<()> {
        self.freezer.as_ref().map_or(Ok(()), |group| match group.version {
            Version::V2 => group.write("cgroup.freeze", "1"),
            Version::V1 => group.write("freezer.state", "FROZEN"),
        })
    }

    /// Fine where nothing was ever frozen.
    pub fn thaw(&self) -> io::Result<()> {
        let Some(group) = self.freezer.as_ref().filter(|group| group.path.is_dir()) else { return Ok(()) };
        match group.version {
            Version::V2 => group.write("cgroup.freeze", "0"),
            Version::V1 => group.write("freezer.state", "THAWED"),
        }
    }

    /// Whether all of its processes have come to a stop.
    pub fn is_frozen(&self) -> bool {
        self.freezer.as_ref().is_some_and(|group| match group.version {
            Version::V2 => group.read("cgroup.events").lines().any(|line| line == "frozen 1"),
            Version::V1 => group.read("freezer.state").trim() == "FROZEN",
        })
    }

    /// How often the kernel ended one of its processes for lack of memory under the limit.
    pub fn out_of_memory_kills(&self) -> u64 {
        let Some(group) = &self.memory else { return 0 };
        let file = match group.version {
            Version::V2 => "memory.events",
            Version::V1 => "memory.oom_control",
        };
        let text = group.read(file);
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok()).unwrap_or(0)
    }

    /// `false` while a process is left in one of them.
    pub fn remove(&self) -> bool {
        let gone = |group: &Group| match fs::remove_dir(&group.path) {
            Ok(()) => true,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        [&self.freezer, &self.memory, &self.cpu].into_iter().flatten().filter(|group| !gone(group)).count() == 0
    }
}

impl Group {
    fn make(&self) -> io::Result<()> {
        match fs::create_dir(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    }

    fn add(&self, pid: u32) -> io::Result<()> {
        match self.write("cgroup.procs", &pid.to_string()) {
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => Ok(()),
            other => other,
        }
    }

    fn write(&self, file: &str, value: &str) -> io::Result<()> {
        fs::write(self.path.join(file), value)
    }

    /// Empty where the file is absent: the group was never made.
    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.path.join(file)).unwrap_or_default()
    }
}

/// The group that this process is in, in one of the mounted hierarchies.
#[derive(Debug, PartialEq, Eq)]
struct Directory {
    version: Version,
    /// Of version 1; version 2 names them in a file.
    controllers: Vec<String>,
    path: PathBuf,
}

impl Directory {
    /// Makes the base directory, and looks whether a group below it would have `file`.
    fn prepare(&self, controller: &str, file: &str, key: &str) -> Option<Hierarchy> {
        let base = self.path.join(format!("bellwether-{key}"));
        let made = fs::create_dir(&base);
        if made.is_err() && !base.is_dir() {
            return None;
        }
        // Version 2 hands controllers down one level at a time. It refuses below a group that holds processes
        // itself (all but the root), and then another way has to do.
        if self.version == Version::V2 && controller != "freezer" {
            for parent in [&self.path, &base] {
                drop(fs::write(parent.join("cgroup.subtree_control"), format!("+{controller}")));
            }
        }
        let probe = base.join("probe");
        let able = fs::create_dir(&probe).is_ok() && is_writable(&probe.join(file));
        drop(fs::remove_dir(&probe));
        if able {
            return Some(Hierarchy { version: self.version, base });
        }
        if made.is_ok() {
            drop(fs::remove_dir(&base));
        }
        None
    }
}

fn is_writable(file: &Path) -> bool {
    rustix::fs::access(file, rustix::fs::Access::WRITE_OK).is_ok()
}

/// Joins `/proc/self/mountinfo` (proc_pid_mountinfo(5)) with `/proc/self/cgroup` (cgroups(7)).
fn own_directories(mounts: &str, own: &str) -> Vec<Directory> {
    let mounted = mounts.lines().filter_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(3);
        let (root, point) = (left.next()?, left.next()?);
        let mut right = right.split(' ');
        let (kind, _source, options) = (right.next()?, right.next()?, right.next()?);
        Some((kind, root, point, options))
    });
    mounted
        .filter_map(|(kind, root, point, options)| {
            let options: Vec<&str> = options.split(',').collect();
            let entry = own.lines().find_map(|line| {
                let mut fields = line.splitn(3, ':');
                let (_number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
                let fits = match kind {
                    "cgroup2" => controllers.is_empty(),
                    "cgroup" => !controllers.is_empty() && controllers.split(',').all(|c| options.contains(&c)),
                    _ => false,
                };
                fits.then_some((controllers, path))
            });
            let (controllers, path) = entry?;
            // A container may see only its own part of the hierarchy, mounted as if it were the whole.
            let below = Path::new(path).strip_prefix(root).unwrap_or(Path::new(""));
            Some(Directory {
                version: if kind == "cgroup2" { Version::V2 } else { Version::V1 },
                controllers: controllers.split(',').filter(|c| !c.is_empty()).map(str::to_owned).collect(),
                path: Path::new(point).join(below),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_groups_are_found_in_a_mix_of_both_versions() {
        let mounts = "\
30 20 0:26 / /sys/fs/cgroup/memory rw,nosuid shared:9 - cgroup cgroup rw,memory
31 20 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
32 20 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
33 20 0:29 / /proc rw - proc proc rw";
        let own = "4:memory:/jobs/7\n2:cpu,cpuacct:/\n0::/session";
        let paths: Vec<_> = own_directories(mounts, own).into_iter().map(|d| (d.version, d.path)).collect();
        assert_eq!(
            paths,
            [
                (Version::V1, "/sys/fs/cgroup/memory/jobs/7".into()),
                (Version::V1, "/sys/fs/cgroup/cpu,cpuacct".into()),
                (Version::V2, "/sys/fs/cgroup/unified/session".into()),
            ]
        );
    }

    #[test]
    fn a_container_sees_its_own_part_as_the_whole() {
        let mounts = "30 20 0:26 /docker/ab /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory";
        let found = own_directories(mounts, "4:memory:/docker/ab");
        assert_eq!(found[0].path, Path::new("/sys/fs/cgroup/memory"));
    }

    #[test]
    fn without_hierarchies_nothing_is_enforced_and_nothing_fails() {
        let groups = Cgroups::among(Use::Auto, &[], "test").of(1);
        assert!(!groups.limit_memory(1, 1 << 20).unwrap());
        assert!(!groups.make_freezer().unwrap());
        assert!(groups.thaw().is_ok() && groups.remove());
    }
}
