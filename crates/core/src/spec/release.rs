//! The release file: what changes.

use super::{
    Release,
    fleet::version,
    names,
    reader::{Fields, Reader},
    yaml,
};
use crate::{diagnostic::Diagnostic, id::RevisionName};

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
    if !fields.has("release") {
        let nameless = Diagnostic::new("BW0128", "the release has no name");
        r.report(fields.at, nameless.help("write release: and a name of its own, such as v2"));
    }
    let revision = names::word(r, fields.get("release"));
    let set = match fields.get("set") {
        Some(field) => r.fields(field.node, "\"set\"", &["command", "env", "model", "http", "boot"])?,
        None => {
            r.report(fields.at, changes_nothing());
            return None;
        }
    };
    let release = set_of(r, RevisionName::new(revision?), &set);
    let changes = ["command", "env", "model", "http", "boot"].iter().any(|key| set.has(key));
    if !changes && r.found.is_empty() {
        r.report(set.at, changes_nothing());
    }
    Some(release)
}

fn set_of(r: &mut Reader<'_>, revision: RevisionName, set: &Fields<'_>) -> Release {
    Release {
        revision,
        command: r.words(set.get("command")),
        env: names::env(r, set.get("env")),
        model: names::model(r, set.get("model")),
        http: r.flag(set.get("http")),
        boot: r.some_millis(set.get("boot")),
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
