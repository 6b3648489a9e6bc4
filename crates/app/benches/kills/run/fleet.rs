//! The files of the run.

use std::{fmt::Write, time::Duration};

use super::Plan;
use crate::common::policy::POLICY;

/// Of the agents that take tasks.
pub(super) const TYPES: [&str; 3] = ["monitoring", "development", "business"];
/// A task may be torn out of so many hands. None that this run kills that often is at fault itself.
const ATTEMPTS: u32 = 100;
const ANSWER_WORDS: u128 = 8;
pub(super) const SLOTS: usize = 256;

/// An agent that works on what is posted to it, for a while, and gives it back.
pub(super) const PUSHED_AGENT: &str = r#"
import http.server, os, time

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer(b"well")

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(0.15)
        self.answer(body)

    def log_message(self, *args):
        pass

class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

Server((os.environ["BELLWETHER_ADDRESS"], int(os.environ["PORT"])), Handler).serve_forever()
"#;

/// What a release changes is the same for all agents, and these are of two kinds: so the command is one script.
pub(super) fn script(program: &str, pushed: &str) -> String {
    format!(
        "if [ -n \"$PUSHED\" ]; then exec python3 '{pushed}'; fi\n\
         if [ -n \"$GREEN\" ]; then exec '{program}' agent; fi\nexec '{program}' legacy-agent\n"
    )
}

pub(super) fn pushed_agent(number: usize) -> String {
    format!("pushed-{number}")
}

pub(super) fn fleet(plan: &Plan, script: &str) -> String {
    let mut text = format!(
        "version: 1\nfleet: kills\nhost: {{reserve: 1GiB}}\nollama: {{parallel: {SLOTS}}}\n\
         tasks: {{lease: 30s, attempts: {ATTEMPTS}, takeover: 5s, waiting: 1000000}}\nagents:\n  defaults:\n    \
         command: [sh, {script}]\n    model: tinyllama\n    drain: 10s\n    standby: warm\n    \
         env: {{LEGACY_IDLE_MS: '500', BELLWETHER_IDLE_MS: '500'}}\n  list:\n"
    );
    // Nothing fails that is written to a string.
    for number in 0..plan.agents {
        let (kind, phase) = (TYPES[number % TYPES.len()], number % PHASES + 1);
        writeln!(text, "    - {{name: agent-{number:03}, type: {kind}, phase: {phase}}}").ok();
    }
    for number in 0..plan.pushed {
        let (name, phase) = (pushed_agent(number), number % PHASES + 1);
        writeln!(
            text,
            "    - {{name: {name}, type: pushed, phase: {phase}, tasks: none, http: true, env: {{PUSHED: '1'}}}}"
        )
        .ok();
    }
    let bake = span(plan.bake);
    write!(text, "rollout:\n  baseline: {}\n  validation: 2s\n{POLICY}  phases:\n", span(plan.baseline)).ok();
    for phase in 1..=PHASES {
        writeln!(
            text,
            "    - {{name: phase-{phase}, select: {{phase: {phase}}}, bake: {bake}, halves: false, thin_evidence: accept}}"
        )
        .ok();
    }
    text
}

pub(super) fn release() -> &'static str {
    "version: 1\nrelease: v2\nset:\n  http: true\n  env: {GREEN: '1'}\n"
}

/// Times of the simulated model server.
pub(super) fn model_times(plan: &Plan) -> String {
    let word = plan.answer.as_micros() / ANSWER_WORDS;
    format!(
        "{{\"load_us\": 1000, \"output_tokens\": {ANSWER_WORDS}, \"output_token_us\": {word}, \"seed\": {}}}",
        plan.seed
    )
}

const PHASES: usize = 3;

fn span(span: Duration) -> String {
    format!("{}ms", span.as_millis())
}
