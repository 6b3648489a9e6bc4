//! What people ask of a rollout: two of them at once, in the middle of a crash, twice, and only to see what would come
//! of it.

use std::{
    io::{Read, Write},
    net::TcpStream,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::world::{BIN, Setup, World, in_phase, signal};

/// Nothing moves by itself for as long as a test takes.
fn setup() -> Setup {
    let setup = Setup::default();
    let fleet = [
        ("bake: 2s", "bake: 30m"),
        // A bake that was ended early has shown little, and is not made longer for that.
        ("baseline: 3s", "baseline: 3s\n  extension: 1"),
        ("select: {type: monitoring},", "select: {type: monitoring}, approval: other,"),
    ]
    .into_iter()
    .fold(setup.fleet, |fleet, (from, to)| {
        assert!(fleet.contains(from), "{fleet}");
        fleet.replace(from, to)
    });
    Setup { fleet, ..Setup::default() }
}

/// A rollout, started by `test`, that waits for an approval of its first phase.
fn waiting(world: &World) {
    world.start_rollout();
    world.until("it waits for an approval", |status| in_phase(status, 0, "awaiting_approval"));
}

/// Events in the journal that came from people, as text.
fn asked(world: &World) -> Vec<String> {
    let path = world.dir.join("state/journal.sqlite");
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let db = rusqlite::Connection::open_with_flags(path, flags).expect("the journal opens");
    db.busy_timeout(Duration::from_secs(10)).expect("set");
    let by_people = "event LIKE '{\"event\":\"verb\"%' OR event LIKE '{\"event\":\"planned\"%'";
    let mut query = db.prepare(&format!("SELECT event FROM events WHERE {by_people} ORDER BY seq")).expect("a query");
    let rows = query.query_map([], |row| row.get(0)).expect("rows");
    rows.collect::<Result<_, _>>().expect("texts")
}

fn spawn(world: &World, args: &[&str]) -> Child {
    Command::new(BIN)
        .args(args)
        .env("BELLWETHER_CONTROL", &world.control)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Writes a request and does not wait for the answer.
fn send(control: &str, call: &str, headers: &[(&str, &str)], body: &Value) -> std::io::Result<TcpStream> {
    let (mut stream, text) = open(control, call, headers, body)?;
    stream.write_all(text.as_bytes())?;
    Ok(stream)
}

/// Writes all of a request but its last byte, and gives its reader the time to wait for the rest.
fn send_most(control: &str, call: &str, headers: &[(&str, &str)], body: &Value) -> std::io::Result<TcpStream> {
    let (mut stream, text) = open(control, call, headers, body)?;
    stream.write_all(&text.as_bytes()[..text.len() - 1])?;
    std::thread::sleep(Duration::from_millis(500));
    Ok(stream)
}

/// A connection, and the request that is to be written to it.
fn open(control: &str, call: &str, headers: &[(&str, &str)], body: &Value) -> std::io::Result<(TcpStream, String)> {
    let address = control.strip_prefix("http://").expect("plain HTTP");
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let body = if call.starts_with("GET") { String::new() } else { body.to_string() };
    let mut head = format!(
        "{call} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    Ok((stream, format!("{head}\r\n{body}")))
}

/// Status, head and body; none if the connection broke before there was an answer.
fn answer(mut stream: TcpStream) -> Option<(u16, String, Value)> {
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, head.to_owned(), serde_json::from_str(body).ok()?))
}

fn ask(world: &World, call: &str, headers: &[(&str, &str)], body: &Value) -> (u16, String, Value) {
    answer(send(&world.control, call, headers, body).expect("it is sent")).expect("it is answered")
}

/// The entity tag of the rollout as it stands.
fn tag(world: &World) -> String {
    let (status, head, rollout) = ask(world, "GET /v1/rollouts/1", &[], &Value::Null);
    assert_eq!(status, 200);
    let tag = head.lines().find_map(|line| line.strip_prefix("etag: ")).expect("an ETag").to_owned();
    assert_eq!(tag, format!("\"{}\"", rollout["position"].as_str().expect("a position")));
    tag
}

#[test]
fn a_dry_run_tells_what_would_happen_and_changes_nothing() {
    let world = World::start_with("dry", &setup());
    let load = world.load();
    let release = world.dir.join("release.yaml").display().to_string();
    let start = ["rollout", "start", "--release", &release, "--baseline", "3s", "--dry-run"];
    let dry = world.cli(&start);
    assert_eq!(dry.status.code(), Some(0), "{}", said(&dry));
    let text = String::from_utf8_lossy(&dry.stdout).into_owned();
    for part in
        ["Phases, in this order", "waits for the approval of somebody else", "rollout 1 of release v2 would begin"]
    {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    assert_eq!(asked(&world), Vec::<String>::new());
    assert!(world.status()["rollout"].is_null());

    waiting(&world);
    let watched = world.cli(&["rollout", "watch"]);
    assert_eq!(watched.status.code(), Some(4), "{}", said(&watched));
    let before = asked(&world);
    let dry = world.cli(&["approve", "--by", "bob", "--dry-run"]);
    insta::assert_snapshot!(String::from_utf8_lossy(&dry.stdout), @r"
    This is what would happen; nothing was changed.
    rollout 1: phase 1 of 3, first: waits for the approval of somebody else than test  →  phase 1 of 3, first: starting green, batch 1 of 1
      green would be started: 1 agent, watcher
    ");
    assert_eq!(asked(&world), before);
    assert!(world.cli(&["approve", "--by", "bob", "--reason", "seen"]).status.success());
    world.until("the first phase bakes", |status| in_phase(status, 0, "baking"));

    let before = asked(&world);
    for line in [
        &["rollout", "pause", "--dry-run"][..],
        &["rollout", "resume", "--dry-run"],
        &["rollout", "promote", "--dry-run"],
        &["rollout", "rollback", "--dry-run"],
        &["rollout", "hold-back", "tester", "--dry-run"],
    ] {
        let dry = world.cli(&[line, &["--by", "bob", "--output", "json"]].concat());
        assert_eq!(dry.status.code(), Some(0), "{line:?}: {}", said(&dry));
        let told: Value = serde_json::from_slice(&dry.stdout).expect("it is JSON");
        assert_eq!(told["before"]["state"], "progressing", "{told:#}");
        if line[1] == "rollback" {
            assert_eq!(told["moves"], json!([{"agent": "watcher", "to": "blue"}]), "{told:#}");
            assert!(told["undo"].as_u64().is_some_and(|undo| undo > 0), "{told:#}");
        }
    }
    // What would be refused is refused here too, in the same words.
    for line in [["rollout", "commit"], ["rollout", "approve"], ["rollout", "retry"]] {
        let [dry, wet] = [&["--dry-run"][..], &[]].map(|more| world.cli(&[&line, more].concat()));
        assert_eq!((dry.status.code(), wet.status.code()), (Some(1), Some(1)), "{line:?}");
        let (dry, wet) = (said(&dry), said(&wet));
        assert!(wet.ends_with(&dry), "{line:?}: {dry}\n{wet}");
    }
    assert_eq!(asked(&world), before, "a dry run or a refusal is in the journal");
    assert!(in_phase(&world.status(), 0, "baking"));
    drop(load);
    world.end();
}

#[test]
fn what_is_refused_says_why_and_what_can_be_done_instead() {
    let world = World::start_with("refused", &setup());
    let load = world.load();
    waiting(&world);
    let mut page = String::new();
    let mut refused = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let output = world.cli(&words);
        let code = output.status.code().expect("it ends");
        page.push_str(&format!("$ bellwether {line}\n{}exit code {code}\n\n", said(&output)));
    };
    refused("approve --by test");
    refused("rollout promote --by bob");
    refused("rollout retry --by bob");
    refused("rollout commit --by bob");
    assert!(world.cli(&["rollout", "approve", "--by", "bob"]).status.success());
    world.until("the first phase bakes", |status| in_phase(status, 0, "baking"));
    refused("reject --by bob");
    refused("rollout retry --by bob");
    let seen = tag(&world);
    assert!(world.cli(&["rollout", "promote", "--by", "ann"]).status.success());
    world.until("the second phase bakes", |status| in_phase(status, 1, "baking"));

    let body = json!({"by": "bob"});
    let (status, _, problem) = ask(&world, "POST /v1/rollouts/1/promote", &[("if-match", &seen)], &body);
    assert_eq!(status, 412);
    let mut told = problem["diagnostics"][0]["text"].as_str().expect("a text").to_owned();
    let with_body = json!({"by": "bob", "expect": seen.trim_matches('"')});
    assert_eq!(ask(&world, "POST /v1/rollouts/1/promote", &[], &with_body).0, 412);
    let keyed = |verb: &str, reason: &str| {
        let path = format!("POST /v1/rollouts/1/{verb}");
        ask(&world, &path, &[("idempotency-key", "lunch-1")], &json!({"by": "bob", "reason": reason}))
    };
    let (status, _, paused) = keyed("pause", "lunch");
    assert_eq!((status, &paused["paused"]["why"]), (200, &json!("lunch")), "the answer shows what came of it");
    assert!(world.cli(&["rollout", "resume", "--by", "bob"]).status.success());
    let (status, _, repeated) = keyed("pause", "lunch");
    assert_eq!((status, &repeated["paused"]), (200, &Value::Null), "it was paused once more");
    let (status, _, problem) = keyed("pause", "dinner");
    assert_eq!(status, 409);
    told += &format!("\n{}\n", problem["diagnostics"][0]["text"].as_str().expect("a text"));
    for (headers, why) in [(("if-match", "W/\"x\""), "a weak tag"), (("idempotency-key", "a b"), "no key")] {
        let (status, ..) = ask(&world, "POST /v1/rollouts/1/pause", &[headers], &body);
        assert_eq!(status, 400, "{why}");
    }

    assert!(world.cli(&["rollout", "rollback", "--by", "bob", "--reason", "rehearsal"]).status.success());
    assert_eq!(world.watch().0, Some(3));
    let again = world.cli(&["rollout", "retry", "--by", "bob", "--reason", "it was the network", "--output", "json"]);
    assert_eq!(again.status.code(), Some(0), "{}", said(&again));
    let again: Value = serde_json::from_slice(&again.stdout).expect("it is JSON");
    assert_eq!((&again["id"], &again["again"]["rollout"], &again["by"]), (&json!(2), &json!(1), &json!("bob")));
    assert_eq!(again["release"], "v2");
    let mut refused = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let output = world.cli(&words);
        told.push_str(&format!("\n$ bellwether {line}\n{}", said(&output)));
        assert_eq!(output.status.code(), Some(1));
    };
    refused("rollout retry 1 --by bob");
    insta::assert_snapshot!(format!("{page}{told}"));
    drop(load);
    world.end();
}

#[test]
fn of_several_operators_at_once_one_is_followed() {
    let world = World::start_with("two", &setup());
    let load = world.load();
    waiting(&world);
    let operators = ["ann", "bob", "eve"].map(|who| spawn(&world, &["approve", "--by", who]));
    let outcomes = operators.map(|one| one.wait_with_output().expect("it ends"));
    for refused in outcomes.iter().filter(|outcome| !outcome.status.success()) {
        let told = said(refused);
        assert!(told.contains("BW0410") || told.contains("no phase waits for an approval"), "{told}");
    }
    assert_eq!(outcomes.iter().filter(|outcome| outcome.status.success()).count(), 1);
    assert_eq!(asked(&world).iter().filter(|event| event.contains("\"approve\"")).count(), 1);

    world.until("the first phase bakes", |status| in_phase(status, 0, "baking"));
    let seen = tag(&world);
    let mut statuses = std::thread::scope(|scope| {
        let (control, seen) = (world.control.as_str(), &seen);
        let promote = move |by: &'static str| {
            let headers = [("if-match", seen.as_str())];
            let sent = send(control, "POST /v1/rollouts/1/promote", &headers, &json!({"by": by})).expect("it is sent");
            answer(sent).expect("it is answered").0
        };
        let operators: Vec<_> = ["ann", "bob", "eve"].into_iter().map(|by| scope.spawn(move || promote(by))).collect();
        operators.into_iter().map(|one| one.join().expect("it asks")).collect::<Vec<_>>()
    });
    statuses.sort_unstable();
    assert!(statuses[0] == 200 && statuses.iter().all(|status| [200, 412].contains(status)), "{statuses:?}");
    world.until("the second phase bakes", |status| in_phase(status, 1, "baking"));
    let late = ask(&world, "POST /v1/rollouts/1/promote", &[("if-match", &seen)], &json!({"by": "ann"}));
    assert_eq!(late.0, 412);
    std::thread::sleep(Duration::from_millis(500));
    let status = world.status();
    assert!(in_phase(&status, 1, "baking"), "somebody's promote ended the next bake: {status:#}");
    drop(load);
    world.end();
}

#[test]
fn a_verb_while_the_controller_is_killed_is_done_exactly_once() {
    let world = World::start_with("killed", &setup());
    let load = world.load();
    waiting(&world);
    let (mut lost, mut told) = (0, 0);
    for round in 0..12_u64 {
        let reason = format!("round {round}");
        let verb = if round % 2 == 0 { "pause" } else { "resume" };
        let controller = world.pid_of_child("controller").expect("a controller runs");
        if round < 6 {
            // The request is not whole yet, or on its way, or at work, or just answered.
            let path = format!("POST /v1/rollouts/1/{verb}");
            let body = json!({"by": "bob", "reason": reason});
            let key = reason.replace(' ', "-");
            let headers = [("idempotency-key", key.as_str())];
            let first = if round == 0 {
                send_most(&world.control, &path, &headers, &body)
            } else {
                send(&world.control, &path, &headers, &body)
            }
            .expect("sent");
            std::thread::sleep(Duration::from_millis(round * 2));
            signal(controller, "KILL");
            let deadline = Instant::now() + Duration::from_secs(60);
            let mut answered = answer(first);
            lost += u32::from(answered.is_none());
            assert!(round > 0 || answered.is_none(), "an answer to a part of a request: {answered:?}");
            while answered.as_ref().is_none_or(|(status, ..)| *status == 503) {
                assert!(Instant::now() < deadline, "no controller comes back");
                std::thread::sleep(Duration::from_millis(50));
                answered = send(&world.control, &path, &headers, &body).ok().and_then(answer);
            }
            assert_eq!(answered.expect("answered").0, 200, "{reason}");
        } else {
            let asking = spawn(&world, &["rollout", verb, "--by", "bob", "--reason", &reason]);
            std::thread::sleep(Duration::from_millis(round * 3));
            signal(controller, "KILL");
            let outcome = asking.wait_with_output().expect("it ends");
            assert!(outcome.status.success(), "{reason}: {}", said(&outcome));
            told += u32::from(said(&outcome).contains("the controller went away"));
        }
        world.until("a controller is back", |_| world.pid_of_child("controller").is_some_and(|pid| pid != controller));
        let done = asked(&world).iter().filter(|event| event.contains(&format!("\"reason\":\"{reason}\""))).count();
        assert_eq!(done, 1, "{reason}");
        let paused = !world.status()["rollout"]["paused"].is_null();
        assert_eq!(paused, verb == "pause", "{reason}");
    }
    eprintln!("of 6 requests {lost} lost their answer; of 6 commands {told} had to ask again");
    assert!(in_phase(&world.status(), 0, "awaiting_approval"));
    drop(load);
    world.end();
}
