//! `cargo xtask bench NAME`: finds the crate whose `benches/` holds it.

use std::{collections::BTreeMap, fs, path::Path, process::ExitCode};

use anyhow::Context;

use crate::{cargo::Cargo, entries, python, root};

/// It needs an engine that is no part of a checkout.
const ENGINES: &str = "engines";

pub(crate) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let benches = benches(&root()?.join("crates"))?;
    let names = || benches.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    let Some((name, rest)) = arguments.split_first() else {
        println!("{}", names());
        return Ok(ExitCode::SUCCESS);
    };
    let package =
        benches.get(name).with_context(|| format!("there is no benchmark `{name}`; there is: {}", names()))?;
    let mut bench = Cargo::new(&["bench", "--package", package, "--bench", name, "--"])?.args(rest);
    if name == ENGINES {
        match python::engine() {
            Ok(interpreter) => bench = bench.env(python::ENGINE, &interpreter.display().to_string()),
            Err(error) => eprintln!("skipped: llama.cpp ({error:#})"),
        }
    }
    let done = bench.ends_the_output()?;
    Ok(if done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Benchmark → package. Benchmarks live beside what they measure, so only the tree knows where.
fn benches(crates: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for krate in entries(crates)? {
        let benches = krate.join("benches");
        if !benches.is_dir() {
            continue;
        }
        let package = package_name(&krate.join("Cargo.toml"))?;
        for bench in entries(&benches)? {
            let is_bench = bench.extension().is_some_and(|it| it == "rs") || bench.join("main.rs").is_file();
            if let (true, Some(name)) = (is_bench, bench.file_stem().and_then(|stem| stem.to_str())) {
                found.insert(name.to_owned(), package.clone());
            }
        }
    }
    Ok(found)
}

fn package_name(manifest: &Path) -> anyhow::Result<String> {
    let text = fs::read_to_string(manifest).with_context(|| format!("cannot read {}", manifest.display()))?;
    text.lines()
        .find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'))
        .map(str::to_owned)
        .with_context(|| format!("{} names no package", manifest.display()))
}
