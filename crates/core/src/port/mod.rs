//! The messages between the controller and what it commands. The transports are in the shells; the
//! simulated world speaks the same messages.

pub mod driver;
pub mod gateway;
pub mod heir;
pub mod supervisor;
