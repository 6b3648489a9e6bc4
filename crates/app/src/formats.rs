//! What this program reads, writes and speaks, for one that would put it in the place of another.

use bellwether_core::port::{driver, gateway, heir, supervisor::Formats};

pub(crate) fn ours() -> Formats {
    Formats {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        gateway_store: bellwether_gateway::STORE_SCHEMA.into(),
        journal: bellwether_control::JOURNAL_SCHEMA,
        driver: driver::PROTOCOL.1,
        gateway: gateway::PROTOCOL.1,
        heir: heir::PROTOCOL.1,
    }
}
