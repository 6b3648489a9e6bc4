//! One gateway gives way to the next, under load.
//!
//! The younger one is the *heir*, the older one its *elder*. The elder shuts its door ([`gate`]), closes the store, tells
//! what it still has in flight, and passes on whoever comes after ([`pass`]); [`elder`] carries out the order that
//! [`bellwether_core::traffic::handover`] prescribes. The heir ([`succeed`]) opens the store then and not before, and
//! counts what the elder has in flight as its own ([`legacy`]) until it hears that it has ended.

mod elder;
pub(crate) mod gate;
pub(crate) mod legacy;
mod lent;
pub(crate) mod pass;
mod succeed;

pub use self::succeed::{NotGiven, standing};
pub(crate) use self::{
    elder::{Elder, Parts},
    succeed::{Follow, Inherited, succeed},
};

/// The sockets of gateways, each named after its process, lie side by side.
const PREFIX: &str = "heir-";
