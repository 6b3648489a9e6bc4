//! The runtime of commands that talk over the network: one thread is enough.

use bellwether_core::diagnostic::Diagnostic;

use crate::failure::Failure;

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        Failure::error(
            Diagnostic::new("BW0307", "the runtime cannot start")
                .because(error)
                .help("check the limits of open files and threads with `ulimit -a`"),
        )
    })?;
    Ok(runtime.block_on(future))
}
