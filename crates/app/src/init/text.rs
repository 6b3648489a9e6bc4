//! The file's text: what was found, with a comment where a person has to decide something.

use bellwether_core::spec::unit::Size;

use super::{
    Found,
    agents::{Agent, Agents},
    phases::{self, Phase, Select},
};
use crate::wording::{counted, wrap};

/// Of a comment's lines, and of a line with a comment behind it.
const WIDTH: usize = 96;
const LINE_MAX: usize = 110;
/// What stands in for the user's agents until the user says how they are started.
const STAND_IN: &str = "command: [bellwether, legacy-agent]";

pub(super) fn render(found: &Found) -> String {
    let mut page = Page::default();
    page.line("# What runs here, as `bellwether init` found it. Read it, correct it, and then:");
    page.line("#");
    let of = if found.file == "fleet.yaml" { String::new() } else { format!(" --fleet {}", found.file) };
    page.block(&[
        (&format!("#   bellwether check{of}"), "is everything there?"),
        (&format!("#   bellwether serve{of}"), "run it"),
        (&format!("#   bellwether plan{of} --release release.yaml"), "what would a release do?"),
    ]);
    page.line("#");
    page.line("# Every key that is not written here has a default; docs/fleet-file.md lists them all.");
    page.line("version: 1");
    page.line(&format!("fleet: {}", scalar(&found.fleet)));
    host(&mut page, found);
    server(&mut page, found);
    agents(&mut page, found);
    rollout(&mut page, found);
    page.text
}

fn host(page: &mut Page, found: &Found) {
    let bytes = if found.server.is_local() { found.server.largest_bytes() } else { 0 };
    page.gap();
    page.line(&format!("# {}. What is really there counts; less can be declared.", found.machine.told()));
    page.line("host:");
    match found.machine.reserve_gib(bytes) {
        Some(gib) if bytes >= 1 << 20 => {
            let why = format!("left to everything else: the largest model has {}, the system wants some", Size(bytes));
            page.block(&[(&format!("  reserve: {gib}GiB"), &why)]);
        }
        Some(gib) => page.block(&[(&format!("  reserve: {gib}GiB"), "left to the system and everything else")]),
        None => page.block(&[("  # memory: 8GiB", "declare it where it cannot be found out")]),
    }
}

fn server(page: &mut Page, found: &Found) {
    let server = &found.server;
    page.gap();
    page.line("ollama:");
    let answers = match &server.version {
        Some(version) => format!("Ollama {version} answers here"),
        None => "nothing answers here at the moment".to_owned(),
    };
    page.block(&[
        (&format!("  url: {}", server.url), &answers),
        ("  parallel: 2", "model calls at once: what it runs with as OLLAMA_NUM_PARALLEL"),
    ]);
    if !server.models.is_empty() {
        let size = |bytes| if bytes < 1 << 20 { String::new() } else { format!(" ({})", Size(bytes)) };
        let names = server.models.iter().map(|model| format!("{}{}", model.name, size(model.bytes)));
        page.comment("  ", &format!("Its models: {}.", names.collect::<Vec<_>>().join(", ")));
    }
}

fn agents(page: &mut Page, found: &Found) {
    page.gap();
    page.line("agents:");
    match &found.agents {
        Agents::Inventory { file, agents } => {
            let count = counted(agents.len(), "agent", "agents");
            page.block(&[(&format!("  from_csv: {}", scalar(file)), &format!("{count}, one per row"))]);
            defaults(page, found, agents);
        }
        Agents::List { source, agents } => {
            page.comment("  ", &format!("{}, from {source}.", counted(agents.len(), "agent", "agents")));
            defaults(page, found, agents);
            page.line("  list:");
            for agent in agents {
                entry(page, agent);
            }
        }
        Agents::Nothing => example(page, found),
    }
}

fn defaults(page: &mut Page, found: &Found, agents: &[Agent]) {
    page.line("  defaults:");
    if agents.iter().any(|agent| agent.command.is_none()) {
        page.comment(
            "    ",
            "How an agent is started: a list, one word per item, from the directory in which `serve` runs. `bellwether \
             legacy-agent` stands in for your own; write for example [python3, agent.py].",
        );
        page.line(&format!("    {STAND_IN}"));
    }
    names(page, found, agents.iter().any(|agent| agent.model.is_none()));
}

/// Of the model, where not every agent has one, and of what runs.
fn names(page: &mut Page, found: &Found, model: bool) {
    let revision = ("    revision: v1", "the name of what runs now; a release must have another");
    let (name, why) = match found.server.default_model() {
        Some(name) => (name, "for agents that name none; the smallest that is there"),
        None => ("tinyllama", "for agents that name none; `ollama pull tinyllama` gets it"),
    };
    let line = format!("    model: {}", scalar(name));
    if model { page.block(&[(&line, why), revision]) } else { page.block(&[revision]) }
}

fn entry(page: &mut Page, agent: &Agent) {
    for note in &agent.notes {
        page.comment("    ", &format!("{}: {note}", agent.name));
    }
    let mut traits = vec![format!("name: {}", scalar(&agent.name))];
    let mut put = |key: &str, value: Option<String>| traits.extend(value.map(|value| format!("{key}: {value}")));
    put("type", agent.agent_type.as_deref().map(scalar));
    put("model", agent.model.as_deref().map(scalar));
    put("phase", agent.phase.map(|phase| phase.to_string()));
    put("critical", agent.critical.then(|| "true".to_owned()));
    put("memory_limit", agent.memory_mib.map(|mib| format!("{mib}MiB")));
    put("command", agent.command.as_ref().map(|words| list(words.iter().map(|word| scalar(word)))));
    let env = agent.env.iter().map(|(name, value)| format!("{}: {}", scalar(name), quoted(value)));
    put("env", (!agent.env.is_empty()).then(|| format!("{{{}}}", env.collect::<Vec<_>>().join(", "))));
    let line = format!("    - {{{}}}", traits.join(", "));
    if line.chars().count() <= WIDTH {
        return page.line(&line);
    }
    for (i, one) in traits.iter().enumerate() {
        page.line(&format!("    {} {one}", if i == 0 { "-" } else { " " }));
    }
}

fn example(page: &mut Page, found: &Found) {
    page.comment("  ", "An example: no agents were found here. Two of them, the second one critical.");
    page.line("  defaults:");
    page.comment(
        "    ",
        "How an agent is started: a list, one word per item. `bellwether legacy-agent` is a small agent of our own that \
         stands in for yours; write for example [python3, agent.py]. An agent changes nothing in its code: the variables \
         that it reads (OLLAMA_HOST, OPENAI_BASE_URL, BACKEND_URL and so on) point at the gateway.",
    );
    page.line(&format!("    {STAND_IN}"));
    names(page, found, true);
    page.line("  list:");
    page.line("    - name: summariser");
    page.block(&[("      type: text", "tasks can be submitted for a type; one of its agents gets them")]);
    page.line("    - name: reviewer");
    page.line("      type: code");
    page.block(&[("      critical: true", "rolled out last, and never together with others")]);
}

fn rollout(page: &mut Page, found: &Found) {
    let example = [
        Agent { name: "summariser".to_owned(), ..Agent::default() },
        Agent { name: "reviewer".to_owned(), critical: true, ..Agent::default() },
    ];
    let agents = match &found.agents {
        Agents::Inventory { agents, .. } | Agents::List { agents, .. } => agents.as_slice(),
        Agents::Nothing => &example,
    };
    page.gap();
    page.line("rollout:");
    page.block(&[("  baseline: 60m", "how blue does is measured this long before anything is touched")]);
    let Some(phases) = phases::of(agents) else {
        page.comment(
            "  ",
            "Phases: 10, 25, 50 and 100 % of the fleet, critical agents last, baked 30, 45, 60 and 75 minutes. To say it \
             yourself, give each agent a phase number, or write `phases` here.",
        );
        return;
    };
    page.comment(
        "  ",
        "In this order: what hurts least first, critical agents last. Each phase is judged at the end of its bake.",
    );
    page.line("  phases:");
    let lines: Vec<_> = phases.iter().map(|phase| (one(phase), counted(phase.agents, "agent", "agents"))).collect();
    page.block(&lines.iter().map(|(line, count)| (line.as_str(), count.as_str())).collect::<Vec<_>>());
    page.comment(
        "  ",
        "Where traffic is too little to tell, the rollout pauses and asks a person. `thin_evidence: accept` in a phase \
         accepts that beforehand; plan and report show it.",
    );
}

fn one(phase: &Phase) -> String {
    let select = match &phase.select {
        Select::Number(number) => format!("{{phase: {number}}}"),
        Select::Agents(names) => format!("{{agents: {}}}", list(names.iter().map(|name| scalar(name)))),
        Select::Rest => "rest".to_owned(),
    };
    format!("    - {{name: {}, select: {select}, bake: {}}}", phase.name, phase.bake)
}

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn gap(&mut self) {
        self.line("");
    }

    /// Lines with a comment behind each, aligned. One that would be too long goes above its line.
    fn block(&mut self, lines: &[(&str, &str)]) {
        let widest = lines.iter().map(|(line, _)| line.chars().count()).max().unwrap_or(0);
        for (line, comment) in lines {
            if widest + comment.chars().count() + 4 > LINE_MAX {
                let indent = line.len() - line.trim_start().len();
                self.comment(&" ".repeat(indent), comment);
                self.line(line);
            } else {
                self.line(&format!("{line:<widest$}  # {comment}"));
            }
        }
    }

    fn comment(&mut self, indent: &str, text: &str) {
        for line in wrap(text, WIDTH - indent.len() - 2) {
            self.line(&format!("{indent}# {line}"));
        }
    }
}

fn list(words: impl Iterator<Item = String>) -> String {
    format!("[{}]", words.collect::<Vec<_>>().join(", "))
}

/// Without quotes where every reader of YAML takes it for the same text.
fn scalar(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/');
    let word = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '.');
    let special =
        ["true", "false", "yes", "no", "on", "off", "null", "y", "n"].contains(&text.to_ascii_lowercase().as_str());
    if word && !special && text.chars().all(plain) { text.to_owned() } else { quoted(text) }
}

/// JSON's strings are YAML's.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
