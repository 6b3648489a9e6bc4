//! What `bellwether-sim` prints: a line per scenario, and for each failure how to have it again.

use std::{io::Write, time::Duration};

use bellwether_sim::{End, Failure, Outcome, Scenario, Trials};

use crate::args::written;

/// Failures of one scenario that are told in full.
const TOLD: usize = 3;

pub(crate) fn head() {
    println!(
        "{:<14} {:>5} {:>9} {:>11} {:>9} {:>8} {:>9} {:>11} {:>9}",
        "scenario", "runs", "completed", "rolled back", "attention", "crashes", "hours p50", "unavailable", "wall"
    );
}

pub(crate) fn row(scenario: &Scenario, outcomes: &[Outcome], failed: usize, wall: Duration) {
    let unavailable: f64 = outcomes.iter().map(|outcome| outcome.unavailable.as_secs_f64()).sum();
    println!(
        "{:<14} {:>5} {:>9} {:>11} {:>9} {:>8} {:>9.1} {:>10.0}s {:>8.1}s{}",
        scenario.name,
        outcomes.len() + failed,
        count(outcomes, End::Committed),
        count(outcomes, End::RolledBack),
        outcomes.iter().filter(|outcome| outcome.needed_attention).count(),
        outcomes.iter().map(|outcome| outcome.crashes).sum::<u64>(),
        median_secs(outcomes) / 3600.0,
        unavailable,
        wall.as_secs_f64(),
        told_as_failed(failed),
    );
    std::io::stdout().flush().ok();
}

pub(crate) fn points_head() {
    println!(
        "{:<10} {:>6} {:>7} {:>7} {:>9} {:>11} {:>7} {:>9} {:>11} {:>9}",
        "play", "places", "deaths", "runs", "completed", "rolled back", "refused", "attention", "minutes p50", "wall"
    );
}

pub(crate) fn points_row(play: &Scenario, trials: &Trials, outcomes: &[Outcome], failed: usize, wall: Duration) {
    println!(
        "{:<10} {:>6} {:>7} {:>7} {:>9} {:>11} {:>7} {:>9} {:>11.1} {:>8.1}s{}",
        play.name,
        trials.spots,
        trials.possible,
        outcomes.len() + failed,
        count(outcomes, End::Committed),
        count(outcomes, End::RolledBack),
        count(outcomes, End::Refused),
        outcomes.iter().filter(|outcome| outcome.needed_attention).count(),
        median_secs(outcomes) / 60.0,
        wall.as_secs_f64(),
        told_as_failed(failed),
    );
    std::io::stdout().flush().ok();
}

pub(crate) fn failures(failures: &[Failure]) {
    for Failure { job, violation, last } in failures.iter().take(TOLD) {
        let (seed, name) = (job.seed, job.scenario.name);
        let agents = job.agents;
        if job.scenario.brisk {
            let deaths = written(&job.deaths);
            println!("\nFAILED  play {name}, seed {seed}, {deaths}: {violation}");
            last.iter().for_each(|line| println!("  {line}"));
            println!(
                "again with: cargo xtask sim --crash-points --play {name} --seed {seed} --agents {agents} \
                 --dies {deaths}\n"
            );
        } else {
            println!("\nFAILED  seed {seed}, scenario {name}: {violation}");
            last.iter().for_each(|line| println!("  {line}"));
            println!("again with: cargo xtask sim --seed {seed} --scenario {name} --agents {agents}\n");
        }
    }
    if failures.len() > TOLD {
        println!("  … and {} more failures of this kind", failures.len() - TOLD);
    }
}

pub(crate) fn sum(passed: usize, failed: usize, wall: Duration) {
    #[expect(clippy::cast_precision_loss, reason = "counts of runs")]
    let rate = (passed + failed) as f64 / wall.as_secs_f64().max(1e-9);
    println!("{passed} passed, {failed} failed, {rate:.0} runs/s");
}

fn count(outcomes: &[Outcome], end: End) -> usize {
    outcomes.iter().filter(|outcome| outcome.end == end).count()
}

fn median_secs(outcomes: &[Outcome]) -> f64 {
    let mut took: Vec<f64> = outcomes.iter().map(|outcome| outcome.took.as_secs_f64()).collect();
    took.sort_by(f64::total_cmp);
    took.get(took.len() / 2).copied().unwrap_or(0.0)
}

fn told_as_failed(failed: usize) -> String {
    if failed > 0 { format!("  {failed} FAILED") } else { String::new() }
}
