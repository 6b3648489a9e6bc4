//! Readings from `/proc`. A process may end between any two of them; then the reading is an error of kind
//! `NotFound` or `ESRCH`, never a figure of another process.

use std::{
    fs::{self, File},
    io::{self, Read},
    sync::LazyLock,
};

/// One line of `/proc/PID/stat`, as far as it is of use here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    pub pid: u32,
    pub parent: u32,
    pub group: u32,
    pub state: u8,
    /// User and system time of the process and of the children that it has reaped.
    pub cpu_ticks: u64,
    /// Since the boot of the machine; with the number it names a process for good.
    pub started_ticks: u64,
}

impl Stat {
    /// Ended, reaped or not.
    pub fn is_dead(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }

    pub fn is_zombie(&self) -> bool {
        self.state == b'Z'
    }

    pub fn is_stopped(&self) -> bool {
        self.state == b'T'
    }

    /// CPU time so far. The scheduler's own account of the threads that live is exact to the nanosecond; the
    /// ticks of `stat` are coarse, but include threads that have ended and children that were reaped.
    pub fn cpu_micros(&self) -> u64 {
        ticks_to_micros(self.cpu_ticks).max(scheduled_micros(self.pid))
    }
}

/// Memory and CPU counters of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    pub memory_total_bytes: u64,
    pub memory_available_bytes: u64,
    pub cpus: u32,
    pub cpu_busy_ticks: u64,
    pub cpu_total_ticks: u64,
}

pub fn stat(pid: u32) -> io::Result<Stat> {
    parse_stat(&read_start(&format!("/proc/{pid}/stat"))?)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("/proc/{pid}/stat is not of the known form")))
}

/// Every process of the machine, zombies too.
pub fn all() -> io::Result<Vec<Stat>> {
    let mut stats = Vec::with_capacity(512);
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // One that ended since the directory was read is not there any more.
        if let Ok(stat) = stat(pid) {
            stats.push(stat);
        }
    }
    Ok(stats)
}

/// Proportional set size: memory shared by n processes counts one n-th in each.
pub fn pss_bytes(pid: u32) -> io::Result<u64> {
    let text = read_start(&format!("/proc/{pid}/smaps_rollup"))?;
    let kib = String::from_utf8_lossy(&text).lines().find_map(|line| field_kib(line, "Pss:"));
    kib.map(|kib| kib << 10).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("no Pss of {pid}")))
}

/// The value of a variable that the process was started with. What cannot be read has none.
pub fn variable(pid: u32, name: &str) -> Option<String> {
    let environ = fs::read(format!("/proc/{pid}/environ")).ok()?;
    environ.split(|byte| *byte == 0).find_map(|entry| {
        let value = entry.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        String::from_utf8(value.to_vec()).ok()
    })
}

/// Differs after each boot, so that a process number of an earlier boot is never taken for one of this.
pub fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

pub fn machine() -> io::Result<Machine> {
    let mut machine = Machine::default();
    for line in fs::read_to_string("/proc/meminfo")?.lines() {
        if let Some(kib) = field_kib(line, "MemTotal:") {
            machine.memory_total_bytes = kib << 10;
        } else if let Some(kib) = field_kib(line, "MemAvailable:") {
            machine.memory_available_bytes = kib << 10;
        }
    }
    for line in fs::read_to_string("/proc/stat")?.lines() {
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("cpu") => {
                // user nice system idle iowait irq softirq steal; guest time is part of user time.
                let ticks: Vec<u64> = words.take(8).map_while(|word| word.parse().ok()).collect();
                let idle: u64 = ticks.iter().skip(3).take(2).sum();
                machine.cpu_total_ticks = ticks.iter().sum();
                machine.cpu_busy_ticks = machine.cpu_total_ticks.saturating_sub(idle);
            }
            Some(name) if name.starts_with("cpu") => machine.cpus += 1,
            _ => break,
        }
    }
    Ok(machine)
}

/// Zero where the kernel keeps no such account, or the process is gone.
fn scheduled_micros(pid: u32) -> u64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let nanos = threads.filter_map(|thread| {
        let text = read_start(thread.path().join("schedstat").to_str()?).ok()?;
        String::from_utf8_lossy(&text).split_ascii_whitespace().next()?.parse::<u64>().ok()
    });
    nanos.sum::<u64>() / 1000
}

fn ticks_to_micros(ticks: u64) -> u64 {
    static PER_SECOND: LazyLock<u64> = LazyLock::new(|| rustix::param::clock_ticks_per_second().max(1));
    ticks.saturating_mul(1_000_000) / *PER_SECOND
}

/// `/proc` answers a read in one piece; none of the files read this way comes near the buffer's size.
fn read_start(path: &str) -> io::Result<Vec<u8>> {
    let mut buffer = [0; 4096];
    let mut file = File::open(path)?;
    let mut length = 0;
    loop {
        let read = file.read(&mut buffer[length..])?;
        length += read;
        if read == 0 || length == buffer.len() {
            return Ok(buffer[..length].to_vec());
        }
    }
}

fn field_kib(line: &str, name: &str) -> Option<u64> {
    line.strip_prefix(name)?.split_ascii_whitespace().next()?.parse().ok()
}

/// See proc(5). The second field is the command in brackets and may hold anything, brackets and blanks too.
fn parse_stat(line: &[u8]) -> Option<Stat> {
    let open = line.iter().position(|byte| *byte == b'(')?;
    let close = line.iter().rposition(|byte| *byte == b')')?;
    let pid = std::str::from_utf8(&line[..open]).ok()?.trim().parse().ok()?;
    let rest = std::str::from_utf8(line.get(close + 1..)?).ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().take(20).collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Stat {
        pid,
        state: *fields.first()?.as_bytes().first()?,
        parent: fields.get(1)?.parse().ok()?,
        group: fields.get(2)?.parse().unwrap_or(0),
        cpu_ticks: number(11)? + number(12)? + number(13)? + number(14)?,
        started_ticks: number(19)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_cannot_shift_the_fields() {
        let line = b"42 (a) R 7 (b) S 1 42 9 0 -1 4194560 10 0 0 0 5 6 7 8 20 0 1 0 777 1000 20 0";
        let stat = parse_stat(line).unwrap();
        assert_eq!((stat.pid, stat.parent, stat.group, stat.state), (42, 1, 42, b'S'));
        assert_eq!((stat.cpu_ticks, stat.started_ticks), (26, 777));
    }

    #[test]
    fn this_process_reads_itself() {
        let me = std::process::id();
        let stat = stat(me).unwrap();
        assert!(stat.started_ticks > 0 && !stat.is_dead());
        assert!(pss_bytes(me).unwrap() > 100_000);
        assert!(all().unwrap().iter().any(|other| other.pid == me));
    }

    #[test]
    fn cpu_time_below_a_tick_is_seen() {
        let tick = ticks_to_micros(1);
        let child = std::process::Command::new("sleep").arg("5").spawn();
        let mut child = child.unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
        let used = loop {
            let used = stat(child.id()).unwrap().cpu_micros();
            if used > 0 || std::time::Instant::now() > deadline {
                break used;
            }
        };
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(used > 0 && used < 20 * tick, "starting `sleep` took {used} µs");
    }

    #[test]
    fn the_machine_has_memory_and_cpus() {
        let machine = machine().unwrap();
        assert!(machine.memory_total_bytes > machine.memory_available_bytes);
        assert!(machine.cpus > 0 && machine.cpu_total_ticks >= machine.cpu_busy_ticks);
    }
}
