//! A typed link between two processes on one machine: JSON lines over a Unix socket.
//!
//! A client asks and gets one answer per request, in any order; a server also pushes events to every client
//! that is connected. A line is at most [`LINE_MAX`] bytes. Both sides name the protocol and its version in the
//! first line, so that two builds that do not understand each other say so instead of guessing.

mod client;
mod frame;
mod server;

pub use client::{Answer, Client, Events};
pub use frame::{Error, Hello, LINE_MAX};
pub use server::{Peers, Requests, Server};
