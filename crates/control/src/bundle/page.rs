//! The page in words: facts in, text out. Pure, so that it can be tested without a rollback.

mod agents;
mod fired;
mod gates;
mod logs;
mod metrics;
mod story;
mod summary;
mod timeline;

use super::{
    document::{Block, Cell, Document, Section, Table},
    facts::Facts,
    folder::File,
    html, text,
    words::{date, mib, real},
};

/// As one static file for a browser.
pub(super) fn html(facts: &Facts, files: &[File]) -> String {
    html::render(&document(facts, files))
}

/// The same for a terminal.
pub(super) fn text(facts: &Facts, files: &[File]) -> String {
    text::render(&document(facts, files))
}

fn document(facts: &Facts, files: &[File]) -> Document {
    let sections = [
        Section { title: "How long it took", blocks: timeline::blocks(facts) },
        Section { title: "What fired", blocks: fired::blocks(facts) },
        Section { title: "Whom it points at", blocks: agents::blocks(facts) },
        Section { title: "The last minutes, blue beside green", blocks: metrics::blocks(facts) },
        Section { title: "The last log lines", blocks: logs::blocks(facts) },
        Section { title: "What the gates said before", blocks: gates::blocks(facts) },
        Section { title: "What the controller saw and did", blocks: story::blocks(facts) },
        Section { title: "What is in this folder", blocks: vec![contents(files)] },
    ];
    Document {
        title: summary::title(facts),
        state: summary::state(facts),
        lead: summary::lead(facts),
        steps: summary::steps(facts),
        missing: facts.missing.iter().map(|missing| format!("{}: {}", missing.what, missing.why)).collect(),
        sections: sections.into(),
        foot: format!(
            "Written {} UTC by the controller of fleet {}. All times are UTC. Words and limits: docs/evidence.md.",
            date(facts.written),
            facts.fleet
        ),
    }
}

fn contents(files: &[File]) -> Block {
    let mut table = Table::new(&["File", "Size", "What is in it"]);
    for file in files {
        let size = real(file.bytes.len() as u64);
        let size = if size < f64::from(1 << 20) { format!("{:.0} KiB", (size / 1024.0).ceil()) } else { mib(size) };
        table.rows.push(vec![Cell::text(&file.name), Cell::number(size), Cell::text(&file.about)]);
    }
    for (name, about) in [("index.html", "this page"), ("page.txt", "this page for a terminal")] {
        table.rows.push(vec![Cell::text(name), Cell::number(""), Cell::text(about)]);
    }
    Block::Table(table)
}
