//! The demo, interrupted, and with a bad release. That it completes is what `.ci/run` shows with a release build.

use std::{path::Path, process::Command, time::Duration};

use serde_json::Value;

use crate::world::{BIN, Process, left};

#[test]
fn ctrl_c_in_the_demo_ends_every_process_it_started() {
    let demo = Process::start(&["demo", "--output", "json", "--speed", "1000"]);
    let pid = demo.pid();
    let dir = std::env::temp_dir().join(format!("bellwether-demo-{pid}"));
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while left(&dir).len() < 20 {
        assert!(std::time::Instant::now() < deadline, "the demo starts its agents: {:?}", left(&dir));
        std::thread::sleep(Duration::from_millis(50));
    }
    demo.signal("INT");
    let (code, _) = demo.ended(Duration::from_secs(60));
    assert_eq!(code, Some(1));
    assert_eq!(left(&dir), Vec::<String>::new());
    assert!(!dir.exists(), "the state directory is removed");
}

#[test]
fn a_bad_release_in_the_demo_comes_back_by_itself_and_leaves_its_evidence() {
    let demo = Process::start(&["demo", "--fault", "crash", "--baseline", "8s", "--output", "json"]);
    let dir = std::env::temp_dir().join(format!("bellwether-demo-{}", demo.pid()));
    let (code, said) = demo.ended(Duration::from_secs(120));
    let summary: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error} in {said:?}"));
    assert_eq!((code, &summary["outcome"]), (Some(3), &Value::from("rolled_back")), "{summary:#}");
    assert_eq!(summary["agents"]["blue"], 131, "{summary:#}");
    for nought in ["/requests/failed", "/tasks/lost", "/tasks/duplicated"] {
        assert_eq!(summary.pointer(nought), Some(&Value::from(0)), "{nought}: {summary:#}");
    }
    let rollback = &summary["rollback"];
    assert_eq!((&rollback["trigger"], &rollback["phase"]), (&"crash_loop".into(), &"canary".into()), "{rollback:#}");
    let limits = rollback["limits"].as_array().expect("limits");
    assert!(limits.len() == 4 && limits.iter().all(|limit| limit["met"] == true), "{rollback:#}");

    let evidence = Path::new(rollback["evidence"].as_str().expect("it was saved"));
    let page = std::fs::read_to_string(evidence.join("page.txt")).expect("there is a page");
    assert!(page.contains("crash loop"), "{page}");
    std::fs::remove_dir_all(evidence).expect("it can be removed");
    assert_eq!(left(&dir), Vec::<String>::new());
    assert!(!dir.exists(), "the state directory is removed");
}

#[test]
fn a_rehearsal_of_the_example_fleet_can_be_planned() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/sutazai");
    let planned = Command::new(BIN)
        .args(["plan", "--fleet", "fleet.yaml", "--release", "release-rehearsal.yaml"])
        .current_dir(example)
        .output()
        .expect("the binary starts");
    assert_eq!(planned.status.code(), Some(0), "{}", String::from_utf8_lossy(&planned.stderr));
}
