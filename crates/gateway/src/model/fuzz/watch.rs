//! An answer says the same however it is cut, and nothing that it said before makes its reader miss the end.

use serde_json::Value;

use super::{
    super::watch::{Figures, Form, Watch},
    pieces,
};

/// First the form, then the cuts, then the answer.
pub fn watch(input: &[u8]) {
    let [form, seed, answer @ ..] = input else { return };
    let form = match form % 3 {
        0 => Form::Lines,
        1 => Form::Events,
        _ => Form::Whole,
    };
    let mut whole = read(form, [answer]);
    let mut cut = read(form, pieces(answer, *seed));
    assert_eq!(said(&whole), said(&cut), "before its end");
    let mid_line = answer.last().is_some_and(|&last| last != b'\n');
    if form != Form::Whole {
        assert_eq!(whole.is_mid_line(), mid_line);
        hears_what_follows(form, &mut read(form, pieces(answer, *seed)), mid_line);
    }
    whole.end();
    cut.end();
    assert_eq!(said(&whole), said(&cut), "at its end");
    if form != Form::Whole {
        invents_nothing(form, answer, &whole);
    }
}

fn read<'a>(form: Form, pieces: impl IntoIterator<Item = &'a [u8]>) -> Watch {
    let mut watch = Watch::new(form);
    pieces.into_iter().for_each(|piece| watch.read(piece));
    watch
}

fn said(watch: &Watch) -> (bool, bool, bool, Figures) {
    (watch.is_complete(), watch.said_error(), watch.is_mid_line(), watch.figures())
}

/// A proper end is understood after anything.
fn hears_what_follows(form: Form, watch: &mut Watch, mid_line: bool) {
    let error = watch.said_error();
    let line = br#"{"done":true,"type":"response.completed","eval_count":7}"#;
    let (before, after): (&[u8], &[u8]) = if form == Form::Events { (b"data: ", b"\n\n") } else { (b"", b"\n") };
    if mid_line {
        watch.read(b"\n");
        // What the line that was open said counts too.
        assert!(!error || watch.said_error());
    }
    [before, line, after].into_iter().for_each(|part| watch.read(part));
    assert_eq!(watch.is_complete(), !watch.said_error());
    assert_eq!(watch.figures().output_tokens, 7);
    assert!(!watch.is_mid_line());
}

/// An end or an error that was heard stands there, by another reader's judgement.
fn invents_nothing(form: Form, answer: &[u8], watch: &Watch) {
    let (mut ends, mut fails) = (false, false);
    for line in answer.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii) {
        let object = match form {
            Form::Events => line.strip_prefix(b"data:").map(<[u8]>::trim_ascii),
            Form::Lines | Form::Whole => Some(line),
        };
        let Some(object) = object.filter(|object| !object.is_empty()) else { continue };
        match serde_json::from_slice(object) {
            Ok(Value::Object(said)) => {
                ends |= said.get("done") == Some(&Value::Bool(true));
                ends |= said.get("type").and_then(Value::as_str) == Some("response.completed");
                fails |= said.get("error").is_some_and(|error| !error.is_null());
            }
            Ok(_) => {}
            // This reader refuses more than JSON does: depth, numbers beyond a double, text that is no UTF-8.
            Err(_) if object.starts_with(b"{") => return,
            Err(_) => ends |= form == Form::Events && object == b"[DONE]",
        }
    }
    assert!(ends || !watch.is_complete(), "nothing in it says that it is complete");
    assert!(fails || !watch.said_error(), "nothing in it says that it failed");
}
