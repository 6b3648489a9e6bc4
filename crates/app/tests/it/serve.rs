//! The supervisor: who may serve, what outlives whom, and what a person is told.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::world::{BIN, Process, child, left, scratch, signal};

/// Agents that take no part in the protocol: the supervisor must not care.
pub(crate) const FLEET: &str = "\
version: 1
fleet: idle
agents:
  defaults: {command: [sleep, '1000']}
  list:
    - {name: one, type: any, model: tinyllama}
    - {name: two, type: any, model: tinyllama}
rollout:
  phases:
    - {name: all, select: rest, bake: 2s, thin_evidence: accept}
";

/// A directory with a fleet file, and whatever runs from it ends with it.
pub(crate) struct Place {
    pub(crate) dir: PathBuf,
}

impl Place {
    pub(crate) fn new(name: &str) -> Self {
        let place = Self { dir: scratch(name) };
        place.write("fleet.yaml", FLEET);
        place
    }

    pub(crate) fn write(&self, file: &str, text: &str) {
        fs::write(self.dir.join(file), text).expect("written");
    }

    fn arguments(&self, more: &[&str]) -> Vec<String> {
        let path = |file: &str| self.dir.join(file).display().to_string();
        let mut all = vec!["serve".to_owned(), "--fleet".into(), path("fleet.yaml"), "--state".into(), path("state")];
        all.extend(["--output", "json"].map(str::to_owned));
        for flag in ["--listen", "--control"] {
            if !more.contains(&flag) {
                all.extend([flag.to_owned(), "127.0.0.1:0".to_owned()]);
            }
        }
        all.extend(more.iter().map(|&word| word.to_owned()));
        all
    }

    pub(crate) fn serve(&self, more: &[&str]) -> (Process, Value) {
        let arguments = self.arguments(more);
        let mut process = Process::start(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        let served = process.says();
        assert_eq!(served["pid"], process.pid());
        (process, served)
    }

    pub(crate) fn refused(&self, more: &[&str]) -> (Option<i32>, String) {
        let Output { status, stdout, stderr } =
            Command::new(BIN).args(self.arguments(more)).stdin(Stdio::null()).output().expect("the binary starts");
        assert_eq!(String::from_utf8_lossy(&stdout), "", "nothing is served");
        (status.code(), String::from_utf8_lossy(&stderr).into_owned())
    }

    /// Agents whose processes run, by name.
    pub(crate) fn agents(&self) -> BTreeMap<String, u64> {
        let records = fs::read_dir(self.dir.join("state/instances")).into_iter().flatten().flatten();
        let records = records.filter_map(|entry| fs::read_to_string(entry.path()).ok());
        records
            .filter_map(|text| serde_json::from_str::<Value>(&text).ok())
            .filter(|record| record["ended"].is_null())
            .filter_map(|record| Some((record["agent"].as_str()?.to_owned(), record["pid"].as_u64()?)))
            .filter(|(_, pid)| lives(*pid))
            .collect()
    }

    pub(crate) fn both_agents(&self) -> BTreeMap<String, u64> {
        eventually("both agents run", || self.agents().len() == 2);
        self.agents()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for line in left(&self.dir) {
            if let Some((pid, _)) = line.split_once(':') {
                drop(Command::new("kill").args(["-KILL", pid]).status());
            }
        }
        drop(fs::remove_dir_all(&self.dir));
    }
}

fn lives(pid: u64) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "not within 30 s: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The first line of the answer, or nothing where nobody answers.
fn ask(base: &Value, path: &str) -> Option<String> {
    let address = base.as_str()?.strip_prefix("http://")?.to_owned();
    let mut stream = TcpStream::connect(&address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.lines().next().map(str::to_owned)
}

pub(crate) fn end(process: Process) -> Option<i32> {
    process.signal("TERM");
    process.ended(Duration::from_secs(20)).0
}

#[test]
fn a_port_in_use_is_named_and_nothing_starts() {
    let place = Place::new("port");
    let holder = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = holder.local_addr().expect("it has one").to_string();
    for (flag, what) in [("--listen", "gateway"), ("--control", "control API")] {
        let (code, told) = place.refused(&[flag, &address]);
        assert_eq!(code, Some(1), "{told}");
        assert!(told.contains(&format!("error[BW0301]: the {what} cannot listen on {address}")), "{told}");
        assert!(told.contains("help: end what uses that port") && told.contains(flag), "{told}");
    }
    assert!(place.agents().is_empty());
}

#[test]
fn a_broken_fleet_file_stops_it_before_anything_is_made() {
    let place = Place::new("broken");
    fs::write(place.dir.join("fleet.yaml"), FLEET.replace("agents:", "agnets:")).expect("written");
    let (code, told) = place.refused(&[]);
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("fleet.yaml:3"), "{told}");
    assert!(!place.dir.join("state").exists());
}

#[test]
fn a_second_supervisor_is_refused_and_told_who_was_first() {
    let place = Place::new("second");
    let (first, served) = place.serve(&["--stop-agents"]);
    let agents = place.both_agents();
    let (code, told) = place.refused(&[]);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains(&format!("error[BW0302]: process {} already serves", first.pid())), "{told}");
    assert!(told.contains("--take-over"), "{told}");
    assert!(ask(&served["control"], "/v1/status").is_some_and(|line| line.contains("200")), "the first goes on");
    assert_eq!(place.agents(), agents);
    assert_eq!(end(first), Some(0));
    assert_eq!(left(&place.dir), Vec::<String>::new());
}

#[test]
fn taking_over_ends_the_holder_and_adopts_its_agents() {
    let place = Place::new("take-over");
    let (first, served) = place.serve(&[]);
    let agents = place.both_agents();
    let children: Vec<u64> = ["gateway", "controller"].iter().filter_map(|role| child(first.pid(), role)).collect();
    assert_eq!(children.len(), 2);
    let port = served["gateway"].as_str().expect("an address").trim_start_matches("http://");
    let (second, served) = place.serve(&["--take-over", "--stop-agents", "--listen", port]);
    assert_eq!(first.ended(Duration::from_secs(5)).0, None, "the first was killed");
    assert!(!children.iter().any(|pid| lives(*pid)), "nobody else writes to the stores");
    assert_eq!(place.agents(), agents, "no agent noticed");
    assert!(ask(&served["control"], "/v1/status").is_some());
    assert_eq!(end(second), Some(0));
    assert_eq!(left(&place.dir), Vec::<String>::new());
}

/// The records of the journal, and the number of the last.
fn records(place: &Place) -> (i64, i64) {
    let path = place.dir.join("state/journal.sqlite");
    let db = rusqlite::Connection::open(path).expect("there is a journal");
    let count = "SELECT count(*), coalesce(max(seq), 0) FROM events";
    db.query_row(count, (), |row| Ok((row.get(0)?, row.get(1)?))).expect("it can be read")
}

#[test]
fn a_supervisor_that_is_stopped_can_be_taken_over_and_never_writes_again() {
    let place = Place::new("stopped");
    let (first, _) = place.serve(&[]);
    let agents = place.both_agents();
    let children: Vec<u64> = ["gateway", "controller"].iter().filter_map(|role| child(first.pid(), role)).collect();
    let old = u64::from(first.pid());
    for pid in children.iter().chain([&old]) {
        signal(u32::try_from(*pid).expect("a pid"), "STOP");
    }
    let (before, _) = records(&place);
    let (second, _) = place.serve(&["--take-over", "--stop-agents"]);
    assert_eq!(first.ended(Duration::from_secs(5)).0, None, "what was stopped was killed, and cannot go on");
    assert!(!children.iter().any(|pid| lives(*pid)), "nor can its children");
    eventually("the new controller looked at the world", || records(&place).0 > before);
    let (count, last) = records(&place);
    assert_eq!(count, last, "one after the other, by one writer at a time");
    assert_eq!(place.agents(), agents, "no agent noticed");
    assert_eq!(end(second), Some(0));
    assert_eq!(left(&place.dir), Vec::<String>::new());
}

#[test]
fn a_controller_that_is_stopped_ends_with_its_supervisor() {
    let place = Place::new("orphan");
    let (first, _) = place.serve(&[]);
    let agents = place.both_agents();
    let controller = child(first.pid(), "controller").expect("there is one");
    signal(u32::try_from(controller).expect("a pid"), "STOP");
    first.signal("KILL");
    first.ended(Duration::from_secs(5));
    eventually("it is dead", || !lives(controller));
    let (second, _) = place.serve(&["--stop-agents"]);
    assert_eq!(place.both_agents(), agents);
    let (count, last) = records(&place);
    assert_eq!(count, last);
    assert_eq!(end(second), Some(0));
    assert_eq!(left(&place.dir), Vec::<String>::new());
}

#[test]
fn of_two_that_take_over_at_the_same_moment_one_serves() {
    let place = Place::new("both");
    let (first, _) = place.serve(&[]);
    let agents = place.both_agents();
    let arguments = place.arguments(&["--take-over", "--stop-agents"]);
    let start = || Process::start(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let both = [start(), start()];
    assert_eq!(first.ended(Duration::from_secs(10)).0, None, "the first was killed");
    // One of them may have served for a moment, or have been refused.
    let serves = |process: &Process| {
        let pid = u64::from(process.pid());
        lives(pid) && child(process.pid(), "gateway").is_some() && child(process.pid(), "controller").is_some()
    };
    eventually("one serves, and the other has ended", || {
        let alive = both.iter().filter(|process| lives(u64::from(process.pid()))).count();
        alive == 1 && both.iter().any(serves)
    });
    let [one, other] = both;
    let (mut winner, loser) = if lives(u64::from(one.pid())) { (one, other) } else { (other, one) };
    let served = winner.says();
    assert!(ask(&served["control"], "/v1/status").is_some_and(|line| line.contains("200")));
    assert_ne!(loser.ended(Duration::from_secs(5)).0, Some(0), "the other did not end as if it had served");
    assert_eq!(place.agents(), agents, "no agent noticed");
    let (count, last) = records(&place);
    assert_eq!(count, last);
    assert_eq!(end(winner), Some(0));
    assert_eq!(left(&place.dir), Vec::<String>::new());
}

#[test]
fn an_agent_that_ends_at_once_is_started_ever_more_seldom() {
    let place = Place::new("looping");
    let starts = place.dir.join("starts");
    let command = format!("[sh, -c, 'date +%s%3N >> {}; exit 1']", starts.display());
    let fleet = FLEET.replacen("{name: one, type: any,", &format!("{{name: one, type: any, command: {command},"), 1);
    fs::write(place.dir.join("fleet.yaml"), fleet).expect("written");
    let (serve, served) = place.serve(&["--stop-agents"]);
    let times = || -> Vec<u64> {
        let text = fs::read_to_string(&starts).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    };
    eventually("it was started six times", || times().len() >= 6);
    let times = times();
    let gaps: Vec<u64> = times.windows(2).map(|two| two[1] - two[0]).take(5).collect();
    let least = [200, 400, 800, 1600, 3200];
    // A process takes a moment until it notes its time; the next may be quicker.
    let slack = 100;
    let kept = gaps.iter().zip(least).all(|(gap, least)| gap + slack >= least);
    assert!(kept, "pauses of {gaps:?} ms, at least {least:?} were to be");
    assert!(ask(&served["control"], "/v1/status").is_some_and(|line| line.contains("200")), "all else goes on");
    assert_eq!(end(serve), Some(0));
    assert_eq!(left(&place.dir), Vec::<String>::new());
}

#[test]
fn agents_run_on_until_someone_asks_them_to_end() {
    let place = Place::new("run-on");
    let (first, _) = place.serve(&[]);
    let agents = place.both_agents();
    assert_eq!(end(first), Some(0));
    assert_eq!(place.agents(), agents, "agents outlive an orderly end");
    assert_eq!(left(&place.dir).len(), 2, "and nothing else does");
    let (second, _) = place.serve(&["--stop-agents"]);
    assert_eq!(place.both_agents(), agents, "they are adopted");
    assert_eq!(end(second), Some(0));
    assert_eq!(left(&place.dir), Vec::<String>::new());
}

#[test]
fn agents_run_on_when_the_supervisor_is_killed_and_its_children_end() {
    let place = Place::new("killed");
    let (first, _) = place.serve(&[]);
    let agents = place.both_agents();
    first.signal("KILL");
    first.ended(Duration::from_secs(5));
    eventually("gateway and controller end with their parent", || left(&place.dir).len() == 2);
    assert_eq!(place.agents(), agents);
    let (second, _) = place.serve(&["--stop-agents"]);
    assert_eq!(place.both_agents(), agents);
    assert_eq!(end(second), Some(0));
    assert_eq!(left(&place.dir), Vec::<String>::new());
}

#[test]
fn a_child_that_dies_is_started_again_on_the_same_socket() {
    let place = Place::new("children");
    let (serve, served) = place.serve(&["--stop-agents"]);
    let agents = place.both_agents();
    for (role, base, path) in [("gateway", "gateway", "/tasks"), ("controller", "control", "/v1/status")] {
        let before = child(serve.pid(), role).unwrap_or_else(|| panic!("there is a {role}"));
        signal(u32::try_from(before).expect("a pid"), "KILL");
        // The connection waits in the backlog for the next one.
        assert!(ask(&served[base], path).is_some_and(|line| line.starts_with("HTTP/1.1 ")), "the {role} answers");
        let after = child(serve.pid(), role);
        assert!(after.is_some_and(|pid| pid != before), "{before} {after:?}");
    }
    assert_eq!(place.agents(), agents);
    assert_eq!(end(serve), Some(0));
    assert_eq!(left(&place.dir), Vec::<String>::new());
}

#[test]
fn a_state_directory_of_another_fleet_is_left_alone() {
    let place = Place::new("foreign");
    let (first, _) = place.serve(&["--stop-agents"]);
    assert_eq!(end(first), Some(0));
    fs::write(place.dir.join("fleet.yaml"), FLEET.replace("fleet: idle", "fleet: other")).expect("written");
    let (code, told) = place.refused(&[]);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("error[BW0303]") && told.contains(r#"belongs to the fleet "idle""#), "{told}");
}
