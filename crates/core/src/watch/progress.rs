//! R90: a green agent that goes on sending heartbeats and does nothing: a lease without a sign of work, or a main
//! loop without a sign of itself, for longer than work and pauses took before.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Alarm, AlarmKind, WatchSetup,
    digest::{Digest, Sight},
    latch::Latch,
    roster::{Roster, alike},
    words::{agents, figure, seconds},
};
use crate::{
    analysis::{Tally, words::count},
    id::{AgentName, ModelName, Side},
    spec::{Progress as Policy, Triggers},
    time::{Millis, UnixMillis},
};

/// Times the longest that was seen.
const FACTOR: u64 = 3;
/// Agents of the seed's base wait 10 s after an error.
const PATIENCE_MIN: Millis = Millis::from_secs(15);
/// Records in which an agent counts as at work: one that is silent has a cell in each, one that is well need not.
const WINDOW: u64 = 60;
/// One pause that got out of hand must not switch the trigger off.
const PATIENCE_MAX: Millis = Millis::from_mins(10);

pub(super) struct Progress {
    policy: Policy,
    /// The longest that a task took in the baseline, from lease to end, by the agent's model.
    work: BTreeMap<AgentName, Millis>,
    /// The longest pause of each agent in the baseline.
    pauses: BTreeMap<AgentName, Millis>,
    /// The longest pause of any blue since, and those that have not ended yet: a blue that hangs is no measure.
    blue_pause: Millis,
    blue_quiet: BTreeMap<AgentName, Millis>,
    latch: Latch,
}

/// How long an agent has been silent, and how long it may be.
#[derive(Clone, Copy, Debug)]
struct Silence {
    lasted: Millis,
    limit: Millis,
    /// The longest that was seen before, where the limit comes from it.
    seen: Option<Millis>,
    /// It holds a task.
    stalled: bool,
}

impl Silence {
    fn is_too_long(self) -> bool {
        self.lasted > self.limit
    }
}

impl Progress {
    pub(super) fn new(setup: &WatchSetup<'_>, roster: &Roster) -> Self {
        let window = setup.baseline.window();
        let tally = |agent: &AgentName| window.of_agent(agent, Side::Blue);
        let mut by_model: BTreeMap<&ModelName, Millis> = BTreeMap::new();
        let mut longest = Millis::ZERO;
        for (agent, model) in roster.models() {
            let work = tally(agent).map(longest_work).unwrap_or_default();
            let held = by_model.entry(model).or_default();
            *held = (*held).max(work);
            longest = longest.max(work);
        }
        let of_model = |model: &ModelName| by_model.get(model).copied().filter(|&work| work > Millis::ZERO);
        let pause = |agent: &AgentName| Some((agent.clone(), Millis(tally(agent)?.quiet_ms_max)));
        Self {
            policy: setup.triggers.progress,
            work: roster.models().map(|(agent, model)| (agent.clone(), of_model(model).unwrap_or(longest))).collect(),
            pauses: roster.models().filter_map(|(agent, _)| pause(agent)).collect(),
            blue_pause: Millis::ZERO,
            blue_quiet: BTreeMap::new(),
            latch: Latch::new(setup.triggers.scope),
        }
    }

    pub(super) fn second(&mut self, digest: &Digest, roster: &Roster) -> Option<Alarm> {
        if self.policy == Policy::Off {
            return None;
        }
        self.note_blue(digest);
        let silent = |side: Side| -> BTreeMap<AgentName, Silence> {
            let silences =
                digest.of(side).filter_map(|(agent, sight)| Some((agent.clone(), self.silence(agent, sight)?)));
            silences.filter(|(_, silence)| silence.is_too_long()).collect()
        };
        let (mut greens, blues) = (silent(Side::Green), silent(Side::Blue));
        greens.retain(|agent, _| !roster.warming(agent, digest.number));
        if greens.is_empty() {
            self.latch.absent();
            return None;
        }
        let of = |side| roster.at_work(side, digest.number, WINDOW);
        let shared = alike((greens.len() as u64, of(Side::Green)), (blues.len() as u64, of(Side::Blue)));
        let hit: BTreeSet<AgentName> = greens.keys().cloned().collect();
        let hit = self.latch.look(hit, shared)?;
        let longest =
            hit.iter().filter_map(|agent| greens.get_key_value(agent)).max_by_key(|(_, silence)| silence.lasted);
        let (worst, silence) = longest?;
        let doing = if silence.stalled {
            "has held a task without a sign of work for"
        } else {
            "has not asked for a task, finished one or moved a byte for"
        };
        let measure = match silence.seen {
            None => String::new(),
            Some(seen) if silence.limit == PATIENCE_MIN => {
                format!(", the least; the longest before was {}", seconds(seen.0))
            }
            Some(seen) if silence.limit == PATIENCE_MAX => {
                format!(", the most; the longest before was {}", seconds(seen.0))
            }
            Some(seen) => format!(", {FACTOR} times the longest before, {}", seconds(seen.0)),
        };
        let others = if hit.len() > 1 { format!("; silent for too long are {}", agents(&hit)) } else { String::new() };
        let why = format!(
            "green's {worst} {doing} {}, longer than {}{measure}{others}{}",
            seconds(silence.lasted.0),
            seconds(silence.limit.0),
            if shared {
                format!("; {} of blue's agents are silent alike", count(blues.len() as u64))
            } else {
                String::new()
            },
        );
        let silences: Vec<(&AgentName, &Silence)> =
            hit.iter().filter_map(|agent| greens.get_key_value(agent)).collect();
        // From the last sign on: the gauge crosses its limit only when the harm has lasted for so long already.
        let began = silences.iter().map(|(_, silence)| digest.at.0.saturating_sub(silence.lasted.0)).min();
        let figures = silences.iter().map(|(agent, silence)| {
            figure(format!("silence of {agent}"), silence.lasted.as_secs_f64(), Some(silence.limit.as_secs_f64()), "s")
        });
        Some(Alarm {
            kind: AlarmKind::NoProgress,
            shared,
            harm_began: began.map_or(digest.at, UnixMillis),
            types: roster.types_of(&hit),
            figures: figures.collect(),
            agents: hit.into_iter().collect(),
            why,
        })
    }

    /// Keeps the pauses of blue that came to an end.
    fn note_blue(&mut self, digest: &Digest) {
        for (agent, _) in digest.of(Side::Green) {
            // It was cut over: its blue's pause has no end.
            self.blue_quiet.remove(agent);
        }
        for (agent, sight) in digest.of(Side::Blue) {
            let now = Millis(sight.quiet_ms);
            let before = self.blue_quiet.insert(agent.clone(), now).unwrap_or_default();
            if now < before {
                self.blue_pause = self.blue_pause.max(before);
            }
        }
    }

    /// The longer silence of an agent, measured by what it may be.
    fn silence(&self, agent: &AgentName, sight: &Sight) -> Option<Silence> {
        let work = self.work.get(agent).copied().unwrap_or_default();
        let pause = self.pauses.get(agent).copied().unwrap_or_default().max(self.blue_pause).max(work);
        let stalled = self.limited(Millis(sight.stalled_ms), work, true)?;
        let quiet = self.limited(Millis(sight.quiet_ms), pause, false)?;
        let over = |silence: Silence| silence.lasted.0.saturating_sub(silence.limit.0);
        Some(if over(quiet) > over(stalled) { quiet } else { stalled })
    }

    fn limited(&self, lasted: Millis, seen: Millis, stalled: bool) -> Option<Silence> {
        match self.policy {
            Policy::Off => None,
            Policy::After(limit) => Some(Silence { lasted, limit, seen: None, stalled }),
            Policy::Auto => Some(Silence { lasted, limit: patience(seen), seen: Some(seen), stalled }),
        }
    }
}

/// How long silence is borne where work or pauses lasted up to `longest` before.
pub(super) fn patience(longest: Millis) -> Millis {
    Millis(longest.0.saturating_mul(FACTOR)).clamp(PATIENCE_MIN, PATIENCE_MAX)
}

/// The longest silence that the triggers bear, where tasks take up to `longest`.
pub(super) fn borne(triggers: &Triggers, longest: Millis) -> Option<Millis> {
    match triggers.progress {
        Policy::Off => None,
        Policy::After(limit) => Some(limit),
        Policy::Auto => Some(patience(longest)),
    }
}

fn longest_work(tally: &Tally) -> Millis {
    let longest = [&tally.lease_time, &tally.response].map(|times| times.quantile(1.0).unwrap_or_default());
    // From microseconds; saturates.
    Millis((longest[0].max(longest[1]) / 1e3) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        observation::Cell,
        watch::{
            Watch,
            tests::{Bench, cell, second},
        },
    };

    fn silent(agent: &str, side: Side, stalled_secs: u64, quiet_secs: u64) -> Cell {
        let mut cell = cell(agent, side, 0, 0);
        (cell.signs.stalled_ms, cell.signs.quiet_ms) = (stalled_secs * 1000, quiet_secs * 1000);
        cell
    }

    /// Feeds seconds in which green's `a1` is silent for longer and longer; the second in which it fires.
    fn hang(watch: &mut Watch, from: u64, blue: impl Fn(u64) -> Cell) -> Option<(u64, Alarm)> {
        (0..300).find_map(|since| {
            let cells = vec![silent("a1", Side::Green, since, since), blue(since)];
            watch.second(&second(from + since, cells), 0).pop().map(|alarm| (since, alarm))
        })
    }

    fn well(_: u64) -> Cell {
        silent("a2", Side::Blue, 0, 1)
    }

    #[test]
    fn fifteen_seconds_are_borne_where_work_is_short() {
        let mut watch = Bench::new(2).watch();
        let (since, alarm) = hang(&mut watch, 1, well).unwrap();
        assert_eq!(since, 16);
        assert_eq!(
            alarm.why,
            "green's a1 has held a task without a sign of work for 16 s, longer than 15 s, the least; the longest before was 0.06 s"
        );
        assert_eq!((alarm.harm_began, alarm.shared), (second(1, vec![]).at, false));
    }

    #[test]
    fn it_fires_once_and_again_after_work_was_seen() {
        let mut watch = Bench::new(2).watch();
        assert!(hang(&mut watch, 1, well).is_some());
        for number in 20..25 {
            assert_eq!(watch.second(&second(number, vec![silent("a1", Side::Green, 30, 30), well(0)]), 0), []);
        }
        for number in 25..30 {
            assert_eq!(watch.second(&second(number, vec![silent("a1", Side::Green, 0, 0), well(0)]), 0), []);
        }
        assert!(hang(&mut watch, 30, well).is_some());
    }

    #[test]
    fn long_work_and_long_pauses_of_the_baseline_are_borne() {
        let mut bench = Bench::new(2);
        bench.task_micros = 8_000_000;
        let (since, alarm) = hang(&mut bench.watch(), 1, well).unwrap();
        assert_eq!(since, 25, "{}", alarm.why);
        let mut bench = Bench::new(2);
        bench.quiet_ms = 6_000;
        let mut watch = bench.watch();
        let alarms: Vec<Alarm> = (0..25)
            .flat_map(|since| watch.second(&second(1 + since, vec![silent("a1", Side::Green, 0, since), well(0)]), 0))
            .collect();
        assert_eq!(alarms.len(), 1);
        assert_eq!(
            alarms[0].why,
            "green's a1 has not asked for a task, finished one or moved a byte for 19 s, longer than 18 s, 3 times the longest before, 6 s"
        );
    }

    #[test]
    fn pauses_that_blue_makes_meanwhile_are_borne_too() {
        let mut watch = Bench::new(2).watch();
        for number in 1..=20 {
            watch.second(&second(number, vec![silent("a2", Side::Blue, 0, number % 8)]), 0);
        }
        let alarms: Vec<Alarm> = (0..21)
            .flat_map(|since| watch.second(&second(21 + since, vec![silent("a1", Side::Green, 0, since)]), 0))
            .collect();
        assert_eq!(alarms, [], "blue was quiet for 7 s at a time");
        assert_eq!(watch.second(&second(50, vec![silent("a1", Side::Green, 0, 22)]), 0).len(), 1);
    }

    #[test]
    fn where_blue_is_silent_alike_it_is_shared() {
        let mut watch = Bench::new(2).watch();
        let (_, alarm) = hang(&mut watch, 1, |since| silent("a2", Side::Blue, since, since)).unwrap();
        assert!(alarm.shared && alarm.why.ends_with("1 of blue's agents are silent alike"), "{}", alarm.why);
    }

    #[test]
    fn blue_alone_says_nothing_and_neither_does_the_start() {
        let mut watch = Bench::new(2).watch();
        for number in 1..100 {
            assert_eq!(watch.second(&second(number, vec![silent("a2", Side::Blue, number, number)]), 0), []);
        }
        let mut watch = Bench::new(2).watch();
        for number in 1..=3 {
            assert_eq!(watch.second(&second(number, vec![silent("a1", Side::Green, 99, 99)]), 0), [], "warming up");
        }
        assert_eq!(watch.second(&second(4, vec![silent("a1", Side::Green, 99, 99)]), 0).len(), 1);
    }

    #[test]
    fn what_the_file_says_is_what_holds() {
        let mut bench = Bench::new(2);
        bench.triggers.progress = Policy::After(Millis::from_secs(5));
        assert_eq!(hang(&mut bench.watch(), 1, well).unwrap().0, 6);
        bench.triggers.progress = Policy::Off;
        assert!(hang(&mut bench.watch(), 1, well).is_none());
    }
}
