//! Whether everything that agents are started with is there and can be executed. Looked up as the driver does.

use std::{collections::BTreeMap, ffi::OsString, os::unix::fs::PermissionsExt, path::Path};

use bellwether_core::spec::{AgentSpec, Revision};

use super::Check;
use crate::wording::{counted, some};

const NAME: &str = "commands";
/// Endings of files that an interpreter is given to run.
const SCRIPTS: [&str; 8] = ["py", "sh", "js", "mjs", "ts", "rb", "pl", "jar"];

/// What a command starts with: the program, its search path, and the script that it is given.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Start {
    program: String,
    path: Option<String>,
    script: Option<String>,
}

pub(super) fn check(revisions: &[(&AgentSpec, Revision)]) -> Check {
    let mut starts: BTreeMap<Start, Vec<&str>> = BTreeMap::new();
    for (agent, revision) in revisions {
        if let Some(start) = Start::of(revision) {
            let users = starts.entry(start).or_default();
            if users.last() != Some(&agent.name.as_str()) {
                users.push(agent.name.as_str());
            }
        }
    }
    let (mut there, mut missing) = (Vec::new(), Vec::new());
    for (start, users) in &starts {
        match start.find() {
            Ok(found) => there.push(format!("{found} for {}", counted(users.len(), "agent", "agents"))),
            Err(why) => missing.push(format!("{why} (for {})", some(users.iter().copied(), 3))),
        }
    }
    if missing.is_empty() {
        return Check::ok(NAME, there.join("\n"));
    }
    let remedy = "install it, make it executable with `chmod +x`, or write its path in `command`; paths are taken from \
                  the directory in which `bellwether serve` is started";
    Check::failed(NAME, missing.join("\n"), remedy)
}

impl Start {
    fn of(revision: &Revision) -> Option<Self> {
        let (program, arguments) = revision.command.split_first()?;
        let script = arguments.first().filter(|word| {
            Path::new(word).extension().and_then(|ending| ending.to_str()).is_some_and(|e| SCRIPTS.contains(&e))
        });
        Some(Self { program: program.clone(), path: revision.env.get("PATH").cloned(), script: script.cloned() })
    }

    fn find(&self) -> Result<String, String> {
        let found = self.program()?;
        match &self.script {
            Some(script) if !Path::new(script).is_file() => {
                Err(format!("{} is there, and the script {script:?} that it runs is not", self.program))
            }
            Some(script) => Ok(format!("{found} with {script}")),
            None => Ok(found),
        }
    }

    fn program(&self) -> Result<String, String> {
        let word = &self.program;
        if word == "bellwether" {
            return Ok("bellwether (this very program)".to_owned());
        }
        if word.contains('/') {
            let path = Path::new(word);
            return match path.metadata() {
                Ok(meta) if !meta.is_file() => Err(format!("{word:?} is not a file")),
                Ok(meta) if meta.permissions().mode() & 0o111 == 0 => Err(format!("{word:?} is not executable")),
                Ok(_) => Ok(word.clone()),
                Err(error) => Err(format!("{word:?} cannot be started: {error}")),
            };
        }
        let path = self.path.as_ref().map(OsString::from).or_else(|| std::env::var_os("PATH"));
        let path = path.unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
        let found = std::env::split_paths(&path).map(|directory| directory.join(word)).find(|path| executable(path));
        found.map(|path| path.display().to_string()).ok_or_else(|| format!("{word:?} was not found in PATH"))
    }
}

fn executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
