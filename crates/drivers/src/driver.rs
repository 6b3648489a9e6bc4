//! What every driver is.

use std::{future::Future, pin::Pin};

use bellwether_core::port::driver::{Capabilities, DriverAnswer, DriverCommand, DriverEvent, Observed};
use tokio::sync::mpsc;

/// An answer that is on its way. It does not borrow the driver, so many can be awaited at once.
pub type Reply<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What happened, in the order in which it happened for each instance.
pub type Events = mpsc::Receiver<DriverEvent>;

/// Runs instances. The promises, checked by the contract suite:
///
/// - Commands to one instance take effect in the order of the calls to [`apply`](Self::apply), not in that
///   in which the replies are awaited; a reply that is dropped does not undo its command.
/// - The same command twice is the same command once. An instance number names one run for ever: a `Start`
///   of an instance that has ended is taken and starts nothing.
/// - A command of an older generation than the last one seen for the instance is `Stale`; one to an instance
///   that does not run is `Unknown`.
/// - Each end of an instance is exactly one `Exited`. By then what it started has been killed, or is found and
///   killed at once where it had hidden.
/// - A driver that is dropped leaves its instances running; the next one on the same state observes and
///   commands them as if it had started them.
pub trait Driver: Send + Sync {
    fn capabilities(&self) -> Capabilities;

    fn observe(&self) -> Reply<Vec<Observed>>;

    fn apply(&self, command: DriverCommand) -> Reply<DriverAnswer>;

    /// The one stream of events: the first caller has it, later ones get `None`.
    fn events(&self) -> Option<Events>;
}
