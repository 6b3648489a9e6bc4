//! What the ways back of a fleet make the journal hold, against what is held back for them.

use super::world::{World, plan_with};
use crate::{
    plan::Standby,
    rollout::{State, Step, VerbKind, reserve},
    spec::ThinEvidence,
};

/// Of one event in the file beside its text: the row's head, number, times, checksum, and its share of a page.
const ROW_BYTES: usize = 60;

#[test]
fn the_way_back_of_a_fleet_fits_into_half_of_what_is_held_back() {
    const AGENTS: usize = 26;
    for standby in [Standby::Warm, Standby::Frozen, Standby::Stopped] {
        for crashes in [0, 3] {
            let mut world = World::new(AGENTS);
            world.start(plan_with(AGENTS, standby, ThinEvidence::Accept)).unwrap();
            world.until_state(State::Progressing { phase: 1, step: Step::Baking { look: 1 } });
            let before = world.journal.len();
            world.verb(VerbKind::Rollback).unwrap();
            for _ in 0..crashes {
                for _ in 0..AGENTS {
                    world.message();
                }
                world.crash();
            }
            assert_eq!(world.finish(), State::RolledBack);
            let texts = world.journal[before..].iter().map(|(_, event)| serde_json::to_string(event).unwrap().len());
            let bytes: usize = texts.map(|text| text + ROW_BYTES).sum();
            let held_back = reserve::journal_bytes(AGENTS) - reserve::journal_bytes(0);
            assert!(2 * bytes as u64 <= held_back, "{standby:?}, {crashes} crashes: {bytes} of {held_back} bytes");
        }
    }
}

#[test]
fn what_is_held_back_grows_with_the_fleet() {
    const MIB: u64 = 1 << 20;
    for of_no_agents in [reserve::journal_bytes(0), reserve::gateway_bytes(0)] {
        // Room for a log of writes before it is carried over, and no more than the smallest disk can spare.
        assert!((5 * MIB..=8 * MIB).contains(&of_no_agents), "{of_no_agents}");
    }
    let journal = reserve::journal_bytes(1) - reserve::journal_bytes(0);
    let gateway = reserve::gateway_bytes(1) - reserve::gateway_bytes(0);
    assert!(gateway > journal, "the records of a way back are longer than its events: {gateway} and {journal}");
    assert_eq!(reserve::gateway_bytes(131) - reserve::gateway_bytes(0), 131 * gateway);
}
