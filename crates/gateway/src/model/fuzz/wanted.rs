//! What a request wants is read as the model server reads it, and a context size is put in without touching anything else.

use bytes::Bytes;
use serde_json::{Value, json};

use super::super::wanted::{Wanted, with_context};

/// First two bytes for the context size, 0 for none, then the body.
pub fn wanted(input: &[u8]) {
    let [high, low, body @ ..] = input else { return };
    let size = Some(u64::from(u16::from_be_bytes([*high, *low]))).filter(|&size| size > 0);
    let body = Bytes::copy_from_slice(body);
    let sent = with_context(&body, size);
    // Nothing is sent that was not understood.
    let Ok(mut wanted) = Wanted::read(&body) else { return };
    assert_eq!(body.trim_ascii_start().first(), Some(&b'{'), "a request is an object");
    assert_eq!(with_context(&sent, size), sent, "put in once, it stays");
    wanted.set_context(size);
    assert_eq!(Wanted::read(&sent), Ok(wanted), "scheduled for what it is sent with");
    is_one_splice(&body, &sent);
    // Another reader, which refuses more than JSON does: depth, numbers beyond a double, text that is no UTF-8.
    let Ok(before) = serde_json::from_slice::<Value>(&body) else { return };
    let after: Value = serde_json::from_slice(&sent).expect("what was JSON is JSON");
    assert_eq!(after, expected(before, size));
}

fn expected(mut body: Value, size: Option<u64>) -> Value {
    // Read without regard to case, as the model server does.
    let name = body.as_object().and_then(|body| body.keys().find(|name| is_options(name))).cloned();
    let options = &mut body[name.as_deref().unwrap_or("options")];
    match size {
        Some(size) => options["num_ctx"] = json!(size),
        None => {
            if let Some(own) = options.get_mut("num_ctx") {
                *own = Value::Null;
            }
        }
    }
    if name.is_none() && options.is_null() {
        body.as_object_mut().expect("a request is an object").remove("options");
    }
    body
}

fn is_options(name: &str) -> bool {
    name.replace('\u{17f}', "s").eq_ignore_ascii_case("options")
}

/// What differs is in one place, and what was put there is no more than an option.
fn is_one_splice(body: &[u8], sent: &[u8]) {
    let before = body.iter().zip(sent).take_while(|(one, other)| one == other).count();
    let (body, sent) = (&body[before..], &sent[before..]);
    let after = body.iter().rev().zip(sent.iter().rev()).take_while(|(one, other)| one == other).count();
    let put = &sent[..sent.len() - after];
    assert!(put.len() <= br#""options":{"num_ctx":65535},"#.len(), "{}", put.escape_ascii());
}
