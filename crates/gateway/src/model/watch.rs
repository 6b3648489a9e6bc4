//! Reads along while an answer is passed on: did it come to its proper end, and what does it say of tokens.
//!
//! Bytes are never changed here. A line that is too long to keep is passed on unread.

use std::borrow::Cow;

use bellwether_core::time::Millis;
use hyper::header::{CONTENT_TYPE, HeaderMap};
use serde::{Deserialize, de::IgnoredAny};

/// The longest line, or unstreamed answer, that is read for its figures.
const LINE_MAX: usize = 4 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Newline-delimited JSON, ended by an object with `done: true`.
    Lines,
    /// Server-sent events, ended by `[DONE]`.
    Events,
    /// One object, ended where the transport says.
    Whole,
}

impl Form {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if content_type.starts_with("application/x-ndjson") {
            Self::Lines
        } else if content_type.starts_with("text/event-stream") {
            Self::Events
        } else {
            Self::Whole
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Figures {
    pub(super) prompt_tokens: u64,
    pub(super) output_tokens: u64,
    /// Time that the server spent on loading the model for this call.
    pub(super) load: Millis,
}

#[derive(Debug)]
pub(super) struct Watch {
    form: Form,
    line: Vec<u8>,
    overlong: bool,
    done: bool,
    error: bool,
    figures: Figures,
}

/// What the gateway reads of an object; everything else passes unseen.
#[derive(Deserialize)]
struct Said<'a> {
    done: Option<bool>,
    error: Option<IgnoredAny>,
    /// Of the responses API, which ends its streams without `[DONE]`.
    #[serde(borrow, default)]
    r#type: Option<Cow<'a, str>>,
    prompt_eval_count: Option<u64>,
    eval_count: Option<u64>,
    /// Nanoseconds.
    load_duration: Option<u64>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Usage {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
}

impl Watch {
    pub(super) fn new(form: Form) -> Self {
        Self { form, line: Vec::new(), overlong: false, done: false, error: false, figures: Figures::default() }
    }

    pub(super) fn read(&mut self, mut bytes: &[u8]) {
        if self.form == Form::Whole {
            return self.keep(bytes);
        }
        while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
            self.keep(&bytes[..end]);
            self.line_ended();
            bytes = &bytes[end + 1..];
        }
        self.keep(bytes);
    }

    /// The transport said that this was all.
    pub(super) fn end(&mut self) {
        if !self.line.is_empty() {
            self.line_ended();
        }
        if self.form == Form::Whole {
            self.done = true;
        }
    }

    /// The answer has come to its end as its form prescribes.
    pub(super) fn is_complete(&self) -> bool {
        self.done && !self.error
    }

    /// The server itself said that it failed.
    pub(super) fn said_error(&self) -> bool {
        self.error
    }

    pub(super) fn is_stream(&self) -> bool {
        self.form != Form::Whole
    }

    pub(super) fn is_mid_line(&self) -> bool {
        !self.line.is_empty() || self.overlong
    }

    pub(super) fn figures(&self) -> Figures {
        self.figures
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.line.len() + bytes.len() > LINE_MAX {
            self.overlong = true;
            self.line = Vec::new();
        } else if !self.overlong {
            self.line.extend_from_slice(bytes);
        }
    }

    fn line_ended(&mut self) {
        let line = std::mem::take(&mut self.line);
        if std::mem::take(&mut self.overlong) {
            return;
        }
        let text = line.trim_ascii();
        let object = match self.form {
            Form::Lines | Form::Whole => text,
            Form::Events => match text.strip_prefix(b"data:").map(<[u8]>::trim_ascii) {
                Some(b"[DONE]") => {
                    self.done = true;
                    return;
                }
                Some(data) => data,
                None => return,
            },
        };
        // An array of the same values would be taken for one.
        if object.starts_with(b"{")
            && let Ok(said) = serde_json::from_slice::<Said<'_>>(object)
        {
            self.hear(&said);
        }
        self.line = line;
        self.line.clear();
    }

    fn hear(&mut self, said: &Said<'_>) {
        self.done |= said.done == Some(true) || matches!(said.r#type.as_deref(), Some("response.completed"));
        self.error |= said.error.is_some();
        let usage = said.usage.as_ref();
        if let Some(tokens) = said.prompt_eval_count.or(usage.and_then(|usage| usage.prompt_tokens)) {
            self.figures.prompt_tokens = tokens;
        }
        if let Some(tokens) = said.eval_count.or(usage.and_then(|usage| usage.completion_tokens)) {
            self.figures.output_tokens = tokens;
        }
        if let Some(nanos) = said.load_duration {
            self.figures.load = Millis(nanos / 1_000_000);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(form: Form, parts: &[&str]) -> Watch {
        let mut watch = Watch::new(form);
        parts.iter().for_each(|part| watch.read(part.as_bytes()));
        watch
    }

    #[test]
    fn lines_end_with_done_however_they_are_cut() {
        let text = "{\"response\":\"a\",\"done\":false}\n{\"done\":true,\"prompt_eval_count\":5,\"eval_count\":7,\"load_duration\":20000000}\n";
        for cut in 0..text.len() {
            let watch = read(Form::Lines, &[&text[..cut], &text[cut..]]);
            assert!(watch.is_complete());
            assert_eq!(watch.figures(), Figures { prompt_tokens: 5, output_tokens: 7, load: Millis(20) });
        }
    }

    #[test]
    fn a_stream_that_breaks_off_is_not_complete() {
        let mut watch = read(Form::Lines, &["{\"response\":\"done\",\"done\":false}\n{\"resp"]);
        assert!(watch.is_mid_line());
        watch.end();
        assert!(!watch.is_complete());
        let mut watch = read(Form::Events, &["data: {\"choices\":[]}\n\n"]);
        watch.end();
        assert!(!watch.is_complete());
    }

    #[test]
    fn a_last_line_needs_no_line_end() {
        let mut watch = read(Form::Lines, &["{\"done\":true}"]);
        watch.end();
        assert!(watch.is_complete());
    }

    #[test]
    fn only_an_object_says_something() {
        let mut watch = read(Form::Lines, &["[true,null,\"response.completed\",1,2,3,null]\n"]);
        watch.end();
        assert!(!watch.is_complete());
        assert_eq!(watch.figures(), Figures::default());
    }

    #[test]
    fn an_error_inside_a_success_is_a_failure() {
        let mut watch = read(Form::Lines, &["{\"error\":\"out of memory\"}\n"]);
        watch.end();
        assert!(watch.said_error() && !watch.is_complete());
    }

    #[test]
    fn events_tell_tokens_where_they_carry_usage() {
        let watch = read(
            Form::Events,
            &[
                "data: {\"usage\":null}\n\ndata: {\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4}}\n\ndata: [DONE]\n\n",
            ],
        );
        assert!(watch.is_complete());
        assert_eq!((watch.figures().prompt_tokens, watch.figures().output_tokens), (3, 4));
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped_and_the_next_is_read() {
        let long = "x".repeat(LINE_MAX + 1);
        let watch = read(Form::Lines, &[&long, "\n{\"done\":true}\n"]);
        assert!(watch.is_complete());
    }
}
