//! What compiler and clippy do not look at: the text of the files in the checkout.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context;

/// Past this a file probably holds a second noun.
const LINES_MAX: usize = 600;

/// Where every dependency must come from, so that a checkout builds anywhere.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Written so that this file does not find itself.
const MARKERS: [&str; 2] = [concat!("TO", "DO"), concat!("FIX", "ME")];

#[derive(Debug, PartialEq, Eq)]
enum Finding {
    Error(String),
    Warning(String),
}

/// Prints what it finds; false if any of it is an error. Without git nobody knows which files are the project's.
pub(crate) fn lint(root: &Path) -> anyhow::Result<bool> {
    eprintln!("==> text");
    let files = match files(root) {
        Ok(files) => files,
        Err(error) => {
            eprintln!("skipped: text ({error:#})");
            return Ok(true);
        }
    };
    let places = [root.display().to_string(), cargo_home()];
    let mut errors = 0;
    for file in files {
        let bytes = fs::read(root.join(&file)).with_context(|| format!("cannot read {file}"))?;
        // What is not text has no lines to look at.
        let Ok(text) = String::from_utf8(bytes) else { continue };
        for finding in look_at(&file, &text, &places) {
            match finding {
                Finding::Error(message) => {
                    errors += 1;
                    eprintln!("error: {message}");
                }
                Finding::Warning(message) => eprintln!("warning: {message}"),
            }
        }
    }
    Ok(errors == 0)
}

/// What git tracks or would track, relative to the root.
fn files(root: &Path) -> anyhow::Result<Vec<String>> {
    let listing = Command::new("git")
        .current_dir(root)
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .output()
        .context("cannot run git")?;
    anyhow::ensure!(
        listing.status.success(),
        "git cannot list the files: {}",
        String::from_utf8_lossy(&listing.stderr).trim()
    );
    let names = String::from_utf8(listing.stdout).context("a file name is not UTF-8")?;
    // A file that was deleted and not yet committed is still listed.
    Ok(names.split_terminator('\0').filter(|file| root.join(file).is_file()).map(str::to_owned).collect())
}

fn look_at(file: &str, text: &str, places: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let mut error = |what: String| findings.push(Finding::Error(format!("{file}:{number}: {what}")));
        for marker in MARKERS.iter().filter(|marker| has_word(line, marker)) {
            error(format!("`{marker}`: do it, or open an issue"));
        }
        for place in places.iter().filter(|place| line.contains(place.as_str())) {
            error(format!("`{place}` exists on this machine only"));
        }
        if is_lock(file) && line.strip_prefix("source = ").is_some_and(|source| source.trim_matches('"') != REGISTRY) {
            error(format!("{line}: dependencies come from crates.io"));
        }
        if file.starts_with(".cargo/") && ["[source", "[registries", "[registry"].iter().any(|it| line.starts_with(it))
        {
            error("registries are the machine's business, not the project's".to_owned());
        }
    }
    let lines = text.lines().count();
    if file.ends_with(".rs") && lines > LINES_MAX {
        findings.push(Finding::Warning(format!("{file}: {lines} lines; look for the second noun")));
    }
    findings
}

fn is_lock(file: &str) -> bool {
    Path::new(file).file_name().is_some_and(|name| name == "Cargo.lock")
}

fn has_word(line: &str, word: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word)
        .any(|(at, _)| !line[..at].ends_with(part_of_word) && !line[at + word.len()..].starts_with(part_of_word))
}

fn cargo_home() -> String {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(std::env::home_dir()?.join(".cargo")));
    // A machine without a home has no path that could leak.
    home.map_or_else(|| "\0".to_owned(), |home| home.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(file: &str, text: &str) -> Vec<Finding> {
        look_at(file, text, &["/builds/checkout".to_owned()])
    }

    fn is_error(findings: &[Finding]) -> bool {
        matches!(findings, [Finding::Error(_)])
    }

    #[test]
    fn unfinished_work_is_an_error_and_its_name_inside_a_word_is_not() {
        assert!(is_error(&found("a.rs", &format!("// {}: later", MARKERS[0]))));
        assert_eq!(found("a.rs", &format!("const {}S: u8 = 1;", MARKERS[0])), []);
    }

    #[test]
    fn a_path_of_the_machine_is_an_error() {
        assert!(is_error(&found("docs/a.md", "see /builds/checkout/target")));
    }

    #[test]
    fn a_mirror_in_the_lock_file_is_an_error() {
        assert_eq!(found("Cargo.lock", &format!("source = \"{REGISTRY}\"")), []);
        assert!(is_error(&found("fuzz/Cargo.lock", "source = \"registry+https://mirror.example/index\"")));
        assert!(is_error(&found(".cargo/config.toml", "[source.crates-io]")));
    }

    #[test]
    fn a_long_file_is_a_warning() {
        assert!(matches!(found("a.rs", &"\n".repeat(LINES_MAX + 1))[..], [Finding::Warning(_)]));
        assert_eq!(found("a.csv", &"\n".repeat(LINES_MAX + 1)), []);
    }
}
