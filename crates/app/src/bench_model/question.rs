//! What is asked, in the dialect of an endpoint.

use bytes::Bytes;
use serde_json::json;

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Api {
    /// POST /api/chat, as Ollama's own clients do
    Native,
    /// POST /v1/chat/completions
    Openai,
    /// POST /api/embed
    Embed,
}

impl Api {
    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::Native => "/api/chat",
            Self::Openai => "/v1/chat/completions",
            Self::Embed => "/api/embed",
        }
    }
}

/// The bodies of calls. What does not change from call to call is written once.
pub(super) struct Questions {
    /// For each model, up to where the prompt's first word stands.
    heads: Vec<String>,
    tail: String,
}

impl Questions {
    /// A prompt has `prompt_tokens` words; real tokenizers make somewhat more of them.
    pub(super) fn new(models: &[String], api: Api, stream: bool, tokens: u32, prompt_tokens: usize) -> Self {
        let head = |model: &String| {
            let model = json!(model);
            match api {
                Api::Native => format!(
                    r#"{{"model":{model},"stream":{stream},"options":{{"num_predict":{tokens}}},"messages":[{{"role":"user","content":""#
                ),
                Api::Openai => format!(
                    r#"{{"model":{model},"stream":{stream},"max_tokens":{tokens},"messages":[{{"role":"user","content":""#
                ),
                Api::Embed => format!(r#"{{"model":{model},"input":""#),
            }
        };
        let end = if api == Api::Embed { "\"}" } else { "\"}]}" };
        let words = " word".repeat(prompt_tokens.saturating_sub(1));
        Self { heads: models.iter().map(head).collect(), tail: format!("{words}{end}") }
    }

    pub(super) fn models(&self) -> usize {
        self.heads.len()
    }

    /// `number` is the prompt's first word: where no two are alike, no server has the prompt in its cache.
    pub(super) fn body(&self, model: usize, number: u64) -> Bytes {
        let head = &self.heads[model];
        let mut body = String::with_capacity(head.len() + 16 + self.tail.len());
        body.push_str(head);
        for place in (0..16).rev() {
            let digit = (number >> (4 * place)) & 15;
            body.push(char::from(b"abcdefghijklmnop"[digit as usize]));
        }
        body.push_str(&self.tail);
        Bytes::from(body)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn body(api: Api) -> Value {
        let questions = Questions::new(&["a".to_owned(), "\"odd\"".to_owned()], api, true, 8, 3);
        serde_json::from_slice(&questions.body(1, 0x1f)).unwrap()
    }

    #[test]
    fn each_dialect_has_its_own_form() {
        let prompt = "aaaaaaaaaaaaaabp word word";
        let messages = json!([{"role": "user", "content": prompt}]);
        let native = json!({"model": "\"odd\"", "stream": true, "options": {"num_predict": 8}, "messages": messages});
        assert_eq!(body(Api::Native), native);
        let openai = json!({"model": "\"odd\"", "stream": true, "max_tokens": 8, "messages": messages});
        assert_eq!(body(Api::Openai), openai);
        assert_eq!(body(Api::Embed), json!({"model": "\"odd\"", "input": prompt}));
    }
}
