//! Fleet and release files: raw form → validated [`Spec`]. Nothing past this line checks again.

mod model;

pub use model::*;
