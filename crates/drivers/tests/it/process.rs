//! What only processes do: groups, escapes, environments, logs, memory.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use bellwether_core::{
    id::{Generation, InstanceId},
    port::driver::{DriverAction, DriverAnswer, DriverCommand, DriverEvent, Exit, Launch},
    time::Millis,
};
use bellwether_drivers::{Driver, Events, linux::cgroup::Use, linux::proc, testing::Bench};

use crate::bench::{ProcessBench, eventually, shell};

async fn apply(bench: &ProcessBench, instance: u64, action: DriverAction) -> DriverAnswer {
    let command = DriverCommand { instance: InstanceId(instance), generation: Generation(1), action };
    bench.process_driver().apply(command).await
}

async fn start(bench: &ProcessBench, instance: u64, launch: Launch) {
    let answer = apply(bench, instance, DriverAction::Start { launch: Box::new(launch) }).await;
    assert_eq!(answer, DriverAnswer::Taken);
}

async fn exit_of(events: &mut Events, wanted: u64) -> Exit {
    let wait = async {
        loop {
            if let DriverEvent::Exited { instance, exit } = events.recv().await.expect("events go on")
                && instance == InstanceId(wanted)
            {
                return exit;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.expect("its end is told")
}

fn log(bench: &ProcessBench, instance: u64) -> String {
    fs::read_to_string(bench.state().join(format!("logs/agent.{instance}.log"))).unwrap_or_default()
}

fn lives(pid: u32) -> bool {
    proc::stat(pid).is_ok_and(|stat| !stat.is_dead())
}

/// The numbers that the script printed, once there are as many.
async fn printed(bench: &ProcessBench, instance: u64, count: usize) -> Vec<u32> {
    let numbers = || log(bench, instance).lines().filter_map(|line| line.parse().ok()).collect::<Vec<u32>>();
    eventually("the script prints its processes", || numbers().len() == count).await;
    numbers()
}

#[tokio::test]
async fn the_whole_group_goes() {
    let bench = ProcessBench::new(Use::Auto);
    let mut events = bench.driver().events().unwrap();
    start(&bench, 1, shell("trap '' TERM; (sleep 61 & echo $!; sleep 62 & echo $!; wait) & echo $!; wait")).await;
    let pids = printed(&bench, 1, 3).await;
    assert_eq!(apply(&bench, 1, DriverAction::Stop { grace: Millis(50) }).await, DriverAnswer::Taken);
    assert!(exit_of(&mut events, 1).await.asked);
    eventually("none of the group is left", || !pids.iter().any(|pid| lives(*pid))).await;
    bench.close().await;
}

#[tokio::test]
async fn one_that_left_the_group_is_found() {
    let bench = ProcessBench::new(Use::Auto);
    let mut events = bench.driver().events().unwrap();
    start(&bench, 1, shell("setsid sh -c 'echo $$; exec sleep 63' & while :; do sleep 64; done")).await;
    let pids = printed(&bench, 1, 1).await;
    assert_eq!(apply(&bench, 1, DriverAction::Stop { grace: Millis::from_secs(10) }).await, DriverAnswer::Taken);
    exit_of(&mut events, 1).await;
    eventually("the one that left is gone", || !lives(pids[0])).await;
    bench.close().await;
}

#[tokio::test]
async fn what_the_leader_leaves_behind_ends_with_it() {
    let bench = ProcessBench::new(Use::Auto);
    let mut events = bench.driver().events().unwrap();
    start(&bench, 1, shell("sleep 65 & echo $!; exit 4")).await;
    let pids = printed(&bench, 1, 1).await;
    let exit = exit_of(&mut events, 1).await;
    assert_eq!((exit.code, exit.asked), (Some(4), false));
    eventually("the orphan is gone", || !lives(pids[0])).await;
    bench.close().await;
}

#[tokio::test]
async fn a_process_that_nobody_recorded_is_ended_at_the_next_start() {
    let mut bench = ProcessBench::new(Use::Auto);
    start(&bench, 1, shell("echo $$; exec sleep 66")).await;
    let pids = printed(&bench, 1, 1).await;
    bench.process_driver().detach().await;
    fs::remove_file(bench.state().join("instances/1.json")).unwrap();
    // Gone before anything can be started: the instance is started anew under the same number, on the same address.
    bench.restart().await;
    assert!(!lives(pids[0]));
    start(&bench, 1, shell("echo $$; exec sleep 66")).await;
    let again = printed(&bench, 1, 2).await;
    assert!(lives(again[1]));
    bench.close().await;
}

#[tokio::test]
async fn one_that_ended_unseen_is_told_once() {
    let mut bench = ProcessBench::new(Use::Auto);
    start(&bench, 1, shell("echo $$; exec sleep 67")).await;
    let pid = printed(&bench, 1, 1).await[0];
    bench.process_driver().detach().await;
    let started = proc::stat(pid).unwrap().started_ticks;
    bellwether_drivers::linux::kill_exact(pid, started, bellwether_drivers::linux::Signal::KILL).unwrap();
    eventually("it is dead", || !lives(pid)).await;
    bench.restart().await;
    let mut events = bench.driver().events().unwrap();
    assert_eq!(exit_of(&mut events, 1).await.code, None);
    bench.restart().await;
    let mut events = bench.driver().events().unwrap();
    let beat = tokio::time::timeout(Duration::from_secs(20), events.recv()).await.unwrap().unwrap();
    assert!(matches!(beat, DriverEvent::Usage { .. }), "{beat:?}");
    bench.close().await;
}

#[tokio::test]
async fn an_instance_gets_its_variables_and_no_others() {
    let bench = ProcessBench::new(Use::Auto);
    let mut events = bench.driver().events().unwrap();
    let env = BTreeMap::from([("AGENT_NAME".to_owned(), "it self".to_owned()), ("LANG".to_owned(), "xx".to_owned())]);
    start(&bench, 1, Launch { env, ..shell("env -0 | tr '\\0' '\\n'; ls -l /proc/self/fd >&2; cat") }).await;
    assert_eq!(exit_of(&mut events, 1).await.code, Some(0), "it reads nothing");
    let text = log(&bench, 1);
    assert!(text.contains("AGENT_NAME=it self\n") && text.contains("LANG=xx\n"), "{text}");
    let names: Vec<&str> = text.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
    // The shell itself adds PWD, SHLVL, OLDPWD and _.
    let known = ["AGENT_NAME", "LANG", "PATH", "HOME", "BELLWETHER_DRIVER_MARK", "PWD", "OLDPWD", "SHLVL", "_"];
    assert!(names.iter().all(|name| known.contains(name)), "{names:?}");
    assert!(!text.contains("socket:") && !text.contains("anon_inode"), "inherited descriptors: {text}");
    bench.close().await;
}

#[tokio::test]
async fn a_command_that_does_not_exist_is_named() {
    let bench = ProcessBench::new(Use::Auto);
    let mut launch = shell("");
    launch.argv = vec!["no-such-command".into()];
    let answer = apply(&bench, 1, DriverAction::Start { launch: Box::new(launch) }).await;
    let DriverAnswer::Failed { reason } = answer else { panic!("{answer:?}") };
    assert_eq!(reason, r#"its command "no-such-command" was not found in PATH"#);
    // Nothing ran, so the number is free.
    start(&bench, 1, shell("exec sleep 68")).await;
    bench.close().await;
}

async fn ends_for_memory(bench: ProcessBench) {
    let mut events = bench.driver().events().expect("nobody else reads them");
    let hungry = r#"x=$(head -c 1000000 /dev/zero | tr '\0' x); while :; do x="$x$x"; sleep 0.05; done"#;
    start(&bench, 1, Launch { memory_limit_bytes: Some(48 << 20), ..shell(hungry) }).await;
    let exit = exit_of(&mut events, 1).await;
    assert!(exit.out_of_memory && !exit.asked, "{exit:?}");
    bench.close().await;
}

#[tokio::test]
async fn memory_beyond_the_limit_is_the_end() {
    ends_for_memory(ProcessBench::new(Use::Auto)).await;
}

#[tokio::test]
async fn memory_beyond_the_limit_is_the_end_without_control_groups() {
    let bench = ProcessBench::new(Use::None);
    assert_eq!(bench.process_driver().capabilities().memory_limit, "watch");
    ends_for_memory(bench).await;
}

#[tokio::test]
async fn logs_stay_bounded() {
    let bench = ProcessBench::with(|config| config.log_max_bytes = 4096);
    start(&bench, 1, shell("while :; do echo a line that is not short; sleep 0.001; done")).await;
    let old = bench.state().join("logs/agent.1.log.1");
    eventually("the log is cut", || old.exists()).await;
    assert!(fs::metadata(&old).unwrap().len() <= 2048);
    bench.close().await;
}

#[tokio::test]
async fn control_groups_are_removed_with_their_instance() {
    let bench = ProcessBench::new(Use::Auto);
    let mut events = bench.driver().events().unwrap();
    start(&bench, 1, Launch { memory_limit_bytes: Some(64 << 20), cpu_limit: Some(0.5), ..shell("exec sleep 69") })
        .await;
    assert_eq!(apply(&bench, 1, DriverAction::Freeze).await, DriverAnswer::Taken);
    let pid = bench.driver().observe().await[0].pid;
    let groups = || {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        text.lines().filter_map(|line| line.split("/bellwether-").nth(1).map(str::to_owned)).collect::<Vec<_>>()
    };
    let names = groups();
    assert_eq!(apply(&bench, 1, DriverAction::Stop { grace: Millis::from_secs(10) }).await, DriverAnswer::Taken);
    exit_of(&mut events, 1).await;
    bench.close().await;
    for name in names {
        let key = name.split('/').next().unwrap();
        for root in ["/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/cpu"] {
            let left = Path::new(root).join(format!("bellwether-{key}"));
            assert!(!left.exists(), "{} is left", left.display());
        }
    }
}

#[tokio::test]
async fn a_fleet_starts_and_is_measured() {
    const FLEET: u64 = 131;
    let bench = ProcessBench::with(|config| config.beat = Duration::from_millis(250));
    let mut events = bench.driver().events().unwrap();
    let began = std::time::Instant::now();
    let replies: Vec<_> = (1..=FLEET)
        .map(|instance| {
            let action = DriverAction::Start { launch: Box::new(shell("exec sleep 70")) };
            let command = DriverCommand { instance: InstanceId(instance), generation: Generation(1), action };
            bench.process_driver().apply(command)
        })
        .collect();
    for reply in replies {
        assert_eq!(reply.await, DriverAnswer::Taken);
    }
    eprintln!("{FLEET} started in {:?}", began.elapsed());
    loop {
        let event = tokio::time::timeout(Duration::from_secs(20), events.recv()).await.unwrap().unwrap();
        if let DriverEvent::Usage { sample, .. } = event
            && sample.len() as u64 == FLEET
        {
            break;
        }
    }
    let began = std::time::Instant::now();
    assert_eq!(bench.process_driver().stop_all(Millis::from_secs(5)).await, []);
    eprintln!("{FLEET} stopped in {:?}", began.elapsed());
    bench.close().await;
}
