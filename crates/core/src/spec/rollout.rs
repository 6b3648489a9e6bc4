//! The `rollout` section: the policy and its figures. Phases are read by [`super::phases`].

use super::{
    AtEnd, Criteria, DrillPolicy, KnowsZone, RolloutPolicy, Triggers, Zone,
    agents::Fleet,
    freezes, phases,
    reader::{Field, Fields, Reader},
    triggers,
};
use crate::time::Millis;

const KEYS: [&str; 16] = [
    "policy",
    "baseline",
    "validation",
    "rollback_window",
    "extension",
    "batch_max",
    "crash_loop",
    "criteria",
    "triggers",
    "drill",
    "undo_max",
    "phases",
    "timezone",
    "freeze",
    "window",
    "at_end",
];

const CRITERIA: [&str; 11] = [
    "task_rate_min",
    "latency_p95_max",
    "latency_p50_max",
    "error_rise_max",
    "memory_max",
    "memory_floor",
    "cpu_max",
    "cpu_floor",
    "model_success_min",
    "availability_min",
    "completion_min",
];

const SHARE: (f64, f64) = (0.0, 1.0);
const RATIO: (f64, f64) = (0.1, 100.0);

pub(super) fn read(
    r: &mut Reader<'_>,
    section: Option<Field<'_>>,
    fleet: &Fleet,
    knows: KnowsZone<'_>,
) -> RolloutPolicy {
    // The figures of the seed's plan (R20, R33, R47, R99).
    let mut policy = RolloutPolicy {
        baseline: Millis::from_mins(60),
        phases: Vec::new(),
        validation: Millis::from_mins(30),
        rollback_window: Millis::from_mins(4 * 60),
        extension: 1.5,
        batch_max: 16,
        crash_loop: 3,
        criteria: Criteria::default(),
        triggers: Triggers::default(),
        drill: DrillPolicy::default(),
        undo_max: Millis::from_secs(60),
        timezone: Zone::default(),
        freeze: Vec::new(),
        window: None,
        at_end: AtEnd::default(),
    };
    let fields = section.and_then(|field| r.fields(field.node, "\"rollout\"", &KEYS));
    if let Some(f) = &fields {
        r.choice(f.get("policy"), "BW0127", &[("seed", ())]);
        policy.baseline = r.some_millis(f.get("baseline")).unwrap_or(policy.baseline);
        policy.validation = r.millis(f.get("validation")).unwrap_or(policy.validation);
        policy.rollback_window = r.millis(f.get("rollback_window")).unwrap_or(policy.rollback_window);
        policy.extension = r.share(f.get("extension"), (1.0, 100.0)).unwrap_or(policy.extension);
        policy.batch_max = r.small(f.get("batch_max"), 1).unwrap_or(policy.batch_max);
        policy.crash_loop = r.small(f.get("crash_loop"), 1).unwrap_or(policy.crash_loop);
        criteria(r, f, &mut policy.criteria);
        triggers::read(r, f.get("triggers"), &mut policy.triggers);
        let drills = [("optional", DrillPolicy::Optional), ("required", DrillPolicy::Required)];
        policy.drill = r.choice(f.get("drill"), "BW0127", &drills).unwrap_or(policy.drill);
        policy.undo_max = r.some_millis(f.get("undo_max")).unwrap_or(policy.undo_max);
        freezes::read(r, f, knows, &mut policy);
    }
    policy.phases = phases::read(r, fields.as_ref().and_then(|f| f.get("phases")), fleet);
    policy
}

fn criteria(r: &mut Reader<'_>, rollout: &Fields<'_>, c: &mut Criteria) {
    let Some(f) = rollout.get("criteria").and_then(|field| r.fields(field.node, "\"criteria\"", &CRITERIA)) else {
        return;
    };
    c.task_rate_min = r.share(f.get("task_rate_min"), SHARE).unwrap_or(c.task_rate_min);
    c.latency_p95_max = r.share(f.get("latency_p95_max"), RATIO).unwrap_or(c.latency_p95_max);
    c.latency_p50_max = r.share(f.get("latency_p50_max"), RATIO).unwrap_or(c.latency_p50_max);
    c.error_rise_max = r.share(f.get("error_rise_max"), SHARE).unwrap_or(c.error_rise_max);
    c.memory_max = r.share(f.get("memory_max"), RATIO).unwrap_or(c.memory_max);
    c.memory_floor_bytes = r.bytes(f.get("memory_floor")).unwrap_or(c.memory_floor_bytes);
    c.cpu_max = r.share(f.get("cpu_max"), RATIO).unwrap_or(c.cpu_max);
    c.cpu_floor_cores = r.share(f.get("cpu_floor"), SHARE).unwrap_or(c.cpu_floor_cores);
    c.model_success_min = r.share(f.get("model_success_min"), SHARE).unwrap_or(c.model_success_min);
    c.availability_min = r.share(f.get("availability_min"), SHARE).unwrap_or(c.availability_min);
    c.completion_min = r.share(f.get("completion_min"), SHARE).unwrap_or(c.completion_min);
}
