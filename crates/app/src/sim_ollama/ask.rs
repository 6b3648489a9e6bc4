//! What a request asks for, in either dialect.
//!
//! A word counts as a token. An answer is as long as the request says: by `num_predict` or `max_tokens`, or
//! in the prompt itself by "in about N words"; whatever is less.

use bellwether_core::id::ModelName;
use serde::Deserialize;
use serde_json::Value;

use super::{
    machine::{Runs, Work},
    params::Params,
};

const OUTPUT_MAX: u32 = 8192;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Generate,
    Chat,
    Embed,
    /// The older form, with one vector in its answer.
    Embeddings,
    OpenAiChat,
    OpenAiCompletion,
    OpenAiEmbeddings,
}

impl Kind {
    pub(super) fn of(path: &str) -> Option<Self> {
        Some(match path {
            "/api/generate" => Self::Generate,
            "/api/chat" => Self::Chat,
            "/api/embed" => Self::Embed,
            "/api/embeddings" => Self::Embeddings,
            "/v1/chat/completions" => Self::OpenAiChat,
            "/v1/completions" => Self::OpenAiCompletion,
            "/v1/embeddings" => Self::OpenAiEmbeddings,
            _ => return None,
        })
    }

    pub(super) fn is_openai(self) -> bool {
        matches!(self, Self::OpenAiChat | Self::OpenAiCompletion | Self::OpenAiEmbeddings)
    }

    fn embeds(self) -> bool {
        matches!(self, Self::Embed | Self::Embeddings | Self::OpenAiEmbeddings)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) kind: Kind,
    /// As the request names it.
    pub(super) named: String,
    pub(super) model: ModelName,
    pub(super) stream: bool,
    pub(super) usage: bool,
    pub(super) work: Work,
    /// Vectors in the answer, for embeddings.
    pub(super) inputs: usize,
    /// Nothing is generated: the model is loaded or unloaded.
    pub(super) loads_only: bool,
    /// The answer was cut at the length that was asked for.
    pub(super) cut: bool,
}

#[derive(Deserialize)]
struct Body {
    model: Option<String>,
    #[serde(default)]
    prompt: Value,
    #[serde(default)]
    messages: Vec<Message>,
    #[serde(default)]
    input: Value,
    stream: Option<bool>,
    options: Option<Options>,
    max_tokens: Option<i64>,
    max_completion_tokens: Option<i64>,
    stream_options: Option<StreamOptions>,
    #[serde(default)]
    keep_alive: Value,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    content: Value,
}

#[derive(Default, Deserialize)]
struct Options {
    num_predict: Option<i64>,
    num_ctx: Option<u64>,
}

#[derive(Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

impl Ask {
    pub(super) fn parse(kind: Kind, body: &[u8], params: &Params) -> Result<Self, String> {
        let body: Body = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let named = body.model.filter(|model| !model.is_empty()).ok_or("model is required")?;
        let model = ModelName::new(&named);
        let texts = if kind.embeds() && !body.input.is_null() {
            texts(&body.input)
        } else if body.messages.is_empty() {
            texts(&body.prompt)
        } else {
            body.messages.iter().flat_map(|message| texts(&message.content)).collect()
        };
        let words: usize = texts.iter().map(|text| text.split_whitespace().count()).sum();
        let options = body.options.unwrap_or_default();
        let limit = options.num_predict.or(body.max_tokens).or(body.max_completion_tokens);
        let limit = limit.and_then(|limit| u32::try_from(limit).ok()).filter(|&limit| limit > 0);
        let wished = texts.iter().rev().find_map(|text| wished_words(text));
        let loads_only = matches!(kind, Kind::Generate | Kind::Chat) && words == 0;
        let output_tokens = match (loads_only || kind.embeds(), wished, limit) {
            (true, _, _) => 0,
            (_, Some(wished), Some(limit)) => wished.min(limit),
            (_, Some(wished), None) => wished,
            (_, None, Some(limit)) => limit,
            (_, None, None) => params.output_tokens,
        }
        .min(OUTPUT_MAX);
        Ok(Self {
            kind,
            stream: body.stream.unwrap_or(!kind.is_openai()) && !kind.embeds(),
            usage: body.stream_options.is_some_and(|options| options.include_usage),
            work: Work {
                runs: Runs { model: model.as_str().into(), context: options.num_ctx },
                prompt_tokens: u32::try_from(words).unwrap_or(u32::MAX),
                output_tokens,
                release: is_zero(&body.keep_alive),
                leaves: None,
            },
            inputs: texts.len(),
            loads_only,
            cut: limit.is_some_and(|limit| limit == output_tokens),
            named,
            model,
        })
    }
}

/// A text, a list of texts, or the parts of a message.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(parts) => {
            parts.iter().filter_map(|part| part.as_str().or_else(|| part.get("text")?.as_str())).collect()
        }
        _ => Vec::new(),
    }
}

/// The N of "in about N words".
fn wished_words(text: &str) -> Option<u32> {
    let (_, rest) = text.rsplit_once("in about ")?;
    let (number, rest) = rest.split_once(' ')?;
    rest.starts_with("words").then(|| number.parse().ok()).flatten()
}

/// `0`, `"0"` or `"0s"`.
fn is_zero(keep_alive: &Value) -> bool {
    match keep_alive {
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(span) => span.trim_end_matches(char::is_alphabetic) == "0",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(kind: Kind, body: &str) -> Ask {
        Ask::parse(kind, body.as_bytes(), &Params::default()).unwrap()
    }

    #[test]
    fn the_length_of_an_answer_is_what_was_asked_for() {
        let tokens = |body: &str| ask(Kind::Generate, body).work.output_tokens;
        assert_eq!(tokens(r#"{"model":"m","prompt":"hi"}"#), Params::default().output_tokens);
        assert_eq!(tokens(r#"{"model":"m","prompt":"hi","options":{"num_predict":40}}"#), 40);
        assert_eq!(tokens(r#"{"model":"m","prompt":"hi","options":{"num_predict":-1}}"#), 8);
        assert_eq!(tokens(r#"{"model":"m","prompt":"Say it in about 20 words."}"#), 20);
        assert_eq!(tokens(r#"{"model":"m","prompt":"in about 20 words","options":{"num_predict":4}}"#), 4);
    }

    #[test]
    fn streams_are_the_default_of_one_dialect_only() {
        assert!(ask(Kind::Chat, r#"{"model":"m","messages":[{"content":"a b"}]}"#).stream);
        let v1 = ask(Kind::OpenAiChat, r#"{"model":"m","messages":[{"content":[{"type":"text","text":"a b"}]}]}"#);
        assert!(!v1.stream);
        assert_eq!(v1.work.prompt_tokens, 2);
    }

    #[test]
    fn a_request_without_a_prompt_only_loads() {
        let load = ask(Kind::Generate, r#"{"model":"m","keep_alive":"10m"}"#);
        assert!(load.loads_only && load.work.output_tokens == 0 && !load.work.release);
        assert!(ask(Kind::Generate, r#"{"model":"m","keep_alive":0}"#).work.release);
    }

    #[test]
    fn each_input_is_a_vector() {
        assert_eq!(ask(Kind::Embed, r#"{"model":"m","input":["a","b c"]}"#).inputs, 2);
        assert_eq!(ask(Kind::Embeddings, r#"{"model":"m","prompt":"a"}"#).inputs, 1);
        assert!(Ask::parse(Kind::Embed, b"{}", &Params::default()).unwrap_err().contains("model is required"));
    }
}
