//! What the links, the health checks and the watch have to say, and what of it the machine is told.

use bellwether_core::{
    diagnostic::chain,
    id::RolloutId,
    observation::{Resumed, Second},
    port::{driver::DriverEvent, gateway::GatewayEvent},
    rollout::Event,
    time::Now,
    watch::{Alarm, HealthCheck},
};

use super::{Decisions, Reactor};
use crate::{error::Error, journal::Journal};

/// Samples of memory, CPU and availability are kept this long.
const SAMPLES_KEPT_S: u64 = 24 * 3600;
/// Of what was wrong with an answer so many characters are kept; an agent may have written them.
const FAULT_MAX: usize = 300;

impl Reactor {
    pub(super) fn driver_said(&mut self, event: DriverEvent, decisions: &mut Decisions) {
        let event = match event {
            DriverEvent::Started { instance, pid: _ } => Event::Started { instance },
            DriverEvent::Exited { instance, exit } => {
                if !exit.asked {
                    let seat = self.machine.seat_of(instance).map(|(agent, side)| format!("{agent} ({side})"));
                    tracing::warn!(%instance, seat, ?exit, "an instance ended by itself");
                }
                Event::Exited { instance, exit }
            }
            DriverEvent::Frozen { instance } => Event::Frozen { instance },
            DriverEvent::Thawed { instance } => Event::Thawed { instance },
            DriverEvent::Usage { sample, host } => {
                let Now { mono, wall: at } = self.clock.now();
                let beat = self.usage.beat(mono, &sample, host, &self.machine);
                let alarms = self.watching.usage(&beat.for_watch(at, self.usage.host.cpus));
                self.alarm(alarms, decisions);
                match serde_json::to_string(&beat) {
                    Ok(text) => self.sample(decisions, |journal| journal.put_usage(at.0, &text, SAMPLES_KEPT_S * 1000)),
                    Err(error) => tracing::error!(%error, "a sample of memory and CPU could not be written"),
                }
                return;
            }
        };
        self.step(event, decisions);
    }

    pub(super) fn gateway_said(&mut self, event: GatewayEvent, decisions: &mut Decisions) {
        let event = match event {
            GatewayEvent::Polled { instance } => Event::Polled { instance },
            GatewayEvent::Empty { instance, revoked } => Event::Empty { instance, revoked },
            GatewayEvent::FellBack { agent, from, to, generation } => {
                tracing::warn!(%agent, %from, %to, "the gateway fell back");
                Event::FellBack { agent, from, to, generation }
            }
            GatewayEvent::TriedOut { instance, fault } => {
                let fault = fault.map(|fault| fault.chars().take(FAULT_MAX).collect::<String>());
                let seat = self.machine.seat_of(instance).map(|(agent, side)| format!("{agent} ({side})"));
                tracing::info!(%instance, seat, fault, "a synthetic task was answered");
                Event::TriedOut { instance, fault }
            }
            GatewayEvent::Second { record } => return self.second(*record, decisions),
        };
        self.step(event, decisions);
    }

    fn second(&mut self, record: Second, decisions: &mut Decisions) {
        self.last_second = self.last_second.max(record.number);
        if let Some(Resumed { away, pushes, calls, leases }) = record.resumed {
            tracing::warn!(
                second = record.number,
                away_ms = away.0,
                pushes,
                calls,
                leases,
                "the gateway was killed and is back; what was under way with it counts for no side"
            );
        }
        if let Some(rollout) = self.machine.rollout() {
            let alarms = self.watching.second(&record, rollout);
            let blue = self.watching.blue(&record, rollout);
            self.alarm(alarms, decisions);
            if let Some(event) = blue {
                self.step(event, decisions);
            }
        }
        self.usage.seen.traffic = self.traffic.second(&record);
        let without_ready = u32::try_from(self.machine.without_ready_instance()).unwrap_or(u32::MAX);
        let put = |journal: &Journal| journal.put_availability(record.number, without_ready, SAMPLES_KEPT_S);
        self.sample(decisions, put);
        self.shared.live(record);
    }

    /// A sample that cannot be written is missing. Of a full disk it is the first to tell.
    fn sample(&mut self, decisions: &mut Decisions, put: impl FnOnce(&Journal) -> Result<(), Error>) {
        if self.disk.spares_samples() {
            return;
        }
        match put(&self.journal) {
            Ok(()) => self.samples_lost = 0,
            Err(error) => {
                // What comes next would find no room either.
                let why = format!("the journal cannot be written: {}", chain(&error));
                if error.is_for_want_of_room() && self.disk.is_full(&why) {
                    self.step(Event::DiskFull { why }, decisions);
                }
                // At the first, and then ever more seldom.
                self.samples_lost += 1;
                if self.samples_lost.is_power_of_two() {
                    tracing::warn!(error = chain(&error), lost = self.samples_lost, "samples cannot be written");
                }
            }
        }
    }

    pub(super) fn missed(&mut self, rollout: RolloutId, records: Option<&[Second]>, decisions: &mut Decisions) {
        let Some(current) = self.machine.rollout().filter(|current| current.id == rollout) else { return };
        let alarms = self.watching.fetched(current, records);
        self.alarm(alarms, decisions);
    }

    /// An answer of an instance that is not ready any more is no fault of it.
    pub(super) fn checked(&mut self, check: &HealthCheck, decisions: &mut Decisions) {
        if self.health.asks(check.instance) && self.machine.is_ready(check.instance) {
            self.shared.checked(check);
            let alarm = self.watching.health(check);
            self.alarm(alarm, decisions);
        }
    }

    pub(super) fn alarm(&mut self, alarms: impl IntoIterator<Item = Alarm>, decisions: &mut Decisions) {
        for alarm in alarms {
            let Some(rollout) = self.machine.rollout().map(|rollout| rollout.id) else { return };
            tracing::warn!(
                %rollout,
                trigger = alarm.kind.name(),
                requirement = alarm.kind.requirement(),
                shared = alarm.shared,
                agents = ?alarm.agents,
                types = ?alarm.types,
                why = alarm.why,
                "a trigger fired"
            );
            self.step(Event::Alarm { rollout, alarm: Box::new(alarm) }, decisions);
        }
    }
}
