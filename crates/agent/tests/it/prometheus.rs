//! A strict reader of the Prometheus text format, version 0.0.4: what a lenient scraper lets pass is refused.

use std::collections::{BTreeMap, BTreeSet};

/// By series as written, name and labels.
pub(crate) type Samples = BTreeMap<String, f64>;

/// Every family has its help and its type, in this order, before its samples, and stands in one piece; no series comes
/// twice; names, labels and values are as the format has them.
pub(crate) fn read(text: &str) -> Result<Samples, String> {
    let mut samples = Samples::new();
    let mut done = BTreeSet::new();
    let mut family = Family::default();
    if !text.ends_with('\n') {
        return Err("the last line does not end".into());
    }
    for line in text.lines() {
        let wrong = |what: &str| Err(format!("{what}: {line:?}"));
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let Some((name, help)) = rest.split_once(' ') else { return wrong("help without text") };
            if !is_name(name) || help.trim().is_empty() {
                return wrong("no name or no help");
            }
            family.end()?;
            if !done.insert(name.to_owned()) {
                return wrong("a family in two pieces");
            }
            family = Family { name: name.to_owned(), ..Family::default() };
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let Some((name, kind)) = rest.split_once(' ') else { return wrong("no type") };
            if name != family.name || family.has_type || !matches!(kind, "counter" | "gauge") {
                return wrong("a type at the wrong place");
            }
            (family.has_type, family.is_counter) = (true, kind == "counter");
        } else {
            let (series, value) = sample(line).ok_or(format!("no sample: {line:?}"))?;
            let name = series.split('{').next().unwrap_or_default();
            if name != family.name || !family.has_type {
                return wrong("a sample outside its family");
            }
            if value.is_nan() || family.is_counter && value < 0.0 {
                return wrong("not a value of its type");
            }
            if samples.insert(series.to_owned(), value).is_some() {
                return wrong("a series twice");
            }
            family.samples += 1;
        }
    }
    family.end()?;
    Ok(samples)
}

#[derive(Default)]
struct Family {
    name: String,
    has_type: bool,
    is_counter: bool,
    samples: usize,
}

impl Family {
    fn end(&self) -> Result<(), String> {
        let is_whole = self.name.is_empty() || self.samples > 0;
        is_whole.then_some(()).ok_or(format!("{} has no samples", self.name))
    }
}

fn sample(line: &str) -> Option<(&str, f64)> {
    let at = line.rfind(' ')?;
    let (series, value) = (&line[..at], &line[at + 1..]);
    let name_end = series.find('{').unwrap_or(series.len());
    let labels = &series[name_end..];
    (is_name(&series[..name_end]) && (labels.is_empty() || are_labels(labels))).then_some(())?;
    Some((series, value.parse().ok()?))
}

fn are_labels(text: &str) -> bool {
    let Some(mut rest) = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) else { return false };
    let mut names = BTreeSet::new();
    loop {
        let Some((name, value)) = rest.split_once("=\"") else { return false };
        let Some(end) = end_of_value(value) else { return false };
        let is_label = is_name(name) && !name.contains(':') && names.insert(name.to_owned());
        rest = &value[end + 1..];
        match rest.strip_prefix(',') {
            _ if !is_label => return false,
            Some(more) => rest = more,
            None => return rest.is_empty(),
        }
    }
}

/// Of the quote that is not escaped. Only `\\`, `\"` and `\n` are escapes.
fn end_of_value(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match (escaped, c) {
            (true, '\\' | '"' | 'n') => escaped = false,
            (true, _) => return None,
            (false, '\\') => escaped = true,
            (false, '"') => return Some(at),
            (false, _) => {}
        }
    }
    None
}

fn is_name(text: &str) -> bool {
    let is_first = |c: char| c.is_ascii_alphabetic() || c == '_' || c == ':';
    text.starts_with(is_first) && text.chars().all(|c| is_first(c) || c.is_ascii_digit())
}

#[test]
fn what_is_not_the_format_is_refused() {
    let head = "# HELP a What it is.\n# TYPE a gauge\n";
    assert_eq!(read(&format!("{head}a{{b=\"x\\\"y,\",c=\"}}\"}} 1.5\n")).unwrap().len(), 1);
    for bad in [
        format!("{head}a 1"),
        "a 1\n".to_owned(),
        "# TYPE a gauge\na 1\n".to_owned(),
        "# HELP a What.\na 1\n".to_owned(),
        format!("{head}b 1\n"),
        format!("{head}a 1\na 2\n"),
        format!("{head}a one\n"),
        format!("{head}a{{b=x}} 1\n"),
        format!("{head}a{{b=\"x}} 1\n"),
        format!("{head}a{{b=\"\\x\"}} 1\n"),
        format!("{head}a{{b=\"x\",b=\"y\"}} 1\n"),
        format!("{head}a{{}} 1\n"),
        head.to_owned(),
        format!("{head}a 1\n{head}a{{b=\"\"}} 1\n"),
        "# HELP a What.\n# TYPE a counter\na -1\n".to_owned(),
    ] {
        assert!(read(&bad).is_err(), "{bad:?}");
    }
}
