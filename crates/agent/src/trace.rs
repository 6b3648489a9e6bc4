//! Where a task stands in a trace, in the form of W3C Trace Context.
//!
//! A task brings its place along, or gets a trace of its own. Each model call made for it is a child with an id of its
//! own, so that what the gateway and the model server note can be joined to the submitter's request.

use std::fmt;

use hyper::{HeaderMap, header::HeaderValue};

const PARENT: &str = "traceparent";
const STATE: &str = "tracestate";
const SAMPLED: u8 = 1;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    trace_id: u128,
    span_id: u64,
    flags: u8,
    /// Passed on as it came; it is other people's.
    state: Option<HeaderValue>,
}

impl Trace {
    /// The start of a trace.
    pub(crate) fn begin() -> Self {
        Self { trace_id: fastrand::u128(1..), span_id: fastrand::u64(1..), flags: SAMPLED, state: None }
    }

    /// None if the text is not a `traceparent`: such a one is ignored, as the standard asks.
    pub(crate) fn parse(parent: &str) -> Option<Self> {
        let mut parts = parent.trim().splitn(5, '-');
        let version: u8 = hex(parts.next()?, 2)?;
        let trace_id = hex(parts.next()?, 32)?;
        let span_id = hex(parts.next()?, 16)?;
        let flags: u8 = hex(parts.next()?, 2)?;
        // Later versions may have more to say; this one must not.
        let is_whole = version == 0 && parts.next().is_none() || version > 0;
        let is_valid = version != 0xff && trace_id != 0 && span_id != 0 && is_whole;
        is_valid.then_some(Self { trace_id, span_id, flags: flags & SAMPLED, state: None })
    }

    /// From a task's own field, else from the header that it came with.
    pub(crate) fn of_task(field: Option<&str>, headers: &HeaderMap) -> Self {
        let header = || headers.get(PARENT)?.to_str().ok();
        match field.and_then(Self::parse) {
            Some(trace) => trace,
            None => match header().and_then(Self::parse) {
                Some(trace) => Self { state: headers.get(STATE).cloned(), ..trace },
                None => Self::begin(),
            },
        }
    }

    /// The headers of a call made for the task.
    pub(crate) fn tell(&self, headers: &mut HeaderMap) {
        let child = Self { span_id: fastrand::u64(1..), ..self.clone() };
        if let Ok(parent) = HeaderValue::from_str(&child.to_string()) {
            headers.insert(PARENT, parent);
        }
        if let Some(state) = child.state {
            headers.insert(STATE, state);
        }
    }

    /// The part of it that all spans of the trace share, as logs name it.
    pub fn id(&self) -> String {
        format!("{:032x}", self.trace_id)
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, self.flags)
    }
}

/// So many digits, in lower case.
fn hex<T: TryFrom<u128>>(text: &str, digits: usize) -> Option<T> {
    let is_hex = text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    is_hex.then(|| u128::from_str_radix(text, 16).ok()?.try_into().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the standard.
    const PARENT_TEXT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_parent_is_read_and_written_alike() {
        let trace = Trace::parse(PARENT_TEXT).unwrap();
        assert_eq!(
            (trace.to_string().as_str(), trace.id().as_str()),
            (PARENT_TEXT, "4bf92f3577b34da6a3ce929d0e0e4736")
        );
        let later = Trace::parse("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00-what-comes").unwrap();
        assert_eq!(later.to_string(), "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00");
    }

    #[test]
    fn what_is_no_parent_is_none() {
        for bad in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-é4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
        ] {
            assert_eq!(Trace::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_call_is_a_child_with_an_id_of_its_own() {
        let mut headers = HeaderMap::new();
        headers.insert(PARENT, HeaderValue::from_static(PARENT_TEXT));
        headers.insert(STATE, HeaderValue::from_static("vendor=1"));
        let trace = Trace::of_task(Some("not a parent"), &headers);
        let call = || {
            let mut headers = HeaderMap::new();
            trace.tell(&mut headers);
            headers
        };
        let (one, other) = (call(), call());
        assert_ne!(one[PARENT], other[PARENT]);
        assert_eq!(one[STATE], "vendor=1");
        let child = Trace::parse(one[PARENT].to_str().unwrap()).unwrap();
        assert_eq!(child.id(), trace.id());
        assert_ne!(child.span_id, trace.span_id);
        assert_ne!(Trace::of_task(None, &HeaderMap::new()).id(), Trace::of_task(None, &HeaderMap::new()).id());
    }
}
