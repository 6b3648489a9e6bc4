//! Where the tests of other languages find what they need. `cargo xtask test` makes it and says where it is.

use std::{
    env,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

/// A Python environment with everything that the examples and the clients import.
pub(crate) fn python() -> Option<PathBuf> {
    let interpreter = found("BELLWETHER_TEST_PYTHON", "target/python", "bin/python")?;
    interpreter.parent().and_then(Path::parent).map(Path::to_owned)
}

/// A Python environment with llama.cpp in it.
pub(crate) fn engine() -> Option<PathBuf> {
    let interpreter = found("BELLWETHER_TEST_ENGINE", "target/engine", "bin/python")?;
    interpreter.parent().and_then(Path::parent).map(Path::to_owned)
}

/// A `node_modules` directory.
pub(crate) fn node_modules() -> Option<PathBuf> {
    found("BELLWETHER_TEST_NODE_MODULES", "target/node", "node_modules")
}

/// The tests that the `ollama` package is published with.
pub(crate) fn ollama_tests() -> Option<PathBuf> {
    found("BELLWETHER_TEST_OLLAMA_TESTS", "target/ollama", "tests")
}

/// As `name` says, else where `cargo xtask test` has put it if it has finished. Without either the test is skipped.
fn found(name: &str, home: &str, what: &str) -> Option<PathBuf> {
    if let Some(path) = env::var_os(name) {
        return Some(path.into());
    }
    let home = root().join(home);
    let complete = home.join("complete.txt").exists();
    if !complete {
        println!("skipped: {name} is not set and {} is not complete; `cargo xtask test` makes it", home.display());
    }
    complete.then(|| home.join(what))
}

pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.join("../..").canonicalize().expect("the checkout is there")
}

pub(crate) fn link(to: &Path, at: &Path) {
    symlink(to, at).unwrap_or_else(|error| panic!("{} -> {}: {error}", at.display(), to.display()));
}
