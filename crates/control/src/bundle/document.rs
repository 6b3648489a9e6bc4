//! What the page says, before it is known whether a browser or a terminal shows it. Text in here is plain: each
//! renderer makes it harmless for its own medium.

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Tone {
    #[default]
    Plain,
    Good,
    Bad,
    /// Not decided yet, or to be looked at.
    Open,
}

pub(super) struct Document {
    pub(super) title: String,
    /// The state in two or three words.
    pub(super) state: (Tone, String),
    /// What happened and how it stands, in the order in which a person asks.
    pub(super) lead: Vec<String>,
    /// What to do now, first things first.
    pub(super) steps: Vec<String>,
    /// What could not be read.
    pub(super) missing: Vec<String>,
    pub(super) sections: Vec<Section>,
    pub(super) foot: String,
}

pub(super) struct Section {
    pub(super) title: &'static str,
    pub(super) blocks: Vec<Block>,
}

pub(super) enum Block {
    /// May hold commands between backticks.
    Text(String),
    Table(Table),
    Charts(Charts),
    Log(Log),
    /// Closed at first where the medium can.
    Fold {
        title: String,
        blocks: Vec<Block>,
    },
}

#[derive(Default)]
pub(super) struct Table {
    pub(super) head: Vec<&'static str>,
    pub(super) rows: Vec<Vec<Cell>>,
}

#[derive(Clone, Default)]
pub(super) struct Cell {
    pub(super) text: String,
    pub(super) tone: Tone,
    /// Aligned by its end.
    pub(super) number: bool,
}

/// Curves over one common span, blue beside green.
pub(super) struct Charts {
    pub(super) from: String,
    pub(super) until: String,
    /// What one point of a curve stands for.
    pub(super) step: String,
    pub(super) marks: Vec<Mark>,
    pub(super) rows: Vec<Chart>,
}

/// A moment in the span of the curves.
pub(super) struct Mark {
    /// 0 to 1.
    pub(super) at: f64,
    pub(super) letter: char,
    pub(super) what: &'static str,
}

pub(super) struct Chart {
    pub(super) name: &'static str,
    pub(super) values: Values,
    /// The highest point, with its unit.
    pub(super) peak: String,
    pub(super) curves: Vec<Curve>,
}

/// What stands beside the curve.
pub(super) enum Values {
    Sides { blue: String, green: String },
    Shared(String),
}

pub(super) struct Curve {
    pub(super) kind: Kind,
    pub(super) points: Vec<Option<f64>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Blue,
    Green,
    Shared,
}

pub(super) struct Log {
    pub(super) title: String,
    pub(super) note: String,
    pub(super) lines: Vec<String>,
}

impl Table {
    pub(super) fn new(head: &[&'static str]) -> Self {
        Self { head: head.to_vec(), rows: Vec::new() }
    }
}

impl Cell {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    pub(super) fn number(text: impl Into<String>) -> Self {
        Self { text: text.into(), number: true, ..Self::default() }
    }

    pub(super) fn toned(text: impl Into<String>, tone: Tone) -> Self {
        Self { text: text.into(), tone, number: false }
    }

    #[must_use]
    pub(super) fn with(mut self, tone: Tone) -> Self {
        self.tone = tone;
        self
    }
}

impl Charts {
    /// The highest point of all curves of a row; 0 where there is none.
    pub(super) fn top(chart: &Chart) -> f64 {
        chart.curves.iter().flat_map(|curve| curve.points.iter().flatten()).copied().fold(0.0, f64::max)
    }
}
