//! What this program reads, writes and speaks, for one that would put it in the place of another.

use bellwether_core::port::{driver, gateway, heir, supervisor::Formats};

pub(crate) fn ours() -> Formats {
    Formats {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        gateway_store: bellwether_store::GATEWAY.schema.into(),
        journal: bellwether_store::JOURNAL.schema.into(),
        driver: driver::PROTOCOL.1,
        gateway: gateway::PROTOCOL.1,
        heir: heir::PROTOCOL.1,
    }
}
