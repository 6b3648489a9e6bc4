//! What the tests of other languages need: a Python environment, Node packages, and the tests that an official client is
//! published with, under `target/`.
//!
//! Made once and kept until what is wanted changes. A machine without Python or Node is no reason to stop: the
//! tests concerned are skipped, and each of them says so.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow, ensure};

use crate::root;

/// Under which names the tests are told where things are.
pub(crate) const PYTHON: &str = "BELLWETHER_TEST_PYTHON";
pub(crate) const NODE_MODULES: &str = "BELLWETHER_TEST_NODE_MODULES";

pub(crate) const OLLAMA_TESTS: &str = "BELLWETHER_TEST_OLLAMA_TESTS";

/// A second engine behind the gateway.
pub(crate) const ENGINE: &str = "BELLWETHER_TEST_ENGINE";

const CLIENTS: &str = "crates/app/tests/it/clients/requirements.txt";
const REQUIREMENTS: [&str; 3] =
    ["examples/python/requirements.txt", CLIENTS, "crates/app/tests/it/published/requirements.txt"];
/// Apart from the others, because it is not made for every machine.
const ENGINE_REQUIREMENTS: [&str; 1] = ["crates/app/tests/it/engine/requirements.txt"];
const PACKAGES: &str = "crates/app/tests/it/clients/package.json";
/// Written when everything else is there.
const STAMP: &str = "complete.txt";
const INSTALL_MAX: Duration = Duration::from_secs(600);
const SYSTEM_INSTALL_MAX: Duration = Duration::from_secs(180);

/// Variables for the tests; what could not be made is told and left out.
pub(crate) fn environment() -> anyhow::Result<Vec<(&'static str, String)>> {
    let root = root()?;
    let interpreter = python(&root, &root.join("target/python"), &REQUIREMENTS);
    let tests = match &interpreter {
        Ok(interpreter) => ollama_tests(&root, &root.join("target/ollama"), interpreter),
        Err(_told_below) => Err(anyhow!("there is no Python")),
    };
    let made = [
        (PYTHON, "Python", interpreter),
        (OLLAMA_TESTS, "the tests of the Python client", tests),
        (NODE_MODULES, "Node", node(&root, &root.join("target/node"))),
        (ENGINE, "llama.cpp", engine_home(&root)),
    ];
    let mut environment = Vec::new();
    for (name, language, made) in made {
        match made {
            Ok(path) => environment.push((name, path.display().to_string())),
            Err(error) => eprintln!("skipped: tests that need {language} ({error:#})"),
        }
    }
    Ok(environment)
}

/// The interpreter that runs the second engine.
pub(crate) fn engine() -> anyhow::Result<PathBuf> {
    engine_home(&root()?)
}

fn engine_home(root: &Path) -> anyhow::Result<PathBuf> {
    python(root, &root.join("target/engine"), &ENGINE_REQUIREMENTS)
}

/// The interpreter of a virtual environment that has all that these files want.
fn python(root: &Path, home: &Path, requirements: &[&str]) -> anyhow::Result<PathBuf> {
    let interpreter = home.join("bin/python");
    if is_complete(home, &python_packages(root, requirements)?) && interpreter.exists() {
        return Ok(interpreter);
    }
    let make = || {
        start_anew(home)?;
        run(Command::new("python3").args(["-m", "venv"]).arg(home), INSTALL_MAX)
    };
    if make().is_err() {
        install_for_the_system("python3-venv");
        make()?;
    }
    let mut pip = Command::new(&interpreter);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).current_dir(root);
    for file in requirements {
        pip.args(["--requirement", file]);
    }
    run(&mut pip, INSTALL_MAX)?;
    complete(home, &python_packages(root, requirements)?)?;
    Ok(interpreter)
}

/// The tests in the source package of the client, in the version that [`CLIENTS`] names. Wheels carry none.
fn ollama_tests(root: &Path, home: &Path, interpreter: &Path) -> anyhow::Result<PathBuf> {
    let clients = read(&root.join(CLIENTS))?;
    let wanted = clients.lines().find(|line| line.starts_with("ollama==")).context("no version of the client")?;
    let tests = home.join("tests");
    if is_complete(home, wanted) && tests.exists() {
        return Ok(tests);
    }
    start_anew(home)?;
    let mut pip = Command::new(interpreter);
    pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check"]);
    pip.args(["--no-deps", "--no-binary", "ollama", "--dest"]).arg(home).arg(wanted);
    run(&mut pip, INSTALL_MAX)?;
    let package = wanted.replace("==", "-");
    let archive = format!("{package}.tar.gz");
    run(Command::new(interpreter).args(["-m", "tarfile", "-e", &archive, "."]).current_dir(home), INSTALL_MAX)?;
    fs::rename(home.join(package).join("tests"), &tests).context("the source package carries no tests")?;
    complete(home, wanted)?;
    Ok(tests)
}

/// What is wanted, and for which Python: another one needs an environment of its own.
fn python_packages(root: &Path, requirements: &[&str]) -> anyhow::Result<String> {
    let mut wanted = says("python3", &["--version"]).unwrap_or_default();
    for file in requirements {
        wanted += &read(&root.join(file))?;
    }
    Ok(wanted)
}

/// A `node_modules` that has all of [`PACKAGES`].
fn node(root: &Path, home: &Path) -> anyhow::Result<PathBuf> {
    let modules = home.join("node_modules");
    let wanted = read(&root.join(PACKAGES))?;
    if is_complete(home, &wanted) && modules.exists() {
        return Ok(modules);
    }
    if says("npm", &["--version"]).is_none() {
        install_for_the_system("npm");
    }
    start_anew(home)?;
    fs::write(home.join("package.json"), &wanted).with_context(|| format!("cannot write to {}", home.display()))?;
    let mut npm = Command::new("npm");
    npm.args(["install", "--silent", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"]);
    run(npm.current_dir(home), INSTALL_MAX)?;
    complete(home, &wanted)?;
    Ok(modules)
}

fn is_complete(home: &Path, wanted: &str) -> bool {
    fs::read_to_string(home.join(STAMP)).is_ok_and(|made| made == wanted)
}

fn complete(home: &Path, wanted: &str) -> anyhow::Result<()> {
    fs::write(home.join(STAMP), wanted).with_context(|| format!("cannot write to {}", home.display()))
}

fn start_anew(home: &Path) -> anyhow::Result<()> {
    if home.exists() {
        fs::remove_dir_all(home).with_context(|| format!("cannot remove {}", home.display()))?;
    }
    fs::create_dir_all(home).with_context(|| format!("cannot make {}", home.display()))
}

/// Works where we are root on a Debian; anywhere else what is missing stays missing, and is then told.
fn install_for_the_system(package: &str) {
    let mut apt = Command::new("apt-get");
    apt.args(["install", "--yes", "--quiet", "--quiet", package]).env("DEBIAN_FRONTEND", "noninteractive");
    if let Err(error) = run(&mut apt, SYSTEM_INSTALL_MAX) {
        eprintln!("{package} could not be installed: {error:#}");
    }
}

/// Bounded, because a registry that does not answer must not hold up tests that do not need it.
fn run(command: &mut Command, within: Duration) -> anyhow::Result<()> {
    let shown = format!("{command:?}").replace('"', "");
    eprintln!("==> {shown}");
    // Standard output is for the runner's summary.
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
    let mut child = child.with_context(|| format!("cannot run `{shown}`"))?;
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().with_context(|| format!("cannot wait for `{shown}`"))? {
            eprintln!("<== {:.1} s", began.elapsed().as_secs_f64());
            ensure!(status.success(), "`{shown}` failed");
            return Ok(());
        }
        if began.elapsed() > within {
            child.kill().with_context(|| format!("cannot end `{shown}`"))?;
            child.wait().with_context(|| format!("cannot wait for `{shown}`"))?;
            anyhow::bail!("`{shown}` took longer than {} s", within.as_secs());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What a program prints; none where it is not there or fails.
fn says(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
