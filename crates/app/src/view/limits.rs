//! What of the calendar bears on a rollout: its window with the buffer in it, and an override of freezes.

use bellwether_core::{
    rollout::{RolloutView, State, WindowView},
    spec::AtEnd,
    time::Millis,
};

use super::words::clock;

/// A line for each; nothing where there is neither.
pub(crate) fn limits(rollout: &RolloutView) -> Vec<String> {
    let window = rollout.window.as_ref().and_then(|window| window_of(window, rollout.state));
    let over = rollout.freeze_override.as_ref();
    let over = over.map(|over| format!("freeze windows do not count, as {} says: {}", over.by, over.why));
    window.into_iter().chain(over).collect()
}

fn window_of(window: &WindowView, state: State) -> Option<String> {
    let size = window.window;
    if let Some(closed) = window.closed {
        let on = if state.is_over() { "" } else { "; nothing else limits how long it goes on" };
        return Some(format!("window of {size}: closed at {} before it was done{on}", clock(closed)));
    }
    let (left, buffer) = (window.left?, window.buffer()?);
    let then = match window.at_end {
        AtEnd::Pause => "pauses",
        AtEnd::Rollback => "rolls back",
    };
    let rest = match buffer {
        Millis::ZERO => format!("no buffer left, as {} are planned yet", window.planned),
        buffer => format!("{buffer} of it are a buffer"),
    };
    Some(format!("window of {size}: closes in {left}, {rest}; then it {then}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(left: Option<u64>, planned: u64, closed: Option<u64>, state: State) -> Option<String> {
        let window = WindowView {
            window: Millis::from_mins(360),
            at_end: AtEnd::Rollback,
            closed: closed.map(bellwether_core::time::UnixMillis),
            left: left.map(Millis::from_mins),
            planned: Millis::from_mins(planned),
        };
        window_of(&window, state)
    }

    #[test]
    fn the_buffer_is_told_until_nothing_is_left_of_it() {
        let validating = State::Validating { judging: false };
        insta::assert_snapshot!(
            [
                shown(Some(200), 160, None, validating),
                shown(Some(20), 30, None, validating),
                shown(Some(0), 30, Some(1_795_399_200_000), validating),
                shown(None, 0, Some(1_795_399_200_000), State::Committed),
            ]
            .map(Option::unwrap_or_default)
            .join("\n"),
            @r"
        window of 6h: closes in 3h20m, 40m of it are a buffer; then it rolls back
        window of 6h: closes in 20m, no buffer left, as 30m are planned yet; then it rolls back
        window of 6h: closed at 02:00:00 UTC before it was done; nothing else limits how long it goes on
        window of 6h: closed at 02:00:00 UTC before it was done
        "
        );
        assert_eq!(shown(None, 0, None, State::Completed), None);
    }
}
