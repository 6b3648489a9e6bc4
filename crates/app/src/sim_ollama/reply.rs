//! Answers in the form that each endpoint gives them.

use serde_json::{Value, json};

use super::{
    ask::{Ask, Kind},
    machine::Timing,
};

const WORDS: [&str; 12] =
    ["this", "is", "a", "simulated", "answer", "and", "no", "model", "has", "thought", "about", "it"];
const DIMENSIONS: usize = 16;

/// Writes the answer to one request.
#[derive(Debug)]
pub(super) struct Reply {
    ask: Ask,
    created_at: String,
    unix_secs: u64,
    id: u64,
    tokens: usize,
}

impl Reply {
    pub(super) fn new(ask: Ask, id: u64, now: jiff::Timestamp) -> Self {
        let unix_secs = u64::try_from(now.as_second()).unwrap_or(0);
        Self { ask, created_at: now.to_string(), unix_secs, id, tokens: 0 }
    }

    pub(super) fn is_stream(&self) -> bool {
        self.ask.stream
    }

    pub(super) fn content_type(&self) -> &'static str {
        match (self.ask.stream, self.ask.kind.is_openai()) {
            (true, true) => "text/event-stream",
            (true, false) => "application/x-ndjson",
            (false, _) => "application/json",
        }
    }

    /// A token came. Its line of the stream; nothing if the answer comes at once.
    pub(super) fn token(&mut self) -> Option<String> {
        let text = self.word(self.tokens);
        self.tokens += 1;
        self.ask.stream.then(|| match self.ask.kind {
            Kind::OpenAiChat | Kind::OpenAiCompletion | Kind::OpenAiEmbeddings => {
                event(&self.chunk(&text, Value::Null, &Value::Null))
            }
            Kind::Generate | Kind::Chat | Kind::Embed | Kind::Embeddings => {
                let mut object = self.native(&text);
                object["done"] = json!(false);
                line(&object)
            }
        })
    }

    /// The end of a stream, or the whole answer.
    pub(super) fn finish(&self, timing: Timing) -> String {
        let text: String =
            if self.ask.stream { String::new() } else { (0..self.tokens).map(|i| self.word(i)).collect() };
        let (prompt, output) = (self.ask.work.prompt_tokens, self.tokens);
        let usage = json!({
            "prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt as usize + output,
        });
        match self.ask.kind {
            Kind::Generate | Kind::Chat => {
                let mut object = self.native(&text);
                object["done"] = json!(true);
                object["done_reason"] = json!(self.reason());
                if !self.ask.loads_only {
                    object["total_duration"] = json!(timing.total);
                    object["load_duration"] = json!(timing.load);
                    object["prompt_eval_count"] = json!(prompt);
                    object["prompt_eval_duration"] = json!(timing.prompt);
                    object["eval_count"] = json!(output);
                    object["eval_duration"] = json!(timing.output);
                }
                line(&object)
            }
            Kind::Embed => line(&json!({
                "model": self.ask.named,
                "embeddings": vec![vector(); self.ask.inputs],
                "total_duration": timing.total,
                "load_duration": timing.load,
                "prompt_eval_count": prompt,
            })),
            Kind::Embeddings => line(&json!({"embedding": vector()})),
            Kind::OpenAiEmbeddings => {
                let data: Vec<Value> = (0..self.ask.inputs)
                    .map(|index| json!({"object": "embedding", "embedding": vector(), "index": index}))
                    .collect();
                line(&json!({"object": "list", "data": data, "model": self.ask.named, "usage": usage}))
            }
            Kind::OpenAiChat | Kind::OpenAiCompletion if self.ask.stream => {
                let mut text = event(&self.chunk("", json!(self.reason()), &Value::Null));
                if self.ask.usage {
                    let mut object = self.chunk("", Value::Null, &usage);
                    object["choices"] = json!([]);
                    text.push_str(&event(&object));
                }
                text.push_str("data: [DONE]\n\n");
                text
            }
            Kind::OpenAiChat => {
                let message = json!({"role": "assistant", "content": text});
                let choice = json!({"index": 0, "message": message, "finish_reason": self.reason()});
                line(&self.openai("chat.completion", choice, &usage))
            }
            Kind::OpenAiCompletion => {
                let choice = json!({"index": 0, "text": text, "finish_reason": self.reason()});
                line(&self.openai("text_completion", choice, &usage))
            }
        }
    }

    fn native(&self, text: &str) -> Value {
        let mut object = json!({"model": self.ask.named, "created_at": self.created_at});
        if self.ask.kind == Kind::Chat {
            object["message"] = json!({"role": "assistant", "content": text});
        } else {
            object["response"] = json!(text);
        }
        object
    }

    fn chunk(&self, text: &str, reason: Value, usage: &Value) -> Value {
        if self.ask.kind == Kind::OpenAiCompletion {
            self.openai("text_completion", json!({"index": 0, "text": text, "finish_reason": reason}), usage)
        } else {
            let delta = json!({"role": "assistant", "content": text});
            self.openai("chat.completion.chunk", json!({"index": 0, "delta": delta, "finish_reason": reason}), usage)
        }
    }

    fn openai(&self, object: &str, choice: Value, usage: &Value) -> Value {
        let mut value = json!({
            "id": format!("sim-{}", self.id),
            "object": object,
            "created": self.unix_secs,
            "model": self.ask.named,
            "system_fingerprint": "simulated",
            "choices": [choice],
        });
        if !usage.is_null() {
            value["usage"] = usage.clone();
        }
        value
    }

    fn reason(&self) -> &'static str {
        match (self.ask.loads_only, self.ask.work.release, self.ask.cut) {
            (true, true, _) => "unload",
            (true, false, _) => "load",
            (false, _, true) => "length",
            (false, _, false) => "stop",
        }
    }

    fn word(&self, index: usize) -> String {
        let word = WORDS[index % WORDS.len()];
        if index == 0 { word.to_owned() } else { format!(" {word}") }
    }
}

fn vector() -> [f64; DIMENSIONS] {
    let mut vector = [0.0; DIMENSIONS];
    vector[0] = 1.0;
    vector
}

fn line(object: &Value) -> String {
    format!("{object}\n")
}

fn event(object: &Value) -> String {
    format!("data: {object}\n\n")
}
