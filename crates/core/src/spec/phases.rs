//! Phases: which agents each one takes, and in which order.
//!
//! Phases run in the order of the file (R96). Within a phase agents go by risk, that is critical ones last, and
//! by model within a risk band, so that a batch does not make the model server swap models; what is equal keeps
//! the order of the fleet.

use std::collections::BTreeMap;

use super::{
    AgentSpec, Approval, GatePolicy, PhaseSpec, Require, ThinEvidence,
    agents::{Fleet, unknown_agent},
    names,
    nearest::nearest,
    reader::{Field, Fields, Reader},
    yaml::{Kind, Mark, Node},
};
use crate::{
    diagnostic::Diagnostic,
    id::{AgentName, PhaseName},
    time::Millis,
};

const KEYS: [&str; 11] = [
    "name",
    "select",
    "expect",
    "bake",
    "require",
    "thin_evidence",
    "tolerated_error_rise",
    "tolerated_latency_ratio",
    "last",
    "halves",
    "approval",
];

/// A phase smaller than this goes in halves only where it is asked to.
const HALVES_FROM: usize = 4;

/// The seed's phases (R11–R15): name, share of the fleet when it is done, bake in minutes.
const SEED: [(&str, f64, u64); 4] =
    [("canary", 0.10, 30), ("limited", 0.25, 45), ("production", 0.50, 60), ("full", 1.0, 75)];

struct Phase {
    at: Mark,
    name: PhaseName,
    select: Select,
    select_at: Mark,
    expect: Option<(u64, Mark)>,
    bake: Millis,
    gate: GatePolicy,
    critical_last: bool,
    halves: Option<bool>,
    approval: Approval,
}

enum Select {
    Number(u32),
    Names(Vec<(AgentName, Mark)>),
    Types(Vec<String>),
    Rest,
    /// What is written was refused already.
    Unknown,
}

pub(super) fn read(r: &mut Reader<'_>, field: Option<Field<'_>>, fleet: &Fleet) -> Vec<PhaseSpec> {
    let Some(field) = field else { return by_default(&fleet.agents) };
    let nodes = r.items(Some(field));
    let before = r.found.len();
    let mut phases: Vec<Phase> = Vec::new();
    for (i, node) in nodes.iter().enumerate() {
        let Some(phase) = phase(r, i, node) else { continue };
        if phases.iter().any(|other| other.name == phase.name) {
            let twice = format!("two phases are named {:?}", phase.name.as_str());
            r.report(phase.at, Diagnostic::new("BW0124", twice).help("give each phase a name of its own"));
        }
        phases.push(phase);
    }
    let unread = phases.len() < nodes.len() || phases.iter().any(|phase| matches!(phase.select, Select::Unknown));
    let members = resolve(r, &phases, fleet);
    // Counts mean nothing where agents or selections were lost to an error that is reported already.
    if fleet.complete && !unread && !r.found[before..].iter().any(|d| d.code == "BW0108" || d.code == "BW0123") {
        check(r, field.node.at, &phases, &members, fleet);
    }
    let last = phases.len().saturating_sub(1);
    phases
        .into_iter()
        .zip(members)
        .enumerate()
        .map(|(i, (phase, members))| PhaseSpec {
            halves: phase.halves.unwrap_or(i == last && members.len() >= HALVES_FROM),
            agents: ordered(members, phase.critical_last),
            name: phase.name,
            bake: phase.bake,
            gate: phase.gate,
            critical_last: phase.critical_last,
            approval: phase.approval,
        })
        .collect()
}

fn phase(r: &mut Reader<'_>, index: usize, node: &Node) -> Option<Phase> {
    let label = match &node.kind {
        Kind::Table(entries) => entries.iter().find(|(key, _)| key.name == "name").map(|(_, node)| node.describe()),
        _ => None,
    };
    let what = label.map_or_else(|| format!("phase {}", index + 1), |label| format!("phase {label}"));
    let f = r.fields(node, &what, &KEYS)?;
    let name = names::word(r, f.get("name")).unwrap_or_else(|| format!("phase-{}", index + 1));
    let (select, select_at) = match f.get("select") {
        Some(field) => (select(r, field), field.node.at),
        None if f.has_or_meant("select") => (Select::Unknown, f.at),
        None => (Select::Rest, f.at),
    };
    let last = f.get("last").and_then(|field| r.fields(field.node, "\"last\"", &["critical"]));
    Some(Phase {
        at: f.at,
        name: PhaseName::new(name),
        select,
        select_at,
        expect: r.whole(f.get("expect"), 1).map(|count| (count, f.at("expect"))),
        bake: r.some_millis(f.get("bake")).unwrap_or_else(|| seed_bake(index)),
        gate: gate(r, &f),
        critical_last: last.and_then(|last| r.flag(last.get("critical"))).unwrap_or(true),
        halves: r.flag(f.get("halves")),
        approval: approval(r, &f),
    })
}

fn approval(r: &mut Reader<'_>, f: &Fields<'_>) -> Approval {
    let words = [("none", Approval::None), ("required", Approval::Required), ("other", Approval::Other)];
    r.choice(f.get("approval"), "BW0127", &words).unwrap_or_default()
}

fn gate(r: &mut Reader<'_>, f: &Fields<'_>) -> GatePolicy {
    let default = default_gate();
    let thin = [("accept", ThinEvidence::Accept), ("ask", ThinEvidence::Ask)];
    GatePolicy {
        require: r
            .choice(f.get("require"), "BW0127", &[("guard", Require::Guard), ("proof", Require::Proof)])
            .unwrap_or(default.require),
        thin_evidence: r.choice(f.get("thin_evidence"), "BW0127", &thin).unwrap_or(default.thin_evidence),
        tolerated_error_rise: r
            .share(f.get("tolerated_error_rise"), (0.0, 1.0))
            .unwrap_or(default.tolerated_error_rise),
        tolerated_latency_ratio: r
            .share(f.get("tolerated_latency_ratio"), (1.0, 100.0))
            .unwrap_or(default.tolerated_latency_ratio),
    }
}

/// ANALYSIS's proposal for a guard: harm of 5 points or a doubling must not go unseen.
fn default_gate() -> GatePolicy {
    GatePolicy {
        require: Require::Guard,
        thin_evidence: ThinEvidence::Ask,
        tolerated_error_rise: 0.05,
        tolerated_latency_ratio: 2.0,
    }
}

fn select(r: &mut Reader<'_>, field: Field<'_>) -> Select {
    if let Kind::Scalar { text, .. } = &field.node.kind {
        if text == "rest" {
            return Select::Rest;
        }
        r.wrong(field, "a selection", "write select: {phase: 1}, {agents: [name]}, {type: monitoring} or rest");
        return Select::Unknown;
    }
    let Some(f) = r.fields(field.node, "\"select\"", &["phase", "agents", "type"]) else { return Select::Unknown };
    let (phase, agents, types) = (f.get("phase"), f.get("agents"), f.get("type"));
    if [phase, agents, types].iter().flatten().count() != 1 {
        r.wrong(field, "one selection", "write exactly one of phase, agents and type, or rest");
        return Select::Unknown;
    }
    if phase.is_some() {
        return r.small(phase, 0).map_or(Select::Unknown, Select::Number);
    }
    if agents.is_some() {
        let names = r.items(agents).iter();
        return Select::Names(
            names.filter_map(|node| Some((names::agent(r, Some(Field { name: "agents", node }))?, node.at))).collect(),
        );
    }
    let types = match types.map(|field| &field.node.kind) {
        Some(Kind::List(_)) => r.words(types),
        _ => r.text(types).map(|word| vec![word]),
    };
    types.map_or(Select::Unknown, Select::Types)
}

/// The agents of each phase, none of them in two.
fn resolve<'s>(r: &mut Reader<'_>, phases: &[Phase], fleet: &'s Fleet) -> Vec<Vec<&'s AgentSpec>> {
    let mut owner: BTreeMap<&AgentName, usize> = BTreeMap::new();
    let mut members: Vec<Vec<&AgentSpec>> = Vec::new();
    for (i, phase) in phases.iter().enumerate() {
        let mut mine = Vec::new();
        let mut taken: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
        for agent in chosen(r, phase, fleet) {
            match owner.get(&agent.name) {
                Some(first) => taken.entry(*first).or_default().push(agent.name.as_str()),
                None => {
                    owner.insert(&agent.name, i);
                    mine.push(agent);
                }
            }
        }
        for (first, names) in taken {
            let (is, named) = (if names.len() == 1 { "is" } else { "are" }, names::some(names.into_iter()));
            let twice = if first == i {
                format!("{named} {is} named twice in phase {:?}", phase.name.as_str())
            } else {
                format!(
                    "{named} {is} in phase {:?} and in phase {:?}",
                    phases[first].name.as_str(),
                    phase.name.as_str()
                )
            };
            r.report(
                phase.select_at,
                Diagnostic::new("BW0108", twice).help("an agent is rolled out once: leave it in one phase"),
            );
        }
        members.push(mine);
    }
    for (phase, members) in phases.iter().zip(&mut members) {
        if matches!(phase.select, Select::Rest) {
            *members = fleet.agents.iter().filter(|agent| !owner.contains_key(&agent.name)).collect();
            owner.extend(members.iter().map(|agent| (&agent.name, usize::MAX)));
        }
    }
    members
}

/// What the phase asks for by itself; `rest` is resolved when all others are.
fn chosen<'s>(r: &mut Reader<'_>, phase: &Phase, fleet: &'s Fleet) -> Vec<&'s AgentSpec> {
    let agents = fleet.agents.iter();
    match &phase.select {
        Select::Number(number) => agents.filter(|agent| agent.phase == Some(*number)).collect(),
        Select::Types(types) => agents.filter(|a| types.iter().any(|t| t == a.agent_type.as_str())).collect(),
        Select::Names(names) => {
            let mut chosen = Vec::new();
            for (name, at) in names {
                match fleet.agents.iter().find(|agent| agent.name == *name) {
                    Some(agent) => chosen.push(agent),
                    None if fleet.complete => {
                        let what = format!("phase {:?}", phase.name.as_str());
                        let known = fleet.agents.iter().map(|agent| agent.name.as_str());
                        r.report(*at, unknown_agent(name.as_str(), &what, known));
                    }
                    None => {}
                }
            }
            chosen
        }
        Select::Rest | Select::Unknown => Vec::new(),
    }
}

fn check(r: &mut Reader<'_>, at: Mark, phases: &[Phase], members: &[Vec<&AgentSpec>], fleet: &Fleet) {
    for (phase, members) in phases.iter().zip(members) {
        let name = phase.name.as_str();
        if members.is_empty() {
            let (cause, help) = why_empty(&phase.select, &fleet.agents);
            let empty = Diagnostic::new("BW0107", format!("phase {name:?} selects no agent"));
            r.report(phase.select_at, empty.because(cause).help(help));
        } else if let Some((expected, at)) = phase.expect
            && expected != members.len() as u64
        {
            let differs = format!("phase {name:?} should have {expected} agents and has {}", members.len());
            r.report(
                at,
                Diagnostic::new("BW0110", differs)
                    .because("\"expect\" is the number that whoever wrote the phase counted on")
                    .help(format!(
                        "see whether the inventory changed; if it should have, write expect: {}",
                        members.len()
                    )),
            );
        }
    }
    let planned = |agent: &AgentSpec| members.iter().flatten().any(|member| member.name == agent.name);
    let left_out: Vec<&str> = fleet.agents.iter().filter(|a| !planned(a)).map(|a| a.name.as_str()).collect();
    if !left_out.is_empty() {
        let (agents, named) = (agents_are(left_out.len()), names::some(left_out.into_iter()));
        r.report(
            at,
            Diagnostic::new("BW0109", format!("{agents} in no phase: {named}"))
                .because("they would stay on the old revision for ever")
                .help("add a phase with select: rest at the end"),
        );
    }
}

fn agents_are(count: usize) -> String {
    if count == 1 { "1 agent is".to_owned() } else { format!("{count} agents are") }
}

fn why_empty(select: &Select, agents: &[AgentSpec]) -> (String, String) {
    match select {
        Select::Number(number) => {
            let mut phases: Vec<u32> = agents.iter().filter_map(|agent| agent.phase).collect();
            phases.sort_unstable();
            phases.dedup();
            let have = phases.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
            let help = if phases.is_empty() {
                "give the agents a phase, or select them by name or type".to_owned()
            } else {
                format!("the agents have the phases {have}: select one of these")
            };
            (format!("no agent has phase: {number}"), help)
        }
        Select::Types(types) => {
            let known = || agents.iter().map(|agent| agent.agent_type.as_str());
            let help = match types.iter().find_map(|wrong| nearest(wrong, known())) {
                Some(near) => format!("did you mean {near:?}?"),
                None => {
                    let mut all: Vec<&str> = known().collect();
                    all.sort_unstable();
                    all.dedup();
                    format!("the agents are of the types {}", all.join(", "))
                }
            };
            (format!("no agent is of the type {}", types.join(" or ")), help)
        }
        Select::Names(_) => {
            ("its list of agents is empty".to_owned(), "name the agents, or remove the phase".to_owned())
        }
        Select::Rest | Select::Unknown => (
            "the other phases take every agent".to_owned(),
            "remove the phase, or take agents out of another".to_owned(),
        ),
    }
}

fn ordered(mut members: Vec<&AgentSpec>, critical_last: bool) -> Vec<AgentName> {
    let mut models = Vec::new();
    for agent in &members {
        if !models.contains(&&agent.revision.model) {
            models.push(&agent.revision.model);
        }
    }
    members.sort_by_key(|agent| {
        let model = models.iter().position(|model| **model == agent.revision.model);
        (critical_last && agent.critical, model)
    });
    members.into_iter().map(|agent| agent.name.clone()).collect()
}

fn seed_bake(index: usize) -> Millis {
    Millis::from_mins(SEED[index.min(SEED.len() - 1)].2)
}

/// Without phases in the file: by the agents' phase numbers, or else the seed's shares with critical agents last.
fn by_default(agents: &[AgentSpec]) -> Vec<PhaseSpec> {
    let phase = |i: usize, name: String, members: Vec<&AgentSpec>| PhaseSpec {
        name: PhaseName::new(name),
        agents: ordered(members, true),
        bake: seed_bake(i),
        gate: default_gate(),
        halves: false,
        critical_last: true,
        approval: Approval::None,
    };
    let mut phases = spread(agents, phase);
    if let Some(last) = phases.last_mut() {
        last.halves = last.agents.len() >= HALVES_FROM;
    }
    phases
}

fn spread(agents: &[AgentSpec], phase: impl Fn(usize, String, Vec<&AgentSpec>) -> PhaseSpec) -> Vec<PhaseSpec> {
    if agents.iter().all(|agent| agent.phase.is_some()) {
        let mut numbered: BTreeMap<Option<u32>, Vec<&AgentSpec>> = BTreeMap::new();
        for agent in agents {
            numbered.entry(agent.phase).or_default().push(agent);
        }
        let name = |number: Option<u32>| format!("phase-{}", number.unwrap_or_default());
        return numbered
            .into_iter()
            .enumerate()
            .map(|(i, (number, members))| phase(i, name(number), members))
            .collect();
    }
    let mut by_risk: Vec<&AgentSpec> = agents.iter().collect();
    by_risk.sort_by_key(|agent| agent.critical);
    let mut done = 0;
    let mut phases = Vec::new();
    for (i, (name, share, _)) in SEED.into_iter().enumerate() {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a count of agents"
        )]
        let upto = (by_risk.len() as f64 * share).ceil() as usize;
        if upto > done {
            phases.push(phase(i, name.to_owned(), by_risk[done..upto].to_vec()));
            done = upto;
        }
    }
    phases
}
