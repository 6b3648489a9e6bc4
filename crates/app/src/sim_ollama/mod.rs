//! A simulated Ollama: slots, model loads and queues without a model.
//!
//! [`machine`] is a pure machine in virtual time that queues, loads and computes as Ollama's scheduler does;
//! [`server`] puts it behind sockets. How long things take is frozen in `frozen.json`
//! (see [`params`]), and `rows` shows that with these figures the machine behaves under load as the real server was
//! measured to.

mod ask;
mod ledger;
mod machine;
mod params;
#[cfg(test)]
mod reference;
mod reply;
#[cfg(test)]
mod rows;
mod server;

pub(crate) use machine::Shape;
pub(crate) use params::Params;
pub(crate) use server::serve;
