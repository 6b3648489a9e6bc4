//! The fleet file as a whole.

use super::{
    DriverKind, Host, KnowsZone, Spec, agents, names, ollama,
    reader::{Fields, Reader},
    rollout, tasks,
    unit::Size,
    yaml,
};
use crate::diagnostic::Diagnostic;

const KEYS: [&str; 8] = ["version", "fleet", "host", "ollama", "driver", "tasks", "agents", "rollout"];

/// The format that this product reads.
const VERSION: &str = "1";

const GIB: u64 = 1 << 30;

/// A fleet file and the way to what it refers to. Core reads no files: the shell does, through `read`.
pub struct Sources<'a> {
    /// As it should stand in messages.
    pub name: &'a str,
    pub text: &'a str,
    /// Reads a file named relative to the fleet file; the error is the operating system's reason.
    pub read: &'a dyn Fn(&str) -> Result<String, String>,
}

/// Reads and checks a fleet file. The error holds every finding, in the order of the file. The name of a time zone is
/// taken as it is; where it will be used, see [`parse_fleet_in`].
pub fn parse_fleet(sources: &Sources<'_>) -> Result<Spec, Vec<Diagnostic>> {
    parse_fleet_in(sources, &|_name| Ok(()))
}

/// The same where the time zones are known.
pub fn parse_fleet_in(sources: &Sources<'_>, knows: KnowsZone<'_>) -> Result<Spec, Vec<Diagnostic>> {
    let root = yaml::parse(sources.name, sources.text).map_err(|refused| vec![refused])?;
    let mut reader = Reader::new(sources.name);
    let spec = fleet(&mut reader, sources, &root, knows);
    match spec {
        Some(spec) if reader.found.is_empty() => Ok(spec),
        _ => Err(reader.finish()),
    }
}

fn fleet(r: &mut Reader<'_>, sources: &Sources<'_>, root: &yaml::Node, knows: KnowsZone<'_>) -> Option<Spec> {
    if is_release(root) {
        let wrong = Diagnostic::new("BW0129", "this is a release file, and a fleet file is needed here")
            .because("it has the keys of a release: \"release\" or \"set\"")
            .help("give the fleet file to --fleet and this one to --release");
        r.report(root.at, wrong);
        return None;
    }
    let fields = r.fields(root, "the fleet file", &KEYS)?;
    version(r, &fields);
    let tasks = tasks::read(r, fields.get("tasks"));
    let fleet = agents::read(r, sources, &fields, tasks.mode);
    Some(Spec {
        fleet: names::word(r, fields.get("fleet")).unwrap_or_else(|| "fleet".to_owned()),
        host: host(r, &fields),
        ollama: ollama::read(r, &fields),
        driver: r
            .choice(fields.get("driver"), "BW0116", &[("process", DriverKind::Process)])
            .unwrap_or(DriverKind::Process),
        tasks,
        rollout: rollout::read(r, fields.get("rollout"), &fleet, knows),
        agents: fleet.agents,
    })
}

/// Checks the `version` of a fleet or release file.
pub(super) fn version(r: &mut Reader<'_>, fields: &Fields<'_>) {
    let Some(field) = fields.get("version") else {
        let missing = Diagnostic::new("BW0102", "the file does not say which version of the format it is written in");
        r.report(fields.at, missing.help("write version: 1 as its first line"));
        return;
    };
    if let Some(version) = r.text(Some(field))
        && version != VERSION
    {
        let message = format!("version {version} of the format is not known here");
        r.report(
            field.node.at,
            Diagnostic::new("BW0102", message)
                .because("this program reads version 1")
                .help("write version: 1, or use the program that the file was written for"),
        );
    }
}

fn host(r: &mut Reader<'_>, root: &Fields<'_>) -> Host {
    let section = root.get("host");
    let fields = section.and_then(|field| r.fields(field.node, "\"host\"", &["memory", "reserve"]));
    let memory_bytes = fields.as_ref().and_then(|f| r.bytes(f.get("memory")));
    let declared = fields.as_ref().and_then(|f| r.bytes(f.get("reserve")));
    let reserve_bytes = declared.unwrap_or_else(|| memory_bytes.map_or(GIB, |memory| GIB.min(memory / 8)));
    if let (Some(fields), Some(memory)) = (&fields, memory_bytes)
        && reserve_bytes >= memory
    {
        r.report(
            fields.at(if declared.is_some() { "reserve" } else { "memory" }),
            Diagnostic::new("BW0114", "nothing of the host's memory is left for the fleet")
                .because(format!("{} are reserved of {}", Size(reserve_bytes), Size(memory)))
                .help("lower host.reserve, which is what the fleet must leave to everything else"),
        );
    }
    Host { memory_bytes, reserve_bytes }
}

/// `http://host:port`, a slash at the end forgiven.
pub(super) fn base_url(url: &str) -> Result<String, &'static str> {
    let rest = url.strip_prefix("http://").ok_or("it does not start with http://")?;
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains(['/', '?', '#']) {
        return Err("it has a path after the port");
    }
    if authority.contains('@') {
        return Err("it holds a user name, which would end up in logs");
    }
    let (host, port) = authority.rsplit_once(':').ok_or("it has no port")?;
    if host.is_empty() || host.contains(char::is_whitespace) {
        return Err("it has no host");
    }
    match port.parse::<u16>() {
        Ok(port) if port > 0 => Ok(format!("http://{authority}")),
        _ => Err("its port is not a number from 1 to 65535"),
    }
}

fn is_release(root: &yaml::Node) -> bool {
    let yaml::Kind::Table(entries) = &root.kind else { return false };
    let has = |name: &str| entries.iter().any(|(key, _)| key.name == name);
    (has("release") || has("set")) && !has("agents") && !has("rollout")
}
