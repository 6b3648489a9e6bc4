//! From what should run and what changes to the plan, or to the reasons why there is none.

use std::collections::BTreeMap;

use super::{
    Batch, MadeFrom, Measured, Outlook, Plan, PlannedAgent, PlannedPhase,
    batches::{Moves, Packed},
    fit::{Fitted, Problem},
    halves, outlook,
    refusal::refusal,
};
use crate::{
    diagnostic::Diagnostic,
    id::{AgentName, RevisionId},
    spec::{AgentSpec, Delivery, PhaseSpec, Release, Revision, Spec, TaskMode, names, unit::Size},
    time::Millis,
};

/// What `agent` becomes under `release`. What the release does not name stays as it is.
pub fn revision_of(agent: &AgentSpec, release: &Release) -> Revision {
    let blue = agent.revision.clone();
    let mut env = blue.env;
    env.extend(release.env.clone());
    Revision::new(
        release.revision.clone(),
        release.command.clone().unwrap_or(blue.command),
        env,
        release.model.clone().unwrap_or(blue.model),
        release.http.unwrap_or(blue.http),
        release.boot.unwrap_or(blue.boot),
        release.delivery.unwrap_or(blue.delivery),
    )
}

/// Makes the plan of one rollout. `speed` divides bakes and validation and nothing else. Agents that
/// already are what the release makes of them are left out, and a phase that holds only such agents too.
pub fn make(spec: &Spec, release: &Release, measured: &Measured, speed: f64) -> Result<Plan, Vec<Diagnostic>> {
    let mut found = Vec::new();
    if !(speed.is_finite() && speed > 0.0) {
        found.push(bad_speed(speed));
    }
    let targets: BTreeMap<&AgentName, Revision> =
        spec.agents.iter().map(|agent| (&agent.name, revision_of(agent, release))).collect();
    let changes = |agent: &AgentSpec| targets[&agent.name].id != agent.revision.id;
    found.extend(same_name(spec, release, changes));
    found.extend(no_push(spec, release, &targets, changes));
    if found.is_empty() && !spec.agents.iter().any(changes) {
        found.push(nothing_to_do(spec, release));
    }
    let capacity = capacity(spec, measured).map_err(|refused| found.push(refused)).ok();
    let (Some(capacity_bytes), true) = (capacity, found.is_empty()) else { return Err(found) };

    let phases: Vec<(&PhaseSpec, Vec<&AgentSpec>)> = spec
        .rollout
        .phases
        .iter()
        .map(|phase| (phase, phase.agents.iter().filter_map(|name| spec.agent(name)).filter(|a| changes(a)).collect()))
        .filter(|(_, agents): &(_, Vec<_>)| !agents.is_empty())
        .collect();
    let problem = Problem { spec, measured, moves: phases.iter().map(|phase| moves(phase, release)).collect() };
    let terms = problem.terms(capacity_bytes);
    let Fitted { phases: packed, budget } =
        problem.fit(terms).map_err(|stuck| vec![refusal(&problem, terms, &stuck)])?;

    let mut cumulative = 0;
    let phases = phases
        .into_iter()
        .zip(packed)
        .map(|((phase, agents), packed)| {
            cumulative += agents.len();
            PlannedPhase {
                name: phase.name.clone(),
                batches: packed.batches.into_iter().map(|packed| batch(packed, &targets)).collect(),
                second_half: packed.second_half,
                bake: phase.bake.compressed(speed),
                gate: phase.gate.clone(),
                agents_cumulative: cumulative,
                approval: phase.approval,
            }
        })
        .collect();
    let policy = &spec.rollout;
    let mut plan = Plan {
        fleet: spec.fleet.clone(),
        release: release.revision.clone(),
        speed,
        baseline: policy.baseline,
        phases,
        validation: policy.validation.compressed(speed),
        rollback_window: policy.rollback_window,
        extension: policy.extension,
        crash_loop: policy.crash_loop,
        criteria: policy.criteria.clone(),
        triggers: policy.triggers.clone(),
        drill: false,
        freezes: Vec::new(),
        freeze_override: None,
        window: policy.window,
        at_end: policy.at_end,
        revisions: revisions(spec, &targets, changes),
        budget,
        outlook: Outlook::default(),
        made_from: Some(MadeFrom { release: release.clone(), baseline: None }),
    };
    plan.outlook = outlook::outlook(&plan, spec, measured);
    match plan.window {
        Some(window) if window < plan.outlook.schedule.planned => Err(vec![too_short(&plan, window)]),
        _ => Ok(plan),
    }
}

fn moves<'s>((phase, agents): &(&PhaseSpec, Vec<&'s AgentSpec>), release: &Release) -> Moves<'s> {
    let groups = match phase.halves {
        true => halves::split(agents.clone(), phase.critical_last, &release.revision),
        false => vec![agents.clone()],
    };
    Moves { phase: phase.name.clone(), groups }
}

fn batch(packed: Packed<'_>, targets: &BTreeMap<&AgentName, Revision>) -> Batch {
    let agents = packed.agents.into_iter().map(|(agent, standby)| {
        let target = &targets[&agent.name];
        PlannedAgent {
            agent: agent.name.clone(),
            from: agent.revision.id.clone(),
            to: target.id.clone(),
            standby,
            drain: agent.drain,
            boot: target.boot,
            ready: agent.ready.clone(),
        }
    });
    Batch { agents: agents.collect(), memory_peak_bytes: packed.memory_peak_bytes, undo: packed.undo }
}

/// Targets first: where one agent's blue has the content of another's target, the release's name is kept.
fn revisions(
    spec: &Spec,
    targets: &BTreeMap<&AgentName, Revision>,
    changes: impl Fn(&AgentSpec) -> bool,
) -> BTreeMap<RevisionId, Revision> {
    let changed = || spec.agents.iter().filter(|agent| changes(agent));
    let mut revisions = BTreeMap::new();
    for revision in changed().map(|agent| &targets[&agent.name]).chain(changed().map(|agent| &agent.revision)) {
        revisions.entry(revision.id.clone()).or_insert_with(|| revision.clone());
    }
    revisions
}

/// What is estimated (moving agents, longer bakes) does not count here: the plan shows it.
fn too_short(plan: &Plan, window: Millis) -> Diagnostic {
    let planned = plan.outlook.schedule.planned;
    let bakes = planned - plan.baseline - plan.validation;
    Diagnostic::new("BW0342", format!("the rollout takes {planned}, and its window is {window}"))
        .because(format!(
            "the baseline takes {}, the bakes {bakes}, the validation {}; moving the agents, about {}, comes on top",
            plan.baseline, plan.validation, plan.outlook.schedule.moving
        ))
        .help(format!(
            "write rollout.window: {} or more, or shorten baseline, bakes or validation",
            Millis::from_mins(plan.outlook.schedule.at_most().0.div_ceil(60_000))
        ))
}

/// The memory that the fleet may use.
fn capacity(spec: &Spec, measured: &Measured) -> Result<u64, Diagnostic> {
    let memory = match (spec.host.memory_bytes, measured.present_memory_bytes) {
        (Some(declared), Some(present)) => declared.min(present),
        (Some(memory), None) | (None, Some(memory)) => memory,
        (None, None) => {
            return Err(Diagnostic::new("BW0207", "the machine does not say how much memory it has")
                .help("write host.memory in the fleet file, such as host: {memory: 16GiB}"));
        }
    };
    let reserve = spec.host.reserve_bytes;
    if reserve >= memory {
        return Err(Diagnostic::new("BW0205", "nothing of this machine's memory is left for the fleet")
            .because(format!("the fleet file reserves {}, and {} are there", Size(reserve), Size(memory)))
            .help("lower host.reserve in the fleet file, or use a machine with more memory"));
    }
    Ok(memory - reserve)
}

/// A name stands for one content: an agent that runs `v2` cannot be rolled out to a different `v2`.
fn same_name(spec: &Spec, release: &Release, changes: impl Fn(&AgentSpec) -> bool) -> Option<Diagnostic> {
    let same = |agent: &&AgentSpec| agent.revision.name == release.revision;
    let changed: Vec<&str> =
        spec.agents.iter().filter(same).filter(|a| changes(a)).map(|agent| agent.name.as_str()).collect();
    let name = release.revision.as_str();
    if !changed.is_empty() {
        let (count, named) = (changed.len(), names::some(changed.into_iter()));
        return Some(
            Diagnostic::new("BW0201", format!("the release is named {name:?}, and so is what runs now"))
                .because(format!("{count} of the agents run another {name:?}: {named}"))
                .help("give the release a name of its own; nobody could tell the two apart in a report"),
        );
    }
    spec.agents.iter().all(|agent| same(&agent)).then(|| {
        Diagnostic::new("BW0201", format!("the release {name:?} is what runs now"))
            .because("every agent has this revision already")
            .help("write a release with another name and what it changes")
    })
}

/// Tasks are posted over HTTP and from the queue. What the fleet file says alone was checked when it was read.
fn no_push(
    spec: &Spec,
    release: &Release,
    targets: &BTreeMap<&AgentName, Revision>,
    changes: impl Fn(&AgentSpec) -> bool,
) -> Option<Diagnostic> {
    let queued = spec.tasks.mode == TaskMode::Queue;
    let cannot = |target: &Revision| matches!(target.delivery, Delivery::Push { .. }) && !(target.http && queued);
    let agents: Vec<&AgentName> =
        spec.agents.iter().filter(|a| changes(a)).map(|a| &a.name).filter(|name| cannot(&targets[name])).collect();
    if agents.is_empty() {
        return None;
    }
    let (count, named) = (agents.len(), names::some(agents.into_iter().map(AgentName::as_str)));
    let (why, help) = if queued {
        ("they would serve no HTTP", "write http: true beside tasks: push under set, or tasks: pull")
    } else {
        ("tasks.mode is not queue", "leave out tasks: push, or write tasks.mode: queue in the fleet file")
    };
    let message = format!("the release {:?} has tasks posted where they cannot be", release.revision.as_str());
    Some(Diagnostic::new("BW0210", message).because(format!("{why}: {named} ({count} in all)")).help(help))
}

fn nothing_to_do(spec: &Spec, release: &Release) -> Diagnostic {
    let running = spec.agents.first().map_or_else(String::new, |agent| agent.revision.name.to_string());
    Diagnostic::new("BW0202", format!("the release {:?} changes no agent", release.revision.as_str()))
        .because(format!("what it sets is what {running:?} already has"))
        .help("set something that is different: command, env, model, http, boot, tasks or places")
}

fn bad_speed(speed: f64) -> Diagnostic {
    Diagnostic::new("BW0206", format!("a rollout cannot run at speed {speed}"))
        .help("give a number above 0: 1 is real time, 60 makes minutes of hours")
}
