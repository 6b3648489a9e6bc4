//! A freeze window as an operator meets it.

use std::process::{Command, Stdio};

use crate::{
    edits::{RELEASE, status, told},
    serve::{FLEET, Place, end},
    world::BIN,
};

const FOR_EVER: &str =
    "  timezone: +01:00\n  freeze: [{name: for ever, from: 2020-01-01T00:00, to: 2099-01-01T00:00}]\n";

#[test]
fn nothing_begins_in_a_freeze_unless_somebody_answers_for_it() {
    let place = Place::new("freeze");
    place.write("fleet.yaml", &format!("{FLEET}{FOR_EVER}"));
    place.write("release.yaml", RELEASE);
    let planned = Command::new(BIN)
        .args(["plan", "--release", "release.yaml"])
        .current_dir(&place.dir)
        .stdin(Stdio::null())
        .output()
        .expect("the binary starts");
    let page = String::from_utf8_lossy(&planned.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(page.contains("Now is in the freeze \"for ever\""), "{page}");
    assert!(page.contains("cannot begin before Thu 1 Jan 2099 00:00 +01:00"), "{page}");

    let (serve, served) = place.serve(&["--stop-agents"]);
    place.both_agents();
    for line in ["rollout start --release release.yaml", "drill --release release.yaml"] {
        let (code, said) = told(&place, &served, line);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("error[BW0421]: cannot start a rollout in the freeze \"for ever\""), "{said}");
        assert!(said.contains("it ends Thu 1 Jan 2099 00:00 +01:00") && said.contains("--override-freeze"), "{said}");
    }
    let (code, said) = told(&place, &served, "rollout start --release release.yaml --override-freeze hotfix --by ann");
    assert_eq!(code, Some(0), "{said}");
    let rollout = status(&served).expect("it answers")["rollout"].clone();
    assert_eq!(rollout["freeze_override"], serde_json::json!({"by": "ann", "why": "hotfix"}));
    let (_, said) = told(&place, &served, "rollout show");
    assert!(said.contains("freeze windows do not count, as ann says: hotfix"), "{said}");
    assert_eq!(end(serve), Some(0));
}
