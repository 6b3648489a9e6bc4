//! What came back: whether it is an answer, and why not.

use std::{fmt, time::Duration};

use hyper::StatusCode;
use serde::Deserialize;

use super::question::Api;

/// A longer answer, or a longer line of one, is not kept.
const KEPT_MAX: usize = 16 << 20;
const EXCERPT_MAX: usize = 300;

/// Why a call got no answer, in words that can be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cause {
    Connect,
    Broken,
    Status(u16),
    /// A 200 that ended without the last line of its dialect.
    CutShort,
    /// A 200 in which an error was told.
    ErrorInside,
    NotUnderstood,
    TooLong,
}

impl Cause {
    /// The server is there, and says that it has no room.
    pub(super) const fn is_refusal(self) -> bool {
        matches!(self, Self::Status(429 | 503))
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect => f.write_str("could not connect"),
            Self::Broken => f.write_str("connection broke"),
            Self::Status(status) => write!(f, "status {status}"),
            Self::CutShort => f.write_str("answer ended too soon"),
            Self::ErrorInside => f.write_str("error inside an answer"),
            Self::NotUnderstood => f.write_str("answer not understood"),
            Self::TooLong => f.write_str("answer too long"),
        }
    }
}

/// A call without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) cause: Cause,
    /// When the server wants to be asked again.
    pub(super) retry_after: Option<Duration>,
}

impl From<Cause> for Trouble {
    fn from(cause: Cause) -> Self {
        Self { cause, retry_after: None }
    }
}

/// What an answer tells of itself, where it does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// That were generated.
    pub(super) tokens: Option<u64>,
    /// How long the server computed, without its queue and the load of the model.
    pub(super) computed: Option<Duration>,
}

/// Reads the body of one answer after another, in a buffer that stays.
pub(super) struct Reader {
    api: Api,
    stream: bool,
    /// The whole body, or of a stream the last line that holds anything.
    kept: Vec<u8>,
    /// What comes next begins another line.
    line_ended: bool,
}

impl Reader {
    pub(super) fn new(api: Api, stream: bool) -> Self {
        Self { api, stream: stream && api != Api::Embed, kept: Vec::new(), line_ended: false }
    }

    pub(super) fn begin(&mut self) {
        self.kept.clear();
        self.line_ended = false;
    }

    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), Cause> {
        if !self.stream {
            return self.keep(bytes);
        }
        for part in bytes.split_inclusive(|&byte| byte == b'\n') {
            let text = part.trim_ascii_end();
            if !text.is_empty() {
                if self.line_ended {
                    self.kept.clear();
                    self.line_ended = false;
                }
                self.keep(text)?;
            }
            self.line_ended |= part.ends_with(b"\n");
        }
        Ok(())
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), Cause> {
        if self.kept.len() + bytes.len() > KEPT_MAX {
            return Err(Cause::TooLong);
        }
        self.kept.extend_from_slice(bytes);
        Ok(())
    }

    /// After the end of the body.
    pub(super) fn verdict(&self, status: StatusCode) -> Result<Told, Cause> {
        if status != StatusCode::OK {
            return Err(Cause::Status(status.as_u16()));
        }
        if self.stream && self.api == Api::Openai {
            let last = self.kept.trim_ascii();
            return match last.strip_prefix(b"data:").map(<[u8]>::trim_ascii) {
                Some(b"[DONE]") => Ok(Told::default()),
                Some(data) if serde_json::from_slice(data).is_ok_and(|said: Said| said.error.is_some()) => {
                    Err(Cause::ErrorInside)
                }
                _ => Err(Cause::CutShort),
            };
        }
        let whole = serde_json::from_slice::<Said>(&self.kept);
        let said = whole.map_err(|_| if self.stream { Cause::CutShort } else { Cause::NotUnderstood })?;
        match (self.api, said) {
            (_, Said { error: Some(_), .. }) => Err(Cause::ErrorInside),
            (Api::Native, said @ Said { done: Some(true), .. }) => {
                Ok(Told { tokens: said.eval_count, computed: said.computed() })
            }
            (Api::Native, Said { done: Some(false), .. }) => Err(Cause::CutShort),
            (Api::Openai, Said { choices: Some(_), usage, .. }) => {
                Ok(Told { tokens: usage.map(|usage| usage.completion_tokens), computed: None })
            }
            (Api::Embed, said @ Said { embeddings: Some(_), .. }) => {
                Ok(Told { tokens: None, computed: said.computed() })
            }
            (Api::Native | Api::Openai | Api::Embed, _) => Err(Cause::NotUnderstood),
        }
    }

    /// The beginning of what is kept, for a person.
    pub(super) fn excerpt(&self) -> String {
        let text = String::from_utf8_lossy(&self.kept[..self.kept.len().min(EXCERPT_MAX)]);
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

#[derive(Deserialize)]
struct Said {
    done: Option<bool>,
    eval_count: Option<u64>,
    /// In nanoseconds, as the next.
    prompt_eval_duration: Option<u64>,
    eval_duration: Option<u64>,
    choices: Option<serde::de::IgnoredAny>,
    embeddings: Option<serde::de::IgnoredAny>,
    usage: Option<Usage>,
    error: Option<serde::de::IgnoredAny>,
}

impl Said {
    fn computed(&self) -> Option<Duration> {
        Some(Duration::from_nanos(self.prompt_eval_duration? + self.eval_duration?))
    }
}

#[derive(Deserialize)]
struct Usage {
    #[serde(default)]
    completion_tokens: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(api: Api, stream: bool, pieces: &[&str]) -> Result<Option<u64>, Cause> {
        verdict(api, stream, pieces).map(|told| told.tokens)
    }

    fn verdict(api: Api, stream: bool, pieces: &[&str]) -> Result<Told, Cause> {
        let mut reader = Reader::new(api, stream);
        // What an earlier answer left must not count.
        reader.push(b"{\"done\":true}\ndata: [DONE]\n").unwrap();
        reader.begin();
        pieces.iter().for_each(|piece| reader.push(piece.as_bytes()).unwrap());
        reader.verdict(StatusCode::OK)
    }

    #[test]
    fn a_native_answer_ends_with_done() {
        let native = |stream, pieces: &[&str]| tokens(Api::Native, stream, pieces);
        assert_eq!(native(false, &["{\"done\":", "true,\n \"eval_count\":8}\n"]), Ok(Some(8)));
        assert_eq!(native(true, &["{\"done\":false}\n{\"do", "ne\":true,\"eval_count\":3}", "\n"]), Ok(Some(3)));
        assert_eq!(native(true, &["{\"done\":false}\n"]), Err(Cause::CutShort));
        assert_eq!(native(true, &["{\"done\":false}\n", "{\"done\":tr"]), Err(Cause::CutShort));
        assert_eq!(native(true, &[]), Err(Cause::CutShort));
        assert_eq!(native(true, &["{\"done\":false}\n{\"error\":\"out of memory\"}\n"]), Err(Cause::ErrorInside));
        assert_eq!(native(false, &["<html>"]), Err(Cause::NotUnderstood));
        assert_eq!(native(false, &["{\"choices\":[]}"]), Err(Cause::NotUnderstood));
    }

    #[test]
    fn an_event_stream_ends_with_done_in_brackets() {
        let openai = |stream, pieces: &[&str]| tokens(Api::Openai, stream, pieces);
        assert_eq!(openai(true, &["data: {}\n\n", "data: [DO", "NE]\n\n"]), Ok(None));
        assert_eq!(openai(true, &["data: {\"choices\":[]}\n\n"]), Err(Cause::CutShort));
        assert_eq!(openai(true, &["data: {\"error\":{\"message\":\"no\"}}\n\n"]), Err(Cause::ErrorInside));
        assert_eq!(openai(false, &["{\"choices\":[{}],\"usage\":{\"completion_tokens\":5}}"]), Ok(Some(5)));
        assert_eq!(openai(false, &["{\"choices\":[{}]}"]), Ok(None));
    }

    #[test]
    fn embeddings_are_no_stream() {
        assert_eq!(tokens(Api::Embed, true, &["{\"embeddings\":[[1,2]],", "\"eval_count\":1}"]), Ok(None));
        assert_eq!(tokens(Api::Embed, false, &["{\"embedding\":[1,2]}"]), Err(Cause::NotUnderstood));
    }

    #[test]
    fn a_native_answer_tells_how_long_it_was_computed() {
        let computed = |text: &str| verdict(Api::Native, false, &[text]).unwrap().computed;
        let told = r#"{"done":true,"total_duration":9000,"load_duration":4000,"prompt_eval_duration":2000,"eval_duration":1500}"#;
        assert_eq!(computed(told), Some(Duration::from_nanos(3500)));
        assert_eq!(computed(r#"{"done":true,"eval_duration":1500}"#), None);
    }

    #[test]
    fn a_status_is_a_cause_whatever_the_body_says() {
        let reader = Reader::new(Api::Native, false);
        let busy = reader.verdict(StatusCode::SERVICE_UNAVAILABLE).unwrap_err();
        assert!(busy.is_refusal() && !Cause::Status(500).is_refusal());
    }
}
