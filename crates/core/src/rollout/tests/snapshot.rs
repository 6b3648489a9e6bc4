//! A controller that is written down and read back is the controller that was, wherever that is done.

use super::{
    crash::{SCRIPTS, one},
    world::{World, replay, scarce_plan},
};
use crate::rollout::Controller;

fn written_and_read(controller: &Controller) -> Controller {
    let text = serde_json::to_string(controller).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"))
}

#[test]
fn a_snapshot_after_any_event_and_the_rest_equal_a_whole_replay() {
    let scarce: fn() -> World = || {
        let mut world = World::new(4);
        world.start(scarce_plan(4, 6)).unwrap();
        world
    };
    let scripts = SCRIPTS.iter().map(|(name, script, _)| (*name, *script)).chain([("scarce memory", scarce)]);
    for (name, script) in scripts {
        let mut world = script();
        for count in 1.. {
            if world.controller.rollout().is_some_and(|rollout| rollout.state.is_over()) || !one(&mut world) {
                break;
            }
            if count % 37 == 0 {
                world.crash();
            }
        }
        assert_eq!(replay(&world.journal), world.controller, "{name}");
        let mut whole = Controller::default();
        for (at, (now, event)) in world.journal.iter().enumerate() {
            whole.step(*now, event.clone()).unwrap();
            let mut short = written_and_read(&whole);
            assert_eq!(short, whole, "{name}: after {at} events");
            if at % 5 == 0 {
                for (now, event) in &world.journal[at + 1..] {
                    short.step(*now, event.clone()).unwrap();
                }
                assert_eq!(short, world.controller, "{name}: the rest after {at} events");
            }
        }
        assert!(world.journal.len() > 20, "{name}: {}", world.journal.len());
    }
}

/// A snapshot of a rollout that goes back, as form 1 has it. It stands for those that are on people's disks: where it
/// cannot be read any more, `Controller::FORM` has to grow, and its reader must still know what to say.
const FORM_1: &str = include_str!("snapshot-form-1.json");

#[test]
fn a_snapshot_of_an_earlier_build_can_be_read() {
    let controller: Controller = serde_json::from_str(FORM_1).unwrap();
    let rollout = controller.rollout().expect("it holds one");
    assert_eq!(rollout.state.name(), "rolling back");
    assert_eq!(controller.agents().count(), 3);
    assert!(controller.next_instance().0 > 3 && controller.next_timeout().is_some());
    assert_eq!(Controller::FORM, 1, "keep this snapshot, and add one of the new form");
}
