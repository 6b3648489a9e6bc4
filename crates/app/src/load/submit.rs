//! Arrivals: exponential gaps, drawn from the seed, kept to the clock and not to the answers.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::{select, task::JoinSet, time::sleep};

use super::{Run, client::Refusal, prompt::prompt};

/// Submissions without an answer. What would come on top is counted as failed.
const IN_FLIGHT_MAX: usize = 1024;
const AGAIN_FIRST: Duration = Duration::from_millis(50);
const AGAIN_LONGEST: Duration = Duration::from_secs(1);

pub(super) async fn submit(run: Arc<Run>) {
    let mut chance = fastrand::Rng::with_seed(run.options.seed);
    let mut in_flight = JoinSet::new();
    let mut due = Duration::ZERO;
    let mut left = run.options.tasks.unwrap_or(u64::MAX);
    while left > 0 {
        due += gap(run.options.rate, &mut chance);
        select! {
            biased;
            () = run.stop.cancelled() => break,
            () = sleep(due.saturating_sub(run.now())) => {}
        }
        left -= 1;
        while in_flight.try_join_next().is_some() {}
        // Counted from when it was due: a generator that is late must not make the system look fast.
        let number = run.ledger().send(due);
        if in_flight.len() >= IN_FLIGHT_MAX {
            run.ledger().refused(number, Refusal::TooManyInFlight);
            continue;
        }
        let id = format!("{}-{number}", run.name);
        let (field, target) = run.options.targets.pick(&mut chance).field();
        let prompt = prompt(number, run.options.prompt_tokens, run.options.output_tokens, &mut chance);
        let task = json!({ "id": id, field: target, "prompt": prompt });
        let run = run.clone();
        in_flight.spawn(async move {
            let answer = until_answered(&run, &id, &task).await;
            let now = run.now();
            let mut ledger = run.ledger();
            match answer {
                Ok(()) => ledger.accepted(number, now),
                Err(refusal) => ledger.refused(number, refusal),
            }
        });
    }
    while in_flight.join_next().await.is_some() {}
    if left == 0 {
        run.spent.cancel();
    }
}

/// An answer that was lost says nothing of the task; the same submission under the same id asks again and adds nothing.
async fn until_answered(run: &Run, id: &str, task: &Value) -> Result<(), Refusal> {
    let deadline = run.now() + run.options.repeat_for;
    let mut again = AGAIN_FIRST;
    loop {
        match run.client.submit(id, task).await {
            Err(refusal) if refusal.is_no_answer() && run.now() + again < deadline => {
                run.ledger().unanswered(refusal);
                sleep(again).await;
                again = (again * 2).min(AGAIN_LONGEST);
            }
            answered => return answered,
        }
    }
}

/// The time to the next arrival of a Poisson process.
fn gap(rate: f64, chance: &mut fastrand::Rng) -> Duration {
    Duration::try_from_secs_f64(-(1.0 - chance.f64()).ln() / rate).unwrap_or(Duration::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_exponential() {
        let mut chance = fastrand::Rng::with_seed(1);
        let gaps: Vec<f64> = (0..20_000).map(|_| gap(30.0, &mut chance).as_secs_f64()).collect();
        let n = gaps.len() as f64;
        let mean = gaps.iter().sum::<f64>() / n;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / n;
        assert!((mean * 30.0 - 1.0).abs() < 0.03, "{mean}");
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.05, "{variance}");
    }
}
