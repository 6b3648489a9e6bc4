//! `cargo xtask test`: everything that can be tested on this machine, from a fresh checkout on.
//!
//! The runner comes last, so that its summary is the last thing printed. What goes before it is not allowed to
//! stop it: one call shows all that is broken.

use std::{fs, process::ExitCode};

use anyhow::Context;

use crate::{
    cargo::{Cargo, has},
    entries, python, root,
};

pub(crate) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let everything: &[&str] = if names_a_package(arguments) { &[] } else { &["--workspace"] };
    let cargo = |command: &[&str], more: &[&str]| Cargo::new(&[command, everything, more].concat());
    if !everything.is_empty() {
        // Integration tests start the product's own binary. The same targets as in the runner's build, so that
        // cargo resolves the same features and compiles nothing twice.
        cargo(&["build"], &["--bins", "--tests"])?.must()?;
    }
    let languages = python::environment()?;
    let before = if arguments.is_empty() { before_the_runner()? } else { true };
    let runner = if has("nextest") {
        let run = cargo(&["nextest", "run"], &[])?;
        if std::env::var_os("CI").is_some() && std::env::var_os("NEXTEST_PROFILE").is_none() {
            run.env("NEXTEST_PROFILE", "ci")
        } else {
            run
        }
    } else {
        eprintln!("skipped: cargo-nextest is not installed; `cargo test` runs the tests instead");
        cargo(&["test"], &["--lib", "--bins", "--tests"])?
    };
    let runner = languages.iter().fold(runner, |runner, (name, path)| runner.env(name, path));
    let passed = runner.args(arguments).ends_the_output()?;
    Ok(if passed && before { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Beside `--workspace` cargo would overlook it.
fn names_a_package(arguments: &[String]) -> bool {
    arguments.iter().any(|argument| argument.starts_with("-p") || argument.starts_with("--package"))
}

fn before_the_runner() -> anyhow::Result<bool> {
    let loom = loom()?;
    let doc = doc()?;
    for (passed, name) in [(loom, "loom"), (doc, "doc tests")] {
        if !passed {
            eprintln!("error: {name} failed; the tests that follow do not change that");
        }
    }
    Ok(loom && doc)
}

/// The interleavings of the claim word. `--cfg loom` changes what is compiled, hence a target directory of its own;
/// there are many of them, hence `--release`.
fn loom() -> anyhow::Result<bool> {
    if !root()?.join("crates/core/tests/loom.rs").is_file() {
        eprintln!("skipped: loom (nothing in crates/core is written for it)");
        return Ok(true);
    }
    let tests = ["test", "--package", "bellwether-core", "--release", "--test", "loom", "--target-dir", "target/loom"];
    Cargo::new(&tests)?.env("RUSTFLAGS", "--cfg loom").succeeds()
}

/// The runner does not know doc tests.
fn doc() -> anyhow::Result<bool> {
    if !mentions("crates", |line| matches!(line.trim_start(), "/// ```" | "//! ```" | "/// ```rust" | "//! ```rust"))? {
        eprintln!("skipped: doc tests (there are none)");
        return Ok(true);
    }
    Cargo::new(&["test", "--workspace", "--doc", "--quiet"])?.succeeds()
}

fn mentions(under: &str, line_is_it: fn(&str) -> bool) -> anyhow::Result<bool> {
    let mut directories = vec![root()?.join(under)];
    while let Some(directory) = directories.pop() {
        for path in entries(&directory)? {
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|it| it == "rs") {
                let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
                if text.lines().any(line_is_it) {
                    return Ok(true);
                }
            }
        }
    }
    Ok(false)
}
