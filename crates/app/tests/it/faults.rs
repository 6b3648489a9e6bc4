//! Bad releases of a small fleet: each fault is seen and taken back within its limits, and costs no task.

use std::{fmt::Write as _, time::Duration};

use serde_json::Value;

use crate::world::{Setup, World, account, all_on, assert_all_settled, in_phase, signal};

/// Three phases, of three, three and six. All types are on both sides until the last.
const FIRST: [&str; 3] = ["watch-1", "build-1", "sell-1"];
const SECOND: [&str; 3] = ["watch-2", "build-2", "sell-2"];
const THIRD: [&str; 6] = ["watch-3", "build-3", "sell-3", "watch-4", "build-4", "sell-4"];

/// How the twelve agents are rolled out.
struct Fleet {
    bakes: [&'static str; 3],
    /// Further keys of every agent, and of the rollout.
    agents: &'static str,
    rollout: &'static str,
}

impl Fleet {
    /// Bakes that are longer than any trigger takes. Greens are not tried out: what they do wrong from their start on is
    /// for the triggers to see.
    const SLOW: Self = Self { bakes: ["50s"; 3], agents: "ready: poll", rollout: "" };
    const QUICK: Self = Self { bakes: ["1s", "1s", "2s"], agents: "", rollout: "" };

    fn text(&self) -> String {
        let Self { bakes, agents, rollout } = self;
        let mut text = format!(
            "version: 1\nfleet: twelve\nagents:\n  defaults:\n    command: [bellwether, legacy-agent]\n    \
             env: {{LEGACY_IDLE_MS: '150'}}\n    drain: 20s\n    {agents}\n  list:\n"
        );
        for name in FIRST.iter().chain(&SECOND).chain(&THIRD) {
            let (kind, _) = name.split_once('-').expect("type and number");
            writeln!(text, "    - {{name: {name}, type: {kind}}}").expect("a string takes it");
        }
        write!(text, "rollout:\n  validation: 2s\n  {rollout}\n  phases:\n").expect("a string takes it");
        for (phase, agents) in [&FIRST[..], &SECOND, &THIRD].into_iter().enumerate() {
            let (names, bake) = (agents.join(", "), bakes[phase]);
            let select = format!("select: {{agents: [{names}]}}, bake: {bake}, thin_evidence: accept");
            writeln!(text, "    - {{name: phase-{}, {select}}}", phase + 1).expect("a string takes it");
        }
        text
    }
}

fn release(env: &[(&str, &str)]) -> String {
    let idle = ("BELLWETHER_IDLE_MS", "100");
    let env: Vec<String> = env.iter().chain([&idle]).map(|(name, value)| format!("{name}: '{value}'")).collect();
    format!(
        "version: 1\nrelease: v2\nset:\n  command: [bellwether, agent]\n  http: true\n  env: {{{}}}\n",
        env.join(", ")
    )
}

/// Ten seconds of baseline are long enough for every trigger to have something to go by.
const BASELINE: &str = "10s";

fn world(name: &str, fleet: &Fleet, env: &[(&str, &str)]) -> World {
    World::start_with(name, &Setup { fleet: fleet.text(), release: release(env), rate: "12" })
}

/// The rollback of a rollout that ended in one.
struct Undone {
    record: Value,
    /// The word by which the trigger goes.
    trigger: String,
}

impl Undone {
    /// Follows the rollout to its end, which must be a rollback that left every task with one end and blue serving.
    fn of(world: World, load: crate::world::Process) -> Self {
        let (code, rollout) = world.watch();
        assert_eq!((code, &rollout["state"]), (Some(3), &Value::from("rolled_back")), "{rollout:#}");
        let status = world.status();
        assert!(all_on(&status, "blue"), "{status:#}");
        assert_all_settled(&account(load));
        world.end();
        let record = rollout["rollback"].clone();
        let trigger = &record["trigger"];
        let kind = if trigger["trigger"] == "alarm" { &trigger["kind"] } else { &trigger["trigger"] };
        Self { trigger: kind.as_str().unwrap_or_else(|| panic!("a kind in {trigger}")).to_owned(), record }
    }

    fn between(&self, from: &str, to: &str) -> Option<Duration> {
        let at = |name: &str| self.record[name].as_u64();
        Some(Duration::from_millis(at(to)?.saturating_sub(at(from)?)))
    }

    /// Prints how long each part took, and holds it against R46 to R49.
    fn assert_in_time(&self, fired: &[&str]) {
        let seconds =
            |took: Option<Duration>| took.map_or_else(|| "–".to_owned(), |t| format!("{:.1} s", t.as_secs_f64()));
        let detection = self.between("harm_began", "began");
        let (execution, validation) = (self.between("began", "shifted"), self.between("shifted", "validated"));
        let total = self.between(if detection.is_some() { "harm_began" } else { "began" }, "validated");
        eprintln!(
            "{}: detection {}, execution {}, validation {}, in all {}",
            self.trigger,
            seconds(detection),
            seconds(execution),
            seconds(validation),
            seconds(total)
        );
        assert!(fired.contains(&self.trigger.as_str()), "{} fired: {:#}", self.trigger, self.record);
        let limits = [("R46", detection, 30), ("R47", execution, 60), ("R48", validation, 120), ("R49", total, 210)];
        for (limit, took, seconds) in limits {
            let took = took.unwrap_or_else(|| panic!("{limit} was not measured: {:#}", self.record));
            assert!(took < Duration::from_secs(seconds), "{limit}: {took:?}; {:#}", self.record);
        }
    }
}

/// All of green is like this.
fn play(name: &str, fleet: &Fleet, env: &[(&str, &str)]) -> Undone {
    let world = world(name, fleet, env);
    let load = world.load();
    world.start_rollout_after(BASELINE);
    Undone::of(world, load)
}

#[test]
fn errors_are_taken_back() {
    play("errors", &Fleet::SLOW, &[("BELLWETHER_FAULT", "errors=30%")]).assert_in_time(&["errors", "failure_streak"]);
}

#[test]
fn latency_is_taken_back() {
    play("latency", &Fleet::SLOW, &[("BELLWETHER_FAULT", "latency=3")]).assert_in_time(&["latency"]);
}

#[test]
fn a_leak_is_taken_back_when_it_nears_its_limit() {
    let fleet = Fleet { agents: "ready: poll\n    memory_limit: 128MiB", ..Fleet::SLOW };
    // From nine tenths of the limit to the limit takes longer than a beat of measurements.
    let leak = [("BELLWETHER_FAULT", "leak=4MiB:160MiB"), ("BELLWETHER_AGENT_BALLAST_MB", "72")];
    play("leak", &fleet, &leak).assert_in_time(&["memory"]);
}

#[test]
fn a_green_that_is_killed_for_its_memory_is_taken_back() {
    let fleet = Fleet { agents: "ready: poll\n    memory_limit: 64MiB", ..Fleet::SLOW };
    play("oom", &fleet, &[("BELLWETHER_FAULT", "leak=40MiB:128MiB")]).assert_in_time(&["out_of_memory", "memory"]);
}

#[test]
fn a_crash_loop_is_taken_back() {
    play("crash", &Fleet::SLOW, &[("BELLWETHER_FAULT", "crash=1")]).assert_in_time(&["crash_loop"]);
}

#[test]
fn an_agent_that_hangs_while_its_heart_beats_is_taken_back() {
    play("hang", &Fleet::SLOW, &[("BELLWETHER_FAULT", "hang")]).assert_in_time(&["no_progress"]);
}

#[test]
fn empty_answers_are_taken_back() {
    play("swallow", &Fleet::SLOW, &[("BELLWETHER_FAULT", "swallow")]).assert_in_time(&["errors", "failure_streak"]);
}

#[test]
fn a_green_that_answers_nothing_gets_no_traffic() {
    let fleet = Fleet { agents: "ready: {within: 3s}", ..Fleet::SLOW };
    let world = world("unfit", &fleet, &[("BELLWETHER_FAULT", "swallow"), ("BELLWETHER_FAULT_AGENTS", FIRST[1])]);
    let load = world.load();
    world.start_rollout_after("3s");
    let undone = Undone::of(world, load);
    assert_eq!(undone.trigger, "crash_loop", "{:#}", undone.record);
    let (trigger, began) = (&undone.record["trigger"], &undone.record["harm_began"]);
    assert_eq!((&trigger["agent"], began), (&FIRST[1].into(), &Value::Null), "{:#}", undone.record);
    let fault = trigger["fault"].as_str().unwrap_or_default();
    assert!(fault.starts_with("did not answer a synthetic task: "), "{fault:?}");
}

#[test]
fn a_model_server_that_is_gone_is_taken_back_and_blue_is_valid_when_it_is_there_again() {
    let world = world("ollama", &Fleet::SLOW, &[]);
    let load = world.load();
    world.start_rollout_after(BASELINE);
    world.until("the first phase bakes", |status| in_phase(status, 0, "baking"));
    world.end_ollama();
    world.until("no green is left", |status| {
        let agents = status["agents"].as_array().expect("agents");
        let gone = |agent: &Value| agent["green"].is_null() || agent["green"]["is"] == "empty";
        status["rollout"]["state"] == "rolling_back" && agents.iter().all(gone)
    });
    world.start_ollama_again();
    Undone::of(world, load).assert_in_time(&["model_server"]);
}

#[test]
fn a_fault_that_begins_in_the_last_phase_is_taken_back() {
    let fleet = Fleet { bakes: ["1s", "1s", "50s"], ..Fleet::SLOW };
    let from = std::env::temp_dir().join(format!("bw-it-last-phase-{}", std::process::id()));
    let path = from.display().to_string();
    let faulty = [("BELLWETHER_FAULT", "errors=40%"), ("BELLWETHER_FAULT_FROM", &*path)];
    let world = world("last", &fleet, &faulty);
    let load = world.load();
    world.start_rollout_after(BASELINE);
    world.until("the last phase begins", |status| status["rollout"]["phase"] == 2);
    std::fs::write(&from, "").expect("the temporary directory can be written");
    let undone = Undone::of(world, load);
    std::fs::remove_file(&from).expect("it is there");
    undone.assert_in_time(&["errors", "failure_streak"]);
}

#[test]
fn a_fault_in_the_middle_of_a_phase_that_is_still_being_cut_over_is_taken_back() {
    let fleet = Fleet { rollout: "batch_max: 1", ..Fleet::SLOW };
    let slow = [("BELLWETHER_FAULT", "swallow"), ("BELLWETHER_AGENT_BOOT", "16")];
    let world = world("middle", &fleet, &slow);
    let load = world.load();
    world.start_rollout_after(BASELINE);
    let undone = {
        let status = world.until("it is rolled back", |status| status["rollout"]["rollback"].is_object());
        let record = &status["rollout"]["phases"][0]["record"];
        assert!(record["bake_began"].is_null(), "the phase was cut over already: {record:#}");
        Undone::of(world, load)
    };
    undone.assert_in_time(&["errors", "failure_streak"]);
}

#[test]
fn a_second_fault_during_a_rollback_delays_it_and_no_more() {
    let world = world("second", &Fleet::SLOW, &[("BELLWETHER_FAULT", "errors=60%")]);
    let load = world.load();
    world.start_rollout_after(BASELINE);
    world.until("it is rolled back", |status| status["rollout"]["rollback"].is_object());
    world.end_ollama();
    signal(world.pid_of_child("controller").expect("there is one"), "KILL");
    std::thread::sleep(Duration::from_secs(3));
    world.start_ollama_again();
    Undone::of(world, load).assert_in_time(&["errors", "failure_streak"]);
}

#[test]
fn a_blue_that_dies_during_a_rollback_is_replaced() {
    let world = world("blue", &Fleet::SLOW, &[]);
    let load = world.load();
    world.start_rollout_after("3s");
    world.until("the first phase bakes", |status| in_phase(status, 0, "baking"));
    // One in standby and one that serves.
    let blues = [FIRST[0], THIRD[0]].map(|agent| world.pid_of(agent, "blue").expect("blue is held"));
    world.roll_back("rehearsal");
    blues.into_iter().for_each(|pid| signal(pid, "KILL"));
    let undone = Undone::of(world, load);
    assert!(undone.between("began", "validated").expect("it was") < Duration::from_secs(210), "{:#}", undone.record);
}

/// Rolls out, rolls back by hand when the rollout is where `holds` says, and checks that all is as before.
fn back_from(world: &World, what: &str, before: impl Fn(&World), holds: impl Fn(&Value) -> bool) {
    world.start_rollout_after("2s");
    before(world);
    world.until(what, holds);
    world.roll_back(what);
    let (code, rollout) = world.watch();
    assert_eq!((code, &rollout["state"]), (Some(3), &Value::from("rolled_back")), "{what}: {rollout:#}");
    let at =
        |name: &str| rollout["rollback"][name].as_u64().unwrap_or_else(|| panic!("{what}: no {name} in {rollout:#}"));
    let (execution, validation) = (at("shifted") - at("began"), at("validated") - at("shifted"));
    eprintln!("from {what}: execution {execution} ms, validation {validation} ms");
    assert!(execution < 60_000 && validation < 120_000, "{what}: {rollout:#}");
    let status = world.status();
    assert!(all_on(&status, "blue"), "{what}: {status:#}");
}

#[test]
fn a_person_can_go_back_from_each_step_of_a_phase() {
    let fleet = Fleet { rollout: "batch_max: 1", ..Fleet::QUICK };
    let world = world("steps", &fleet, &[("BELLWETHER_AGENT_BOOT", "0.5")]);
    let load = world.load();
    let nothing = |_: &World| {};
    back_from(&world, "the first green boots", nothing, |status| in_phase(status, 0, "warming"));
    back_from(&world, "a phase is partly cut over", nothing, |status| {
        let greens = status["agents"].as_array().expect("agents").iter().filter(|a| a["serving"] == "green").count();
        greens == 2 && (in_phase(status, 0, "warming") || in_phase(status, 0, "cutting_over"))
    });
    back_from(&world, "the bake", nothing, |status| in_phase(status, 0, "baking"));
    let pause = |world: &World| {
        world.until("the first phase bakes", |status| in_phase(status, 0, "baking"));
        assert!(world.cli(&["rollout", "pause", "--reason", "lunch"]).status.success());
    };
    back_from(&world, "a held gate", pause, |status| in_phase(status, 0, "held"));
    assert_all_settled(&account(load));
    world.end();
}

#[test]
fn a_person_can_go_back_from_the_end_of_a_rollout() {
    let world = world("ends", &Fleet::QUICK, &[]);
    let load = world.load();
    let nothing = |_: &World| {};
    back_from(&world, "half of the last phase", nothing, |status| in_phase(status, 2, "halfway"));
    back_from(&world, "the validation", nothing, |status| status["rollout"]["state"] == "validating");
    back_from(&world, "a completed rollout", nothing, |status| status["rollout"]["state"] == "completed");
    assert_all_settled(&account(load));
    world.end();
}
