//! What a person reads when the supervisor cannot do its work.

use std::{error::Error, io, net::SocketAddr, path::Path};

use bellwether_core::diagnostic::{Diagnostic, chain};

use crate::failure::Failure;

pub(crate) fn port_in_use(address: SocketAddr, what: &str, flag: &str, error: &io::Error) -> Failure {
    Failure::error(Diagnostic::new("BW0301", format!("the {what} cannot listen on {address}")).because(error).help(
        format!(
            "end what uses that port (`ss -ltnp 'sport = :{}'` names it), or choose another one with {flag}",
            address.port()
        ),
    ))
}

pub(crate) fn not_loopback(address: SocketAddr, flag: &str) -> Failure {
    Failure::invalid(vec![
        Diagnostic::new("BW0312", format!("{flag} {address} is not an address of this machine alone"))
            .help("use an address in 127.0.0.0/8 or [::1]; to be reached from elsewhere, put a TLS proxy in front"),
    ])
}

pub(crate) fn held(state: &Path, pid: Option<u32>, why: &str) -> Failure {
    let holder = pid.map_or("another process".to_owned(), |pid| format!("process {pid}"));
    Failure::error(
        Diagnostic::new("BW0302", format!("{holder} already serves from the state directory {}", state.display()))
            .because(why)
            .help("use that one, stop it, or start this one with --take-over, which ends it and adopts its agents"),
    )
}

pub(crate) fn state(path: &Path, why: impl std::fmt::Display, help: &str) -> Failure {
    Failure::error(
        Diagnostic::new("BW0303", format!("{} cannot be used as state directory", path.display()))
            .because(why)
            .help(help),
    )
}

pub(super) fn other_agents(file: &Path, differences: &[String]) -> Failure {
    Failure::error(
        Diagnostic::new("BW0343", format!("{} has other agents than the fleet that this state directory holds", file.display()))
            .because(differences.join("; "))
            .help("put the file back, or serve this fleet from a state directory of its own, after `serve --stop-agents` on the old one"),
    )
}

pub(crate) fn socket(path: &Path, error: &io::Error) -> Failure {
    let help = "choose a state directory with a shorter path, on a local file system";
    self::state(path.parent().unwrap_or(path), format!("no socket {}: {error}", path.display()), help)
}

pub(crate) fn driver(path: &Path, error: &dyn Error) -> Failure {
    let help = "nothing was changed; restore the file, or remove it after ending the process that it names";
    self::state(path, chain(error), help)
}

pub(crate) fn not_ready(name: &str, why: &str, log: &Path) -> Failure {
    Failure::error(
        Diagnostic::new("BW0313", format!("the {name} does not become ready"))
            .because(why)
            .help(format!("read {}; agents that run already are left as they are", log.display())),
    )
}

pub(crate) fn no_controller(gateway: &str, log: &Path) -> Failure {
    Failure::error(
        Diagnostic::new("BW0348", format!("there is no controller; the gateway serves at {gateway} without one"))
            .because("the controller ended with an error that a person has to mend; it is told above")
            .help(format!(
                "agents that run already go on; nothing is started, restarted or rolled out. Mend what {} says, and start \
                 `serve` again",
                log.display()
            )),
    )
}

pub(crate) fn later_store(refused: &bellwether_store::Refused) -> Failure {
    Failure::error(
        Diagnostic::new("BW0346", "the state directory was used by a later version")
            .because(refused)
            .help("nothing was started and nothing was changed; agents that run already are left as they are"),
    )
}

pub(crate) fn put_back(state: &Path, error: &io::Error) -> Failure {
    Failure::error(
        Diagnostic::new("BW0353", format!("a restore to {} could not be brought to its end", state.display()))
            .because(error)
            .help("make room and check who owns the directory; the next `serve` or `restore` goes on where it stopped"),
    )
}

pub(crate) fn left(instances: &[String]) -> Failure {
    Failure::error(
        Diagnostic::new("BW0314", format!("{} instances did not end: {}", instances.len(), instances.join(", ")))
            .help("the operating system cannot end them at the moment; look for processes in state D with `ps`"),
    )
}

pub(crate) fn system(what: &str, error: &io::Error) -> Failure {
    Failure::error(
        Diagnostic::new("BW0315", what)
            .because(error)
            .help("this is a limit or a restriction of the operating system; `ulimit -a` shows the limits"),
    )
}
