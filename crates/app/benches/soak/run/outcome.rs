//! What the run found, and whether it is as it has to be.

use std::time::Instant;

use serde::Serialize;
use serde_json::Value;

use super::{Plan, held::Held, kills::Killed, results::Results};
use crate::common::{account::Account, control};

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) seed: u64,
    pub(crate) agents: usize,
    pub(crate) out: Way,
    pub(crate) back: Way,
    pub(crate) killed: Killed,
    pub(crate) account: Account,
    pub(crate) held: Held,
    pub(crate) results: Results,
}

/// To green, or back.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Way {
    pub(crate) state: String,
    pub(crate) seconds: f64,
    /// Agents that were where they were to go when it was over.
    pub(crate) arrived: usize,
    /// Why it ended otherwise than it should.
    pub(crate) because: Option<String>,
}

impl Way {
    pub(super) fn of(status: &Value, began: Instant, arrived: usize) -> Self {
        let record = &status["rollout"]["rollback"];
        Self {
            state: control::state(status).to_owned(),
            seconds: began.elapsed().as_secs_f64(),
            arrived,
            because: (!record.is_null()).then(|| record.to_string()),
        }
    }
}

impl Outcome {
    pub(crate) fn reattempted(&self) -> u64 {
        self.account.attempts.range(2..).map(|(_, tasks)| tasks).sum()
    }

    /// What must not be, in words. Nothing: the run has passed.
    pub(crate) fn violations(&self, plan: &Plan) -> Vec<String> {
        let Self { out, back, killed, account, held, results, .. } = self;
        let tasks = account.tasks;
        let mut found = Vec::new();
        let mut hold = |holds: bool, what: String| {
            if !holds {
                found.push(what);
            }
        };
        hold(tasks.lost == 0, format!("{} tasks lost: {}", tasks.lost, account.lost_ids.join(", ")));
        hold(tasks.duplicated == 0, format!("{} tasks accepted twice", tasks.duplicated));
        hold(tasks.failed == 0, format!("{} tasks ended without being completed", tasks.failed));
        hold(
            account.requests.failed == 0,
            format!("{} submissions failed: {:?}", account.requests.failed, account.refusals),
        );
        hold(tasks.submitted >= plan.tasks, format!("{} tasks accepted, {} were to be", tasks.submitted, plan.tasks));
        hold(
            held.open() == 0 && held.completed == tasks.completed,
            format!("the gateway has {} open tasks and {} completed ones", held.open(), held.completed),
        );
        hold(results.empty == 0, format!("{} tasks completed with nothing in their result", results.empty));
        hold(results.missing == 0, format!("{} tasks are not there, or not completed", results.missing));
        hold(out.state == "completed", format!("the rollout ended {}: {}", out.state, because(out)));
        hold(back.state == "rolled_back", format!("the rollback ended {}: {}", back.state, because(back)));
        for (victim, _) in plan.kills.victims() {
            hold(killed.count(victim) > 0, format!("no {victim} was killed"));
        }
        let tested = plan.kills.agent.is_none() || self.reattempted() > 0;
        hold(tested, "no task was tried twice, so this run tested nothing".to_owned());
        found
    }
}

fn because(way: &Way) -> &str {
    way.because.as_deref().unwrap_or("it does not say why")
}
