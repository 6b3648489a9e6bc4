//! Running cargo, each time with the line that a person would type.

use std::{ffi::OsString, path::Path, process::Command, time::Instant};

use anyhow::Context;

use crate::root;

pub(crate) struct Cargo {
    command: Command,
    shown: String,
}

impl Cargo {
    pub(crate) fn new(arguments: &[&str]) -> anyhow::Result<Self> {
        // The cargo that runs xtask, so that `cargo +1.95 xtask test` tests with 1.95.
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
        let mut command = Command::new(cargo);
        command.current_dir(root()?).args(arguments);
        Ok(Self { command, shown: format!("cargo {}", arguments.join(" ")) })
    }

    pub(crate) fn args(mut self, arguments: &[String]) -> Self {
        self.command.args(arguments);
        for argument in arguments {
            self.shown = format!("{} {argument}", self.shown);
        }
        self
    }

    /// For a workspace of its own.
    pub(crate) fn within(mut self, directory: &Path) -> Self {
        self.command.current_dir(directory);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self.shown = format!("{name}={value:?} {}", self.shown);
        self
    }

    /// Whether it succeeded. Its output goes where ours goes.
    pub(crate) fn succeeds(mut self) -> anyhow::Result<bool> {
        eprintln!("==> {}", self.shown);
        let began = Instant::now();
        let status = self.command.status().with_context(|| format!("cannot run `{}`", self.shown))?;
        eprintln!("<== {:.1} s", began.elapsed().as_secs_f64());
        Ok(status.success())
    }

    /// As [`Self::succeeds`], but prints nothing after it.
    pub(crate) fn ends_the_output(self) -> anyhow::Result<bool> {
        Ok(self.exits_with()? == Some(0))
    }

    /// Its exit code, if no signal ended it.
    pub(crate) fn exits_with(mut self) -> anyhow::Result<Option<i32>> {
        eprintln!("==> {}", self.shown);
        let status = self.command.status().with_context(|| format!("cannot run `{}`", self.shown))?;
        Ok(status.code())
    }

    /// What it prints; an error if it fails.
    pub(crate) fn says(mut self) -> anyhow::Result<String> {
        eprintln!("==> {}", self.shown);
        let output = self.command.output().with_context(|| format!("cannot run `{}`", self.shown))?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "`{}` failed: {complaint}", self.shown);
        String::from_utf8(output.stdout).with_context(|| format!("`{}` printed something unreadable", self.shown))
    }

    pub(crate) fn must(self) -> anyhow::Result<()> {
        let shown = self.shown.clone();
        anyhow::ensure!(self.succeeds()?, "`{shown}` failed");
        Ok(())
    }
}

/// Whether `cargo NAME` exists on this machine.
pub(crate) fn has(name: &str) -> bool {
    let probe = Command::new("cargo").args([name, "--version"]).output();
    probe.is_ok_and(|output| output.status.success())
}
