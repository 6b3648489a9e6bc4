//! A stream that broke off anywhere ends with the gateway's error, as a client reads it.

use serde_json::Value;

use super::{
    super::{
        dialect::Dialect,
        watch::{Form, Watch},
    },
    pieces,
};

/// First the dialect, then the cuts, then how long the message is, then the message and the stream.
pub fn last_words(input: &[u8]) {
    let [dialect, seed, length, rest @ ..] = input else { return };
    let (message, stream) = rest.split_at(usize::from(*length).min(rest.len()));
    let message = String::from_utf8_lossy(message);
    let (dialect, form) =
        if dialect % 2 == 0 { (Dialect::Native, Form::Lines) } else { (Dialect::OpenAi, Form::Events) };
    let mut watch = Watch::new(form);
    pieces(stream, *seed).into_iter().for_each(|piece| watch.read(piece));
    let words = dialect.last_words(&message, watch.is_mid_line());
    let heard = [stream, &words].concat();
    let last = match dialect {
        Dialect::Native => lines(&heard).pop(),
        Dialect::OpenAi => events(&heard).pop(),
    };
    let last: Value = serde_json::from_slice(&last.expect("something was said")).expect("it is JSON");
    let error = match dialect {
        Dialect::Native => &last["error"],
        Dialect::OpenAi => &last["error"]["message"],
    };
    assert_eq!(error, &*message);
    // The gateway that stands before this one hears it too.
    watch.read(&words);
    assert!(watch.said_error() && !watch.is_complete() && !watch.is_mid_line());
    let came = match dialect {
        Dialect::Native => (lines(stream), lines(&heard)),
        Dialect::OpenAi => (events(stream), events(&heard)),
    };
    assert!(came.1.starts_with(&came.0), "what came whole before is as it was");
}

/// Those that have ended.
fn lines(text: &[u8]) -> Vec<Vec<u8>> {
    let mut lines: Vec<_> = text.split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
    lines.pop();
    lines
}

/// The data of the events that were dispatched, as the HTML standard says (9.2.6, interpreting an event stream).
fn events(text: &[u8]) -> Vec<Vec<u8>> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let (mut events, mut data) = (Vec::new(), None::<Vec<u8>>);
    for line in event_lines(text) {
        if line.is_empty() {
            events.extend(data.take());
            continue;
        }
        let (field, value) = match line.iter().position(|&byte| byte == b':') {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &line[line.len()..]),
        };
        if field == b"data" {
            let value = value.strip_prefix(b" ").unwrap_or(value);
            let data = data.get_or_insert_default();
            if !data.is_empty() {
                data.push(b'\n');
            }
            data.extend_from_slice(value);
        }
    }
    events
}

/// Ended by CR LF, LF or CR; what has no end yet is left out.
fn event_lines(mut text: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    while let Some(end) = text.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
        lines.push(&text[..end]);
        let long = if text[end..].starts_with(b"\r\n") { 2 } else { 1 };
        text = &text[end + long..];
    }
    lines
}
