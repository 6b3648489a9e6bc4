//! Only what is known by its very name is passed on, and nothing that another reader of the path could take for more.

use hyper::Method;

use super::super::route::{Verb, classify, operation};

/// A method, a space, a path with its query.
pub fn route(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    let Some((method, path_and_query)) = text.split_once(' ') else { return };
    let Ok(method) = Method::from_bytes(method.as_bytes()) else { return };
    let (verb, dialect) = classify(&method, path_and_query);
    let path = path_and_query.split('?').next().unwrap_or_default();
    assert_eq!((verb, dialect), classify(&method, path), "a query changes nothing");
    assert_eq!(operation(path_and_query), operation(path));
    match verb {
        Verb::Infer => assert_eq!(method, Method::POST),
        Verb::Read if path == "/api/show" => assert!(method == Method::POST || method == Method::OPTIONS),
        Verb::Read => assert!(method.is_safe(), "{method} changes something"),
        Verb::Manage | Verb::WrongMethod | Verb::Unknown => {}
    }
    if matches!(verb, Verb::Infer | Verb::Read) {
        // As a server that resolves and decodes paths would come to read it.
        let read = resolved(&decoded(path));
        assert_ne!(classify(&method, &read).0, Verb::Manage, "{path} is read as {read}");
        assert!(
            ["", "/", "/api/", "/v1/"].iter().any(|part| read == *part || (part.len() > 1 && read.starts_with(part))),
            "{path} is read as {read}"
        );
    }
}

fn decoded(path: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = path.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = |at: usize| after.get(at).and_then(|&digit| char::from(digit).to_digit(16));
        if let (b'%', Some(high), Some(low)) = (first, hex(0), hex(1)) {
            bytes.extend(u8::try_from(high * 16 + low));
            rest = &after[2..];
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn resolved(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            ".." => {
                if kept.len() > 1 {
                    kept.pop();
                }
            }
            "." => {}
            _ => kept.push(segment),
        }
    }
    kept.join("/")
}
