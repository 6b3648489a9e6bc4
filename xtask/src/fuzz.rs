//! `cargo xtask fuzz`: inputs that nobody thought of, for what reads bytes from outside.
//!
//! What is found on the way lies below `target/` and is found again by the next run; `--keep` puts the least of it that reaches
//! as much into `fuzz/corpus`, which every run of the tests replays.

use std::{cmp::Reverse, fs, path::Path, process::ExitCode};

use anyhow::{Context, ensure};

use crate::{
    cargo::{Cargo, has},
    entries, root,
};

const TARGETS: &str = "fuzz/fuzz_targets";
const KEPT: &str = "fuzz/corpus";
const FOUND: &str = "target/fuzz/corpus";
/// Of each target: few enough to be replayed in every run of the tests. The largest reach the most.
const KEPT_MAX: usize = 24;
/// All targets together.
const SECONDS: u64 = 600;
/// Everything that these readers tell apart fits in it, and small inputs are what a person can read.
const LENGTH_MAX: &str = "-max_len=512";

struct Options {
    targets: Vec<String>,
    seconds: u64,
    keep: bool,
}

pub(crate) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let root = root()?;
    let Options { targets, seconds, keep } = Options::read(arguments, &all(&root)?)?;
    ensure!(has("fuzz"), "cargo-fuzz is not installed; `cargo install cargo-fuzz --locked` installs it");
    let each = (seconds / targets.len() as u64).max(1);
    let mut failed = Vec::new();
    for target in &targets {
        let (found, kept) = (root.join(FOUND).join(target), root.join(KEPT).join(target));
        for directory in [&found, &kept] {
            fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        }
        let time = format!("-max_total_time={each}");
        let run = cargo(&root, "run", target, &found)?.args(&[kept.display().to_string(), "--".to_owned(), time]);
        if !run.args(&[LENGTH_MAX, "-timeout=10", "-print_final_stats=1"].map(str::to_owned)).succeeds()? {
            failed.push(target.as_str());
        } else if keep {
            keeps(&root, target, &found, &kept)?;
        }
    }
    ensure!(failed.is_empty(), "inputs that must not do what they do were found for {}", failed.join(", "));
    Ok(ExitCode::SUCCESS)
}

impl Options {
    fn read(arguments: &[String], all: &[String]) -> anyhow::Result<Self> {
        let mut options = Self { targets: Vec::new(), seconds: SECONDS, keep: false };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--for" => {
                    let span = arguments.next().context("`--for` needs a span, such as 10m")?;
                    options.seconds =
                        seconds(span).with_context(|| format!("`{span}` is no span, such as 10m or 90s"))?;
                }
                "--keep" => options.keep = true,
                target => {
                    ensure!(
                        all.iter().any(|it| it == target),
                        "there is no target `{target}`; there is: {}",
                        all.join(", ")
                    );
                    options.targets.push(target.to_owned());
                }
            }
        }
        if options.targets.is_empty() {
            options.targets = all.to_vec();
        }
        Ok(options)
    }
}

fn seconds(span: &str) -> Option<u64> {
    let (number, unit) = span.split_at_checked(span.len().checked_sub(1)?)?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit).filter(|&seconds| seconds > 0)
}

fn all(root: &Path) -> anyhow::Result<Vec<String>> {
    let files = entries(&root.join(TARGETS))?;
    let mut names: Vec<String> = files.iter().filter_map(|file| Some(file.file_stem()?.to_str()?.to_owned())).collect();
    names.sort();
    Ok(names)
}

/// The least of what was found, and was kept before, that reaches as much of the code.
fn keeps(root: &Path, target: &str, found: &Path, kept: &Path) -> anyhow::Result<()> {
    for file in entries(kept)? {
        let name = file.file_name().context("a file without a name")?;
        fs::copy(&file, found.join(name)).with_context(|| format!("cannot copy {}", file.display()))?;
    }
    // How often something is reached is of no interest here, only that it is, by as few inputs as possible.
    let least = ["--", "-use_counters=0", "-set_cover_merge=1", LENGTH_MAX].map(str::to_owned);
    cargo(root, "cmin", target, found)?.args(&least).must()?;
    for file in entries(kept)?.iter().filter(|file| is_invented(file)) {
        fs::remove_file(file).with_context(|| format!("cannot remove {}", file.display()))?;
    }
    let mut least = Vec::new();
    for file in entries(found)? {
        let size = fs::metadata(&file).with_context(|| format!("cannot read {}", file.display()))?.len();
        least.push((Reverse(size), file));
    }
    least.sort();
    for (_, file) in least.into_iter().take(KEPT_MAX) {
        let name = file.file_name().context("a file without a name")?;
        fs::copy(&file, kept.join(name)).with_context(|| format!("cannot copy {}", file.display()))?;
    }
    Ok(())
}

/// Named by its own hash. What a person wrote has a name that says what it is, and stays.
fn is_invented(file: &Path) -> bool {
    file.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.len() == 40)
}

/// Sanitizers need what only a nightly compiler allows, unless one says that one knows.
fn cargo(root: &Path, command: &str, target: &str, corpus: &Path) -> anyhow::Result<Cargo> {
    let fuzz = Cargo::new(&["fuzz", command, target])?.within(&root.join("fuzz")).env("RUSTC_BOOTSTRAP", "1");
    Ok(fuzz.args(&[corpus.display().to_string()]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_understood_or_refused() {
        let all = ["a", "b"].map(str::to_owned);
        let read = |words: &[&str]| Options::read(&words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>(), &all);
        let options = read(&[]).unwrap();
        assert_eq!((options.targets, options.seconds, options.keep), (all.to_vec(), 600, false));
        let options = read(&["b", "--for", "90s", "--keep"]).unwrap();
        assert_eq!((options.targets, options.seconds, options.keep), (vec!["b".to_owned()], 90, true));
        for wrong in [["c"].as_slice(), &["--for"], &["--for", "10"], &["--for", "0s"], &["--for", "é"]] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }
}
