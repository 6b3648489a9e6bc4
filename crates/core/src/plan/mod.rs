//! Phases → batches. A plan leaves nothing to choose: the controller executes it as it stands.

mod model;

pub use model::*;
