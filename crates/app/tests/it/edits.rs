//! The fleet file is edited while it is served: it is told, it is not taken, and nothing that runs is touched.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::{
    serve::{FLEET, Place, end, eventually},
    world::BIN,
};

pub(crate) const RELEASE: &str = "version: 1\nrelease: v2\nset: {command: [sleep, '2000']}\n";

/// What the controller says, as a value.
pub(crate) fn status(served: &Value) -> Option<Value> {
    let address = served["control"].as_str()?.strip_prefix("http://")?.to_owned();
    let mut stream = TcpStream::connect(&address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    write!(stream, "GET /v1/status HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
}

/// Exit code, and what was said on standard error.
pub(crate) fn told(place: &Place, served: &Value, line: &str) -> (Option<i32>, String) {
    let control = served["control"].as_str().expect("an address");
    let output = Command::new(BIN)
        .args(line.split(' '))
        .args(["--control", control])
        .current_dir(&place.dir)
        .stdin(Stdio::null())
        .output()
        .expect("the binary starts");
    let said = [output.stderr, output.stdout].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

fn edit_of(served: &Value) -> Value {
    status(served).map_or(Value::Null, |status| status["edit"].clone())
}

/// As editors do it: a new file takes the place of the old one.
fn replace(place: &Place, text: &str) {
    place.write("fleet.yaml.new", text);
    fs::rename(place.dir.join("fleet.yaml.new"), place.dir.join("fleet.yaml")).expect("renamed");
}

fn edited(fleet: &str) -> String {
    fleet.replace("defaults: {", "defaults: {drain: 5s, ")
}

/// The fleet as it is served.
fn drains(place: &Place) -> Vec<u64> {
    let text = fs::read_to_string(place.dir.join("state/spec.json")).expect("there is one");
    let spec: Value = serde_json::from_str(&text).expect("it is JSON");
    let agents = spec["agents"].as_array().expect("a list").iter();
    agents.map(|agent| agent["drain"].as_u64().expect("a span")).collect()
}

#[test]
fn an_edit_is_told_and_touches_nothing_until_it_is_undone() {
    let place = Place::new("edit");
    place.write("release.yaml", RELEASE);
    let (serve, served) = place.serve(&["--stop-agents"]);
    let agents = place.both_agents();
    assert_eq!(edit_of(&served), Value::Null);

    replace(&place, &edited(FLEET));
    // Also before anybody has noticed.
    let start = "rollout start --release release.yaml";
    let (code, said) = told(&place, &served, start);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("error[BW0420]") && said.contains("--with-running-fleet"), "{said}");
    eventually("the edit is told", || edit_of(&served)["edit"] == "changed");
    assert_eq!(edit_of(&served)["differences"], serde_json::json!(["2 agents differ in drain (one, two)"]));
    let (code, said) = told(&place, &served, start);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("2 agents differ in drain (one, two); it takes effect at the next start of `serve`"),
        "{said}"
    );

    replace(&place, "agents: [\n");
    eventually("a broken file is told", || edit_of(&served)["edit"] == "broken");
    assert!(edit_of(&served)["errors"].to_string().contains("BW0101"));
    fs::remove_file(place.dir.join("fleet.yaml")).expect("removed");
    eventually("a file that is gone is told", || edit_of(&served)["errors"].to_string().contains("BW0100"));

    // In pieces, of which the first could be a file of its own.
    let (first, rest) = FLEET.split_at(FLEET.find("rollout:").expect("it is there"));
    place.write("fleet.yaml", first);
    place.write("fleet.yaml", &format!("{first}{rest}"));
    eventually("it is what runs again", || edit_of(&served) == Value::Null);
    let log = fs::read_to_string(place.dir.join("state/logs/supervisor.log")).expect("there is a log");
    for line in ["the fleet file was edited", "2 agents differ in drain", "the fleet file is what runs again"] {
        assert!(log.contains(line), "{line}: {log}");
    }

    replace(&place, &edited(FLEET));
    let (code, said) = told(&place, &served, &format!("{start} --with-running-fleet"));
    assert_eq!(code, Some(0), "{said}");
    eventually("the edit is told again", || edit_of(&served)["edit"] == "changed");
    let (_, said) = told(&place, &served, "rollout show");
    assert!(said.contains("and not before rollout 1 is over"), "{said}");
    assert_eq!(place.agents(), agents, "no agent noticed");
    assert_eq!(end(serve), Some(0));
}

#[test]
fn a_rollout_under_way_keeps_its_fleet_over_restarts() {
    // Agents that are taken to be ready once they have run for a second, so that a rollback can be validated.
    let fleet =
        FLEET.replace("agents:\n", "tasks: {mode: none}\nagents:\n").replace("defaults: {", "defaults: {boot: 1s, ");
    let place = Place::new("edit-restart");
    place.write("fleet.yaml", &fleet);
    place.write("release.yaml", RELEASE);
    let (serve, served) = place.serve(&[]);
    let agents = place.both_agents();
    let before = drains(&place);
    let (code, said) = told(&place, &served, "rollout start --release release.yaml");
    assert_eq!(code, Some(0), "{said}");

    let mut last = serve;
    for broken in [false, true] {
        last.signal("KILL");
        last.ended(Duration::from_secs(10));
        replace(&place, &if broken { "agents: [\n".to_owned() } else { edited(&fleet) });
        let (serve, served) = place.serve(&[]);
        assert_eq!(drains(&place), before, "the fleet that the rollout was planned for");
        eventually("the edit is told", || edit_of(&served)["edit"] == if broken { "broken" } else { "changed" });
        let status = status(&served).expect("it answers");
        assert_eq!(status["rollout"]["state"], "preflight");
        assert_eq!(place.both_agents(), agents);
        last = serve;
    }

    replace(&place, &edited(&fleet));
    last.signal("KILL");
    last.ended(Duration::from_secs(10));
    let (serve, served) = place.serve(&[]);
    let (code, said) = told(&place, &served, "rollout rollback");
    assert_eq!(code, Some(0), "{said}");
    eventually("it is over", || status(&served).is_some_and(|status| status["rollout"]["state"] == "rolled_back"));
    assert_eq!(end(serve), Some(0));
    let (serve, served) = place.serve(&["--stop-agents"]);
    assert_eq!(drains(&place), [5000, 5000], "the edit is taken");
    assert_eq!(edit_of(&served), Value::Null);
    assert_eq!(place.both_agents(), agents);
    assert_eq!(end(serve), Some(0));
}

#[test]
fn a_start_adds_no_agents_and_moves_none_to_another_revision() {
    let place = Place::new("edit-agents");
    let (serve, _) = place.serve(&[]);
    let agents = place.both_agents();
    assert_eq!(end(serve), Some(0));

    replace(&place, &FLEET.replace("{name: two,", "{name: three,"));
    let (code, said) = place.refused(&[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("error[BW0343]") && said.contains("1 agent is new (three); 1 agent is gone (two)"), "{said}");
    assert_eq!(place.agents(), agents, "nothing was started or ended");

    replace(&place, &FLEET.replace("'1000'", "'3000'"));
    let (serve, served) = place.serve(&["--stop-agents"]);
    assert_eq!(place.both_agents(), agents);
    assert_eq!(edit_of(&served), Value::Null, "the file was taken");
    // What is started again is what ran.
    let pid = agents["one"];
    crate::world::signal(u32::try_from(pid).expect("a pid"), "KILL");
    eventually("it is started again", || place.agents().get("one").is_some_and(|again| *again != pid));
    let command = fs::read_to_string(format!("/proc/{}/cmdline", place.agents()["one"])).unwrap_or_default();
    assert!(command.contains("1000"), "{command}");
    assert_eq!(end(serve), Some(0));
}
