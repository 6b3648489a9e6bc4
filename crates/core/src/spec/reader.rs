//! Typed reading of a YAML tree that goes on after an error, so that a person is told everything at once.
//!
//! Each reading gives `None` both for what is absent and for what was reported; the caller's default stands in
//! until the end, where any finding refuses the file as a whole.

use std::collections::BTreeMap;

use super::{
    nearest::nearest,
    unit,
    yaml::{Key, Kind, Mark, Node},
};
use crate::{diagnostic::Diagnostic, time::Millis};

pub(super) struct Reader<'f> {
    pub(super) file: &'f str,
    pub(super) found: Vec<Diagnostic>,
}

/// A table whose keys have been checked.
pub(super) struct Fields<'n> {
    pub(super) at: Mark,
    entries: &'n [(Key, Node)],
    /// What the unknown keys were most likely meant to be.
    meant: Vec<String>,
}

/// One key's value.
#[derive(Clone, Copy)]
pub(super) struct Field<'n> {
    pub(super) name: &'n str,
    pub(super) node: &'n Node,
}

impl<'n> Fields<'n> {
    /// What is written for `name`; a null counts as not written.
    pub(super) fn get(&self, name: &str) -> Option<Field<'n>> {
        self.entries
            .iter()
            .find(|(key, node)| key.name == name && !node.is_null())
            .map(|(key, node)| Field { name: &key.name, node })
    }

    pub(super) fn at(&self, name: &str) -> Mark {
        self.get(name).map_or(self.at, |field| field.node.at)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Written, or written with a slip that is reported already: then its absence must not be reported too.
    pub(super) fn has_or_meant(&self, name: &str) -> bool {
        self.has(name) || self.meant.iter().any(|meant| meant == name)
    }
}

impl<'f> Reader<'f> {
    pub(super) fn new(file: &'f str) -> Self {
        Self { file, found: Vec::new() }
    }

    pub(super) fn report(&mut self, at: Mark, diagnostic: Diagnostic) {
        self.found.push(diagnostic.at(self.file, at.line, at.column));
    }

    /// Findings in the order in which a person reads the files.
    pub(super) fn finish(mut self) -> Vec<Diagnostic> {
        let file = self.file;
        self.found.sort_by_key(|d| d.place.as_ref().map(|p| (p.file != file, p.file.clone(), p.line, p.column)));
        self.found
    }

    /// Opens a table. `what` completes "unknown key … in".
    pub(super) fn fields<'n>(&mut self, node: &'n Node, what: &str, known: &[&str]) -> Option<Fields<'n>> {
        let entries = self.entries(node, what, known)?;
        let mut meant = Vec::new();
        for (key, _) in entries {
            // As in compose files: what starts with x- is the user's own, for anchors and notes.
            if !known.contains(&key.name.as_str()) && !key.name.starts_with("x-") {
                let help = match nearest(&key.name, known.iter().copied()) {
                    Some(word) => {
                        meant.push(word.to_owned());
                        format!("did you mean {word:?}?")
                    }
                    None => format!("known here: {}", known.join(", ")),
                };
                self.report(
                    key.at,
                    Diagnostic::new("BW0103", format!("unknown key {:?} in {what}", key.name)).help(help),
                );
            }
        }
        Some(Fields { at: node.at, entries, meant })
    }

    /// A table whose keys are names of the user's choice.
    pub(super) fn named<'n>(&mut self, field: Option<Field<'n>>) -> Vec<(&'n Key, &'n Node)> {
        let Some(field) = field else { return Vec::new() };
        let what = format!("{:?}", field.name);
        self.entries(field.node, &what, &[]).unwrap_or_default().iter().map(|(key, node)| (key, node)).collect()
    }

    pub(super) fn text(&mut self, field: Option<Field<'_>>) -> Option<String> {
        let field = field?;
        match &field.node.kind {
            Kind::Scalar { text, .. } if !text.trim().is_empty() => Some(text.clone()),
            _ => {
                self.wrong(field, "a word", format!("write {}: and one word after it", field.name));
                None
            }
        }
    }

    pub(super) fn flag(&mut self, field: Option<Field<'_>>) -> Option<bool> {
        let field = field?;
        match &field.node.kind {
            Kind::Scalar { text, plain: true } if text == "true" => Some(true),
            Kind::Scalar { text, plain: true } if text == "false" => Some(false),
            _ => {
                self.wrong(field, "true or false", format!("write {0}: true or {0}: false", field.name));
                None
            }
        }
    }

    pub(super) fn whole(&mut self, field: Option<Field<'_>>, least: u64) -> Option<u64> {
        let field = field?;
        let Some(number) = scalar(field.node).and_then(|text| text.parse::<u64>().ok()) else {
            self.wrong(field, "a whole number", format!("write a number such as {}: {}", field.name, least.max(1)));
            return None;
        };
        if number < least {
            self.report(
                field.node.at,
                Diagnostic::new("BW0106", format!("{:?} is {number}, and the least that works is {least}", field.name))
                    .help(format!("write {least} or more")),
            );
            return None;
        }
        Some(number)
    }

    pub(super) fn small(&mut self, field: Option<Field<'_>>, least: u32) -> Option<u32> {
        let number = self.whole(field, least.into())?;
        let at = field.map(|field| field.node.at)?;
        u32::try_from(number)
            .map_err(|_| {
                self.report(
                    at,
                    Diagnostic::new("BW0106", format!("{number} is too large")).help("write a smaller number"),
                );
            })
            .ok()
    }

    /// A share or ratio within `range`, both ends included.
    pub(super) fn share(&mut self, field: Option<Field<'_>>, range: (f64, f64)) -> Option<f64> {
        let share = self.figure(field?, "a number", unit::share)?;
        self.within(field?, share, range)
    }

    /// So many per minute, within `range`.
    pub(super) fn per_minute(&mut self, field: Option<Field<'_>>, range: (f64, f64)) -> Option<f64> {
        let rate = self.figure(field?, "a number per minute", unit::per_minute)?;
        self.within(field?, rate, range)
    }

    fn within(&mut self, field: Field<'_>, share: f64, (least, most): (f64, f64)) -> Option<f64> {
        if !(least..=most).contains(&share) {
            self.report(
                field.node.at,
                Diagnostic::new("BW0106", format!("{:?} is {share}, which makes no sense here", field.name))
                    .help(format!("write a number from {least} to {most}")),
            );
            return None;
        }
        Some(share)
    }

    pub(super) fn millis(&mut self, field: Option<Field<'_>>) -> Option<Millis> {
        self.figure(field?, "a span of time", unit::millis)
    }

    /// A span that must not be zero, because nothing could happen in it.
    pub(super) fn some_millis(&mut self, field: Option<Field<'_>>) -> Option<Millis> {
        let span = self.millis(field)?;
        if span == Millis::ZERO {
            let field = field?;
            self.report(
                field.node.at,
                Diagnostic::new("BW0106", format!("{:?} must be longer than nothing", field.name))
                    .help(format!("write a span such as {}: 30s", field.name)),
            );
            return None;
        }
        Some(span)
    }

    pub(super) fn bytes(&mut self, field: Option<Field<'_>>) -> Option<u64> {
        self.figure(field?, "a size", unit::bytes)
    }

    /// A size into which something fits.
    pub(super) fn some_bytes(&mut self, field: Option<Field<'_>>) -> Option<u64> {
        let size = self.bytes(field)?;
        if size == 0 {
            let field = field?;
            self.report(
                field.node.at,
                Diagnostic::new("BW0106", format!("{:?} must be more than nothing", field.name))
                    .help(format!("write a size such as {}: 1GiB", field.name)),
            );
            return None;
        }
        Some(size)
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(
        &mut self,
        field: Option<Field<'_>>,
        code: &'static str,
        words: &[(&str, T)],
    ) -> Option<T> {
        let field = field?;
        let known = || words.iter().map(|(word, _)| *word);
        let written = scalar(field.node).unwrap_or_default();
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == written) {
            return Some(*value);
        }
        let all = one_of(&known().collect::<Vec<_>>());
        let help = match nearest(written, known()) {
            Some(word) => format!("did you mean {word:?}? Known here: {all}"),
            None => format!("write {all}"),
        };
        self.report(
            field.node.at,
            Diagnostic::new(code, format!("{:?} cannot be {}", field.name, field.node.describe())).help(help),
        );
        None
    }

    /// A list of words, at least one.
    pub(super) fn words(&mut self, field: Option<Field<'_>>) -> Option<Vec<String>> {
        let field = field?;
        let name = field.name;
        match &field.node.kind {
            Kind::List(items) if !items.is_empty() => {
                let words: Vec<String> = items.iter().filter_map(scalar).map(str::to_owned).collect();
                if words.len() == items.len() {
                    return Some(words);
                }
                self.wrong(field, "a list of words", format!("write each item of {name:?} as one word or in quotes"));
            }
            Kind::Scalar { text, .. } if !text.trim().is_empty() => {
                let words: Vec<&str> = text.split_whitespace().collect();
                self.wrong(field, "a list of words", format!("write {name}: [{}]", words.join(", ")));
            }
            _ => self.wrong(field, "a list of words", format!("write {name}: [first, second]")),
        }
        None
    }

    /// A table of words, as environments are.
    pub(super) fn pairs(&mut self, field: Option<Field<'_>>) -> BTreeMap<String, (String, Mark)> {
        let mut pairs = BTreeMap::new();
        for (key, node) in self.named(field) {
            match &node.kind {
                Kind::Scalar { text, .. } if !node.is_null() => {
                    pairs.insert(key.name.clone(), (text.clone(), key.at));
                }
                _ => {
                    let field = Field { name: &key.name, node };
                    self.wrong(field, "a word", format!("write {}: \"value\", or \"\" for an empty one", key.name));
                }
            }
        }
        pairs
    }

    pub(super) fn items<'n>(&mut self, field: Option<Field<'n>>) -> &'n [Node] {
        let Some(field) = field else { return &[] };
        if let Kind::List(items) = &field.node.kind {
            return items;
        }
        self.wrong(field, "a list", format!("start each item of {:?} on a line of its own with \"- \"", field.name));
        &[]
    }

    pub(super) fn wrong(&mut self, field: Field<'_>, wanted: &str, help: impl Into<String>) {
        self.report(
            field.node.at,
            Diagnostic::new("BW0104", format!("{:?} must be {wanted}, and is {}", field.name, field.node.describe()))
                .help(help),
        );
    }

    fn figure<T>(
        &mut self,
        field: Field<'_>,
        wanted: &str,
        read: impl Fn(&str) -> Result<T, unit::BadFigure>,
    ) -> Option<T> {
        let Some(text) = scalar(field.node) else {
            self.wrong(field, wanted, format!("write {wanted} after {}:", field.name));
            return None;
        };
        read(text)
            .map_err(|bad| {
                let message = format!("{:?} is not {wanted}: {text}", field.name);
                self.report(field.node.at, Diagnostic::new("BW0105", message).because(bad.cause).help(bad.help));
            })
            .ok()
    }

    fn entries<'n>(&mut self, node: &'n Node, what: &str, known: &[&str]) -> Option<&'n [(Key, Node)]> {
        let Kind::Table(entries) = &node.kind else {
            let example = known.first().map_or_else(|| "key: value".to_owned(), |key| format!("{key}: …"));
            self.report(
                node.at,
                Diagnostic::new("BW0104", format!("{what} must be a table of keys, and is {}", node.describe()))
                    .help(format!("write the keys below it, such as {example}")),
            );
            return None;
        };
        for (i, (key, _)) in entries.iter().enumerate() {
            if let Some((first, _)) = entries[..i].iter().find(|(before, _)| before.name == key.name) {
                self.report(
                    key.at,
                    Diagnostic::new("BW0122", format!("the key {:?} is written twice in {what}", key.name))
                        .because(format!("it is first written in line {}", first.at.line))
                        .help("keep one of the two"),
                );
            }
        }
        Some(entries)
    }
}

/// `a`, `a or b`, `a, b or c`.
fn one_of(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [before @ .., last] => format!("{} or {last}", before.join(", ")),
    }
}

fn scalar(node: &Node) -> Option<&str> {
    match &node.kind {
        Kind::Scalar { text, .. } if !node.is_null() => Some(text),
        _ => None,
    }
}
