//! The figures of one endpoint, from what its connections counted.

use std::{collections::BTreeMap, time::Duration};

use bellwether_core::histogram::Histogram;
use serde::Serialize;

use super::books::Books;

/// Who calls. A greedy client stands last.
#[derive(Clone, Debug)]
pub(super) struct Crowd {
    pub(super) names: Vec<String>,
    /// Leaves before it is answered.
    pub(super) leaves: Vec<bool>,
    /// Connections of each.
    pub(super) connections: Vec<usize>,
    pub(super) has_greedy: bool,
}

impl Crowd {
    /// Those who leave are spread evenly among the clients; a greedy one stays.
    pub(super) fn new(clients: usize, greedy: Option<usize>, leave: f64) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "clients are counted in thousands")]
        let leavers = |up_to: usize| (up_to as f64 * leave + 1e-9).floor();
        let mut crowd = Self {
            names: (1..=clients).map(|number| format!("client-{number}")).collect(),
            leaves: (0..clients).map(|at| leavers(at + 1) > leavers(at)).collect(),
            connections: vec![1; clients],
            has_greedy: greedy.is_some(),
        };
        if let Some(connections) = greedy {
            crowd.names.push("greedy".to_owned());
            crowd.leaves.push(false);
            crowd.connections.push(connections);
        }
        crowd
    }
}

/// Of one turn, or of several together.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) window: Duration,
    /// In the order of the crowd.
    pub(super) by_client: Vec<Books>,
    pub(super) switches: Option<u64>,
    /// Processor time of the load client itself.
    pub(super) cpu: Duration,
}

impl Tally {
    pub(super) fn sum(tallies: &[Self]) -> Self {
        let mut sum = tallies.first().cloned().unwrap_or_default();
        for more in tallies.iter().skip(1) {
            sum.window += more.window;
            sum.cpu += more.cpu;
            sum.switches = sum.switches.zip(more.switches).map(|(all, more)| all + more);
            sum.by_client.iter_mut().zip(&more.by_client).for_each(|(all, more)| all.merge(more));
        }
        sum
    }
}

/// Clients that leave are in none of these figures but `leavers`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figures {
    /// How long it was measured.
    pub(crate) seconds: f64,
    /// Within patience.
    pub(crate) answers: u64,
    /// Goodput.
    pub(crate) answers_per_second: f64,
    /// Generated tokens, where every answer tells how many it has.
    pub(crate) tokens_per_second: Option<f64>,
    /// Share of the calls that were answered within patience; those still open at the end of the window do not count.
    pub(crate) success: Option<f64>,
    pub(crate) given_up: u64,
    /// Answered with 429 or 503.
    pub(crate) refused: u64,
    pub(crate) failed: u64,
    /// What was refused or failed, by cause.
    pub(crate) causes: BTreeMap<String, u64>,
    /// At the end of the window.
    pub(crate) open: u64,
    /// Made once more, on a new connection, because the server was closing the one that was kept.
    pub(crate) redialled: u64,
    /// Of calls answered within patience, from the question to the end of the answer.
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p95_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
    pub(crate) max_ms: Option<f64>,
    /// Until the first piece of the answer's body; that of a stream holds the first token.
    pub(crate) first_p50_ms: Option<f64>,
    pub(crate) first_p95_ms: Option<f64>,
    /// What the server says that it computed for each answer, without queues and loads: all together, and the longest. `None`
    /// unless every answer tells it.
    pub(crate) computed_seconds: Option<f64>,
    pub(crate) computed_max_ms: Option<f64>,
    /// The longest wait: the time of a call without that. A call that was given up, or is still open at the end of the window,
    /// waited all its time.
    pub(crate) wait_max_ms: Option<f64>,
    /// Of answers per client: 1 if all got as many, 1/n if one got all.
    pub(crate) jain: Option<f64>,
    pub(crate) greedy: Option<Greedy>,
    /// Models that came into memory, as far as it can be seen; `None` where the endpoint does not tell which are there.
    pub(crate) switches: Option<u64>,
    pub(crate) by_model: BTreeMap<String, u64>,
    pub(crate) by_client: BTreeMap<String, u64>,
    pub(crate) leavers: Option<Leavers>,
    /// Processor time of the load client per second.
    pub(crate) client_cores: f64,
}

/// The client with many connections.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Greedy {
    pub(crate) connections: usize,
    pub(crate) answers: u64,
    /// Of all answers.
    pub(crate) share: Option<f64>,
    /// Its answers over what each other client got on average.
    pub(crate) times: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Leavers {
    pub(crate) clients: usize,
    /// Calls that were left before the answer.
    pub(crate) left: u64,
    /// Calls that were faster than the client.
    pub(crate) answers: u64,
    /// How much later than they meant to they left, on average: what the timers of the load client are off.
    pub(crate) late_us: u64,
}

#[expect(clippy::cast_precision_loss, reason = "counts fit 53 bits")]
impl Figures {
    pub(super) fn of(tally: &Tally, crowd: &Crowd, models: &[String]) -> Self {
        let mut all = Books::new(models.len());
        let mut leaving = Books::new(models.len());
        let mut per_client = Vec::new();
        for (books, leaves) in tally.by_client.iter().zip(&crowd.leaves) {
            if *leaves {
                leaving.merge(books);
            } else {
                all.merge(books);
                per_client.push(books.total());
            }
        }
        let answers = all.total();
        let seconds = tally.window.as_secs_f64();
        let ended = answers + all.given_up + all.refused() + all.failed();
        let millis = |of: &Histogram, q| of.quantile(q).map(|micros| micros / 1e3);
        let tells_computed = answers > 0 && all.answers_with_computed == answers;
        let of_told = |span: Duration| tells_computed.then_some(span.as_secs_f64() * 1e3);
        let tells_tokens = answers > 0 && all.answers_with_tokens == answers;
        let leavers = crowd.leaves.iter().filter(|leaves| **leaves).count();
        Self {
            seconds,
            answers,
            answers_per_second: rate(answers as f64, seconds),
            tokens_per_second: tells_tokens.then(|| rate(all.tokens as f64, seconds)),
            success: (ended > 0).then(|| answers as f64 / ended as f64),
            given_up: all.given_up,
            refused: all.refused(),
            failed: all.failed(),
            causes: all.troubles.iter().map(|(cause, count)| (cause.to_string(), *count)).collect(),
            open: all.open,
            redialled: all.redialled,
            p50_ms: millis(&all.latency, 0.5),
            p95_ms: millis(&all.latency, 0.95),
            p99_ms: millis(&all.latency, 0.99),
            max_ms: (answers > 0).then_some(all.latency_max.as_secs_f64() * 1e3),
            first_p50_ms: millis(&all.first_piece, 0.5),
            first_p95_ms: millis(&all.first_piece, 0.95),
            computed_seconds: tells_computed.then_some(all.computed.as_secs_f64()),
            computed_max_ms: of_told(all.computed_max),
            wait_max_ms: of_told(all.wait_max),
            jain: jain(&per_client),
            greedy: crowd.has_greedy.then(|| greedy(&per_client, crowd)),
            switches: tally.switches,
            by_model: models.iter().cloned().zip(all.answers.iter().copied()).collect(),
            by_client: crowd.names.iter().cloned().zip(tally.by_client.iter().map(Books::total)).collect(),
            leavers: (leavers > 0).then(|| Leavers {
                clients: leavers,
                left: leaving.left,
                answers: leaving.total(),
                late_us: u64::try_from(leaving.left_late.as_micros()).unwrap_or(u64::MAX) / leaving.left.max(1),
            }),
            client_cores: rate(tally.cpu.as_secs_f64(), seconds),
        }
    }
}

fn rate(count: f64, seconds: f64) -> f64 {
    if seconds > 0.0 { count / seconds } else { 0.0 }
}

/// `per_client` is of those who stay; the greedy client is the last.
#[expect(clippy::cast_precision_loss, reason = "counts fit 53 bits")]
fn greedy(per_client: &[u64], crowd: &Crowd) -> Greedy {
    let (answers, others) = per_client.split_last().map_or((0, &[][..]), |(last, others)| (*last, others));
    let by_others: u64 = others.iter().sum();
    let total = answers + by_others;
    Greedy {
        connections: crowd.connections.last().copied().unwrap_or_default(),
        answers,
        share: (total > 0).then(|| answers as f64 / total as f64),
        times: (by_others > 0).then(|| answers as f64 * others.len() as f64 / by_others as f64),
    }
}

/// Jain, Chiu and Hawe, "A quantitative measure of fairness", DEC-TR-301 (1984): (Σx)² / (n·Σx²). `None` if nobody got
/// anything.
#[expect(clippy::cast_precision_loss, reason = "counts fit 53 bits")]
pub(super) fn jain(shares: &[u64]) -> Option<f64> {
    let sum: f64 = shares.iter().map(|&share| share as f64).sum();
    let squares: f64 = shares.iter().map(|&share| (share as f64).powi(2)).sum();
    (squares > 0.0).then(|| sum * sum / (shares.len() as f64 * squares))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench_model::answer::{Cause, Told};

    const SECOND: Duration = Duration::from_secs(1);

    fn books(answers: [u64; 2]) -> Books {
        let mut books = Books::new(2);
        for (model, count) in answers.into_iter().enumerate() {
            (0..count).for_each(|_| books.answered(model, SECOND, None, told(4, 400)));
        }
        books
    }

    fn told(tokens: u64, computed_ms: u64) -> Told {
        Told { tokens: Some(tokens), computed: Some(Duration::from_millis(computed_ms)) }
    }

    fn models() -> Vec<String> {
        vec!["a".to_owned(), "b".to_owned()]
    }

    fn tally(by_client: Vec<Books>) -> Tally {
        Tally { window: SECOND * 2, by_client, switches: Some(3), cpu: SECOND }
    }

    #[test]
    fn who_was_not_answered_waited_all_the_time() {
        let crowd = Crowd::new(1, None, 0.0);
        let figures = |books: Books| Figures::of(&tally(vec![books]), &crowd, &models());
        let mut client = books([2, 0]);
        let answered = figures(client.clone());
        assert_eq!((answered.max_ms, answered.wait_max_ms), (Some(1000.0), Some(600.0)));
        assert_eq!((answered.computed_seconds, answered.computed_max_ms), (Some(0.8), Some(400.0)));
        client.left_open(Duration::from_millis(700));
        assert_eq!(figures(client.clone()).wait_max_ms, Some(700.0));
        client.given_up(SECOND);
        assert_eq!(figures(client.clone()).wait_max_ms, Some(1000.0));
        client.answered(0, SECOND * 9, None, Told::default());
        assert_eq!(figures(client).wait_max_ms, None, "one does not tell what was computed");
    }

    #[test]
    fn jain_is_one_among_equals_and_one_over_n_for_one_who_has_all() {
        assert_eq!(jain(&[5, 5, 5]), Some(1.0));
        assert_eq!(jain(&[9, 0, 0]), Some(1.0 / 3.0));
        assert_eq!(jain(&[0, 0]), None);
        assert_eq!(jain(&[]), None);
        // 11 clients of whom one takes 59 times each other's share.
        let mut shares = [1; 11];
        shares[10] = 59;
        let index = jain(&shares).unwrap();
        assert!((index - 69.0_f64.powi(2) / (11.0 * 3491.0)).abs() < 1e-12, "{index}");
    }

    #[test]
    fn every_call_that_ended_counts_and_those_still_open_do_not() {
        let mut second = books([0, 1]);
        second.given_up = 2;
        second.open = 7;
        second.troubled(Cause::Status(503));
        second.troubled(Cause::Status(500));
        second.troubled(Cause::CutShort);
        let figures = Figures::of(&tally(vec![books([4, 0]), second]), &Crowd::new(2, None, 0.0), &models());
        assert_eq!((figures.answers, figures.given_up, figures.refused, figures.failed, figures.open), (5, 2, 1, 2, 7));
        assert_eq!(figures.success, Some(0.5));
        assert_eq!((figures.answers_per_second, figures.tokens_per_second), (2.5, Some(10.0)));
        assert_eq!(figures.by_model.values().copied().collect::<Vec<_>>(), [4, 1]);
        assert_eq!(figures.client_cores, 0.5);
        let causes: Vec<_> = figures.causes.keys().map(String::as_str).collect();
        assert_eq!(causes, ["answer ended too soon", "status 500", "status 503"]);
    }

    #[test]
    fn a_greedy_client_is_measured_by_what_the_others_got() {
        let crowd = Crowd::new(2, Some(60), 0.0);
        let figures = Figures::of(&tally(vec![books([1, 0]), books([3, 0]), books([6, 6])]), &crowd, &models());
        let greedy = Greedy { connections: 60, answers: 12, share: Some(0.75), times: Some(6.0) };
        assert_eq!(figures.greedy, Some(greedy));
        let alone = Figures::of(&tally(vec![books([0, 0]), books([0, 0]), books([1, 0])]), &crowd, &models());
        assert_eq!(alone.greedy.unwrap().times, None);
    }

    #[test]
    fn those_who_leave_are_counted_apart() {
        let crowd = Crowd::new(10, Some(2), 0.3);
        assert_eq!(crowd.leaves.iter().filter(|leaves| **leaves).count(), 3);
        assert!(!crowd.leaves[10], "the greedy client stays");
        let crowd = Crowd::new(2, None, 0.5);
        let mut leaver = books([1, 0]);
        leaver.left = 5;
        let figures = Figures::of(&tally(vec![books([4, 0]), leaver]), &crowd, &models());
        assert_eq!((figures.answers, figures.jain, figures.success), (4, Some(1.0), Some(1.0)));
        assert_eq!(figures.leavers, Some(Leavers { clients: 1, left: 5, answers: 1, late_us: 0 }));
        assert_eq!(figures.by_client["client-2"], 1);
    }

    #[test]
    fn rounds_are_one_long_window_together() {
        let silent = Tally { switches: None, ..tally(vec![books([1, 1])]) };
        let sum = Tally::sum(&[tally(vec![books([2, 0])]), silent]);
        let figures = Figures::of(&sum, &Crowd::new(1, None, 0.0), &models());
        assert_eq!((figures.seconds, figures.answers, figures.switches), (4.0, 4, None));
        assert_eq!(figures.p50_ms.map(|ms| (ms / 10.0).round()), Some(100.0));
    }

    #[test]
    fn nothing_measured_is_no_figure() {
        let figures = Figures::of(&tally(vec![books([0, 0])]), &Crowd::new(1, None, 0.0), &models());
        assert_eq!(
            (figures.success, figures.p95_ms, figures.jain, figures.tokens_per_second),
            (None, None, None, None)
        );
    }
}
