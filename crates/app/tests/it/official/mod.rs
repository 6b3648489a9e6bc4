//! Official clients see the same through the gateway as without: answers, streams, embeddings, errors, and what comes after a
//! stream that was left early.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::{
    languages::{link, node_modules, python, root},
    world::{Process, scratch, start_ollama},
};

#[test]
fn python_clients_see_the_same_as_without_the_gateway() {
    let Some(environment) = python() else { return };
    let program = environment.join("bin/python");
    let dir = clients("official-python");
    sees_the_same(&program, &dir.join("python_ollama.py"), 22);
    sees_the_same(&program, &dir.join("python_openai.py"), 18);
    fs::remove_dir_all(&dir).expect("it can be removed");
}

#[test]
fn javascript_clients_see_the_same_as_without_the_gateway() {
    let Some(modules) = node_modules() else { return };
    let dir = clients("official-js");
    link(&modules, &dir.join("node_modules"));
    sees_the_same("node".as_ref(), &dir.join("js_ollama.mjs"), 15);
    sees_the_same("node".as_ref(), &dir.join("js_openai.mjs"), 12);
    fs::remove_dir_all(&dir).expect("it can be removed");
}

/// Copied, because Node looks for packages beside the file that a link leads to.
fn clients(name: &str) -> PathBuf {
    let dir = scratch(name);
    for file in fs::read_dir(root().join("crates/app/tests/it/official")).expect("it is there").flatten() {
        fs::copy(file.path(), dir.join(file.file_name())).expect("copied");
    }
    dir
}

fn sees_the_same(program: &Path, client: &Path, steps: usize) {
    // A model server for each, because what one client leaves loaded would be there for the next.
    let (_ollama, url) = start_ollama("127.0.0.1:0");
    let direct = transcript(program, client, &url);
    let (_other, url) = start_ollama("127.0.0.1:0");
    let mut gateway = Process::start(&["gateway", "--ollama", &url, "--listen", "127.0.0.1:0", "--output", "json"]);
    let through = transcript(program, client, gateway.says()["url"].as_str().expect("an address"));

    assert_eq!(direct.len(), steps, "{direct:#?}");
    for (name, outcome) in &direct {
        // A client that could not call at all would see the same both times.
        let fails = outcome["error"].is_string();
        assert_eq!(fails, name.contains("absent") || name == "unnamed" || is_abort(client, name), "{name}: {outcome}");
        assert_eq!(Some(outcome), through.get(name), "{name}");
    }
    assert_eq!(direct.len(), through.len());
}

/// This client throws when it is aborted.
fn is_abort(client: &Path, step: &str) -> bool {
    client.ends_with("js_ollama.mjs") && step == "left early"
}

/// What came of each step.
fn transcript(program: &Path, client: &Path, base: &str) -> BTreeMap<String, Value> {
    let mut command = Command::new(program);
    command.arg(client).env("BASE", base).env_remove("OLLAMA_HOST").env_remove("OPENAI_BASE_URL");
    let done = command.stdin(Stdio::null()).output().expect("the client starts");
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{said}{}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_str::<Vec<(String, Value)>>(&said).expect("a list of steps").into_iter().collect()
}
