//! The report for people.

use std::fmt;

use crate::wording::{counted, figure, grouped};

use super::{
    figures::Figures,
    report::{CLIENT_CORES_MAX, Measured, Report},
};

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.load(f)?;
        for Measured { label, url, .. } in &self.endpoints {
            writeln!(f, "{label}  {url}")?;
        }
        writeln!(
            f,
            "\n{:<4}{:>10}{:>9}{:>10}{:>9}{:>8}{:>9}{:>9}{:>7}{:>17}{:>10}",
            "",
            "answers/s",
            "success",
            "gave up",
            "refused",
            "failed",
            "p50",
            "p95",
            "Jain",
            "greedy client",
            "switches"
        )?;
        for Measured { label, figures, .. } in &self.endpoints {
            row(f, *label, figures)?;
        }
        for Measured { label, to_first, .. } in &self.endpoints {
            if let Some(ratios) = to_first {
                let [goodput, p50, p95] = [ratios.answers_per_second, ratios.p50, ratios.p95].map(times);
                writeln!(f, "{:<4}{goodput:>10}{:>36}{p50:>9}{p95:>9}", format!("{label}/A"), "")?;
            }
        }
        self.by_model(f)?;
        self.by_round(f)?;
        self.firsts(f)?;
        self.notes(f)
    }
}

impl Report {
    fn load(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clients = counted(self.clients, "client", "clients");
        let greedy = self.greedy.map_or_else(String::new, |connections| {
            format!(" and a greedy one with {}", counted(connections, "connection", "connections"))
        });
        let models = counted(self.models.len(), "model", "models");
        writeln!(f, "{clients}{greedy}, {models}, patience {}", seconds(self.patience_ms))?;
        let rounds = match self.rounds {
            1 => String::new(),
            rounds => format!("{rounds} rounds of "),
        };
        writeln!(
            f,
            "{rounds}{} after {} to warm up; prompts of {}, answers of {}\n",
            seconds(self.for_ms),
            seconds(self.warm_up_ms),
            counted(self.prompt_tokens, "word", "words"),
            counted(self.tokens as usize, "token", "tokens")
        )
    }

    fn by_model(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.models.iter().map(|model| model.chars().count()).max().unwrap_or(0).max(17) + 2;
        write!(f, "\n{:<width$}", "answers by model")?;
        self.endpoints.iter().try_for_each(|measured| write!(f, "{:>10}", measured.label))?;
        writeln!(f)?;
        for model in &self.models {
            write!(f, "{model:<width$}")?;
            for measured in &self.endpoints {
                write!(f, "{:>10}", grouped(measured.figures.by_model.get(model).copied().unwrap_or(0)))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }

    /// How much a figure is worth is seen from how far apart its rounds are.
    fn by_round(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rounds < 2 {
            return Ok(());
        }
        writeln!(f, "\nanswers/s by round")?;
        for Measured { label, rounds, .. } in &self.endpoints {
            write!(f, "{label:<4}")?;
            rounds.iter().try_for_each(|round| write!(f, "{:>9}", figure(round.answers_per_second)))?;
            writeln!(f)?;
        }
        Ok(())
    }

    fn firsts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.stream {
            return Ok(());
        }
        writeln!(f, "\n{:<4}{:>20}{:>9}{:>12}", "", "first token p50", "p95", "tokens/s")?;
        for Measured { label, figures, .. } in &self.endpoints {
            let [p50, p95] = [figures.first_p50_ms, figures.first_p95_ms].map(ms);
            let tokens = figures.tokens_per_second.map_or_else(none, figure);
            writeln!(f, "{label:<4}{p50:>20}{p95:>9}{tokens:>12}")?;
        }
        Ok(())
    }

    fn notes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut notes = Vec::new();
        for Measured { label, figures, .. } in &self.endpoints {
            if let Some(leavers) = figures.leavers {
                notes.push(format!(
                    "{label}: {} left {} before the answer, and {} came sooner; no other figure holds them",
                    counted(leavers.clients, "client", "clients"),
                    some(leavers.left, "call"),
                    some(leavers.answers, "answer"),
                ));
            }
            if figures.redialled > 0 {
                notes.push(format!(
                    "{label}: {} met a kept connection that the server was closing, and went out again on another",
                    some(figures.redialled, "call"),
                ));
            }
            for (cause, count) in &figures.causes {
                notes.push(format!("{label}: {} × {cause}", grouped(*count)));
            }
            if figures.answers == 0 {
                let why = if figures.seconds > 0.0 { "nobody was answered" } else { "it had no turn" };
                notes.push(format!("{label}: {why}"));
            }
            if figures.client_cores > CLIENT_CORES_MAX {
                notes.push(format!(
                    "{label}: this load client took {} of a core; the figures may be its own, not the server's",
                    percent(figures.client_cores)
                ));
            }
        }
        if self.interrupted {
            notes.push("interrupted: the figures are of what was measured until then".to_owned());
        }
        if !notes.is_empty() {
            writeln!(f)?;
        }
        notes.iter().try_for_each(|note| writeln!(f, "{note}"))
    }
}

fn row(f: &mut fmt::Formatter<'_>, label: char, figures: &Figures) -> fmt::Result {
    let greedy = figures.greedy.map_or_else(none, |greedy| match (greedy.share, greedy.times) {
        (Some(share), Some(times)) => format!("{}, {}×", percent(share), figure(times)),
        (Some(share), None) => percent(share),
        (None, _) => none(),
    });
    writeln!(
        f,
        "{label:<4}{:>10}{:>9}{:>10}{:>9}{:>8}{:>9}{:>9}{:>7}{greedy:>17}{:>10}",
        figure(figures.answers_per_second),
        figures.success.map_or_else(none, percent),
        grouped(figures.given_up),
        grouped(figures.refused),
        grouped(figures.failed),
        ms(figures.p50_ms),
        ms(figures.p95_ms),
        figures.jain.map_or_else(none, |jain| format!("{jain:.3}")),
        figures.switches.map_or_else(none, grouped)
    )
}

/// Where a figure cannot be known.
fn none() -> String {
    "–".to_owned()
}

fn some(count: u64, one: &str) -> String {
    format!("{} {one}{}", grouped(count), if count == 1 { "" } else { "s" })
}

fn times(ratio: Option<f64>) -> String {
    ratio.map_or_else(none, |ratio| format!("{ratio:.2}×"))
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn ms(ms: Option<f64>) -> String {
    match ms {
        None => none(),
        Some(ms) if ms < 10.0 => format!("{ms:.1} ms"),
        Some(ms) if ms < 1000.0 => format!("{ms:.0} ms"),
        Some(ms) => format!("{:.2} s", ms / 1e3),
    }
}

#[expect(clippy::cast_precision_loss, reason = "spans are hours at most")]
fn seconds(ms: u64) -> String {
    format!("{} s", figure(ms as f64 / 1e3))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::bench_model::{
        Api, Endpoint, Options,
        answer::{Cause, Told},
        books::Books,
        figures::{Crowd, Tally},
    };

    fn options(urls: &[&str]) -> Options {
        Options {
            endpoints: urls.iter().map(|url| Endpoint::parse(url).unwrap()).collect(),
            clients: 4,
            greedy: Some(60),
            models: vec!["tinyllama".to_owned(), "qwen2.5-coder:7b".to_owned()],
            patience: Duration::from_secs(10),
            think: Duration::ZERO,
            span: Duration::from_secs(30),
            warm_up: Duration::from_millis(500),
            rounds: 2,
            api: Api::Native,
            stream: true,
            tokens: 8,
            prompt_tokens: 20,
            leave: 0.25,
            headers: Vec::new(),
            seed: 1,
        }
    }

    /// All clients get as many answers of both models, the greedy one `greedy` times as many.
    fn tally(answers: u64, greedy: u64, latency_ms: u64, switches: Option<u64>) -> Tally {
        let books = |answers: u64| {
            let mut books = Books::new(2);
            let told = Told { tokens: Some(8), computed: None };
            for at in 0..answers {
                let latency = Duration::from_millis(latency_ms + at % 7);
                books.answered(usize::from(at % 2 == 0), latency, Some(latency / 2), told);
            }
            books
        };
        let mut by_client = vec![books(answers); 4];
        by_client[3].left = 31;
        by_client.push(books(answers * greedy));
        Tally { window: Duration::from_secs(30), by_client, switches, cpu: Duration::from_secs(2) }
    }

    fn report(options: &Options, interrupted: bool, rounds: &[Vec<Tally>]) -> Report {
        let crowd = Crowd::new(options.clients, options.greedy, options.leave);
        let figures = |tally: &Tally| Figures::of(tally, &crowd, &options.models);
        let measured = rounds.iter().map(|rounds| (figures(&Tally::sum(rounds)), rounds.iter().map(figures).collect()));
        Report::new(options, interrupted, measured.collect())
    }

    #[test]
    fn a_gateway_stands_beside_the_server_behind_it() {
        let mut direct = tally(3, 59, 9200, Some(41));
        direct.by_client[0].given_up = 1204;
        let mut gateway = tally(80, 1, 640, None);
        gateway.by_client[0].troubled(Cause::Status(503));
        gateway.by_client[0].troubled(Cause::Broken);
        gateway.by_client[0].redialled = 7;
        let rounds = [vec![direct.clone(), direct], vec![gateway, tally(81, 1, 650, None)]];
        let options = options(&["http://127.0.0.1:11434", "http://127.0.0.1:7400/m/{client}"]);
        insta::assert_snapshot!(report(&options, false, &rounds).to_string());
    }

    #[test]
    fn what_cannot_be_known_is_a_dash_and_what_makes_figures_doubtful_is_said() {
        let mut silent = tally(0, 0, 0, None);
        silent.cpu = Duration::from_secs(27);
        let options = Options { rounds: 1, stream: false, leave: 0.0, ..options(&["http://127.0.0.1:11434"]) };
        insta::assert_snapshot!(report(&options, true, &[vec![silent]]).to_string());
    }
}
