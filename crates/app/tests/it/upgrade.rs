//! The running program replaced by another one, under load.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Output,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::world::{BIN, World, account, assert_nothing_lost, scratch};

const UPGRADES: usize = 3;

impl World {
    fn upgrade(&self, program: &Path) -> Output {
        let state = self.dir.join("state").display().to_string();
        let program = program.display().to_string();
        self.cli(&["upgrade", "--state", &state, "--program", &program, "--output", "json"])
    }

    /// The programs that run in this role: one, or more while some finish what they have.
    fn programs(&self, role: &str) -> BTreeMap<u32, PathBuf> {
        let supervisor = self.supervisor();
        let children = fs::read_to_string(format!("/proc/{supervisor}/task/{supervisor}/children")).unwrap_or_default();
        let of_role = children.split_whitespace().filter_map(|pid| pid.parse().ok()).filter(|pid: &u32| {
            let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            command.contains(&format!("internal\0{role}"))
        });
        of_role.filter_map(|pid| Some((pid, fs::read_link(format!("/proc/{pid}/exe")).ok()?))).collect()
    }

    fn agents(&self) -> BTreeMap<String, u64> {
        let running = self.instances().into_iter().filter(|record| record["ended"].is_null());
        running.filter_map(|record| Some((record["agent"].as_str()?.to_owned(), record["pid"].as_u64()?))).collect()
    }
}

/// This very program, at another path.
fn copy(dir: &Path, name: &str) -> PathBuf {
    let path = dir.join(name);
    fs::copy(BIN, &path).expect("copied");
    path
}

/// A program that says what it is told to, and does what the real one does otherwise.
fn script(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("made executable");
    path
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_running_program_is_replaced_under_load_and_no_request_fails() {
    let world = World::start("upgrade");
    let programs = scratch("programs");
    let (agents, supervisor) = (world.agents(), world.supervisor());
    let load = world.load();
    std::thread::sleep(Duration::from_secs(2));
    let mut program = PathBuf::new();
    for n in 0..UPGRADES {
        program = copy(&programs, &format!("bellwether-{n}"));
        let began = Instant::now();
        let upgraded = world.upgrade(&program);
        let steps = told(&upgraded);
        assert!(upgraded.status.success(), "{steps}");
        assert_eq!(steps.lines().count(), 3, "{steps}");
        let said: Value = serde_json::from_slice(&upgraded.stdout).expect("it is JSON");
        println!("upgraded in {:?}: {said}", began.elapsed());
        assert!(world.programs("gateway").values().any(|it| *it == program), "{:?}", world.programs("gateway"));
        let controllers = world.programs("controller");
        assert_eq!(controllers.into_values().collect::<Vec<_>>(), [program.clone()]);
        std::thread::sleep(Duration::from_secs(1));
    }
    std::thread::sleep(Duration::from_secs(2));
    let account = account(load);
    assert_nothing_lost(&account);
    assert_eq!((world.agents(), world.supervisor()), (agents, supervisor), "nobody else noticed");
    world.until("the journal is read and goes on", |status| status["agents"][0].is_object());
    // One that dies is started again as what it was upgraded to, whatever lies at its path by then.
    let before = *world.programs("gateway").iter().find(|(_, it)| **it == program).expect("it runs").0;
    fs::remove_file(&program).expect("removed");
    crate::world::signal(before, "KILL");
    let deadline = Instant::now() + Duration::from_secs(30);
    let deleted = PathBuf::from(format!("{} (deleted)", program.display()));
    while !world.programs("gateway").iter().any(|(&pid, it)| pid != before && *it == deleted) {
        assert!(Instant::now() < deadline, "{:?}", world.programs("gateway"));
        std::thread::sleep(Duration::from_millis(20));
    }
    world.end();
    fs::remove_dir_all(programs).expect("removed");
}

#[test]
fn a_program_that_cannot_take_over_is_refused_before_anything_is_touched() {
    let world = World::start("upgrade-refused");
    let programs = scratch("refused");
    let runs = |world: &World| (world.programs("gateway"), world.programs("controller"));
    let before = runs(&world);

    let elsewhere = world.cli(&["upgrade", "--state", &programs.display().to_string()]);
    assert_eq!(elsewhere.status.code(), Some(1));
    assert!(told(&elsewhere).contains("error[BW0332]: nobody serves from the state directory"), "{}", told(&elsewhere));

    let foreign = world.upgrade(Path::new("/bin/true"));
    assert_eq!(foreign.status.code(), Some(1));
    assert!(told(&foreign).contains("error[BW0333]"), "{}", told(&foreign));

    let formats = world.cli(&["internal", "formats"]);
    let mut older: Value = serde_json::from_slice(&formats.stdout).expect("it is JSON");
    let journal = std::mem::replace(&mut older["journal"], 0.into());
    let older = world.upgrade(&script(&programs, "older", &format!("echo '{older}'")));
    assert_eq!(older.status.code(), Some(1));
    let text = told(&older);
    let why = format!("the journal has schema {journal}, and that program knows 0");
    assert!(text.contains("error[BW0334]") && text.contains(&why), "{text}");
    assert!(text.contains("nothing was touched"), "{text}");
    assert_eq!(runs(&world), before);
    world.end();
    fs::remove_dir_all(programs).expect("removed");
}

#[test]
fn a_gateway_that_does_not_come_to_serve_leaves_the_one_before_in_its_place() {
    let world = World::start("upgrade-failed");
    let programs = scratch("failed");
    let gateway = world.programs("gateway");
    let load = world.load();
    let text = format!("if [ \"$2\" = gateway ]; then echo 'error: it is broken' >&2; exit 7; fi\nexec {BIN} \"$@\"");
    let failed = world.upgrade(&script(&programs, "broken", &text));
    assert_eq!(failed.status.code(), Some(1));
    let text = told(&failed);
    assert!(text.contains("error[BW0336]") && text.contains("it ended with code 7"), "{text}");
    assert!(text.contains("the program that ran before goes on"), "{text}");
    assert_eq!(world.programs("gateway"), gateway);
    world.until("the controller is back", |status| status["agents"][0].is_object());
    std::thread::sleep(Duration::from_secs(3));
    assert_nothing_lost(&account(load));
    world.end();
    fs::remove_dir_all(programs).expect("removed");
}

#[test]
fn a_gateway_that_dies_with_the_store_is_followed_by_one_of_the_program_before() {
    let world = World::start("upgrade-died");
    let programs = scratch("died");
    let load = world.load();
    std::thread::sleep(Duration::from_secs(1));
    let before = world.programs("gateway");
    // It is in the way of the new one when that has the store already.
    let socket = world.dir.join("state/gateway.sock");
    fs::remove_file(&socket).expect("it is there");
    fs::create_dir(&socket).expect("made");
    let failed = world.upgrade(&copy(&programs, "bellwether"));
    let text = told(&failed);
    assert!(text.contains("error[BW0336]") && text.contains("the gateway stops"), "{text}");
    fs::remove_dir(&socket).expect("removed");
    let deadline = Instant::now() + Duration::from_secs(30);
    let is_back = |it: &PathBuf, pid: &u32| it == Path::new(BIN) && !before.contains_key(pid);
    while !world.programs("gateway").iter().any(|(pid, it)| is_back(it, pid)) {
        assert!(Instant::now() < deadline, "{:?}", world.programs("gateway"));
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_secs(4));
    assert_nothing_lost(&account(load));
    world.end();
    fs::remove_dir_all(programs).expect("removed");
}
