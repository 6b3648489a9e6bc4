//! What a demo says of a rollback: what fired and why, how long each part took against its limit, and where the
//! evidence is.

use std::path::PathBuf;

use bellwether_core::{
    id::RolloutId,
    rollout::{RollbackRecord, RolloutView, Trigger},
    time::Millis,
    watch::Figure,
};
use serde::Serialize;

use crate::{
    limits::{Span, spans},
    wording::{some, wrap},
};

#[derive(Debug, Serialize)]
pub(crate) struct Rollback {
    #[serde(skip)]
    pub(crate) rollout: RolloutId,
    /// What fired: an alarm's kind, `gate`, `crash_loop`, `out_of_memory`, `operator` or `drill`.
    pub(crate) trigger: String,
    pub(crate) why: String,
    pub(crate) figures: Vec<Figure>,
    /// Whom the evidence points at.
    pub(crate) agents: Vec<String>,
    /// Blue suffered as well.
    pub(crate) shared: bool,
    pub(crate) phase: Option<String>,
    /// Since the rollout was started, the baseline included.
    pub(crate) at_s: f64,
    /// From the first harm to the decision; none where nobody can know when the harm began.
    pub(crate) detect_s: Option<f64>,
    pub(crate) execute_s: Option<f64>,
    pub(crate) validate_s: Option<f64>,
    pub(crate) total_s: Option<f64>,
    pub(crate) limits: [Limit; 4],
    /// What else fired while it was under way.
    pub(crate) also: Vec<String>,
    /// A folder with a readable page.
    pub(crate) evidence: Option<PathBuf>,
}

/// One of R46 to R49.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Limit {
    pub(crate) id: &'static str,
    pub(crate) what: &'static str,
    pub(crate) seconds: Option<f64>,
    pub(crate) limit_s: f64,
    /// None where it was not measured.
    pub(crate) met: Option<bool>,
}

impl From<Span> for Limit {
    fn from(span: Span) -> Self {
        let met = span.is_kept();
        let Span { name, requirement, took, limit } = span;
        Self { id: requirement, what: name, seconds: took.map(Millis::as_secs_f64), limit_s: limit.as_secs_f64(), met }
    }
}

impl Rollback {
    pub(crate) fn of(rollout: &RolloutView, record: &RollbackRecord) -> Self {
        let began = record.began.since(rollout.started).as_secs_f64();
        let seconds = |span: Option<Millis>| span.map(Millis::as_secs_f64);
        let alarm = match &record.trigger {
            Trigger::Alarm(alarm) => Some(alarm),
            Trigger::Operator { .. }
            | Trigger::Gate { .. }
            | Trigger::CrashLoop { .. }
            | Trigger::OutOfMemory { .. }
            | Trigger::Drill
            | Trigger::Unrecorded { .. }
            | Trigger::WindowClosed { .. } => None,
        };
        let blamed = match &record.trigger {
            Trigger::Alarm(alarm) => alarm.agents.iter().map(ToString::to_string).collect(),
            Trigger::CrashLoop { agent, .. } | Trigger::OutOfMemory { agent, .. } => vec![agent.to_string()],
            Trigger::Operator { .. }
            | Trigger::Gate { .. }
            | Trigger::Drill
            | Trigger::Unrecorded { .. }
            | Trigger::WindowClosed { .. } => Vec::new(),
        };
        let phase = rollout.phases.iter().rev().find(|phase| phase.record.is_some());
        Self {
            rollout: rollout.id,
            trigger: name(&record.trigger),
            why: record.trigger.to_string(),
            figures: alarm.map(|alarm| alarm.figures.clone()).unwrap_or_default(),
            agents: blamed,
            shared: alarm.is_some_and(|alarm| alarm.shared),
            phase: phase.map(|phase| phase.name.to_string()),
            at_s: began,
            detect_s: seconds(record.detection()),
            execute_s: seconds(record.execution()),
            validate_s: seconds(record.validation()),
            total_s: seconds(record.end_to_end()),
            limits: spans(record).map(Limit::from),
            also: record.also.iter().map(ToString::to_string).collect(),
            evidence: None,
        }
    }

    pub(crate) fn text(&self) -> Vec<String> {
        const WIDTH: usize = 88;
        let mut lines = Vec::new();
        let mut say = |label: &str, text: &str| {
            for (at, line) in wrap(text, WIDTH).into_iter().enumerate() {
                lines.push(format!("{:<10} {line}", if at == 0 { label } else { "" }).trim_end().to_owned());
            }
        };
        say("fired", &self.why);
        if !self.figures.is_empty() {
            say("figures", &self.figures.iter().map(figure).collect::<Vec<_>>().join(" · "));
        }
        if !self.agents.is_empty() {
            say("points at", &some(self.agents.iter().map(String::as_str), 6));
        }
        if self.shared {
            say("", "blue suffered as well");
        }
        let phase = self.phase.as_ref().map_or_else(String::new, |phase| format!(", in phase {phase}"));
        say("when", &format!("{:.1} s after the rollout was started{phase}", self.at_s));
        for also in &self.also {
            say("then", also);
        }
        lines.push(String::new());
        for Limit { id, what, seconds, limit_s, met } in &self.limits {
            let took = seconds.map_or_else(|| "–".to_owned(), |seconds| format!("{seconds:.1} s"));
            let met = match met {
                Some(true) => "met",
                Some(false) => "not met",
                None => "not measured",
            };
            lines.push(format!("{what:<15} {id} {took:>9}  of {limit_s:>3.0} s  {met}"));
        }
        lines.push(String::new());
        match &self.evidence {
            Some(path) => lines.push(format!("evidence   {}", path.display())),
            None => lines.push("evidence   none was written".to_owned()),
        }
        lines
    }
}

fn name(trigger: &Trigger) -> String {
    match trigger {
        Trigger::Operator { .. } => "operator".to_owned(),
        Trigger::Gate { .. } => "gate".to_owned(),
        Trigger::CrashLoop { .. } => "crash_loop".to_owned(),
        Trigger::OutOfMemory { .. } => "out_of_memory".to_owned(),
        Trigger::Alarm(alarm) => alarm.kind.name().replace(' ', "_").to_lowercase(),
        Trigger::Drill => "drill".to_owned(),
        Trigger::Unrecorded { .. } => "unrecorded".to_owned(),
        Trigger::WindowClosed { .. } => "window_closed".to_owned(),
    }
}

/// `error rate 31.2 % (limit 5 %)`.
fn figure(figure: &Figure) -> String {
    let value = |value: f64| match figure.unit.as_str() {
        "" => number(value),
        unit => format!("{} {unit}", number(value)),
    };
    let limit = figure.limit.map_or_else(String::new, |limit| format!(" (limit {})", value(limit)));
    format!("{} {}{limit}", figure.name, value(figure.value))
}

fn number(value: f64) -> String {
    if (value - value.round()).abs() < 0.05 { format!("{value:.0}") } else { format!("{value:.1}") }
}
