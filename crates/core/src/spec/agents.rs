//! The `agents` section: inventory, list, defaults and overrides become one agent each.
//!
//! What is nearest to an agent wins: its override, then its row or entry, then the defaults of the file, then
//! the product's own.

use std::collections::BTreeMap;

use super::{
    AgentSpec, Readiness, ResultRule, Revision, Sources, StandbyPolicy, TaskMode, delivery, inventory, names,
    nearest::nearest,
    reader::{Field, Fields, Reader},
    yaml::{Kind, Mark, Node},
};
use crate::{
    diagnostic::{Diagnostic, Place},
    id::{AgentName, AgentType, ModelName, RevisionName},
    time::Millis,
};

const TRAITS: [&str; 17] = [
    "type",
    "model",
    "phase",
    "critical",
    "command",
    "env",
    "revision",
    "http",
    "drain",
    "boot",
    "memory_limit",
    "cpu_limit",
    "result",
    "standby",
    "tasks",
    "places",
    "ready",
];

const STANDBY: [(&str, StandbyPolicy); 4] = [
    ("auto", StandbyPolicy::Auto),
    ("warm", StandbyPolicy::Warm),
    ("frozen", StandbyPolicy::Frozen),
    ("stopped", StandbyPolicy::Stopped),
];

/// The agents of a file, and where each was named.
pub(super) struct Fleet {
    pub(super) agents: Vec<AgentSpec>,
    pub(super) places: BTreeMap<AgentName, Place>,
    /// No row or entry was lost to an error, so that counts can be trusted.
    pub(super) complete: bool,
}

/// An agent as one part of the file describes it.
pub(super) struct Candidate {
    pub(super) name: AgentName,
    pub(super) place: Place,
    pub(super) traits: Traits,
}

/// What may be said of an agent. Absent means: ask the next level.
#[derive(Clone, Default)]
pub(super) struct Traits {
    pub(super) agent_type: Option<AgentType>,
    pub(super) model: Option<ModelName>,
    pub(super) phase: Option<u32>,
    pub(super) critical: Option<bool>,
    pub(super) command: Option<Vec<String>>,
    pub(super) env: BTreeMap<String, String>,
    pub(super) revision: Option<RevisionName>,
    pub(super) http: Option<bool>,
    pub(super) drain: Option<Millis>,
    pub(super) boot: Option<Millis>,
    pub(super) memory_limit_bytes: Option<u64>,
    pub(super) cpu_limit: Option<f64>,
    pub(super) result: Option<ResultRule>,
    pub(super) standby: Option<StandbyPolicy>,
    pub(super) delivery: delivery::Told,
    pub(super) ready: Option<Readiness>,
}

pub(super) fn read(r: &mut Reader<'_>, sources: &Sources<'_>, root: &Fields<'_>, mode: TaskMode) -> Fleet {
    let mut fleet = Fleet { agents: Vec::new(), places: BTreeMap::new(), complete: true };
    let Some(section) = root.get("agents") else {
        r.report(root.at, no_agents());
        return Fleet { complete: false, ..fleet };
    };
    let Some(fields) = r.fields(section.node, "\"agents\"", &["from_csv", "defaults", "list", "overrides"]) else {
        return Fleet { complete: false, ..fleet };
    };
    let defaults = fields.get("defaults").map(|field| traits(r, field.node, "\"defaults\"")).unwrap_or_default();
    let mut candidates = Vec::new();
    if let Some(field) = fields.get("from_csv") {
        fleet.complete &= from_csv(r, sources, field, &mut candidates);
    }
    for node in r.items(fields.get("list")) {
        match entry(r, node) {
            Some(candidate) => candidates.push(candidate),
            None => fleet.complete = false,
        }
    }
    if candidates.is_empty() && fleet.complete {
        r.report(section.node.at, no_agents());
        fleet.complete = false;
    }
    let mut overrides = overrides(r, &fields, &candidates);
    let mut without_command = Vec::new();
    let mut undelivered = delivery::Faults::default();
    for Candidate { name, place, traits } in candidates {
        if let Some(first) = fleet.places.get(&name) {
            r.found.push(duplicate(&name, first).at(place.file, place.line, place.column));
            continue;
        }
        let traits = overrides.remove(name.as_str()).unwrap_or_default().over(traits).over(defaults.clone());
        if traits.command.is_none() {
            without_command.push((name.clone(), place.clone()));
        }
        undelivered.look(traits.delivery, traits.http == Some(true), mode, &name, &place);
        fleet.places.insert(name.clone(), place);
        fleet.agents.push(traits.resolve(name, mode));
    }
    report_commands(r, fields.at, &without_command);
    undelivered.report(r, fields.at);
    fleet
}

/// The keys that describe an agent, in defaults, entries, overrides.
fn traits(r: &mut Reader<'_>, node: &Node, what: &str) -> Traits {
    r.fields(node, what, &TRAITS).map(|fields| traits_of(r, &fields)).unwrap_or_default()
}

fn traits_of(r: &mut Reader<'_>, f: &Fields<'_>) -> Traits {
    let command = r.words(f.get("command"));
    Traits {
        agent_type: names::word(r, f.get("type")).map(AgentType::new),
        model: names::model(r, f.get("model")),
        phase: r.small(f.get("phase"), 0),
        critical: r.flag(f.get("critical")),
        // A command that was refused must not be reported as missing too.
        command: command.or_else(|| f.has_or_meant("command").then(Vec::new)),
        env: names::env(r, f.get("env")),
        revision: names::word(r, f.get("revision")).map(RevisionName::new),
        // A flag that was refused must not make a push agent look deaf too.
        http: r.flag(f.get("http")).or_else(|| f.has_or_meant("http").then_some(true)),
        drain: r.millis(f.get("drain")),
        boot: r.some_millis(f.get("boot")),
        memory_limit_bytes: r.bytes(f.get("memory_limit")),
        cpu_limit: r.share(f.get("cpu_limit"), (0.01, 4096.0)),
        result: f.get("result").and_then(|field| result(r, field)),
        standby: r.choice(f.get("standby"), "BW0127", &STANDBY),
        delivery: delivery::Told::read(r, f),
        ready: f.get("ready").and_then(|field| delivery::ready(r, field)),
    }
}

/// What a result must carry to count as one (R91).
fn result(r: &mut Reader<'_>, field: Field<'_>) -> Option<ResultRule> {
    let f = r.fields(field.node, "\"result\"", &["fields", "chars_min", "may_be_empty"])?;
    Some(ResultRule {
        may_be_empty: r.flag(f.get("may_be_empty")).unwrap_or_default(),
        fields: r.words(f.get("fields")).unwrap_or_default(),
        chars_min: r.small(f.get("chars_min"), 0).unwrap_or_default(),
    })
}

impl Traits {
    /// This, and what it leaves open from `base`. Environments add up.
    fn over(self, base: Self) -> Self {
        let mut env = base.env;
        env.extend(self.env);
        Self {
            agent_type: self.agent_type.or(base.agent_type),
            model: self.model.or(base.model),
            phase: self.phase.or(base.phase),
            critical: self.critical.or(base.critical),
            command: self.command.or(base.command),
            env,
            revision: self.revision.or(base.revision),
            http: self.http.or(base.http),
            drain: self.drain.or(base.drain),
            boot: self.boot.or(base.boot),
            memory_limit_bytes: self.memory_limit_bytes.or(base.memory_limit_bytes),
            cpu_limit: self.cpu_limit.or(base.cpu_limit),
            result: self.result.or(base.result),
            standby: self.standby.or(base.standby),
            delivery: self.delivery.over(base.delivery),
            ready: self.ready.or(base.ready),
        }
    }

    fn resolve(self, name: AgentName, mode: TaskMode) -> AgentSpec {
        let revision = Revision::new(
            self.revision.unwrap_or_else(|| "v1".into()),
            self.command.unwrap_or_default(),
            self.env,
            self.model.unwrap_or_else(|| ModelName::new("tinyllama")),
            self.http.unwrap_or(false),
            self.boot.unwrap_or(Millis::from_secs(60)),
            self.delivery.resolve(mode),
        );
        AgentSpec {
            name,
            agent_type: self.agent_type.unwrap_or_else(|| "general".into()),
            phase: self.phase,
            critical: self.critical.unwrap_or(false),
            revision,
            drain: self.drain.unwrap_or(Millis::from_mins(2)),
            memory_limit_bytes: self.memory_limit_bytes,
            cpu_limit: self.cpu_limit,
            result: self.result.unwrap_or_default(),
            standby: self.standby.unwrap_or_default(),
            ready: self.ready.unwrap_or_default(),
        }
    }
}

/// Returns whether every row could be read.
fn from_csv(r: &mut Reader<'_>, sources: &Sources<'_>, field: Field<'_>, candidates: &mut Vec<Candidate>) -> bool {
    let Some(path) = r.text(Some(field)) else { return false };
    match (sources.read)(&path) {
        Ok(text) => inventory::read(r, &beside(sources.name, &path), &text, candidates),
        Err(cause) => {
            r.report(
                field.node.at,
                Diagnostic::new("BW0118", format!("the inventory {path:?} cannot be read"))
                    .because(cause)
                    .help("write a path to a CSV file, relative to the fleet file"),
            );
            false
        }
    }
}

/// One item of `list`: a name, or a table with a name.
fn entry(r: &mut Reader<'_>, node: &Node) -> Option<Candidate> {
    let place = Place { file: r.file.to_owned(), line: node.at.line, column: node.at.column };
    if matches!(node.kind, Kind::Scalar { .. }) {
        let name = names::agent(r, Some(Field { name: "name", node }))?;
        return Some(Candidate { name, place, traits: Traits::default() });
    }
    let mut known = vec!["name"];
    known.extend(TRAITS);
    let fields = r.fields(node, "an agent of \"list\"", &known)?;
    if !fields.has("name") {
        let nameless =
            Diagnostic::new("BW0128", "this agent has no name").help("write name: and a name that is its own");
        r.report(fields.at, nameless);
        return None;
    }
    let name = names::agent(r, fields.get("name"))?;
    Some(Candidate { name, place, traits: traits_of(r, &fields) })
}

fn overrides(r: &mut Reader<'_>, fields: &Fields<'_>, candidates: &[Candidate]) -> BTreeMap<String, Traits> {
    let mut overrides = BTreeMap::new();
    for (key, node) in r.named(fields.get("overrides")) {
        let known = || candidates.iter().map(|candidate| candidate.name.as_str());
        // Without any candidate the inventory itself was refused; its findings say enough.
        if !candidates.is_empty() && !known().any(|name| name == key.name) {
            r.report(key.at, unknown_agent(&key.name, "\"overrides\"", known()));
        }
        let what = format!("the override of {:?}", key.name);
        overrides.insert(key.name.clone(), traits(r, node, &what));
    }
    overrides
}

pub(super) fn unknown_agent<'n>(name: &str, what: &str, known: impl IntoIterator<Item = &'n str>) -> Diagnostic {
    let help = match nearest(name, known) {
        Some(near) => format!("did you mean {near:?}?"),
        None => "add the agent to agents.list or to the inventory, or remove it here".to_owned(),
    };
    Diagnostic::new("BW0123", format!("{what} names {name:?}, and no such agent is in the fleet")).help(help)
}

fn no_agents() -> Diagnostic {
    Diagnostic::new("BW0115", "the fleet has no agents")
        .help("write them under agents.list, or name a CSV file in agents.from_csv")
}

fn duplicate(name: &AgentName, first: &Place) -> Diagnostic {
    Diagnostic::new("BW0111", format!("the agent {:?} is there twice", name.as_str()))
        .because(format!("it is first named in {}, line {}", first.file, first.line))
        .help("rename or remove one; to change an agent of the inventory, use agents.overrides")
}

fn report_commands(r: &mut Reader<'_>, at: Mark, without: &[(AgentName, Place)]) {
    let help = "write agents.defaults.command: [program, argument], or a command for each agent";
    match without {
        [] => {}
        [(name, place)] => r.found.push(
            Diagnostic::new("BW0113", format!("the agent {:?} has no command to start it with", name.as_str()))
                .at(&place.file, place.line, place.column)
                .help(help),
        ),
        several => {
            let named = names::some(several.iter().map(|(name, _)| name.as_str()));
            let message = format!("{} agents have no command to start them with: {named}", several.len());
            r.report(at, Diagnostic::new("BW0113", message).help(help));
        }
    }
}

/// The path of a file that is named relative to `name`, for messages.
fn beside(name: &str, path: &str) -> String {
    match name.rsplit_once('/') {
        Some((folder, _)) if !path.starts_with('/') => format!("{folder}/{path}"),
        _ => path.to_owned(),
    }
}
