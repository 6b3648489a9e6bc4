//! The report as people read it, and each check against files that are made for it.

use std::fs;

use super::*;

fn report() -> Report {
    Report::new(
        Some("example".to_owned()),
        vec![
            Check::ok("fleet file", "fleet.yaml: 5 agents, 3 phases"),
            Check::failed(
                "models",
                "qwen2.5-coder:7b is missing, for builder and tester; there is qwen2.5-coder:latest, which is another model\n\
                 phi3:latest is missing, for seller",
                "`ollama pull qwen2.5-coder:7b`\n`ollama pull phi3:latest`",
            ),
            Check::skipped("baseline", "no controller of this fleet runs"),
            Check::warning("CPU", "2 CPUs, load 7.4 over the last minute", "wait, or end what else runs"),
            Check::ok("open files", "1048576 are allowed"),
        ],
    )
}

#[test]
fn a_report_ends_with_what_is_to_be_done_and_a_verdict() {
    insta::assert_snapshot!(render(&report()), @r"
    Before a rollout of example

    ok       fleet file        fleet.yaml: 5 agents, 3 phases
    ok       open files        1048576 are allowed

    skipped  baseline          no controller of this fleet runs

    warning  CPU               2 CPUs, load 7.4 over the last minute
                               → wait, or end what else runs

    failed   models            qwen2.5-coder:7b is missing, for builder and tester; there is
                               qwen2.5-coder:latest, which is another model
                               phi3:latest is missing, for seller
                               → `ollama pull qwen2.5-coder:7b`
                                 `ollama pull phi3:latest`

    not ready: 1 of 5 checks failed (1 warning, 1 skipped)
    ");
}

#[test]
fn a_report_for_programs_keeps_the_order_of_the_checks() {
    let json = serde_json::to_value(report()).unwrap();
    assert_eq!(json["ready"], false);
    assert_eq!(json["checks"][1]["name"], "models");
    assert_eq!(json["checks"][1]["result"], "failed");
    assert_eq!(json["checks"][2].get("remedy"), None);
}

#[test]
fn verdicts_count_what_matters() {
    let said = [(20, 0, 0, 0), (20, 0, 1, 3), (20, 0, 0, 4), (20, 2, 0, 0), (20, 1, 2, 9)];
    let said = said.map(|(all, failed, warnings, skipped)| text::verdict(all, failed, warnings, skipped));
    insta::assert_snapshot!(said.join("\n"), @r"
    ready: none of 20 checks failed
    ready: none of 20 checks failed (1 warning, 3 skipped)
    ready: none of 20 checks failed (4 skipped)
    not ready: 2 of 20 checks failed
    not ready: 1 of 20 checks failed (2 warnings, 9 skipped)
    ");
}

/// A directory with a fleet, and a state directory that is not there yet.
struct Place(PathBuf);

impl Place {
    fn new(name: &str, fleet: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("bw-check-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("fleet.yaml"), fleet).unwrap();
        Self(dir)
    }

    fn asked(&self) -> Asked {
        Asked {
            fleet: self.0.join("fleet.yaml"),
            release: None,
            // Port 9 is discard: nobody listens there.
            control: "http://127.0.0.1:9".to_owned(),
            listen: "127.0.0.1:0".parse().unwrap(),
            state: self.0.join("state"),
            ollama: Some("http://127.0.0.1:9".to_owned()),
            generate: false,
            backup: true,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

const FLEET: &str = "\
version: 1
fleet: example
agents:
  defaults: {command: [bellwether, legacy-agent], env: {OLLAMA_NUM_CTX: '4096'}}
  list:
    - one
    - {name: two, env: {OLLAMA_NUM_CTX: '8192'}}
    - {name: three, command: [no-such-program-anywhere, x]}
    - {name: four, command: [/etc/passwd]}
    - {name: five, command: [sh, no-such-script.sh]}
rollout: {drill: required}
";

fn find<'r>(report: &'r Report, name: &str) -> &'r Check {
    report.checks.iter().find(|check| check.name == name).unwrap_or_else(|| panic!("no check {name}"))
}

fn told(report: &Report, name: &str) -> String {
    let check = find(report, name);
    format!("{:?}: {}\n{}", check.result, check.evidence, check.remedy.as_deref().unwrap_or_default())
}

#[tokio::test]
async fn what_does_not_work_is_found_with_its_remedy() {
    let place = Place::new("broken", FLEET);
    let report = run(&place.asked()).await;
    assert!(!report.ready);
    insta::assert_snapshot!(told(&report, "commands"), @r#"
    Failed: "/etc/passwd" is not executable (for four)
    "no-such-program-anywhere" was not found in PATH (for three)
    sh is there, and the script "no-such-script.sh" that it runs is not (for five)
    install it, make it executable with `chmod +x`, or write its path in `command`; paths are taken from the directory in which `bellwether serve` is started
    "#);
    insta::assert_snapshot!(told(&report, "context sizes"), @r"
    Warning: tinyllama:latest is asked for with a context of 4096 for one, three, four and 1 more, and 8192 for two
    give all agents of a model the same size, or a model of their own: each change of the size loads the model again
    ");
    insta::assert_snapshot!(told(&report, "rollback drill"), @r"
    Failed: no controller of this fleet runs, which would know of drills, and the fleet file requires one (`rollout.drill`)
    rehearse it on the first agents: `bellwether drill --release FILE`
    ");
    insta::assert_snapshot!(told(&report, "models"), @"Skipped: the model server does not answer");
    assert_eq!(find(&report, "model server").result, Result::Failed);
    assert_eq!(find(&report, "release and plan").result, Result::Skipped);
    assert_eq!(find(&report, "ports").result, Result::Ok, "{}", told(&report, "ports"));
}

#[tokio::test]
async fn a_fleet_file_that_is_refused_leaves_the_machine_to_look_at() {
    let place = Place::new("refused", "version: 1\nagnets: []\n");
    let report = run(&place.asked()).await;
    let told = told(&report, "fleet file").replace(&place.0.display().to_string(), "DIR");
    insta::assert_snapshot!(told, @r#"
    Failed: error[BW0115]: the fleet has no agents
      --> DIR/fleet.yaml:1:1
      = help: write them under agents.list, or name a CSV file in agents.from_csv

    error[BW0103]: unknown key "agnets" in the fleet file
      --> DIR/fleet.yaml:2:1
      = help: did you mean "agents"?
    correct what is named; `bellwether explain BW0115` says more
    "#);
    assert_ne!(find(&report, "memory").result, Result::Failed);
    assert!(!place.0.join("state").exists(), "nothing is backed up that cannot be read");
}

#[tokio::test]
async fn files_are_kept_once_under_their_content() {
    let place = Place::new("backup", FLEET);
    fs::write(place.0.join("release.yaml"), "version: 1\nrelease: v2\nset: {http: true}\n").unwrap();
    let asked = Asked { release: Some(place.0.join("release.yaml")), ..place.asked() };
    for _ in 0..2 {
        let report = run(&asked).await;
        assert_eq!(find(&report, "backup").result, Result::Ok);
    }
    let copies = || fs::read_dir(place.0.join("state/backup")).unwrap().count();
    assert_eq!(copies(), 2);
    fs::write(place.0.join("fleet.yaml"), FLEET.replace("example", "other")).unwrap();
    run(&asked).await;
    assert_eq!(copies(), 3, "what was there before is still there");
}

#[tokio::test]
async fn a_state_directory_of_another_fleet_is_no_place_to_start() {
    let place = Place::new("other", FLEET);
    fs::create_dir_all(place.0.join("state")).unwrap();
    fs::write(place.0.join("state/bellwether.json"), r#"{"format":1,"fleet":"older"}"#).unwrap();
    let report = run(&Asked { backup: false, ..place.asked() }).await;
    assert!(told(&report, "state directory").contains(r#"belongs to the fleet "older""#));
    assert_eq!(find(&report, "backup").result, Result::Skipped);
}
