//! What the benchmarks of model calls share: programs that serve, and `bench model` as the clients of them.

mod load;
mod server;

pub(crate) use load::{Load, Report};
pub(crate) use server::Server;

const BIN: &str = env!("CARGO_BIN_EXE_bellwether");
