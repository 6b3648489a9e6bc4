use super::*;

const SHAPE: Shape = Shape { slots: 2, resident: 1, queue_max: 4 };
const PARAMS: Params = Params {
    load_us: 100_000,
    unload_us: 10_000,
    linger_us: 0,
    call_us: 0,
    prompt_token_us: 1_000,
    output_token_us: 1_000,
    jitter_permille: 0,
    output_tokens: 8,
    seed: 1,
};

fn ms(ms: u64) -> Nanos {
    Nanos(ms * 1_000_000)
}

fn work(model: &str) -> Work {
    let runs = Runs { model: model.into(), context: None };
    Work { runs, prompt_tokens: 5, output_tokens: 5, release: false, leaves: None }
}

fn finished(machine: &mut Machine, until: u64) -> Vec<(CallId, u64)> {
    let mut finished = Vec::new();
    while let Some(at) = machine.timeout()
        && at <= ms(until)
    {
        machine.advance(at);
        while let Some((call, notice)) = machine.poll() {
            if let Notice::Finished(_) = notice {
                finished.push((call, at.0 / 1_000_000));
            }
        }
    }
    machine.advance(ms(until));
    finished
}

#[test]
fn a_first_call_pays_for_the_load_and_says_so() {
    let mut machine = Machine::new(SHAPE, PARAMS);
    machine.arrive(ms(0), 1, work("a"));
    machine.advance(ms(1000));
    let notices: Vec<Notice> = std::iter::from_fn(|| machine.poll()).map(|(_, notice)| notice).collect();
    assert_eq!(notices.iter().filter(|notice| **notice == Notice::Token).count(), 5);
    let timing = Timing { load: 100_000_000, prompt: 5_000_000, output: 5_000_000, total: 110_000_000 };
    assert_eq!(notices.last(), Some(&Notice::Finished(timing)));
}

#[test]
fn slots_are_a_ceiling_and_free_slots_are_taken_on_time() {
    let mut machine = Machine::new(SHAPE, PARAMS);
    (0..5).for_each(|id| machine.arrive(ms(0), id, work("a")));
    machine.advance(ms(10_000));
    let done: Vec<u64> = std::iter::from_fn(|| machine.poll())
        .filter_map(
            |(_, notice)| if let Notice::Finished(timing) = notice { Some(timing.total / 1_000_000) } else { None },
        )
        .collect();
    assert_eq!(done, [110, 110, 120, 120, 130], "late advances do not make the machine late");
}

#[test]
fn another_model_waits_until_the_loaded_one_is_drained_and_blocks_the_queue() {
    let mut machine = Machine::new(SHAPE, PARAMS);
    machine.arrive(ms(0), 1, work("a"));
    machine.advance(ms(100));
    machine.arrive(ms(101), 2, work("b"));
    machine.arrive(ms(102), 3, work("a"));
    machine.arrive(ms(103), 4, work("b"));
    machine.arrive(ms(104), 5, work("c"));
    let done = finished(&mut machine, 1000);
    // 3 is for the loaded model, so it goes in front of 2; then unload, load, and the queue in its order.
    assert_eq!(done, [(1, 110), (3, 112), (2, 232), (4, 232), (5, 352)]);
}

#[test]
fn the_bound_is_for_the_first_queue_only() {
    let mut machine = Machine::new(SHAPE, PARAMS);
    machine.arrive(ms(0), 1, work("a"));
    machine.advance(ms(100));
    (10..40).for_each(|id| machine.arrive(ms(100), id, work("a")));
    (50..55).for_each(|id| machine.arrive(ms(100), id, work("b")));
    let refused: Vec<CallId> =
        std::iter::from_fn(|| machine.poll()).filter(|(_, n)| *n == Notice::Refused).map(|(id, _)| id).collect();
    assert_eq!(refused, [54]);
}

#[test]
fn a_client_that_leaves_while_pending_is_skipped_when_reached() {
    let mut machine = Machine::new(SHAPE, PARAMS);
    machine.arrive(ms(0), 1, work("a"));
    machine.arrive(ms(0), 2, work("b"));
    machine.arrive(ms(0), 3, work("a"));
    machine.leave(ms(10), 2);
    assert_eq!(finished(&mut machine, 1000), [(1, 110), (3, 110)]);
}

#[test]
fn a_client_that_leaves_during_its_load_takes_the_load_down() {
    let mut machine = Machine::new(SHAPE, PARAMS);
    machine.arrive(ms(0), 1, work("a"));
    machine.arrive(ms(0), 2, work("b"));
    machine.arrive(ms(50), 3, work("a"));
    machine.leave(ms(90), 1);
    // 3 waited for the load of 1 and is behind 2 when that is gone.
    assert_eq!(finished(&mut machine, 1000), [(2, 210), (3, 330)]);
}

#[test]
fn a_client_that_leaves_during_its_answer_frees_its_slot() {
    let mut machine = Machine::new(Shape { slots: 1, ..SHAPE }, PARAMS);
    machine.arrive(ms(0), 1, work("a"));
    machine.arrive(ms(0), 2, work("a"));
    machine.advance(ms(102));
    machine.leave(ms(102), 1);
    assert_eq!(finished(&mut machine, 1000), [(2, 112)]);
}

#[test]
fn another_context_is_another_load() {
    let mut machine = Machine::new(Shape { resident: 3, ..SHAPE }, PARAMS);
    machine.arrive(ms(0), 1, work("a"));
    assert_eq!(finished(&mut machine, 500), [(1, 110)]);
    let mut other = work("a");
    other.runs.context = Some(8192);
    machine.arrive(ms(500), 2, other);
    assert_eq!(finished(&mut machine, 1000), [(2, 620)]);
    assert_eq!(machine.resident().count(), 1);
}

#[test]
fn as_many_models_stay_as_there_is_room_for() {
    let mut machine = Machine::new(Shape { resident: 2, ..SHAPE }, PARAMS);
    machine.arrive(ms(0), 1, work("a"));
    machine.arrive(ms(0), 2, work("b"));
    machine.advance(ms(500));
    machine.arrive(ms(500), 3, work("a"));
    machine.arrive(ms(600), 4, work("c"));
    machine.advance(ms(1000));
    let resident: Vec<&str> = machine.resident().map(|runs| &*runs.model).collect();
    assert_eq!(resident, ["a", "c"], "the one that was not used for longest made room");
}

#[test]
fn a_model_that_is_released_leaves() {
    let mut machine = Machine::new(SHAPE, PARAMS);
    machine.arrive(ms(0), 1, Work { release: true, ..work("a") });
    machine.advance(ms(1000));
    assert_eq!(machine.resident().count(), 0);
}

#[test]
fn what_was_computed_for_nobody_is_counted_apart() {
    let mut machine = Machine::new(SHAPE, PARAMS);
    machine.arrive(ms(0), 1, work("a"));
    machine.arrive(ms(0), 2, Work { leaves: Some(ms(103)), ..work("a") });
    machine.arrive(ms(0), 3, Work { leaves: Some(ms(103)), ..work("a") });
    machine.arrive(ms(0), 4, Work { prompt_tokens: 0, output_tokens: 0, ..work("a") });
    // Loaded at 100 ms; of three calls of 10 ms one is given up after 4, and one before it has a slot.
    machine.leave(ms(104), 3);
    machine.leave(ms(104), 2);
    machine.arrive(ms(120), 5, work("b"));
    // Unloaded at 130 ms, and given up in the middle of its load.
    machine.leave(ms(180), 5);
    machine.advance(ms(1000));
    let counted = serde_json::to_value(machine.ledger()).unwrap();
    let expected = serde_json::json!({
        "finished": 1, "abandoned": 1, "slot_us": 14_000, "abandoned_us": 4_000, "wasted_us": 1_000, "call_max_us": 10_000,
        "loads": 1, "aborted_loads": 1, "load_max_us": 100_000, "unload_max_us": 10_000,
    });
    assert_eq!(counted, expected);
}
