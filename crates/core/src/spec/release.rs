//! The release file: what changes.

use super::{
    Delivery, Release, delivery,
    fleet::version,
    names,
    reader::{Fields, Reader},
    yaml,
};
use crate::{diagnostic::Diagnostic, id::RevisionName};

const SET: [&str; 7] = ["command", "env", "model", "http", "boot", "tasks", "places"];

/// Reads and checks a release file. The error holds every finding, in the order of the file.
pub fn parse_release(name: &str, text: &str) -> Result<Release, Vec<Diagnostic>> {
    let root = yaml::parse(name, text).map_err(|refused| vec![refused])?;
    let mut reader = Reader::new(name);
    let release = release(&mut reader, &root);
    match release {
        Some(release) if reader.found.is_empty() => Ok(release),
        _ => Err(reader.finish()),
    }
}

fn release(r: &mut Reader<'_>, root: &yaml::Node) -> Option<Release> {
    if is_fleet(root) {
        let wrong = Diagnostic::new("BW0129", "this is a fleet file, and a release file is needed here")
            .because("it has the keys of a fleet: \"agents\" or \"rollout\"")
            .help("give this file to --fleet, and to --release one with the keys version, release and set");
        r.report(root.at, wrong);
        return None;
    }
    let fields = r.fields(root, "the release file", &["version", "release", "set"])?;
    version(r, &fields);
    if !fields.has_or_meant("release") {
        let nameless = Diagnostic::new("BW0128", "the release has no name");
        r.report(fields.at, nameless.help("write release: and a name of its own, such as v2"));
    }
    // A name that was refused is stood in for, so that what is set is still read.
    let revision = names::word(r, fields.get("release")).unwrap_or_default();
    let Some(set) = fields.get("set") else {
        if !fields.has_or_meant("set") {
            r.report(fields.at, changes_nothing());
        }
        return None;
    };
    let set = r.fields(set.node, "\"set\"", &SET)?;
    if !SET.iter().any(|key| set.has_or_meant(key)) {
        r.report(set.at, changes_nothing());
    }
    Some(set_of(r, &revision, &set))
}

fn set_of(r: &mut Reader<'_>, revision: &str, set: &Fields<'_>) -> Release {
    let told = delivery::Told::read(r, set);
    if let Some(at) = told.stray() {
        r.report(at, delivery::stray_places());
    }
    let http = r.flag(set.get("http"));
    if let (Some(Delivery::Push { .. }), Some(false)) = (told.said(), http) {
        let deaf = Diagnostic::new("BW0136", "the release has tasks posted to agents that serve no HTTP");
        r.report(
            set.at("http"),
            deaf.because("a task that is pushed is a POST to the instance's /execute")
                .help("write http: true beside tasks: push, or tasks: pull"),
        );
    }
    Release {
        revision: RevisionName::new(revision),
        command: r.words(set.get("command")),
        env: names::env(r, set.get("env")),
        model: names::model(r, set.get("model")),
        http,
        boot: r.some_millis(set.get("boot")),
        delivery: told.said(),
    }
}

fn changes_nothing() -> Diagnostic {
    Diagnostic::new("BW0121", "the release changes nothing")
        .help("write under set: what is different, such as command: [bellwether, agent]")
}

fn is_fleet(root: &yaml::Node) -> bool {
    let yaml::Kind::Table(entries) = &root.kind else { return false };
    let has = |name: &str| entries.iter().any(|(key, _)| key.name == name);
    (has("agents") || has("rollout") || has("fleet")) && !has("release") && !has("set")
}
