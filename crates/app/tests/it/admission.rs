//! What the gateway's queue makes of a model server: as much of `bench admission` as holds in seconds and on a busy machine.

use std::time::Duration;

use crate::admission_run::{Point, Spans, figure::Figure};

const SPANS: Spans = Spans {
    cold: Duration::from_secs(4),
    steady: Duration::from_secs(1),
    round: Duration::from_secs(1),
    rounds: 1,
    shares: Duration::from_secs(3),
    leaving: Duration::from_secs(1),
    adversary: Duration::from_secs(1),
};

fn figures(point: Point) -> Vec<Figure> {
    point.measured(&SPANS).unwrap_or_else(|why| panic!("{why}"))
}

fn named<'a>(figures: &'a [Figure], name: &str) -> &'a Figure {
    figures.iter().find(|figure| figure.name == name).unwrap_or_else(|| panic!("no {name} in {figures:?}"))
}

#[test]
fn everybody_is_answered_where_models_take_turns() {
    let figures = figures(Point::Models);
    for name in ["success", "refused or failed", "longest wait"] {
        let figure = named(&figures, name);
        assert!(figure.goal.is_some() && figure.is_met(), "{figure:?}");
    }
    // Nobody has given up yet on the server alone, which is why it is no more.
    let goodput = named(&figures, "goodput").gateway.expect("both were measured");
    assert!(goodput > 2.0, "{figures:?}");
}

#[test]
fn sixty_connections_are_worth_as_much_as_one() {
    let figures = figures(Point::Greedy);
    let shares = named(&figures, "its equal shares");
    assert!(shares.is_met() && shares.direct.is_some_and(|direct| direct > 4.0), "{figures:?}");
}
