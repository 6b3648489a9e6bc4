//! What has been stopped for a while, killed, or taken over changes nothing any more; and what has to go on without a
//! controller does.

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

use crate::common::policy::POLICY;
use crate::world::{Process, Setup, World, account, all_on, assert_nothing_lost, in_phase, signal};

/// Both bases serve HTTP, so that requests can be pushed to either; greens stay beside warm blues for as long as it takes.
fn setup() -> Setup {
    let agent = |name: &str, kind: &str| format!("    - {{name: {name}, type: {kind}, model: tinyllama}}\n");
    let fleet = format!(
        "version: 1\nfleet: test\nagents:\n  defaults:\n    command: [bellwether, agent]\n    http: true\n    \
         env: {{BELLWETHER_IDLE_MS: '100'}}\n    drain: 20s\n    standby: warm\n  list:\n{}{}{}rollout:\n  baseline: 2s\n{POLICY}  \
         phases:\n    - {{name: first, select: {{type: early}}, bake: 10m, thin_evidence: accept}}\n    \
         - {{name: second, select: rest, bake: 2s, thin_evidence: accept}}\n",
        agent("one", "early"),
        agent("two", "early"),
        agent("three", "late")
    );
    let release = "version: 1\nrelease: v2\nset:\n  env: {BELLWETHER_IDLE_MS: '120'}\n".to_owned();
    Setup { fleet, release, rate: "10" }
}

/// Its first phase bakes, and tasks go through both sides.
fn baking(name: &str) -> (World, Process) {
    let world = World::start_with(name, &setup());
    let load = world.load();
    world.start_rollout_after("3s");
    world.until("the first phase bakes", |status| in_phase(status, 0, "baking"));
    (world, load)
}

/// The status and what the agent says of itself, on a connection of its own.
fn push(gateway: &str, agent: &str) -> Option<(u16, String)> {
    let address = gateway.strip_prefix("http://")?;
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(40))).ok()?;
    write!(stream, "GET /a/{agent}/health HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    Some((status, answer))
}

/// Until it is dead: what reaches it before that breaks off with it.
fn kill(pid: u32) {
    signal(pid, "KILL");
    let lives = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
    };
    let deadline = Instant::now() + Duration::from_secs(10);
    while lives() {
        assert!(Instant::now() < deadline, "process {pid} does not die");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Of the routes, as the controller knows it.
fn generation(world: &World) -> u64 {
    world.status()["generation"].as_u64().expect("a generation")
}

/// The events that the journal holds, in order.
fn journal(dir: &Path) -> Vec<(i64, Value)> {
    let path = dir.join("state").join("journal.sqlite");
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("the journal can be read");
    let mut records = db.prepare("SELECT seq, event FROM events ORDER BY seq").expect("it has records");
    let rows =
        records.query_map((), |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))).expect("they are read");
    let record = |row: rusqlite::Result<(i64, String)>| {
        let (seq, text) = row.expect("a record");
        (seq, serde_json::from_str(&text).expect("an event"))
    };
    rows.map(record).collect()
}

/// Numbers without a gap, and generations of the gateway that never go back.
fn assert_one_writer(dir: &Path) {
    let journal = journal(dir);
    for (expected, (seq, _)) in (1..).zip(&journal) {
        assert_eq!(*seq, expected, "a record is missing");
    }
    let made = journal.iter().filter(|(_, event)| event["event"] == "cut_over" || event["event"] == "fell_back");
    let made: Vec<u64> = made.map(|(_, event)| event["generation"].as_u64().expect("a generation")).collect();
    assert!(made.windows(2).all(|two| two[0] <= two[1]), "{made:?}");
}

#[test]
fn a_green_that_dies_while_the_controller_is_stopped_is_stood_in_for_at_once() {
    let (world, load) = baking("stopped");
    let controller = world.pid_of_child("controller").expect("there is one");
    signal(controller, "STOP");
    let green = world.pid_of("one", "green").expect("green runs");
    kill(green);
    let died = Instant::now();
    let answered = push(&world.gateway, "one");
    let took = died.elapsed();
    assert!(answered.as_ref().is_some_and(|(status, _)| *status == 200), "{answered:?} after {took:?}");
    assert!(took < Duration::from_secs(1), "blue stood in after {took:?}");
    // Long enough for tasks to have gone through blue.
    thread::sleep(Duration::from_secs(2));
    let (status, _) = push(&world.gateway, "one").expect("an answer");
    assert_eq!(status, 200, "and it goes on");
    signal(controller, "CONT");
    world.until("a new green serves", |status| {
        let agents = status["agents"].as_array().expect("agents");
        let one = agents.iter().find(|agent| agent["name"] == "one").expect("it is in the fleet");
        one["serving"] == "green" && world.pid_of("one", "green").is_some_and(|pid| pid != green)
    });
    assert_nothing_lost(&account(load));
    let fell_back = journal(&world.dir).iter().filter(|(_, event)| event["event"] == "fell_back").count();
    assert!(fell_back <= 1, "once, or found by looking");
    assert_one_writer(&world.dir);
    world.end();
}

#[test]
fn a_green_that_dies_while_controllers_are_killed_is_stood_in_for_at_once() {
    let (world, load) = baking("killed");
    for _ in 0..3 {
        let green = world.pid_of("two", "green").expect("green runs");
        signal(world.pid_of_child("controller").expect("there is one"), "KILL");
        kill(green);
        let died = Instant::now();
        let answered = push(&world.gateway, "two");
        assert!(answered.as_ref().is_some_and(|(status, _)| *status == 200), "{answered:?}");
        assert!(died.elapsed() < Duration::from_secs(1), "blue stood in after {:?}", died.elapsed());
        world.until("a new green serves", |status| {
            let agents = status["agents"].as_array().expect("agents");
            let two = agents.iter().find(|agent| agent["name"] == "two").expect("it is in the fleet");
            two["serving"] == "green" && world.pid_of("two", "green").is_some_and(|pid| pid != green)
        });
    }
    assert_nothing_lost(&account(load));
    assert_one_writer(&world.dir);
    world.end();
}

#[test]
fn a_controller_that_was_stopped_while_the_world_moved_on_changes_nothing_stale() {
    let (world, load) = baking("stale");
    let controller = world.pid_of_child("controller").expect("there is one");
    let before = generation(&world);
    signal(controller, "STOP");
    // Its commands are on their way to nobody; meanwhile both greens die, and one blue after it stood in.
    for agent in ["one", "two"] {
        kill(world.pid_of(agent, "green").expect("green runs"));
    }
    let answered = push(&world.gateway, "one").expect("an answer");
    assert_eq!(answered.0, 200, "{answered:?}");
    thread::sleep(Duration::from_secs(5));
    signal(controller, "CONT");
    world.until("both are on green again", |status| {
        let agents = status["agents"].as_array().expect("agents");
        let on_green = |name: &str| agents.iter().any(|agent| agent["name"] == name && agent["serving"] == "green");
        on_green("one") && on_green("two")
    });
    assert!(generation(&world) > before);
    assert_one_writer(&world.dir);
    world.roll_back("enough");
    let (_, rollout) = world.watch();
    assert_eq!(rollout["state"], "rolled_back", "{rollout:#}");
    assert!(all_on(&world.status(), "blue"));
    assert_nothing_lost(&account(load));
    assert_one_writer(&world.dir);
    world.end();
}
