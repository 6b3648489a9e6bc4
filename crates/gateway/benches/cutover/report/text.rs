//! The report as a person reads it.

use std::fmt;

use super::{Latency, NEAR, Report, Streams, Swaps, Window};

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { agents, rate, part_seconds, cores, requests, .. } = self;
        writeln!(f, "{agents} agents, {rate} requests/s, four parts of {part_seconds} s, {cores} cores\n")?;
        let (total, failed, repeated) = (requests.total, requests.failed, requests.repeated);
        writeln!(f, "requests     {total} sent, {failed} failed, {repeated} carried out twice")?;
        streams(f, "streams", "lines", &self.streams)?;
        streams(f, "websockets", "echoes", &self.websockets)?;
        writeln!(f, "stale        {} answered by a side that was retired before they were sent", self.stale)?;
        writeln!(f, "claims left  {} in the gateway after everything ended", self.claims_left)?;
        for (why, count) in &self.failures {
            writeln!(f, "             {count} × {why}")?;
        }
        writeln!(f, "\n{:<24}{:>9}{:>10}{:>10}", "swap, intent to done", "swaps", "p50", "max")?;
        swaps(f, "1 agent", &self.swap_one)?;
        swaps(f, &format!("{agents} agents"), &self.swap_all)?;
        writeln!(
            f,
            "\n{:<24}{:>9}{:>10}{:>10}{:>10}{:>13}{:>13}",
            "latency", "requests", "p50", "p99", "max", "p50/before", "p99/before"
        )?;
        self.latency.iter().try_for_each(|window| latency(f, window))?;
        writeln!(
            f,
            "\nbusy cores: gateway {:.2}, targets and load {:.2}, others {:.2}; requests left {} late at p99",
            self.busy_cores.gateway,
            self.busy_cores.load,
            self.busy_cores.others,
            Ms(self.lag_p99_ms)
        )?;
        writeln!(f, "{}", if self.passed { "passed" } else { "FAILED" })
    }
}

fn streams(f: &mut fmt::Formatter<'_>, name: &str, pieces_name: &str, streams: &Streams) -> fmt::Result {
    let Streams { begun, cut, lasting, spanned, pieces, longest_pause_ms } = streams;
    writeln!(
        f,
        "{name:<13}{begun} begun, {cut} cut, {spanned} of {lasting} open through every cutover; {pieces} {pieces_name}, longest wait {}",
        Ms(*longest_pause_ms)
    )
}

fn swaps(f: &mut fmt::Formatter<'_>, name: &str, swaps: &Swaps) -> fmt::Result {
    let Swaps { count, p50_ms, max_ms } = swaps;
    writeln!(f, "{name:<24}{count:>9}{:>10}{:>10}", Ms(*p50_ms).to_string(), Ms(*max_ms).to_string())
}

fn latency(f: &mut fmt::Formatter<'_>, latency: &Latency) -> fmt::Result {
    let Latency { window, requests, p50_ms, p99_ms, max_ms, p50_ratio, p99_ratio } = latency;
    let name = match window {
        Window::Before => "before".to_owned(),
        Window::OneByOne => "one by one".to_owned(),
        Window::AllAtOnce => "all at once".to_owned(),
        Window::NearSwap => format!("  ±{} ms of a swap", NEAR.as_millis()),
        Window::After => "after".to_owned(),
    };
    let [p50, p99, max] = [p50_ms, p99_ms, max_ms].map(|ms| Ms(*ms).to_string());
    let [p50_ratio, p99_ratio] = [p50_ratio, p99_ratio].map(|ratio| match ratio {
        Some(ratio) => format!("{ratio:.2}"),
        None => "-".to_owned(),
    });
    writeln!(f, "{name:<24}{requests:>9}{p50:>10}{p99:>10}{max:>10}{p50_ratio:>13}{p99_ratio:>13}")
}

struct Ms(Option<f64>);

impl fmt::Display for Ms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(ms) => write!(f, "{ms:.*} ms", if ms < 10.0 { 2 } else { 1 }),
            None => f.write_str("-"),
        }
    }
}
