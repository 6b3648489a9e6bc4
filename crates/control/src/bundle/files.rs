//! The files of a bundle, from the facts.

use bellwether_core::time::Millis;
use serde_json::json;

use super::{
    facts::{Facts, Missing},
    folder::File,
    page, redact,
    words::date,
};

/// Of one-second records; the newest are kept.
const SECONDS_MAX_BYTES: usize = 64 << 20;

pub(super) fn all(mut facts: Facts) -> serde_json::Result<Vec<File>> {
    let seconds = seconds(&mut facts)?;
    let mut files = vec![
        file("facts.json", "trigger, figures, times and state, for programs", self::facts(&facts)?),
        file("seconds.jsonl", "what the gateway saw in each second of the last minutes", seconds),
        file("usage.jsonl", "samples of memory and CPU of the last minutes", usage(&facts)?),
        file("journal.jsonl", "what the controller saw and did since the phase began", journal(&facts)?),
    ];
    for tail in &facts.tails {
        let member = &tail.member;
        let about = format!("the end of the log of {} ({}, instance {})", member.agent, member.side, tail.instance);
        let mut bytes = Vec::with_capacity(tail.bytes.len() + 80);
        if tail.left_out > 0 {
            bytes.extend(format!("[the first {} bytes of this log were left out]\n", tail.left_out).bytes());
        }
        bytes.extend(&tail.bytes);
        files.push(file(format!("logs/{}", tail.file_name()), about, bytes));
    }
    let html = page::html(&facts, &files);
    let text = page::text(&facts, &files);
    files.push(file("index.html", "", html.into_bytes()));
    files.push(file("page.txt", "", text.into_bytes()));
    Ok(files)
}

fn file(name: impl Into<String>, about: impl Into<String>, bytes: Vec<u8>) -> File {
    File { name: name.into(), about: about.into(), bytes }
}

fn seconds(facts: &mut Facts) -> serde_json::Result<Vec<u8>> {
    let mut lines = Vec::with_capacity(facts.seconds.len());
    let mut length = 0;
    for second in facts.seconds.iter().rev() {
        let line = serde_json::to_vec(second)?;
        length += line.len() + 1;
        if length > SECONDS_MAX_BYTES {
            break;
        }
        lines.push(line);
    }
    let left_out = facts.seconds.len() - lines.len();
    if left_out > 0 {
        facts.missing.push(Missing {
            what: format!("the oldest {left_out} one-second records, in seconds.jsonl"),
            why: format!("there is room for {} MiB", SECONDS_MAX_BYTES >> 20),
        });
    }
    lines.reverse();
    Ok(joined(lines))
}

fn usage(facts: &Facts) -> serde_json::Result<Vec<u8>> {
    let lines = facts.beats.iter().map(|(at, beat)| {
        let mut line = serde_json::to_value(beat)?;
        if let Some(fields) = line.as_object_mut() {
            fields.insert("at_ms".to_owned(), at.0.into());
        }
        serde_json::to_vec(&line)
    });
    Ok(joined(lines.collect::<serde_json::Result<_>>()?))
}

fn journal(facts: &Facts) -> serde_json::Result<Vec<u8>> {
    let lines = facts.slice.entries.iter().map(|entry| {
        let event = redact::without_env(&entry.event)?;
        serde_json::to_vec(&json!({"seq": entry.seq, "at_ms": entry.at.0, "at": date(entry.at), "event": event}))
    });
    Ok(joined(lines.collect::<serde_json::Result<_>>()?))
}

fn joined(lines: Vec<Vec<u8>>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(lines.iter().map(|line| line.len() + 1).sum());
    for line in lines {
        bytes.extend(line);
        bytes.push(b'\n');
    }
    bytes
}

fn facts(facts: &Facts) -> serde_json::Result<Vec<u8>> {
    let record = &facts.record;
    let millis = |span: Option<Millis>| span.map(|span| span.0);
    let missing: Vec<_> =
        facts.missing.iter().map(|missing| json!({"what": missing.what, "why": missing.why})).collect();
    serde_json::to_vec_pretty(&json!({
        "fleet": facts.fleet,
        "written_ms": facts.written.0,
        "rollout": redact::without_env(&facts.rollout)?,
        "part": facts.retreat.map(|retreat| retreat + 1),
        "rollback": record,
        "took_ms": {
            "detection": millis(record.detection()),
            "execution": millis(record.execution()),
            "validation": millis(record.validation()),
            "end_to_end": millis(record.end_to_end()),
        },
        "blamed": {
            "agents": facts.blame.agents,
            "types": facts.blame.types,
            "named_by_trigger": facts.blame.named,
            "blue_suffers_too": facts.blame.shared,
        },
        "agents": facts.agents,
        "missing": missing,
    }))
}
