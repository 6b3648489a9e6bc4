//! Drivers start, stop, freeze and measure instances. They choose nothing: each command comes from the
//! controller, and a command of an older decision is refused.
//!
//! [`Driver`] is what all of them are; [`process`] runs instances as processes of this machine; [`host`]
//! answers the controller over a link; `testing` holds the contract that each driver must meet.

mod driver;
pub mod host;
pub mod linux;
pub mod logs;
pub mod process;
#[cfg(feature = "testing")]
pub mod testing;

pub use driver::{Driver, Events, Reply};
