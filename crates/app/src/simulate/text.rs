//! The report as a person reads it.

use bellwether_core::{spec::unit::Size, time::Millis};
use bellwether_sim::simulate::{Ending, Phase, Spread};

use super::Report;
use crate::wording::{counted, grouped};

/// Seeds of broken runs that are named.
const NAMED: usize = 5;

pub(crate) fn render(report: &Report) -> String {
    let mut out = String::new();
    let summary = &report.summary;
    line(&mut out, &head(report));
    for fault in &report.faults {
        line(&mut out, &format!("  with a fault: {fault}"));
    }
    line(&mut out, "");
    for (ending, count) in &summary.endings {
        row(&mut out, words(*ending), &format!("{count:>5}  {:>3.0} %", percent(*count, summary.runs)));
        for (_, why, times) in summary.reasons.iter().filter(|(of, _, _)| of == ending) {
            row(&mut out, "", &format!("{times:>5}  {why}"));
        }
    }
    if !report.broken.is_empty() {
        row(&mut out, "broke an invariant", &format!("{:>5}", report.broken.len()));
    }
    line(&mut out, "");
    spreads(&mut out, report);
    line(&mut out, "");
    let (peak, ceiling) = (summary.memory_peak_bytes, summary.memory_ceiling_bytes);
    row(&mut out, "memory", &format!("at most {} of the ledger's {}", Size(peak), Size(ceiling)));
    let unavailable = summary.unavailable_max;
    if unavailable > Millis::ZERO {
        row(&mut out, "without instance", &format!("at most {unavailable} in one run, all agents together"));
    }
    row(&mut out, "tasks", &tasks(report));
    if summary.tasks_refused > 0 {
        let refused = grouped(summary.tasks_refused);
        row(&mut out, "", &format!("{refused} more were refused: there was more work than the slots could do"));
    }
    line(&mut out, "");
    line(&mut out, "What the time went to, on average:");
    for phase in &summary.phases {
        row(&mut out, &phase.name, &phase_words(phase, ceiling));
    }
    for (spent, span) in &summary.around {
        row(&mut out, spent.words(), &span.to_string());
    }
    line(&mut out, "");
    line(&mut out, "Assumed, not measured:");
    for assumed in &report.assumed {
        line(&mut out, &format!("  {assumed}"));
    }
    for breach in report.broken.iter().take(NAMED) {
        line(&mut out, &format!("seed {}: {}", breach.seed, breach.what));
    }
    out
}

fn head(report: &Report) -> String {
    let runs = report.summary.runs + report.broken.len();
    let seeds = match report.seeds {
        (first, last) if first == last => format!("seed {first}"),
        (first, last) => format!("seeds {first} to {last}"),
    };
    format!(
        "{} of release {} on fleet {}: {} of {}, {} ({seeds})",
        counted(runs, "run", "runs"),
        report.release,
        report.fleet,
        report.moved,
        counted(report.agents, "agent", "agents"),
        counted(report.slots as usize, "inference slot", "inference slots"),
    )
}

fn spreads(out: &mut String, report: &Report) {
    let summary = &report.summary;
    let none = summary.duration.is_none() && summary.ways_back == 0;
    if none {
        return row(out, "times", "none: no run completed, and none came back");
    }
    line(out, &format!("{:<20} {:>9} {:>9} {:>9} {:>9}", "", "p5", "p50", "p95", "max"));
    let mut spread = |name: &str, spread: Option<Spread>, note: &str| {
        if let Some(Spread { p5, p50, p95, max, .. }) = spread {
            let text = format!(
                "{name:<20} {:>9} {:>9} {:>9} {:>9}  {note}",
                p5.to_string(),
                p50.to_string(),
                p95.to_string(),
                max.to_string()
            );
            line(out, text.trim_end());
        }
    };
    let planned = format!("planned {}, at most {}", report.planned, report.at_most);
    spread("completed after", summary.duration, &planned);
    spread("harm to decision", summary.detection, "R46: 30s");
    spread("traffic on blue", summary.execution, "R47: 60s");
    spread("blue validated", summary.validation, "R48: 2m");
    spread("all of the way back", summary.end_to_end, "R49: 3m30s");
}

fn phase_words(phase: &Phase, ceiling: u64) -> String {
    if phase.entered == 0 {
        return "never entered".to_owned();
    }
    let total: u64 = phase.spent.iter().map(|(_, span)| span.0).sum();
    let mut text = format!(
        "{} in {}, {}",
        counted(phase.agents, "agent", "agents"),
        counted(phase.batches, "batch", "batches"),
        Millis(total)
    );
    let mut spent = phase.spent.clone();
    spent.sort_by_key(|(_, span)| std::cmp::Reverse(*span));
    let shown = spent.iter().filter(|(_, span)| *span >= Millis::from_secs(1));
    let parts: Vec<String> = shown.map(|(spent, span)| format!("{} {span}", spent.words())).collect();
    if !parts.is_empty() {
        text.push_str(&format!(": {}", parts.join(", ")));
    }
    let memory = 100 * phase.memory_peak_bytes / ceiling.max(1);
    if phase.not_warm > 0 {
        text.push_str(&format!("; limited by memory: {} of its blues cannot stay warm", phase.not_warm));
    } else if memory >= 95 {
        text.push_str(&format!("; its largest batch takes {memory} % of the memory"));
    }
    text
}

fn words(ending: Ending) -> &'static str {
    match ending {
        Ending::Completed => "completed",
        Ending::RolledBack => "rolled back",
        Ending::Paused => "waits for a person",
        Ending::NeedsAttention => "needs attention",
        Ending::Refused => "preflight failed",
        Ending::Unfinished => "not over in time",
    }
}

fn tasks(report: &Report) -> String {
    let summary = &report.summary;
    format!(
        "{} submitted, {} attempts failed, {} leases lost",
        grouped(summary.tasks),
        grouped(summary.tasks_failed),
        grouped(summary.leases_lost)
    )
}

fn percent(count: usize, of: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts of runs")]
    let percent = 100.0 * count as f64 / of.max(1) as f64;
    percent
}

fn row(out: &mut String, name: &str, text: &str) {
    line(out, format!("{name:<20} {text}").trim_end());
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use bellwether_core::{
        plan::{Measured, make},
        spec::{Sources, parse_fleet, parse_release},
    };
    use bellwether_sim::simulate::{Fault, Load, Study};

    use super::*;

    const FLEET: &str = "\
version: 1
fleet: shop
host: {memory: 4GiB, reserve: 1GiB}
agents:
  list:
    - {name: a, type: writer, command: [agent], model: m}
    - {name: b, type: writer, command: [agent], model: m}
    - {name: c, type: writer, command: [agent], model: m}
    - {name: d, type: reader, command: [agent], model: m}
rollout:
  baseline: 5m
  validation: 5m
  phases:
    - {name: canary, select: {agents: [a]}, bake: 5m, thin_evidence: accept}
    - {name: rest, select: rest, bake: 10m, thin_evidence: accept}
";
    const RELEASE: &str = "version: 1\nrelease: v2\nset: {command: [agent, --new]}\n";

    fn report(faults: &[&str], seeds: std::ops::RangeInclusive<u64>) -> Report {
        let read = |_: &str| Err("there is none".to_owned());
        let spec = parse_fleet(&Sources { name: "fleet.yaml", text: FLEET, read: &read }).expect("it is sound");
        let release = parse_release("release.yaml", RELEASE).expect("it is sound");
        let plan = make(&spec, &release, &Measured::default(), 1.0).expect("it fits");
        let faults: Vec<Fault> = faults.iter().map(|fault| fault.parse().expect("it is one")).collect();
        let load = Load::usual(2, Millis::from_secs(2));
        let study = Study::new(spec.clone(), plan.clone(), load, &faults);
        let runs: Vec<_> = seeds.map(|seed| study.run(seed).expect("it keeps every promise")).collect();
        Report::new(&spec, &plan, &faults, load, true, &runs, &[])
    }

    #[test]
    fn a_sound_release_goes_through() {
        insta::assert_snapshot!(render(&report(&[], 1..=4)));
    }

    #[test]
    fn a_release_that_fails_its_tasks_comes_back_by_itself() {
        insta::assert_snapshot!(render(&report(&["errors:0.5@phase2", "controller-crashes:2m"], 1..=4)));
    }

    #[test]
    fn the_same_seeds_give_the_same_report() {
        let json = || serde_json::to_string(&report(&["deaths:1m"], 7..=8)).expect("it can be written");
        assert_eq!(json(), json());
    }
}
