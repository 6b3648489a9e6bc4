//! R43: openings of breakers, the gateway's own per agent and those that agents report of theirs.

use std::collections::BTreeSet;

use super::{
    Alarm, AlarmKind, WatchSetup,
    digest::Digest,
    latch::Latch,
    recent::Recent,
    roster::{Roster, alike},
    words::{figure, names},
};
use crate::{
    analysis::{
        exact::real,
        words::{count, number},
    },
    id::{AgentName, Side},
    time::UnixMillis,
};

/// A minute of records.
const WINDOW: u64 = 60;

pub(super) struct Trips {
    limit: Option<f64>,
    /// Seconds that had any.
    recent: Recent<Tripped>,
    latch: Latch,
}

#[derive(Debug)]
struct Tripped {
    at: UnixMillis,
    green: u64,
    blue: u64,
    agents: BTreeSet<AgentName>,
}

impl Trips {
    pub(super) fn new(setup: &WatchSetup<'_>) -> Self {
        let triggers = setup.triggers;
        Self { limit: triggers.breaker_trips, recent: Recent::new(WINDOW), latch: Latch::new(triggers.scope) }
    }

    pub(super) fn second(&mut self, digest: &Digest, roster: &Roster) -> Option<Alarm> {
        let limit = self.limit?;
        let of_side = |side| digest.sum(side, |sight| sight.trips);
        let (green, blue) = (of_side(Side::Green), of_side(Side::Blue));
        self.recent.advance(digest.number);
        if green > 0 || blue > 0 {
            let tripped = digest.of(Side::Green).filter(|(_, sight)| sight.trips > 0);
            let agents = tripped.map(|(agent, _)| agent.clone()).collect();
            self.recent.push(digest.number, Tripped { at: digest.at, green, blue, agents });
        }
        let sum = |of: fn(&Tripped) -> u64| self.recent.iter().map(of).fold(0, u64::saturating_add);
        let (green, blue) = (sum(|tripped| tripped.green), sum(|tripped| tripped.blue));
        if real(green) <= limit {
            self.latch.absent();
            return None;
        }
        let of = |side| roster.at_work(side, digest.number, WINDOW);
        let shared = alike((green, of(Side::Green)), (blue, of(Side::Blue)));
        let hit = self.recent.iter().flat_map(|tripped| tripped.agents.iter().cloned()).collect();
        let hit = self.latch.look(hit, shared)?;
        let why = format!(
            "green's breakers opened {} times in the last minute, above {}; blue's {}; at {} of green's {} and blue's {} agents at work: {}",
            count(green),
            number(limit),
            count(blue),
            count(hit.len() as u64),
            count(of(Side::Green)),
            count(of(Side::Blue)),
            names(&hit),
        );
        let began = self.recent.iter().find(|tripped| tripped.green > 0).map(|tripped| tripped.at);
        Some(Alarm {
            kind: AlarmKind::BreakerTrips,
            shared,
            harm_began: began.unwrap_or(digest.at),
            types: roster.types_of(&hit),
            agents: hit.into_iter().collect(),
            why,
            figures: vec![
                figure("breaker trips of green", real(green), Some(limit), "per minute"),
                figure("breaker trips of blue", real(blue), None, "per minute"),
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::{
        Watch,
        tests::{Bench, cell, second},
    };

    fn feed(watch: &mut Watch, number: u64, green: (u64, u64), blue: u64) -> Vec<Alarm> {
        let (mut greens, mut blues) = (cell("a1", Side::Green, 1, 0), cell("a2", Side::Blue, 1, 0));
        (greens.signs.trips, greens.signs.reported_trips) = green;
        blues.signs.trips = blue;
        watch.second(&second(number, vec![greens, blues]), 0)
    }

    #[test]
    fn the_fourth_within_a_minute_fires() {
        let mut watch = Bench::new(2).watch();
        assert_eq!(feed(&mut watch, 1, (1, 0), 0), []);
        assert_eq!(feed(&mut watch, 20, (0, 2), 0), []);
        let alarm = feed(&mut watch, 60, (1, 0), 0).remove(0);
        assert_eq!((alarm.shared, alarm.harm_began, alarm.agents), (false, second(1, vec![]).at, vec!["a1".into()]));
        assert_eq!(feed(&mut watch, 61, (1, 0), 0), []);
    }

    #[test]
    fn three_in_any_minute_are_borne() {
        let mut watch = Bench::new(2).watch();
        (1..=1000).for_each(|number| assert_eq!(feed(&mut watch, number, (u64::from(number % 20 == 0), 0), 0), []));
    }

    #[test]
    fn blues_trips_are_no_alarm_and_decide_whose_fault_it_is() {
        let mut watch = Bench::new(2).watch();
        assert_eq!(feed(&mut watch, 1, (0, 0), 40), []);
        assert!(feed(&mut watch, 2, (4, 0), 0).remove(0).shared);
        let mut watch = Bench::new(2).watch();
        assert_eq!(feed(&mut watch, 1, (0, 0), 1), []);
        assert!(!feed(&mut watch, 2, (4, 0), 0).remove(0).shared);
    }
}
