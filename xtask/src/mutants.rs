//! `cargo xtask mutants`: whether a test notices each small change of the code that decides.
//!
//! `.cargo/mutants.toml` says which files; `docs/mutants.md` explains what no test can notice. A survivor that is not
//! explained there is a failure.

use std::{collections::BTreeSet, fs, path::Path, process::ExitCode};

use anyhow::Context;

use crate::{
    cargo::{Cargo, has},
    root,
};

const EXPLAINED: &str = "docs/mutants.md";
/// Below the target directory, so that it is in nobody's way.
const OUTPUT: &str = "target/mutants";
/// Tests of other parts of the crate take ten times as long and see these files from afar.
const TESTS: [&str; 2] = ["rollout::", "traffic::"];

// Exit codes of cargo-mutants. A test that does not end has noticed the change too.
const SOME_SURVIVED: i32 = 2;
const SOME_TIMED_OUT: i32 = 3;

pub(crate) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(
        has("mutants"),
        "cargo-mutants is not installed; `cargo install cargo-mutants --locked` installs it"
    );
    let root = root()?;
    let survivors = root.join(OUTPUT).join("mutants.out/missed.txt");
    // What an earlier run found says nothing of this one.
    if survivors.exists() {
        fs::remove_file(&survivors).with_context(|| format!("cannot remove {}", survivors.display()))?;
    }
    fs::create_dir_all(root.join(OUTPUT)).with_context(|| format!("cannot make {OUTPUT}"))?;
    let (tool, tests): (&[&str], String) = if has("nextest") {
        (&["--test-tool", "nextest"], format!("--lib {}", TESTS.join(" ")))
    } else {
        (&[], format!("--lib -- {}", TESTS.join(" ")))
    };
    let tests: Vec<String> = tests.split(' ').map(str::to_owned).collect();
    let mutants = Cargo::new(&[&["mutants", "--package", "bellwether-core", "--output", OUTPUT], tool].concat())?;
    // A counterexample is enough; nobody reads it, so it need not be made small or kept.
    let exit = mutants
        .env("PROPTEST_MAX_SHRINK_ITERS", "0")
        .env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "true")
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .args(arguments)
        .args(&["--".to_owned()])
        .args(&tests)
        .exits_with()?;
    match exit {
        // Where it was only asked for a list, there is no verdict.
        Some(0) if !survivors.is_file() => Ok(ExitCode::SUCCESS),
        Some(0 | SOME_SURVIVED | SOME_TIMED_OUT) => judge(&root, &survivors),
        _ => Ok(ExitCode::FAILURE),
    }
}

fn judge(root: &Path, survivors: &Path) -> anyhow::Result<ExitCode> {
    let read = |path: &Path| fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
    let survivors = read(survivors)?;
    let text = read(&root.join(EXPLAINED))?;
    let explained = explained(&text);
    let (known, unknown): (Vec<&str>, Vec<&str>) =
        survivors.lines().partition(|line| explained.contains(mutation(line)));
    println!("{} of {} survivors are explained in {EXPLAINED}", known.len(), known.len() + unknown.len());
    for line in &unknown {
        println!("not explained: {line}");
    }
    Ok(if unknown.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `crates/core/src/a.rs:3:9: replace f with ()` without the place, which moves with each edit.
fn mutation(survivor: &str) -> &str {
    survivor.split_once(": ").map_or(survivor, |(_, mutation)| mutation)
}

/// The list of the document: lines that begin with a mutation between backticks.
fn explained(text: &str) -> BTreeSet<&str> {
    text.lines().filter_map(|line| line.strip_prefix("- `")?.split_once('`')).map(|(mutation, _)| mutation).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_survivor_is_known_by_its_mutation_and_not_by_its_line() {
        let text = "# Title\n\n`replace g with ()` is no list\n- `replace f -> bool with true`: the same.\n- other\n";
        let explained = explained(text);
        assert_eq!(explained.len(), 1);
        assert!(explained.contains(mutation("crates/core/src/a.rs:3:9: replace f -> bool with true")));
        assert!(!explained.contains(mutation("crates/core/src/a.rs:3:9: replace g with ()")));
    }
}
