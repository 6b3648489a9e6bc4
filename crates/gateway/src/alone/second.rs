//! Once a second: what was counted is taken, so that it cannot grow.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::house::House;
use crate::observe::Gauges;

const EVERY: Duration = Duration::from_secs(1);

pub(super) async fn run(house: &House, stop: &CancellationToken) {
    let mut tick = interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        close(house);
    }
}

fn close(house: &House) {
    let (probes, probes_failed) = house.probes.take();
    let Some(model) = &house.model else { return };
    let model = model.gauges();
    let gauges = Gauges {
        slots_busy: model.slots_busy,
        slots_peak: model.slots_peak,
        calls_waiting: model.calls_waiting,
        model_switches: model.model_switches,
        probes,
        probes_failed,
        ..Gauges::default()
    };
    let second = house.recorder.close(0, house.clock.wall(), gauges);
    for cell in &second.cells {
        let calls = &cell.calls;
        tracing::debug!(
            client = %cell.agent,
            model = %cell.model,
            succeeded = calls.succeeded,
            failed = calls.failed,
            cancelled = calls.cancelled,
            refused = calls.refused,
            slot_micros = calls.slot_micros,
            "calls of a second"
        );
    }
}
