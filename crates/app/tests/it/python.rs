//! The agents of `examples/python`, rolled out with the files that stand beside them.

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    languages::{link, python, root},
    world::{Setup, World, account, all_on, assert_nothing_lost, get, post, scratch, signal},
};

/// The example's own files but for their times, in a directory as its README makes it.
fn example(name: &str, kind: &str) -> Option<(PathBuf, Setup)> {
    let environment = python()?;
    let from = root().join("examples/python");
    let dir = scratch(name);
    link(&environment, &dir.join(".venv"));
    for file in ["pull.py", "ollama_agent.py", "openai_agent.py", "push_agent.py"] {
        fs::copy(from.join(file), dir.join(file)).expect("copied");
    }
    let text = |file: String| fs::read_to_string(from.join(file)).expect("it is there");
    let mut fleet = text(format!("{kind}fleet.yaml"));
    for (written, here) in
        [("baseline: 2m", "baseline: 4s"), ("bake: 2m", "bake: 4s"), ("validation: 1m", "validation: 2s")]
    {
        assert!(fleet.contains(written), "{written} in {fleet}");
        fleet = fleet.replace(written, here);
    }
    Some((dir, Setup { fleet, release: text(format!("{kind}release.yaml")), rate: "8" }))
}

fn completes(world: &World) {
    world.start_rollout_after("4s");
    let (code, rollout) = world.watch();
    assert_eq!((code, &rollout["state"]), (Some(0), &Value::from("completed")), "{rollout:#}");
    assert!(all_on(&world.status(), "green"));
}

#[test]
fn python_agents_that_pull_move_from_the_ollama_package_to_the_openai_package() {
    let Some((dir, setup)) = example("python-pull", "") else { return };
    let world = World::start_in(dir, &setup);
    let load = world.load();
    completes(&world);
    assert_nothing_lost(&account(load));
    finishes_its_task_when_it_is_told_to_end(&world);
    world.end();
}

#[test]
fn a_python_agent_that_is_pushed_to_moves_to_its_next_revision() {
    let Some((dir, setup)) = example("python-push", "push-") else { return };
    let world = World::start_in(dir, &setup);
    let revision = || get(&world.gateway, "/a/helper/info")["revision"].clone();
    assert_eq!(revision(), "v1");
    let load = world.load();
    let pushing = ["helper", "greeter"].map(|agent| Pusher::start(&world.gateway, agent));
    completes(&world);
    for pusher in pushing {
        let answers = pusher.end();
        assert!(answers.len() > 20, "only {} answers", answers.len());
        for (number, (status, answer)) in answers.iter().enumerate() {
            assert_eq!((*status, &answer["status"]), (200, &Value::from("completed")), "request {number}: {answer}");
            assert!(answer["capabilities"].is_array(), "{answer}");
        }
    }
    assert_eq!(revision(), "v2");
    assert_nothing_lost(&account(load));
    finishes_its_request_when_it_is_told_to_end(&world);
    world.end();
}

/// The model takes about four seconds for it.
const LONG: &str = "Tell the whole story in about 4000 words.";

fn finishes_its_task_when_it_is_told_to_end(world: &World) {
    let task = json!({"id": "long", "agent": "planner", "prompt": LONG});
    assert_eq!(post(&world.gateway, "/tasks", &task).0, 202);
    world.until("the model works for it", |status| status["live"]["slots_busy"] == 1);
    let held = get(&world.gateway, "/tasks/long");
    assert_eq!((&held["state"], &held["attempts"]), (&"leased".into(), &1.into()), "{held}");
    let told = tell_to_end(world, "planner");
    let done = get(&world.gateway, "/tasks/long?wait_ms=30000");
    assert_eq!((&done["state"], &done["attempts"]), (&"completed".into(), &1.into()), "{done}");
    ends(world, told);
}

fn tell_to_end(world: &World, agent: &str) -> u32 {
    let pid = world.pid_of(agent, "green").expect("green runs");
    signal(pid, "TERM");
    pid
}

fn ends(world: &World, pid: u32) {
    world.until("it has ended", |_| fs::metadata(format!("/proc/{pid}")).is_err());
}

fn finishes_its_request_when_it_is_told_to_end(world: &World) {
    let gateway = world.gateway.clone();
    let asking = thread::spawn(move || post(&gateway, "/a/greeter/execute", &json!({"task": LONG})));
    world.until("the model works for it", |status| status["live"]["slots_busy"] == 1);
    let told = tell_to_end(world, "greeter");
    let (status, answer) = asking.join().expect("the asking does not panic");
    assert_eq!((status, &answer["status"]), (200, &"completed".into()), "{answer}");
    ends(world, told);
}

/// One request after the other, none of them repeated, until it is told to end.
struct Pusher {
    stop: Arc<AtomicBool>,
    pushing: JoinHandle<Vec<(u16, Value)>>,
}

impl Pusher {
    fn start(gateway: &str, agent: &'static str) -> Self {
        let (gateway, stop) = (gateway.to_owned(), Arc::new(AtomicBool::new(false)));
        let told = stop.clone();
        let pushing = thread::spawn(move || {
            let mut answers = Vec::new();
            while !told.load(Ordering::Relaxed) {
                let number = answers.len();
                let asked = json!({
                    "task": format!("Say {number}."),
                    "context": {"agent": agent},
                    "parameters": {"temperature": 0},
                });
                let (status, answer) = post(&gateway, &format!("/a/{agent}/execute"), &asked);
                assert!(status != 200 || answer["agent"] == agent, "{answer}");
                answers.push((status, answer));
                thread::sleep(Duration::from_millis(50));
            }
            answers
        });
        Self { stop, pushing }
    }

    fn end(self) -> Vec<(u16, Value)> {
        self.stop.store(true, Ordering::Relaxed);
        self.pushing.join().expect("the pusher does not panic")
    }
}
