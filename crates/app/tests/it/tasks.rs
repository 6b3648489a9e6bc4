//! `bellwether tasks`: what a person and a script get, from a real gateway where it can be brought about there, and from one
//! that misbehaves on purpose.

mod fake;
mod real;

use std::{
    fmt::Write as _,
    fs,
    io::Write as _,
    net::TcpListener,
    path::PathBuf,
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};

use self::fake::{Fake, Question, Reply};
use crate::world::{BIN, scratch};

/// A directory from which commands are started; it goes when this is dropped.
struct Desk {
    dir: PathBuf,
    gateway: String,
}

impl Desk {
    fn new(name: &str, gateway: &str) -> Self {
        Self { dir: scratch(name), gateway: gateway.to_owned() }
    }

    fn file(self, name: &str, text: &str) -> Self {
        fs::write(self.dir.join(name), text).expect("written");
        self
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(BIN);
        command.arg("tasks").args(words).current_dir(&self.dir).env("BELLWETHER_GATEWAY", &self.gateway);
        command
    }

    fn run(&self, words: &[&str], stdin: &str) -> Output {
        let mut child = self
            .command(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        // A command that reads nothing may have ended already.
        drop(child.stdin.take().expect("it was asked for").write_all(stdin.as_bytes()));
        child.wait_with_output().expect("it ends")
    }

    /// The command line, what it prints, what it says beside that, and its exit code.
    fn told(&self, words: &[&str]) -> String {
        self.told_with(words, "")
    }

    fn told_with(&self, words: &[&str], stdin: &str) -> String {
        let done = self.run(words, stdin);
        let quoted =
            words.iter().map(|word| if word.contains([' ', '{']) { format!("'{word}'") } else { (*word).to_owned() });
        let line = quoted.collect::<Vec<_>>().join(" ");
        let [out, said] = [&done.stdout, &done.stderr].map(|bytes| String::from_utf8_lossy(bytes));
        let code = done.status.code().map_or_else(|| "none".to_owned(), |code| code.to_string());
        let told = format!("$ bellwether tasks {line}\n{out}{said}exit code {code}\n");
        told.replace(&self.dir.display().to_string(), "DIR").replace(&self.gateway, "GATEWAY")
    }

    fn all(&self, lines: &[&[&str]]) -> String {
        lines.iter().fold(String::new(), |mut page, words| {
            writeln!(page, "{}", self.told(words)).expect("strings take everything");
            page
        })
    }

    /// What it prints with `--output json`, and its exit code.
    fn json(&self, words: &[&str]) -> (Value, Option<i32>) {
        let mut words = words.to_vec();
        words.extend(["--output", "json"]);
        let done = self.run(&words, "");
        let text = String::from_utf8_lossy(&done.stdout);
        let value = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{error} in {text:?}; it said {}", String::from_utf8_lossy(&done.stderr)));
        (value, done.status.code())
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.dir));
    }
}

/// A task as a gateway shows it, submitted two hours ago.
fn task(id: &str, state: &str, with: Value) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    let submitted = u64::try_from(now).expect("before long") - 7_205_000;
    let mut task = json!({
        "id": id, "agent": "builder", "type": "development", "state": state, "priority": "normal", "attempts": 0,
        "attempts_max": 3, "drawn": null, "chance": null, "served": null, "submitted_ms": submitted, "error": null,
        "not_before_ms": null, "begin_by_ms": null, "checkpoint": false,
    });
    let (Value::Object(task), Value::Object(with)) = (&mut task, with) else { panic!("both are objects") };
    task.extend(with);
    Value::Object(task.clone())
}

fn refuse(status: u16, detail: &str) -> Reply {
    Reply::Problem(status, detail.to_owned(), None)
}

fn accept(question: &Question) -> Reply {
    Reply::Json(202, json!({"id": question.body["id"], "agent": "builder"}))
}

#[test]
fn refusals_of_a_gateway_name_the_next_step() {
    let gateway = Fake::start(|_, question| match question.call.as_str() {
        "POST /tasks" => match question.body["prompt"].as_str() {
            Some("agent") => refuse(404, "the fleet has no agent nobody"),
            Some("large") => refuse(413, "the body is larger than 1048576 bytes"),
            Some("field") => refuse(400, "priority is not one of critical, high, normal, low, background"),
            Some("known") => refuse(409, "the id was used for a task of another content"),
            Some("full") => Reply::Problem(429, "10000 tasks wait already".into(), Some(7)),
            Some("disk") => Reply::Problem(503, "the gateway's store cannot be written".into(), Some(1)),
            Some("break") => Reply::Nothing,
            other => panic!("{other:?}"),
        },
        "DELETE /tasks/done" => refuse(409, "it has completed"),
        "POST /tasks/done/retry" => refuse(409, "it has completed"),
        "POST /tasks/full/retry" => Reply::Problem(429, "10000 tasks wait already".into(), Some(7)),
        _ => refuse(404, "no task has this id"),
    });
    let desk = Desk::new("refusals", &gateway.url);
    let submit = |prompt| desk.told(&["submit", "--agent", "nobody", "--id", "t1", "--prompt", prompt]) + "\n";
    let mut page: String = ["agent", "large", "field", "known", "full", "disk", "break"].map(submit).concat();
    page += &desk.all(&[
        &["show", "t9"],
        &["show", "t9", "--wait"],
        &["cancel", "done", "t9"],
        &["retry", "done", "t9"],
        &["retry", "full", "--patience", "0"],
    ]);
    insta::assert_snapshot!(page);
}

#[test]
fn what_is_no_gateway_is_told_apart_from_none_at_all() {
    let nobody = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port");
    let nobody = format!("http://{nobody}");
    let other = Fake::start(|_, _| Reply::Json(404, json!("404 page not found")));
    let older = Fake::start(|_, question| match question.call.split(' ').next() {
        Some("GET") => Reply::Json(200, json!({"queued": 1, "leased": 0, "completed": 0, "failed": 0})),
        _ => refuse(405, "this path has another method"),
    });
    let mut page = String::new();
    for gateway in [nobody.as_str(), &other.url, &older.url] {
        page += &Desk::new("strange", gateway).all(&[&["list"], &["cancel", "t1"], &["retry", "--dead", "--yes"]]);
    }
    page += &Desk::new("strange", "localhost:7400").told(&["list"]);
    insta::assert_snapshot!(page);
}

#[test]
fn what_cannot_be_submitted_never_leaves_this_side() {
    let gateway = Fake::start(|_, question| panic!("nothing is to be sent, and {question:?} was"));
    let desk = Desk::new("unfit", &gateway.url).file("text", "not JSON");
    let page = desk.all(&[
        &["submit"],
        &["submit", "--agent", "a"],
        &["submit", "--prompt", "x"],
        &["submit", "--agent", "a", "--type", "t", "--prompt", "x"],
        &["submit", "--agent", "a", "--prompt", "x", "--prompt-file", "y"],
        &["submit", "--agent", "a", "--prompt-file", "nowhere"],
        &["submit", "--agent", "a", "--payload", "{lines: 20}"],
        &["submit", "--agent", "a", "--payload", "@text"],
        &["submit", "--agent", "a", "--field", "language"],
        &["submit", "--agent", "a", "--prompt", "x", "--field", "prompt=y"],
        &["submit", "--agent", "a", "--prompt", "x", "--delay", "30"],
        &["submit", "--agent", "a", "--prompt", "x", "--attempts", "0"],
        &["submit", "--agent", "a", "--prompt", "x", "--priority", "urgent"],
        &["submit", "--agent", "a", "--wait", "-"],
        &["submit", "--from", "nowhere"],
        &["submit", "--from", "text", "--wait"],
        &["show", "--wait", "t1"],
        &["list", "--state", "done"],
        &["list", "--limit", "0"],
        &["list", "--follow", "--type", "t"],
        &["cancel"],
        &["retry"],
        &["retry", "t1", "--dead"],
        &["retry", "t1", "--agent", "a"],
    ]);
    insta::assert_snapshot!(page);
    assert!(gateway.asked().is_empty());
}

#[test]
fn a_task_is_sent_as_its_flags_say() {
    let gateway = Fake::start(|_, question| accept(question));
    let desk =
        Desk::new("fields", &gateway.url).file("data.json", "{\"big\": 12345678901234567890123, \"ratio\": 1.10}");
    let sent = |words: &[&str], stdin: &str| {
        let done = desk.run(words, stdin);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let body = gateway.asked().last().expect("it was sent").body.clone();
        assert_eq!(String::from_utf8_lossy(&done.stdout).trim(), body["id"], "the id is what is printed");
        body
    };
    let all = [
        "submit",
        "--agent",
        "builder",
        "--prompt",
        "do it",
        "--payload",
        "@data.json",
        "--field",
        "type=analysis",
        "--field",
        "n=5",
        "--field",
        "tags=[\"a\",\"b\"]",
        "--field",
        "version=\"5\"",
        "--field",
        "note=a = b",
        "--priority",
        "high",
        "--delay",
        "1m30s",
        "--deadline",
        "2h",
        "--attempts",
        "7",
        "--id",
        "mine",
    ];
    sent(&all, "");
    insta::assert_snapshot!(gateway.asked()[0].text, @r#"{"agent":"builder","attempts":7,"deadline":"2h","delay":"1m30s","id":"mine","n":5,"note":"a = b","payload":{"big": 12345678901234567890123, "ratio": 1.10},"priority":"high","prompt":"do it","tags":["a","b"],"type":"analysis","version":"5"}"#);
    let piped = sent(&["submit", "--type", "development", "-"], "from a pipe\nwith lines\n");
    assert_eq!((&piped["type"], &piped["prompt"]), (&json!("development"), &json!("from a pipe\nwith lines\n")));
    let payload = sent(&["submit", "--agent", "a", "--payload", "@-"], "[1, 2]");
    assert_eq!(payload["payload"], json!([1, 2]));
    let ids = [piped["id"].as_str(), payload["id"].as_str()];
    assert!(ids[0] != ids[1] && ids.iter().flatten().all(|id| id.len() == 32), "{ids:?}");
}

#[test]
fn waiting_outlasts_a_gateway_that_is_started_again() {
    let gateway = Fake::start(|number, question| match (number, question.call.split('?').next()) {
        (_, Some("POST /tasks")) => accept(question),
        (1, _) => Reply::Json(200, task("t1", "leased", json!({"attempts": 1}))),
        (2, _) => Reply::Nothing,
        (3, _) => Reply::Problem(503, "the gateway's store cannot be written".into(), Some(1)),
        _ => Reply::Json(
            200,
            task("t1", "completed", json!({"attempts": 2, "result": {"response": "the answer", "n": 1.10}})),
        ),
    });
    let desk = Desk::new("waiting", &gateway.url);
    let page = desk.told(&["submit", "--agent", "builder", "--prompt", "x", "--id", "t1", "--wait"]);
    insta::assert_snapshot!(page);
    assert_eq!(gateway.asked().len(), 5, "{:?}", gateway.asked());
}

#[test]
fn the_exit_code_of_waiting_tells_how_it_ended() {
    let gateway = Fake::start(|_, question| {
        let id = question.call.trim_start_matches("GET /tasks/").split('?').next().expect("there is a first");
        let with = match id {
            "failed" => json!({"attempts": 3, "error": "the model server answered 500: out of memory"}),
            "expired" => json!({"error": "not begun by its deadline"}),
            _ => json!({}),
        };
        match question.call.as_str() {
            "POST /tasks" => accept(question),
            _ => Reply::Json(200, task(id, id, with)),
        }
    });
    let desk = Desk::new("ends", &gateway.url);
    let mut page = String::new();
    for id in ["completed", "failed", "expired", "cancelled", "queued"] {
        page += &desk.told(&["submit", "--agent", "builder", "--prompt", "x", "--id", id, "--wait", "50ms"]);
        page += "\n";
    }
    insta::assert_snapshot!(page);
    for (id, code) in [("completed", 0), ("failed", 1), ("expired", 1), ("cancelled", 1), ("queued", 4)] {
        let (shown, exit) = desk.json(&["show", id, "--wait", "50ms"]);
        assert_eq!((shown["state"].as_str(), exit), (Some(id), Some(code)));
        assert_eq!(desk.json(&["show", id]).1, Some(0), "without --wait it is only shown");
    }
}

#[test]
fn a_list_goes_from_page_to_page() {
    let gateway = Fake::start(|_, question| {
        let query = question.call.split_once('?').expect("it asks for a page").1;
        let of = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        let from: usize = of("after").map_or(0, |after| after.parse().expect("one of ours"));
        let limit: usize = of("limit").expect("always").parse().expect("a number");
        let all = 2500;
        let tasks: Vec<Value> = (from..all.min(from + limit))
            .map(|n| task(&format!("t{n}"), "queued", json!({"drawn": "blue", "priority": "high"})))
            .collect();
        let next = (from + tasks.len() < all).then(|| (from + tasks.len()).to_string());
        Reply::Json(
            200,
            json!({"delayed": 0, "queued": all, "leased": 3, "completed": 12, "failed": 1, "expired": 0,
            "cancelled": 0, "tasks": tasks, "next": next}),
        )
    });
    let desk = Desk::new("pages", &gateway.url);
    insta::assert_snapshot!(desk.all(&[&["list", "--limit", "2"], &["list", "--limit", "3", "--after", "2498"]]));
    let (all, code) = desk.json(&["list", "--limit", "2200", "--agent", "a b", "--state", "queued", "--type", "t"]);
    assert_eq!(
        (all["tasks"].as_array().map(Vec::len), all["next"].as_str(), code),
        (Some(2200), Some("2200"), Some(0))
    );
    assert_eq!((&all["tasks"][2199]["id"], &all["counts"]["queued"]), (&json!("t2199"), &json!(2500)));
    let calls: Vec<String> = gateway.asked().into_iter().skip(2).map(|question| question.call).collect();
    insta::assert_snapshot!(calls.join("\n"), @r"
    GET /tasks?limit=1000&state=queued&agent=a%20b&type=t
    GET /tasks?limit=1000&state=queued&agent=a%20b&type=t&after=1000
    GET /tasks?limit=200&state=queued&agent=a%20b&type=t&after=2000
    ");
}

#[test]
fn a_list_goes_on_where_a_page_holds_nothing_that_is_wanted() {
    let gateway = Fake::start(|_, question| match question.call.rsplit('=').next() {
        Some("4000") => {
            Reply::Json(200, json!({"failed": 1, "tasks": [task("rare", "failed", json!({}))], "next": 4007}))
        }
        Some("4007") => Reply::Json(200, json!({"failed": 1, "tasks": [], "next": null})),
        _ => Reply::Json(200, json!({"failed": 1, "tasks": [], "next": 4000})),
    });
    let (dead, code) = Desk::new("rare", &gateway.url).json(&["dead"]);
    assert_eq!((&dead["tasks"][0]["id"], &dead["next"], code), (&json!("rare"), &json!(null), Some(0)));
    assert_eq!(gateway.asked().len(), 3);
}

#[test]
fn ends_are_followed_from_here_on() {
    let end = |seq: u64, id: &str, agent: &str, status: &str, attempt: u32| json!({"seq": seq, "id": id, "agent": agent, "status": status, "attempt": attempt, "at_ms": 1_795_490_000_000_u64 + seq});
    let gateway = Fake::start(move |number, question| {
        let page =
            |completions: Vec<Value>, next: u64| Reply::Json(200, json!({"completions": completions, "next": next}));
        match (number, question.call.split('&').next()) {
            (0, Some("GET /completions?after=0")) => page(vec![end(1, "old", "a", "completed", 1)], 1),
            (1, Some("GET /completions?after=1")) => page(Vec::new(), 1),
            (2, Some("GET /completions?after=1")) => {
                page(vec![end(2, "t1", "a", "completed", 1), end(3, "t2", "b", "failed", 3)], 3)
            }
            (3, Some("GET /completions?after=3")) => Reply::Nothing,
            (4, Some("GET /completions?after=3")) => page(vec![end(4, "t3", "b", "expired", 0)], 4),
            (_, Some("GET /completions?after=4")) => refuse(404, "there is nothing at this path"),
            other => panic!("{other:?}"),
        }
    });
    let desk = Desk::new("follow", &gateway.url);
    insta::assert_snapshot!(desk.told(&["list", "--follow"]));
}

#[test]
fn many_tasks_come_from_a_file_and_a_bad_line_keeps_no_other() {
    let full = AtomicBool::new(true);
    let gateway = Fake::start(move |_, question| match question.body["agent"].as_str() {
        Some("nobody") => refuse(404, "the fleet has no agent nobody"),
        // No room at first.
        _ if question.body["prompt"] == "one" && full.swap(false, Ordering::Relaxed) => {
            Reply::Problem(429, "10000 tasks wait already".into(), Some(0))
        }
        _ if question.body["id"] == "known" => Reply::Json(200, json!({"id": "known", "agent": "tester"})),
        _ => accept(question),
    });
    let lines = "{\"prompt\": \"one\"}\n\n{\"prompt\": \"two\", \"agent\": \"nobody\"}\nnot json\n[1]\n\
                 {\"prompt\": \"three\", \"type\": \"research\", \"priority\": \"low\", \"big\": 12345678901234567890123}\n\
                 {\"prompt\": \"four\", \"id\": \"known\"}\n{\"id\": 7}\n{\"prompt\": \"five\"}";
    let desk = Desk::new("batch", &gateway.url).file("tasks.ndjson", lines);
    let words = ["submit", "--from", "tasks.ndjson", "--agent", "builder", "--priority", "high", "--id", "nightly"];
    insta::assert_snapshot!(desk.told(&words));
    let mut taken: Vec<String> = gateway
        .asked()
        .iter()
        .filter(|question| question.body["agent"] != "nobody")
        .map(|question| question.text.clone())
        .collect();
    taken.sort();
    taken.dedup();
    insta::assert_snapshot!(taken.join("\n"), @r#"
    {"agent":"builder","id":"known","priority":"high","prompt":"four"}
    {"agent":"builder","id":"nightly-1","priority":"high","prompt":"one"}
    {"agent":"builder","id":"nightly-9","priority":"high","prompt":"five"}
    {"big":12345678901234567890123,"id":"nightly-6","priority":"low","prompt":"three","type":"research"}
    "#);

    let printed = desk.run(&[&words[..], &["--output", "json"]].concat(), "");
    insta::assert_snapshot!(String::from_utf8_lossy(&printed.stdout), @r#"
    {"line":1,"id":"nightly-1","agent":"builder","known":false}
    {"line":3,"error":{"code":"BW0395","message":"the gateway does not take this task","place":{"file":"tasks.ndjson","line":3,"column":1},"cause":"the fleet has no agent nobody","help":"the fleet file that `serve` runs names the agents and their types"}}
    {"line":4,"error":{"code":"BW0396","message":"this line is no task","place":{"file":"tasks.ndjson","line":4,"column":2},"cause":"it is not JSON: expected ident","help":"write one JSON object per line, such as {\"agent\": \"builder\", \"prompt\": \"Summarise the log\"}"}}
    {"line":5,"error":{"code":"BW0396","message":"this line is no task","place":{"file":"tasks.ndjson","line":5,"column":1},"cause":"it is JSON, and no object","help":"write one JSON object per line, such as {\"agent\": \"builder\", \"prompt\": \"Summarise the log\"}"}}
    {"line":6,"id":"nightly-6","agent":"builder","known":false}
    {"line":7,"id":"known","agent":"tester","known":true}
    {"line":8,"error":{"code":"BW0396","message":"this line is no task","place":{"file":"tasks.ndjson","line":8,"column":1},"cause":"its id is not text","help":"write one JSON object per line, such as {\"agent\": \"builder\", \"prompt\": \"Summarise the log\"}"}}
    {"line":9,"id":"nightly-9","agent":"builder","known":false}
    "#);
    assert_eq!(printed.status.code(), Some(1));
}

#[test]
fn a_line_whose_connection_broke_is_sent_again_under_the_same_id() {
    let gateway = Fake::start(|number, question| match number {
        0 => accept(question),
        1 => Reply::Nothing,
        _ => Reply::Json(200, json!({"id": question.body["id"], "agent": "builder"})),
    });
    let desk = Desk::new("broken", &gateway.url);
    for prompt in ["one", "two"] {
        let done = desk.run(&["submit", "--from", "-", "--type", "any"], &format!("{{\"prompt\": \"{prompt}\"}}\n"));
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
    let asked = gateway.asked();
    assert_eq!(asked.len(), 3, "{asked:?}");
    assert_eq!(asked[1].text, asked[2].text);
    assert_ne!(asked[0].body["id"], asked[1].body["id"]);
}

#[test]
fn a_file_for_which_there_is_no_room_stops_and_names_what_was_not_sent() {
    let gateway = Fake::start(|_, question| match question.body["prompt"].as_str() {
        Some("0" | "1" | "2") => accept(question),
        _ => Reply::Problem(429, "10000 tasks wait already".into(), Some(1)),
    });
    let lines: String = (0..200).map(|n| format!("{{\"type\": \"any\", \"prompt\": \"{n}\"}}\n")).collect();
    let desk = Desk::new("no-room", &gateway.url).file("tasks.ndjson", &lines);
    let done = desk.run(&["submit", "--from", "tasks.ndjson", "--patience", "300ms"], "");
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(1), "{said}");
    assert_eq!(String::from_utf8_lossy(&done.stdout).lines().count(), 3);
    assert!(said.contains("error[BW0397]") && said.contains("tasks.ndjson:4:1"), "{said}");
    assert_eq!(said.matches("error[").count(), 1, "what holds for all is said once: {said}");
    // Every line is accounted for: taken, not taken, or behind the one at which it stopped.
    let numbers = |text: &str| {
        let rest = said.split(text).nth(1).unwrap_or_else(|| panic!("no {text:?} in {said}"));
        rest.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse::<u64>().ok()).collect::<Vec<_>>()
    };
    let [first, last, unsent] = numbers("stopped: lines ")[..] else { panic!("{said}") };
    assert_eq!((first, last + 1), (4, unsent), "{said}");
    assert!(unsent < 100, "{said}");
}

#[test]
fn a_gateway_that_is_not_there_ends_a_file_at_once() {
    let nobody = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port");
    let lines = "{\"type\": \"any\", \"prompt\": \"x\"}\n".repeat(100);
    let desk = Desk::new("nobody", &format!("http://{nobody}"));
    let done = desk.run(&["submit", "--from", "-"], &lines);
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(1));
    assert!(said.contains("BW0390") && said.contains("0 tasks submitted\nstopped: line"), "{said}");
}

#[test]
fn dead_letters_are_shown_and_queued_again_once_somebody_agrees() {
    let gateway = Fake::start(|number, question| {
        let dead = [
            task("t1", "failed", json!({"attempts": 3, "error": "the model server answered 500: out of memory"})),
            task("t2", "expired", json!({"error": "not begun by its deadline", "agent": "tester"})),
        ];
        match question.call.as_str() {
            call if call.starts_with("GET /tasks?") && call.contains("agent=nobody") => {
                Reply::Json(200, json!({"tasks": [], "next": null}))
            }
            call if call.starts_with("GET /tasks?") && call.contains("state=dead") => {
                Reply::Json(200, json!({"failed": 1, "expired": 1, "tasks": dead, "next": null}))
            }
            "POST /tasks/t1/retry" if number < 5 => Reply::Problem(429, "10000 tasks wait already".into(), Some(0)),
            "POST /tasks/t1/retry" => Reply::Json(202, json!({"id": "t1", "agent": "builder"})),
            "POST /tasks/t2/retry" => refuse(409, "it is queued"),
            other => panic!("{other}"),
        }
    });
    let desk = Desk::new("dead", &gateway.url);
    let page = desk.all(&[
        &["dead"],
        &["dead", "--agent", "nobody"],
        &["retry", "--dead"],
        &["retry", "--dead", "--yes"],
        &["retry", "--dead", "--yes", "--agent", "nobody"],
        &["retry", "t1"],
    ]);
    insta::assert_snapshot!(page);
    let (report, code) = desk.json(&["retry", "t1", "t2"]);
    assert_eq!(code, Some(1));
    assert_eq!(report["retried"], json!([{"id": "t1", "agent": "builder"}]));
    assert_eq!((&report["refused"][0]["id"], &report["refused"][0]["error"]["code"]), (&json!("t2"), &json!("BW0394")));
}
