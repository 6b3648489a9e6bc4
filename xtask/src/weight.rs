//! What the first build of a stranger costs: the crates behind `cargo run --release -- demo` are counted and bounded,
//! and the heavy clients that only some need stay out of it.

use std::collections::BTreeSet;

use crate::cargo::Cargo;

/// Crates that the demo's command may compile. Raise it with a reason: each one costs every newcomer.
const CRATES_MAX: usize = 150;
const HEAVY: [&str; 5] = ["bollard", "k8s-openapi", "kube", "opentelemetry", "tokio-postgres"];

pub(crate) fn is_kept() -> anyhow::Result<bool> {
    let tree = Cargo::new(&[
        "tree",
        "--locked",
        "-p",
        "bellwether",
        "-e",
        "normal,build",
        "--prefix",
        "none",
        "--format",
        "{p}",
    ])?;
    let text = tree.says()?;
    let crates: BTreeSet<&str> = text.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let heavy: Vec<&str> = HEAVY.into_iter().filter(|name| crates.contains(name)).collect();
    eprintln!("the demo's command compiles {} crates of at most {CRATES_MAX}", crates.len());
    if !heavy.is_empty() {
        eprintln!("it must not compile {}: put them behind a feature that is off by default", heavy.join(", "));
    }
    Ok(heavy.is_empty() && !crates.is_empty() && crates.len() <= CRATES_MAX)
}
