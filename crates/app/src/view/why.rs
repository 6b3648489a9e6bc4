//! `rollout show --why`: what to do now, then every decision in order with the numbers that it rests on.

use bellwether_core::{
    analysis::{GateReport, Judgement, Verdict},
    rollout::{ApprovalRecord, Consent, PhaseView, RollbackRecord, RolloutView, State, Trigger},
    spec::Approval,
    time::UnixMillis,
    watch::{Alarm, Figure},
};

use super::{
    advice::advice,
    describe::{finding, tries_again},
    words::{clock, moment, stage},
};
use crate::{
    limits::{Span, spans},
    wording::{counted, figure, grouped, some, wrap},
};

const WIDTH: usize = 100;
/// Where what belongs to a decision begins.
const INDENT: usize = 11;

pub(crate) fn why(rollout: &RolloutView, criteria: &[Judgement]) -> Vec<String> {
    let mut lines = vec![
        format!(
            "rollout {} · release {} · started by {} on {}",
            rollout.id,
            rollout.release,
            rollout.by,
            moment(rollout.started)
        ),
        stage(rollout),
        String::new(),
        "What to do now".to_owned(),
    ];
    for (i, sentence) in advice(rollout).iter().enumerate() {
        for (k, line) in wrap(sentence, WIDTH - 5).into_iter().enumerate() {
            lines.push(if k == 0 { format!("  {}. {line}", i + 1) } else { format!("     {line}") });
        }
    }
    lines.push(String::new());
    lines.push("What was decided, and on what numbers".to_owned());
    let mut story = Story { rollout, told: Vec::new() };
    story.beginning(criteria);
    story.phases();
    story.parts();
    story.rollback();
    story.clock();
    story.end();
    lines.extend(story.lines());
    let folders = evidence(rollout);
    if !folders.is_empty() {
        lines.push(String::new());
        lines.push("Evidence, in the state directory of `serve`".to_owned());
        lines.extend(folders.iter().map(|folder| format!("  {folder} (index.html, or page.txt on a terminal)")));
    }
    lines
}

/// Folders with what fired, the last minutes of every metric, and logs; relative to the state directory.
pub(crate) fn evidence(rollout: &RolloutView) -> Vec<String> {
    let whole = rollout.rollback.iter().map(|_| format!("evidence/rollout-{}", rollout.id));
    let parts = (1..=rollout.retreats.len()).map(|part| format!("evidence/rollout-{}-part-{part}", rollout.id));
    whole.chain(parts).collect()
}

/// Decisions with their time; what belongs to each stands below it.
struct Story<'r> {
    rollout: &'r RolloutView,
    told: Vec<(UnixMillis, String, Vec<String>)>,
}

impl Story<'_> {
    fn tell(&mut self, at: UnixMillis, what: impl Into<String>, details: Vec<String>) {
        self.told.push((at, what.into(), details));
    }

    /// In the order of time; what happened at the same moment stays in the order in which it was told.
    fn lines(mut self) -> Vec<String> {
        self.told.sort_by_key(|(at, ..)| *at);
        let started = self.rollout.started;
        let mut lines = Vec::new();
        for (at, what, details) in self.told {
            let since = at.since(started);
            let stamp = if since.0 < 1000 { "+0s".to_owned() } else { format!("+{since}") };
            for (i, line) in wrap(&what, WIDTH - INDENT).into_iter().enumerate() {
                let stamp = if i == 0 { stamp.as_str() } else { "" };
                lines.push(format!("  {stamp:<width$}{line}", width = INDENT - 2));
            }
            lines.extend(details.iter().map(|line| format!("{:INDENT$}{line}", "").trim_end().to_owned()));
        }
        lines
    }

    fn beginning(&mut self, criteria: &[Judgement]) {
        let rollout = self.rollout;
        let agents = rollout.phases.last().map_or(0, |phase| phase.agents_cumulative);
        let speed = if (rollout.speed - 1.0).abs() < f64::EPSILON {
            String::new()
        } else {
            format!(", at speed {}", rollout.speed)
        };
        let (agents, phases) = (counted(agents, "agent", "agents"), counted(rollout.phases.len(), "phase", "phases"));
        let by = &rollout.by;
        let what = match rollout.drill {
            true => format!("drill asked for by {by}: the first agents move to green and back"),
            false => format!("started by {by}: {agents} in {phases}{speed}"),
        };
        let over = rollout.freeze_override.as_ref();
        let over = over.map(|over| format!("freeze windows do not count, as {} says: {}", over.by, over.why));
        let again = rollout.again.iter().flat_map(|again| wrap(&tries_again(again), WIDTH - INDENT));
        self.tell(rollout.started, what, again.chain(over).collect());
        if let Some(refused) = &rollout.refused {
            let at = rollout.ended.unwrap_or(rollout.started);
            self.tell(at, format!("refused: the baseline cannot serve, as {refused}"), Vec::new());
        }
        let Some(first) = rollout.phases.first().and_then(|phase| phase.record.as_ref()) else { return };
        let measured = criteria.iter().filter_map(|judgement| {
            Some(format!(
                "{:<5}{:<26}{} {}",
                judgement.id,
                judgement.metric,
                figure(judgement.baseline?),
                judgement.unit
            ))
        });
        let span = first.began.since(rollout.started);
        self.tell(first.began, format!("the baseline was measured, for {span}"), measured.collect());
    }

    fn phases(&mut self) {
        let of = self.rollout.phases.len();
        for (i, phase) in self.rollout.phases.iter().enumerate() {
            let head = format!("phase {} of {of}, {}", i + 1, phase.name);
            self.approval(&head, phase);
            let Some(record) = &phase.record else { continue };
            let batches = counted(phase.batches, "batch", "batches");
            let moves = counted(phase.agents, "agent moves", "agents move");
            let then = phase.agents_cumulative;
            self.tell(
                record.began,
                format!("{head}: {moves} to green in {batches}, {then} are on green then"),
                Vec::new(),
            );
            if let Some(at) = record.bake_began {
                self.tell(at, format!("{head}: on green; bakes for {}", phase.bake), Vec::new());
            }
            if let Some(report) = &record.report {
                let at = record.ended.unwrap_or(record.began + phase.bake);
                self.gate(at, &format!("{head}: judged"), report, Some(phase));
            }
        }
        let Some(record) = &self.rollout.validation else { return };
        self.tell(record.began, "validation: all agents are on green, and are judged once more", Vec::new());
        if let Some(report) = &record.report {
            self.gate(record.ended.unwrap_or(record.began), "validation: judged", report, None);
        }
    }

    /// That it waited for a person, and who let it begin.
    fn approval(&mut self, head: &str, phase: &PhaseView) {
        let Some(ApprovalRecord { asked, given, .. }) = &phase.approved else { return };
        let whom = match phase.approval {
            Approval::Other => format!(" of somebody else than {}", self.rollout.by),
            Approval::None | Approval::Required => String::new(),
        };
        self.tell(*asked, format!("{head}: waits for an approval{whom}"), Vec::new());
        if let Some(Consent { by, why, at }) = given {
            let why = if why.is_empty() { String::new() } else { format!(": {why}") };
            self.tell(*at, format!("{head}: approved by {by} after {}{why}", at.since(*asked)), Vec::new());
        }
    }

    fn gate(&mut self, at: UnixMillis, head: &str, report: &GateReport, phase: Option<&PhaseView>) {
        let verdict = match (report.verdict(), phase.and_then(|phase| phase.record.as_ref()?.ended)) {
            (Verdict::Pass, _) => "passed: the rollout goes on",
            (Verdict::Fail, _) => "failed: harm was found",
            (Verdict::Inconclusive, Some(_)) => "cannot tell; it was left without a verdict",
            (Verdict::Inconclusive, None) => "cannot tell yet",
        };
        let details = report.judgements.iter().flat_map(judged).collect();
        self.tell(at, format!("{head}: {verdict}"), details);
    }

    fn parts(&mut self) {
        for part in &self.rollout.retreats {
            let names = some(part.agents.iter().map(|agent| agent.as_str()), 6);
            let count = counted(part.agents.len(), "agent", "agents");
            let head = format!("a part is held on blue from here on, {count}: {names}");
            self.undone(&head, &part.record);
        }
    }

    fn rollback(&mut self) {
        let Some(record) = &self.rollout.rollback else { return };
        self.undone("everything was taken back", record);
    }

    fn clock(&mut self) {
        for (at, jump) in &self.rollout.clock_jumps {
            let what = format!(
                "the machine's clock went {jump}: set by somebody, or the machine slept. Bakes and limits went on by time \
                 that passed; times shown from before do not compare with those after"
            );
            self.tell(*at, what, Vec::new());
        }
    }

    fn undone(&mut self, head: &str, record: &RollbackRecord) {
        let mut details = because(&record.trigger);
        for also in &record.also {
            details.extend(wrap(&format!("then: {also}"), WIDTH - INDENT));
        }
        let known = |span: &&Span| span.took.is_some() || span.requirement != "R46";
        details.extend(spans(record).iter().filter(known).map(timed));
        if let Some(fault) = &record.fault {
            details.extend(wrap(&format!("blue is not well: {fault}"), WIDTH - INDENT));
        }
        self.tell(record.began, head, details);
    }

    fn end(&mut self) {
        let rollout = self.rollout;
        if let Some(window) = &rollout.window
            && let Some(closed) = window.closed
        {
            self.tell(closed, format!("its window of {} closed before it was done", window.window), Vec::new());
        }
        if let Some(paused) = &rollout.paused {
            let at = self.told.iter().map(|(at, ..)| *at).max().unwrap_or(rollout.started);
            let why = format!("{} ({})", super::words::paused(paused), "since then it waits");
            self.tell(at, why, Vec::new());
        }
        let Some(ended) = rollout.ended else { return };
        let how = match rollout.state {
            State::Completed => "completed: all agents are on green, and blue is held for a rollback",
            State::Committed => "committed: blue was given up",
            State::RolledBack => "rolled back: all agents are on blue",
            State::NeedsAttention => "needs attention: the rollback did not come to its end",
            State::PreflightFailed
            | State::Preflight
            | State::Progressing { .. }
            | State::Validating { .. }
            | State::RollingBack { .. } => return,
        };
        self.tell(ended, how, Vec::new());
    }
}

/// One criterion: its figures in a row, then the sentence that says what they mean.
fn judged(judgement: &Judgement) -> Vec<String> {
    let Judgement { id, metric, unit, baseline, value, limit, samples, smallest_harm, why, .. } = judgement;
    let shown = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), figure);
    let mut lines = vec![format!("{id:<5}{metric}, {unit}: {}", finding(judgement))];
    let mut figures = format!(
        "baseline {} · green {} · limit {} · {} samples",
        shown(*baseline),
        shown(*value),
        figure(*limit),
        grouped(*samples)
    );
    if let Some(harm) = smallest_harm {
        figures.push_str(&format!(" · harm from {} {unit} on would have been caught", figure(*harm)));
    }
    lines.extend(
        [figures.as_str(), why]
            .iter()
            .flat_map(|text| wrap(text, WIDTH - INDENT - 5))
            .map(|line| format!("     {line}")),
    );
    lines
}

/// What began a rollback, with its figures.
fn because(trigger: &Trigger) -> Vec<String> {
    let mut lines = wrap(&format!("because: {trigger}"), WIDTH - INDENT);
    let Trigger::Alarm(alarm) = trigger else { return lines };
    let Alarm { shared, harm_began, agents, types, figures, .. } = &**alarm;
    lines.push(format!("the first harm reached the gateway, or the limit was crossed, at {}", clock(*harm_began)));
    if !agents.is_empty() {
        lines.push(format!("points at {}", some(agents.iter().map(|agent| agent.as_str()), 6)));
    }
    if !types.is_empty() {
        lines.push(format!(
            "of {} {}",
            if types.len() == 1 { "type" } else { "types" },
            some(types.iter().map(|t| t.as_str()), 6)
        ));
    }
    if *shared {
        lines.push("blue suffers as well, so green alone is not what is at fault".to_owned());
    }
    lines.extend(figures.iter().map(number));
    lines
}

/// `errors of green  12.4 %, limit 5 %`; odds as `113 to 1`.
fn number(one: &Figure) -> String {
    let Figure { name, value, limit, unit } = one;
    let shown = |value: f64| match unit.as_str() {
        "" => figure(value),
        ":1" => format!("{} to 1", figure(value)),
        unit => format!("{} {unit}", figure(value)),
    };
    let limit = limit.map_or(String::new(), |limit| format!(", limit {}", shown(limit)));
    format!("  {name:<30} {}{limit}", shown(*value))
}

fn timed(span: &Span) -> String {
    let took = span.took.map_or_else(|| "–".to_owned(), |took| took.to_string());
    let kept = match span.is_kept() {
        Some(true) => "kept",
        Some(false) => "MISSED",
        None => "not yet",
    };
    format!("  {:<30} {took}, {} below {}: {kept}", span.name, span.requirement, span.limit)
}
