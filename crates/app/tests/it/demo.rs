//! The demo, interrupted. That it completes is what `.ci/run` shows with a release build.

use std::time::Duration;

use crate::world::{Process, left};

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
