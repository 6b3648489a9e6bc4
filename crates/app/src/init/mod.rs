//! A fleet file for what is found on this machine. It only looks: at the model server's lists, at files beside
//! the one to be written, at memory and CPUs. What it writes, the product accepts.

mod agents;
mod compose;
mod inventory;
mod machine;
mod phases;
mod server;
#[cfg(test)]
mod tests;
mod text;

use std::path::Path;

use bellwether_core::{
    diagnostic::Diagnostic,
    spec::{Sources, parse_fleet},
};

pub(crate) use self::server::address_from;
use self::{agents::Agents, machine::Machine, server::Server};
use crate::failure::Failure;

/// Everything that a fleet file is made from.
pub(crate) struct Found {
    /// The name of the file that is to be written.
    file: String,
    fleet: String,
    machine: Machine,
    server: Server,
    agents: Agents,
}

impl Found {
    /// Looks at the machine, at the model server, and at the files of `folder`.
    pub(crate) async fn look(folder: &Path, file: &str, server: &str) -> Self {
        Self {
            file: file.to_owned(),
            fleet: fleet_name(folder),
            machine: Machine::look(),
            server: Server::ask(server).await,
            agents: Agents::look(folder),
        }
    }

    /// The file's text, checked as `serve` would check it.
    pub(crate) fn write(&self, folder: &Path) -> Result<String, Failure> {
        let text = text::render(self);
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).map_err(|error| error.to_string());
        match parse_fleet(&Sources { name: "fleet.yaml", text: &text, read: &read }) {
            Ok(_sound) => Ok(text),
            Err(mut findings) => {
                let refused = Diagnostic::new("BW0323", "what was found does not make a fleet file")
                    .because(format!("{} of the findings below stand in the way", findings.len()))
                    .help("correct what they name, or write the file by hand; docs/fleet-file.md shows how");
                findings.insert(0, refused);
                Err(Failure::invalid(findings))
            }
        }
    }

    /// What was found, a line each.
    pub(crate) fn told(&self) -> Vec<String> {
        vec![self.agents.told(), self.server.told(), self.machine.told()]
    }
}

/// The directory's name, as far as it can stand in a fleet's name.
fn fleet_name(folder: &Path) -> String {
    let absolute = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let name = absolute.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let name = agents::plain_name(&name);
    if name.is_empty() { "fleet".to_owned() } else { name }
}
