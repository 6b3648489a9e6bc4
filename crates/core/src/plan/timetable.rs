//! A plan against the calendar: the freeze windows that lie ahead of it, and where they would hold it up.
//!
//! Windows come in as moments: the shell has resolved weeks and time zones. Nothing of it is decided anew while the
//! plan is carried out.

use serde::{Deserialize, Serialize};

use super::{Batch, Plan, outlook};
use crate::time::{Millis, UnixMillis};

/// In this span no rollout begins, and none that runs goes a step further.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freeze {
    pub name: String,
    pub from: UnixMillis,
    /// The first moment after it.
    pub to: UnixMillis,
    /// The same for people, in the time zone of the fleet file.
    pub ends: String,
}

/// Somebody answers for it that a rollout pays no heed to freeze windows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FreezeOverride {
    pub by: String,
    pub why: String,
}

/// What a plan that begins at a certain moment would have to wait for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timetable {
    /// Where the plan begins: it is refused in a freeze window, so this is what there is to be waited for.
    pub start: Option<Wait>,
    /// In their order.
    pub waits: Vec<Wait>,
    /// From the start to the end of the validation, with what is waited for.
    pub lasts: Millis,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// The name of the freeze window.
    pub freeze: String,
    /// What would begin in it, such as `phase limited`.
    pub what: String,
    pub span: Millis,
    /// When the window ends, for people.
    pub ends: String,
}

impl Plan {
    /// The window that is open at this moment. Of several the one that ends last.
    pub fn freeze_at(&self, at: UnixMillis) -> Option<&Freeze> {
        let open = self.freezes.iter().filter(|freeze| freeze.from <= at && at < freeze.to);
        open.max_by_key(|freeze| freeze.to)
    }

    /// This plan among the freeze windows that lie ahead, with what it would wait for if it began at `at`.
    #[must_use]
    pub fn among(mut self, freezes: Vec<Freeze>, at: UnixMillis) -> Self {
        self.freezes = freezes;
        self.outlook.timetable = Some(timetable(&self, at));
        self
    }

    /// The window less what is planned and the time to move agents: so much can be spent on longer bakes.
    pub fn window_buffer(&self) -> Option<Millis> {
        Some(self.window? - self.outlook.schedule.expected())
    }
}

fn timetable(plan: &Plan, at: UnixMillis) -> Timetable {
    let mut walk = Walk { plan, at, waits: Vec::new() };
    walk.wait("the rollout");
    let start = std::mem::take(&mut walk.waits);
    let began = walk.at;
    walk.at = walk.at + plan.baseline;
    for phase in &plan.phases {
        let bake = if phase.second_half.is_some() { phase.bake.compressed(2.0) } else { phase.bake };
        for (i, batch) in phase.batches.iter().enumerate() {
            if phase.second_half == Some(i) {
                walk.at = walk.at + bake;
                walk.wait(&format!("the second half of phase {}", phase.name));
            } else if i == 0 {
                walk.wait(&format!("phase {}", phase.name));
            }
            walk.through(&format!("batch {} of phase {}", i + 1, phase.name), batch);
            if plan.drill {
                return Timetable { start: whole(start), waits: walk.waits, lasts: walk.at.since(began) };
            }
        }
        walk.at = walk.at + bake;
    }
    walk.at = walk.at + plan.validation;
    let lasts = walk.at.since(began);
    walk.at = walk.at + plan.rollback_window;
    walk.wait("the removal of blue");
    Timetable { start: whole(start), waits: walk.waits, lasts }
}

/// Windows that follow each other without a gap are one wait, for the end of the last.
fn whole(waits: Vec<Wait>) -> Option<Wait> {
    let span = waits.iter().fold(Millis::ZERO, |sum, wait| sum + wait.span);
    waits.into_iter().next_back().map(|last| Wait { span, ..last })
}

struct Walk<'p> {
    plan: &'p Plan,
    at: UnixMillis,
    waits: Vec<Wait>,
}

impl Walk<'_> {
    fn wait(&mut self, what: &str) {
        if self.plan.freeze_override.is_some() {
            return;
        }
        while let Some(freeze) = self.plan.freeze_at(self.at) {
            self.waits.push(Wait {
                freeze: freeze.name.clone(),
                what: what.to_owned(),
                span: freeze.to.since(self.at),
                ends: freeze.ends.clone(),
            });
            self.at = freeze.to;
        }
    }

    /// Greens may be started before a window begins, and have to wait for their traffic then.
    fn through(&mut self, what: &str, batch: &Batch) {
        self.wait(what);
        self.at = self.at + outlook::moving(self.plan, &self.plan.outlook.try_outs, batch);
        self.wait(&format!("the cutover of {what}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_without_a_gap_are_one() {
        let wait = |name: &str, span| Wait {
            freeze: name.into(),
            what: "the rollout".into(),
            span: Millis(span),
            ends: name.to_uppercase(),
        };
        assert_eq!(whole(vec![wait("a", 5), wait("b", 7)]), Some(Wait { span: Millis(12), ..wait("b", 0) }));
        assert_eq!(whole(Vec::new()), None);
    }
}
