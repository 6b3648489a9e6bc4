//! The stores of real processes: backed up and put back, damaged, and on a disk that is full.

use std::{
    fs::{self, File},
    io::Write,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::world::{BIN, Setup, World, account, all_on, get, left, post, scratch, signal};

fn bellwether(args: &[&str]) -> (Option<i32>, String) {
    let done = Command::new(BIN).args(args).stdin(Stdio::null()).output().expect("the binary starts");
    let Output { status, stdout, stderr } = done;
    (status.code(), String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr))
}

fn submit(world: &World, id: &str, more: Value) -> u16 {
    let mut task = json!({"agent": "builder", "id": id, "prompt": "say something"});
    task.as_object_mut().expect("it is one").extend(more.as_object().expect("fields").clone());
    post(&world.gateway, "/tasks", &task).0
}

fn state_of(world: &World, id: &str) -> String {
    get(&world.gateway, &format!("/tasks/{id}"))["state"].as_str().expect("a state").to_owned()
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "not within 60 s: {what}");
        std::thread::sleep(Duration::from_millis(30));
    }
}

fn numbers(world: &World) -> Vec<u64> {
    let status = world.status();
    let agents = status["agents"].as_array().expect("agents");
    agents.iter().filter_map(|agent| agent["active"].as_u64()).collect()
}

#[test]
fn a_backup_made_under_load_is_put_back_elsewhere_with_every_task_in_it() {
    let world = World::start("backup");
    let load = world.load();
    for n in 0..5 {
        assert_eq!(submit(&world, &format!("done-{n}"), json!({})), 202);
        assert_eq!(submit(&world, &format!("later-{n}"), json!({"delay": "1h"})), 202);
    }
    eventually("the tasks are completed", || (0..5).all(|n| state_of(&world, &format!("done-{n}")) == "completed"));
    let elsewhere = scratch("put-back");
    let (backup, state) = (elsewhere.join("backup"), world.dir.join("state"));
    let [backup, state] = [backup, state].map(|path| path.display().to_string());
    let made = world.cli(&["backup", "--to", &backup, "--state", &state, "--output", "json"]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let made: Value = serde_json::from_slice(&made.stdout).expect("JSON");
    for file in ["journal.sqlite", "gateway.sqlite", "secret", "spec.json", "bellwether.json"] {
        assert!(made["manifest"]["files"][file]["bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{file}: {made:#}");
    }
    let again = world.cli(&["backup", "--to", &backup, "--state", &state]);
    let told = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(!again.status.success() && told.contains("BW0350") && told.contains("never written over"), "{told}");
    assert_eq!(submit(&world, "since", json!({})), 202);
    // Nobody who works under it notices.
    let account = account(load);
    assert_eq!(account["requests"]["failed"], 0, "{account:#}");
    assert_eq!((&account["tasks"]["lost"], &account["tasks"]["duplicated"]), (&json!(0), &json!(0)), "{account:#}");
    world.signal_serve("KILL");
    eventually("gateway and controller end", || left(&world.dir).iter().all(|line| !line.contains("internal")));
    for line in left(&world.dir) {
        let pid = line.split(':').next().and_then(|pid| pid.parse().ok()).expect("a pid");
        signal(pid, "KILL");
    }
    drop(world);

    let there = elsewhere.join("state").display().to_string();
    let (code, told) = bellwether(&["restore", &backup, "--state", &there]);
    assert_eq!(code, Some(0), "{told}");
    let world = World::start_in(elsewhere, &Setup::default());
    for n in 0..5 {
        assert_eq!(state_of(&world, &format!("done-{n}")), "completed");
        assert_eq!(state_of(&world, &format!("later-{n}")), "delayed");
        assert_eq!(submit(&world, &format!("done-{n}"), json!({})), 200, "what is known is not queued twice");
    }
    let (status, _) =
        post(&world.gateway, "/tasks", &json!({"agent": "builder", "id": "since", "prompt": "say something"}));
    assert_eq!(status, 202, "what came after the backup can be submitted again");
    eventually("the agents work", || state_of(&world, "since") == "completed");
    assert!(numbers(&world).iter().all(|number| *number > 1 << 20), "{:?}", numbers(&world));
    world.end();
}

#[test]
fn an_old_backup_is_put_back_over_what_went_on_and_no_instance_number_is_given_twice() {
    let world = World::start("old-backup");
    let dir = world.dir.clone();
    let [backup, state] = ["backup", "state"].map(|name| dir.join(name).display().to_string());
    let made = world.cli(&["backup", "--to", &backup, "--state", &state]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    // More instances are started than the backup knows of.
    for _ in 0..3 {
        let before = numbers(&world);
        signal(world.pid_of("builder", "blue").expect("it runs"), "KILL");
        world.until("another one serves", |status| all_on(status, "blue") && numbers(&world) != before);
    }
    let used: Vec<u64> = world.instances().iter().filter_map(|record| record["instance"].as_u64()).collect();

    let (code, told) = bellwether(&["restore", &backup, "--state", &state]);
    assert!(code == Some(1) && told.contains("BW0302"), "somebody serves: {told}");
    world.signal_serve("KILL");
    eventually("gateway and controller end", || left(&dir).iter().all(|line| !line.contains("internal")));
    let (code, told) = bellwether(&["restore", &backup, "--state", &state]);
    assert!(code == Some(1) && told.contains("BW0352") && told.contains("builder"), "agents run: {told}");
    for line in left(&dir) {
        signal(line.split(':').next().and_then(|pid| pid.parse().ok()).expect("a pid"), "KILL");
    }
    eventually("the agents end", || left(&dir).is_empty());

    let journal = fs::read(dir.join("backup/journal.sqlite")).expect("it is there");
    let mut damaged = journal.clone();
    damaged[5000] ^= 1;
    fs::write(dir.join("backup/journal.sqlite"), damaged).expect("written");
    let (code, told) = bellwether(&["restore", &backup, "--state", &state]);
    assert!(code == Some(2) && told.contains("BW0351") && told.contains("journal.sqlite"), "{told}");
    fs::write(dir.join("backup/journal.sqlite"), journal).expect("written");
    drop(world);

    let (code, told) = bellwether(&["restore", &backup, "--state", &state]);
    assert!(code == Some(0) && told.contains("what was there before is in"), "{told}");
    let world = World::start_in(dir, &Setup::default());
    let now = numbers(&world);
    assert!(now.iter().all(|number| !used.contains(number) && *number > 1 << 20), "{now:?} {used:?}");
    assert!(!world.dir.join("state/restored.json").exists(), "it is recorded");
    world.end();
}

#[test]
fn a_backup_at_rest_needs_no_controller_and_one_of_another_fleet_is_refused() {
    let world = World::start("at-rest");
    let dir = world.dir.clone();
    let [backup, state, other] = ["backup", "state", "other"].map(|name| dir.join(name).display().to_string());
    let keep = scratch("at-rest-kept");
    world.signal_serve("TERM");
    eventually("serve ends", || left(&dir).is_empty());
    let (code, told) = bellwether(&["backup", "--to", &backup, "--state", &state, "--control", "http://127.0.0.1:9"]);
    assert_eq!(code, Some(0), "{told}");
    fs::create_dir_all(&other).expect("made");
    fs::write(dir.join("other/bellwether.json"), r#"{"format":1,"fleet":"another"}"#).expect("written");
    let (code, told) = bellwether(&["restore", &backup, "--state", &other]);
    assert!(code == Some(1) && told.contains("BW0303") && told.contains(r#"fleet "another""#), "{told}");
    drop(world);
    fs::remove_dir_all(dir).expect("removed");
    fs::remove_dir_all(keep).expect("removed");
}

/// `serve` with its standard error in a file, on a port of our choice.
struct Told {
    child: std::process::Child,
    stderr: PathBuf,
}

impl Told {
    fn serve(dir: &Path, port: u16) -> Self {
        let path = |name: &str| dir.join(name).display().to_string();
        let stderr = dir.join("stderr");
        let listen = format!("127.0.0.1:{port}");
        let (fleet, state) = (path("fleet.yaml"), path("state"));
        let mut words = vec!["serve", "--fleet", &fleet, "--state", &state, "--listen", &listen];
        words.extend(["--control", "127.0.0.1:0", "--stop-agents", "--end-with-parent"]);
        let file = File::create(&stderr).expect("made");
        let mut serve = Command::new(BIN);
        serve.args(words).current_dir(dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        Self { child: serve.spawn().expect("the binary starts"), stderr }
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap_or_default()
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        signal(self.child.id(), "TERM");
        drop(self.child.wait());
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it has one").port()
}

#[test]
fn with_a_damaged_journal_serve_says_so_and_the_gateway_goes_on() {
    let world = World::start("damaged");
    let dir = world.dir.clone();
    world.signal_serve("TERM");
    eventually("serve ends", || left(&dir).is_empty());
    let journal = rusqlite::Connection::open(dir.join("state/journal.sqlite")).expect("it opens");
    journal.execute("UPDATE events SET event = event || ' ' WHERE seq = 3", ()).expect("altered");
    drop(journal);
    let port = free_port();
    let told = Told::serve(&dir, port);
    eventually("it says what is wrong", || told.text().contains("BW0348"));
    let text = told.text();
    for part in ["BW0347", "record 3", "journal.sqlite", "bellwether restore"] {
        assert!(text.contains(part), "{part:?} is missing: {text}");
    }
    let counts = get(&format!("http://127.0.0.1:{port}"), "/tasks");
    assert!(counts.is_object(), "the gateway answers: {counts}");
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(told.text(), text, "it is said once, and not tried all the time");
    drop(told);
    assert_eq!(left(&dir), Vec::<String>::new());
    drop(world);
    fs::remove_dir_all(dir).expect("removed");
}

#[test]
fn a_journal_of_a_later_version_stops_serve_before_anything_starts() {
    let world = World::start("later");
    let dir = world.dir.clone();
    world.signal_serve("TERM");
    eventually("serve ends", || left(&dir).is_empty());
    let journal = rusqlite::Connection::open(dir.join("state/journal.sqlite")).expect("it opens");
    let later = "PRAGMA user_version = 99; UPDATE meta SET value = '\"7.1.0\"' WHERE key = 'build'";
    journal.execute_batch(later).expect("altered");
    drop(journal);
    let path = |name: &str| dir.join(name).display().to_string();
    let (code, text) = bellwether(&[
        "serve",
        "--fleet",
        &path("fleet.yaml"),
        "--state",
        &path("state"),
        "--listen",
        "127.0.0.1:0",
        "--control",
        "127.0.0.1:0",
    ]);
    assert_eq!(code, Some(1), "{text}");
    for part in ["BW0346", "version 7.1.0", "schema 99", "bellwether restore"] {
        assert!(text.contains(part), "{part:?} is missing: {text}");
    }
    assert_eq!(left(&dir), Vec::<String>::new(), "nothing was started");
    drop(world);
    fs::remove_dir_all(dir).expect("removed");
}

/// A disk of its own, that goes with the test.
struct Disk(PathBuf);

impl Disk {
    /// None where nothing may be mounted; the reason is printed.
    fn mount(name: &str, mebibytes: u32) -> Option<Self> {
        let dir = scratch(name);
        let size = format!("size={mebibytes}m");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "none"]).arg(&dir).output();
        match mount {
            Ok(done) if done.status.success() => Some(Self(dir)),
            other => {
                println!("skipped: no file system of a limited size can be mounted here: {other:?}");
                None
            }
        }
    }

    fn fill(&self) {
        let mut filler = File::options().append(true).create(true).open(self.0.join("filler")).expect("made");
        while filler.write_all(&[0; 4096]).is_ok() {}
    }

    fn clear(&self) {
        fs::remove_file(self.0.join("filler")).expect("removed");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
        drop(fs::remove_dir(&self.0));
    }
}

#[test]
fn on_a_full_disk_a_rollout_pauses_and_its_way_back_goes_to_the_end() {
    let Some(disk) = Disk::mount("full", 96) else { return };
    let fast = Setup::default();
    let slow = Setup { fleet: fast.fleet.replace("bake: 2s", "bake: 5m"), ..fast };
    let world = World::start_in(disk.0.clone(), &slow);
    let load = world.load();
    world.start_rollout();
    world.until("some are on green", |status| {
        status["agents"].as_array().expect("agents").iter().any(|agent| agent["serving"] == "green")
    });
    // Whoever fills a disk takes what is given back to it as well.
    let status = world.until("it waits for room", |status| {
        disk.fill();
        status["rollout"]["paused"]["reason"] == "disk_full"
    });
    assert!(status["disk"].as_str().is_some_and(|why| why.contains("journal")), "{status:#}");
    disk.fill();
    eventually("new tasks are refused", || {
        matches!(submit(&world, "no-room", json!({"padding": "x".repeat(200_000)})), 503 | 507)
    });
    eventually("and told why", || submit(&world, "no-room", json!({})) == 507);
    let resumed = world.cli(&["rollout", "resume", "--by", "test"]);
    let told = String::from_utf8_lossy(&resumed.stderr).into_owned();
    assert!(!resumed.status.success() && told.contains("BW0345"), "{told}");
    world.roll_back("the disk is full");
    let (code, end) = world.watch();
    assert_eq!(code, Some(3), "{end:#}");
    assert!(all_on(&world.status(), "blue"), "{:#}", world.status());

    load.signal("TERM");
    drop(load);
    disk.clear();
    world.until("there is room again", |status| status["disk"].is_null());
    assert_eq!(submit(&world, "room", json!({})), 202);
    signal(world.pid_of_child("controller").expect("it runs"), "KILL");
    world.until("the next controller knows the end", |status| status["rollout"]["state"] == "rolled_back");
    let dir = world.dir.clone();
    world.signal_serve("TERM");
    eventually("serve ends", || left(&dir).is_empty());
    assert!(!dir.join("state/journal.reserve").exists() && !dir.join("state/rollback.mark").exists());
    drop(world);
}
