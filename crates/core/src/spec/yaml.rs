//! YAML text → a tree in which every node knows its place.
//!
//! The parser of `serde-saphyr` is used below its serde layer: that layer stops at the first error and decides
//! itself what is a number, while a file with five mistakes should be told all five, and `MODEL_TAG: 0123`
//! should stay `0123`. Reading the tree is [`super::reader`]'s work.

use std::collections::BTreeMap;

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput};

use crate::diagnostic::Diagnostic;

/// Aliases can multiply; a file of honest size stays far below this.
const NODES_MAX: usize = 2_000_000;

/// Counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mark {
    pub(super) line: u64,
    pub(super) column: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) at: Mark,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// As it was written; `plain` means without quotes.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Table(Vec<(Key, Node)>),
}

#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) at: Mark,
    pub(super) name: String,
}

impl Node {
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null"))
    }

    /// What it is, for "must be …, not …".
    pub(super) fn describe(&self) -> String {
        match &self.kind {
            _ if self.is_null() => "empty".to_owned(),
            Kind::Scalar { text, .. } => format!("{text:?}"),
            Kind::List(items) if items.is_empty() => "an empty list".to_owned(),
            Kind::List(_) => "a list".to_owned(),
            Kind::Table(_) => "a table of keys".to_owned(),
        }
    }
}

/// The one document of `text`. An empty file is a null node.
pub(super) fn parse(file: &str, text: &str) -> Result<Node, Diagnostic> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder =
        Builder { file, parser: Parser::new_from_str(text), anchors: BTreeMap::new(), nodes_left: NODES_MAX };
    builder.document()
}

struct Builder<'t> {
    file: &'t str,
    parser: Parser<'t, StrInput<'t>>,
    anchors: BTreeMap<usize, Node>,
    nodes_left: usize,
}

impl<'t> Builder<'t> {
    fn document(&mut self) -> Result<Node, Diagnostic> {
        let mut root = None;
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => break,
                (Event::DocumentStart(..), span) if root.is_some() => {
                    return Err(self.refuse(mark(&span), "a second document starts here", "remove the line ---"));
                }
                (Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd, _) => {}
                (event, span) => root = Some(self.node(event, &span)?),
            }
        }
        Ok(root.unwrap_or(Node {
            at: Mark { line: 1, column: 1 },
            kind: Kind::Scalar { text: String::new(), plain: true },
        }))
    }

    /// Depth is bounded by the parser's own nesting limit.
    fn node(&mut self, event: Event<'t>, span: &Span) -> Result<Node, Diagnostic> {
        let at = mark(span);
        self.nodes_left = self.nodes_left.checked_sub(1).ok_or_else(|| self.too_large(at))?;
        let (anchor, kind) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain && tag.is_none();
                (anchor, Kind::Scalar { text: text.into_owned(), plain })
            }
            Event::SequenceStart(_, anchor, _) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => break (anchor, Kind::List(items)),
                        (event, span) => items.push(self.node(event, &span)?),
                    }
                }
            }
            Event::MappingStart(_, anchor, _) => (anchor, Kind::Table(self.entries()?)),
            Event::Alias(id) => return self.alias(id, at),
            _ => return Err(self.refuse(at, "a value was expected here", HELP)),
        };
        let node = Node { at, kind };
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn entries(&mut self) -> Result<Vec<(Key, Node)>, Diagnostic> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        let mut merged = Vec::new();
        loop {
            let (event, span) = self.next()?;
            let at = mark(&span);
            let name = match event {
                Event::MappingEnd => break,
                Event::Scalar(name, ..) => name.into_owned(),
                _ => return Err(self.refuse(at, "a key must be one word", "put the key in quotes")),
            };
            let (event, span) = self.next()?;
            let value = self.node(event, &span)?;
            if name == "<<" {
                merged.push(value);
            } else {
                entries.push((Key { at, name }, value));
            }
        }
        for node in merged {
            self.merge(&mut entries, node)?;
        }
        Ok(entries)
    }

    /// `<<: *defaults`: what the table says itself wins.
    fn merge(&mut self, entries: &mut Vec<(Key, Node)>, node: Node) -> Result<(), Diagnostic> {
        match node.kind {
            Kind::Table(more) => {
                for (key, value) in more {
                    if !entries.iter().any(|(have, _)| have.name == key.name) {
                        entries.push((key, value));
                    }
                }
                Ok(())
            }
            Kind::List(nodes) => nodes.into_iter().try_for_each(|node| self.merge(entries, node)),
            Kind::Scalar { .. } => Err(self.refuse(node.at, "only a table can be merged by <<", "write <<: *anchor")),
        }
    }

    fn alias(&mut self, id: usize, at: Mark) -> Result<Node, Diagnostic> {
        let Some(node) = self.anchors.get(&id) else {
            return Err(self.refuse(at, "an alias must not contain itself", "write the value out"));
        };
        let node = node.clone();
        self.nodes_left = self.nodes_left.checked_sub(count(&node)).ok_or_else(|| self.too_large(at))?;
        Ok(node)
    }

    fn next(&mut self) -> Result<(Event<'t>, Span), Diagnostic> {
        match self.parser.next_event() {
            Some(Ok(next)) => Ok(next),
            Some(Err(error)) => Err(self.syntax(&error)),
            None => Err(self.refuse(Mark { line: 1, column: 1 }, "the file ends too early", HELP)),
        }
    }

    fn syntax(&self, error: &ScanError) -> Diagnostic {
        let (line, column) = (error.marker().line() as u64, error.marker().col() as u64 + 1);
        let cause = error.info();
        let help = if cause.contains("tab") { "indent with spaces, never with tabs" } else { HELP };
        self.refuse(Mark { line: line.max(1), column }, &cause, help)
    }

    fn too_large(&self, at: Mark) -> Diagnostic {
        self.refuse(at, &format!("the file grows beyond {NODES_MAX} values"), "use fewer aliases")
    }

    fn refuse(&self, at: Mark, cause: &str, help: &str) -> Diagnostic {
        Diagnostic::new("BW0101", "this is not YAML that can be read here")
            .at(self.file, at.line, at.column)
            .because(cause)
            .help(help)
    }
}

const HELP: &str =
    "look at this line and the one above for a missing colon, an open bracket or quote, or uneven indentation";

fn mark(span: &Span) -> Mark {
    Mark { line: span.start.line() as u64, column: span.start.col() as u64 + 1 }
}

fn count(node: &Node) -> usize {
    match &node.kind {
        Kind::Scalar { .. } => 1,
        Kind::List(items) => 1 + items.iter().map(count).sum::<usize>(),
        Kind::Table(entries) => 1 + entries.iter().map(|(_, value)| count(value)).sum::<usize>(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> Vec<(Key, Node)> {
        match parse("f.yaml", text).unwrap().kind {
            Kind::Table(entries) => entries,
            other => panic!("not a table: {other:?}"),
        }
    }

    #[test]
    fn nodes_know_their_places_and_scalars_keep_their_text() {
        let entries = table("# a comment\na: 0123\nb:\n  - x\n  - {c: \"yes\"}\n");
        assert_eq!((entries[0].1.at.line, entries[0].1.at.column), (2, 4));
        assert!(matches!(&entries[0].1.kind, Kind::Scalar { text, plain: true } if text == "0123"));
        let Kind::List(items) = &entries[1].1.kind else { panic!("not a list") };
        assert_eq!((items[1].at.line, items[1].at.column), (5, 5));
    }

    #[test]
    fn what_a_table_says_wins_over_what_it_merges() {
        let entries = table("base: &b {x: 1, y: 2}\nuse:\n  <<: *b\n  x: 3\n");
        let Kind::Table(used) = &entries[1].1.kind else { panic!("not a table") };
        let shown: Vec<_> = used.iter().map(|(key, value)| format!("{}={}", key.name, value.describe())).collect();
        assert_eq!(shown, ["x=\"3\"", "y=\"2\""]);
    }

    #[test]
    fn a_file_that_multiplies_itself_is_refused() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for i in 1..10 {
            let previous = format!("*a{}, ", i - 1).repeat(10);
            text.push_str(&format!("a{i}: &a{i} [{previous}]\n"));
        }
        assert!(parse("f.yaml", &text).unwrap_err().cause.unwrap().contains("grows"));
    }

    #[test]
    fn recursion_second_documents_and_syntax_errors_have_a_place() {
        for text in
            ["a: &a [*a]\n", "a: 1\n---\nb: 2\n", "a: [1,\nb: 2\n", "a: \"open\n", "a:\n\t- b\n", "? [x]\n: 1\n"]
        {
            let refused = parse("f.yaml", text).unwrap_err();
            assert_eq!(refused.code, "BW0101", "{text}");
            assert!(refused.place.is_some(), "{text}");
        }
    }
}
