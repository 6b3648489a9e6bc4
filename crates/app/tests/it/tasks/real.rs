//! The verbs against the gateway of a real `serve`, with agents that work, agents that fail and agents that never ask.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::Desk;
use crate::world::{Process, child, left, serve_in, signal, start_ollama};

const FLEET: &str = "\
version: 1
fleet: tasks
tasks: {attempts: 2, backoff: 50ms, backoff_max: 50ms, waiting: 40}
agents:
  list:
    - {name: worker, type: good, model: tinyllama, command: [bellwether, agent]}
    - {name: breaker, type: bad, model: tinyllama, command: [bellwether, agent], env: {BELLWETHER_FAULT: errors=1}}
    - {name: sleeper, type: away, model: tinyllama, command: [sleep, '1000']}
rollout:
  phases:
    - {name: all, select: rest, bake: 2s, thin_evidence: accept}
";

/// Everything ends when this is dropped.
struct Fleet {
    desk: Desk,
    serve: Process,
    _ollama: Process,
}

impl Fleet {
    fn start(name: &str, fleet: &str) -> Self {
        let (ollama, url) = start_ollama("127.0.0.1:0");
        let mut desk = Desk::new(name, "").file("fleet.yaml", fleet);
        let (serve, served) = serve_in(&desk.dir, &url);
        desk.gateway = served["gateway"].as_str().expect("an address").to_owned();
        Self { desk, serve, _ollama: ollama }
    }

    /// Polls until the listed tasks are as many as wanted.
    fn until(&self, words: &[&str], count: usize) -> Value {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let (listed, code) = self.desk.json(words);
            assert_eq!(code, Some(0), "{listed}");
            if listed["tasks"].as_array().is_some_and(|tasks| tasks.len() == count) {
                return listed;
            }
            assert!(Instant::now() < deadline, "not {count} tasks within 30 s: {listed:#}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What it says on stderr, and its exit code.
    fn refused(&self, words: &[&str], code: i32) -> String {
        let done = self.desk.run(words, "");
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(code), "{words:?}: {said}");
        said
    }

    fn done(&self, words: &[&str]) -> String {
        let done = self.desk.run(words, "");
        assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).trim().to_owned()
    }

    fn begin(&self, words: &[&str]) -> Child {
        let mut command = self.desk.command(words);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts")
    }

    fn end(self) {
        let Self { desk, serve, .. } = self;
        serve.signal("TERM");
        assert_eq!(serve.ended(Duration::from_secs(30)).0, Some(0), "serve ends cleanly");
        assert_eq!(left(&desk.dir), Vec::<String>::new(), "no process of the fleet is left");
    }
}

#[test]
fn tasks_of_a_real_fleet_are_submitted_shown_cancelled_and_queued_again() {
    let fleet = Fleet::start("real", FLEET);

    // One that is done.
    let answer = fleet.done(&["submit", "--agent", "worker", "--prompt", "say so", "--id", "w1", "--wait", "30s"]);
    assert_eq!(answer, "this is a simulated answer and no model");
    let (shown, _) = fleet.desk.json(&["show", "w1"]);
    assert_eq!(
        json!([shown["state"], shown["attempts"], shown["attempts_max"], shown["priority"], shown["served"]]),
        json!(["completed", 1, 2, "normal", "blue"])
    );
    assert_eq!(fleet.done(&["submit", "--agent", "worker", "--prompt", "say so", "--id", "w1"]), "w1");
    let other = fleet.refused(&["submit", "--agent", "worker", "--prompt", "say more", "--id", "w1"], 1);
    assert!(other.contains("BW0394") && other.contains("the id w1 belongs to another task"), "{other}");
    let ended = fleet.refused(&["cancel", "w1"], 1);
    assert!(ended.contains("BW0394") && ended.contains("completed"), "{ended}");
    let retried = fleet.refused(&["retry", "w1"], 1);
    assert!(retried.contains("BW0394") && retried.contains("completed"), "{retried}");

    // One that fails: a dead letter, which fails once more.
    let failed = fleet.refused(&["submit", "--type", "bad", "--prompt", "x", "--id", "b1", "--wait", "30s"], 1);
    assert!(failed.contains("BW0398") && failed.contains("task b1 failed, after 2 attempts"), "{failed}");
    assert!(failed.contains("cause: "), "it says what the last attempt said: {failed}");
    let page = fleet.done(&["dead"]);
    assert!(page.contains("b1  breaker, failed after 2 of 2 attempts") && page.contains("1 dead letter;"), "{page}");
    let asked = fleet.refused(&["retry", "--dead"], 2);
    assert!(asked.contains("--yes is missing"), "{asked}");
    fleet.done(&["retry", "--dead", "--yes", "--type", "bad"]);
    let (again, code) = fleet.desk.json(&["show", "b1", "--wait", "30s"]);
    assert_eq!((&again["state"], code), (&json!("failed"), Some(1)));

    // One that nobody takes.
    fleet.done(&["submit", "--agent", "sleeper", "--prompt", "x", "--id", "s1", "--priority", "high"]);
    let waited = fleet.refused(&["show", "s1", "--wait", "50ms"], 4);
    assert_eq!(waited, "");
    let page = fleet.done(&["list", "--state", "queued", "--agent", "sleeper"]);
    assert!(page.contains("s1  sleeper  queued  high      0/2"), "{page}");
    fleet.done(&["cancel", "s1"]);
    fleet.done(&["cancel", "s1"]);
    assert_eq!(fleet.desk.json(&["show", "s1"]).0["state"], "cancelled");
    fleet.done(&["retry", "s1"]);
    assert_eq!(fleet.desk.json(&["show", "s1"]).0["state"], "queued");
    let live = fleet.refused(&["retry", "s1"], 1);
    assert!(live.contains("BW0394") && live.contains("has not ended"), "{live}");
    let late = ["submit", "--agent", "sleeper", "--prompt", "x", "--id", "s2", "--deadline", "100ms", "--wait", "30s"];
    let late = fleet.refused(&late, 1);
    assert!(late.contains("task s2 expired: it was not begun in time"), "{late}");
    fleet.done(&["submit", "--agent", "sleeper", "--prompt", "x", "--id", "s3", "--delay", "1h", "--attempts", "7"]);
    let page = fleet.done(&["list", "--state", "delayed"]);
    assert!(page.contains("s3  sleeper  delayed  normal    0/7") && page.contains("due in "), "{page}");
    fleet.until(&["list", "--state", "dead"], 2);

    // What is refused.
    for (words, says) in [
        (&["show", "nobody-knows"][..], "BW0392"),
        (&["submit", "--agent", "nobody", "--prompt", "x"], "the fleet has no agent nobody"),
        (&["submit", "--type", "nothing", "--prompt", "x"], "the fleet has no agent of type nothing"),
        (&["submit", "--agent", "worker", "--prompt", "x", "--id", "a/b"], "BW0395"),
        (&["submit", "--agent", "worker", "--prompt-file", "large"], "put large inputs where the agent can read them"),
    ] {
        std::fs::write(fleet.desk.dir.join("large"), "x".repeat(2 << 20)).expect("written");
        let said = fleet.refused(words, 1);
        assert!(said.contains(says), "{words:?}: {said}");
    }
    fleet.end();
}

#[test]
fn a_file_of_tasks_waits_for_room_in_a_real_queue() {
    let fleet = Fleet::start("room", FLEET);
    let lines = |agent: &str, count: usize| {
        (0..count).map(|n| format!("{{\"agent\": \"{agent}\", \"prompt\": \"{n}\"}}\n")).collect::<String>()
    };
    fleet.done(&["submit", "--agent", "worker", "--prompt", "so that its pace is known", "--wait", "30s"]);
    // More than fit at once: agents make room.
    let done = fleet.desk.run(&["submit", "--from", "-", "--id", "many"], &lines("worker", 80));
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    fleet.until(&["list", "--state", "completed", "--limit", "1000"], 81);
    let again = fleet.desk.run(&["submit", "--from", "-", "--id", "many"], &lines("worker", 80));
    let said = String::from_utf8_lossy(&again.stderr);
    assert!(said.contains("80 tasks submitted, 80 of them there already"), "{said}");

    // Nobody makes room.
    let done = fleet.desk.run(&["submit", "--from", "-", "--patience", "200ms"], &lines("sleeper", 60));
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(1), "{said}");
    assert!(said.contains("40 tasks submitted") && said.contains("stopped: "), "{said}");
    let full = fleet.refused(&["submit", "--agent", "sleeper", "--prompt", "x"], 1);
    assert!(full.contains("BW0397") && full.contains("try again in "), "{full}");
    let waiting = fleet.until(&["list", "--agent", "sleeper", "--limit", "7"], 7);
    let ids: Vec<&str> =
        waiting["tasks"].as_array().expect("tasks").iter().filter_map(|it| it["id"].as_str()).collect();
    let (cancelled, code) = fleet.desk.json(&[&["cancel"], &ids[..]].concat());
    assert_eq!((cancelled["cancelled"].as_array().map(Vec::len), code), (Some(7), Some(0)));
    fleet.until(&["list", "--state", "queued"], 33);
    fleet.done(&["submit", "--agent", "sleeper", "--prompt", "x"]);
    fleet.end();
}

#[test]
fn who_waits_and_who_follows_outlast_the_gateway() {
    let fleet = Fleet::start("outlast", FLEET);
    fleet.done(&["submit", "--agent", "worker", "--prompt", "before", "--wait", "30s"]);
    let mut following = fleet.begin(&["list", "--follow", "--output", "json"]);
    let mut said = BufReader::new(following.stderr.take().expect("it was asked for")).lines();
    assert!(said.next().expect("a line").expect("readable").starts_with("each task is shown as it ends"));
    fleet.done(&["submit", "--agent", "sleeper", "--prompt", "x", "--id", "s1"]);
    let mut waiting = fleet.begin(&["show", "s1", "--wait", "--output", "json"]);

    let gateway = |fleet: &Fleet| child(fleet.serve.pid(), "gateway").and_then(|pid| u32::try_from(pid).ok());
    let before = gateway(&fleet).expect("it runs");
    signal(before, "KILL");
    let deadline = Instant::now() + Duration::from_secs(30);
    while gateway(&fleet).is_none_or(|pid| pid == before) {
        assert!(Instant::now() < deadline, "the gateway is started again");
        std::thread::sleep(Duration::from_millis(20));
    }
    let answer = fleet.done(&["submit", "--agent", "worker", "--prompt", "after", "--id", "w1", "--wait", "30s"]);
    assert!(!answer.is_empty());
    fleet.done(&["cancel", "s1"]);

    let mut ends = BufReader::new(following.stdout.take().expect("it was asked for")).lines();
    let mut end = || -> Value { serde_json::from_str(&ends.next().expect("a line").expect("readable")).expect("JSON") };
    let seen = [end(), end()].map(|end| (end["id"].clone(), end["status"].clone()));
    assert_eq!(seen, [(json!("w1"), json!("completed")), (json!("s1"), json!("cancelled"))]);
    following.kill().expect("it runs");
    following.wait().expect("it has ended");
    let mut shown = String::new();
    waiting.stdout.take().expect("it was asked for").read_to_string(&mut shown).expect("readable");
    assert_eq!(waiting.wait().expect("it ends").code(), Some(1), "{shown}");
    assert_eq!(serde_json::from_str::<Value>(&shown).expect("JSON")["state"], "cancelled");
    fleet.end();
}

#[test]
fn a_fleet_without_a_queue_says_where_its_tasks_are() {
    let queue = "tasks: {attempts: 2, backoff: 50ms, backoff_max: 50ms, waiting: 40}";
    let mut page = String::new();
    for instead in ["tasks: {mode: none}", "tasks: {mode: relay, backend: 'http://127.0.0.1:9'}"] {
        let fleet = Fleet::start("modes", &FLEET.replace(queue, instead));
        page += &format!("# {instead}\n");
        page += &fleet.desk.all(&[
            &["submit", "--agent", "worker", "--prompt", "x"],
            &["list"],
            &["show", "t1"],
            &["cancel", "t1", "t2"],
            &["retry", "--dead", "--yes"],
        ]);
        fleet.end();
    }
    insta::assert_snapshot!(page);
}
