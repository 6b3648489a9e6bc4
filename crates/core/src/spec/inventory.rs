//! The inventory as CSV: one row, one agent. Findings point into the CSV file itself.

use csv::{ReaderBuilder, StringRecord, Trim};

use super::{
    agents::{Candidate, Traits},
    names,
    nearest::nearest,
    reader::Reader,
    unit,
};
use crate::{
    diagnostic::{Diagnostic, Place},
    id::{AgentType, ModelName},
};

const COLUMNS: [&str; 7] = ["name", "type", "model", "phase", "critical", "memory_limit_mib", "cpu_limit"];

/// Appends an agent for each sound row; returns whether all rows were.
pub(super) fn read(r: &mut Reader<'_>, file: &str, text: &str, candidates: &mut Vec<Candidate>) -> bool {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut rows = ReaderBuilder::new().flexible(true).trim(Trim::All).from_reader(text.as_bytes());
    let header = match rows.headers() {
        Ok(header) => header.clone(),
        Err(error) => return refuse(r, file, 1, "the inventory has no readable head line", error),
    };
    if !head(r, file, &header) {
        return false;
    }
    let mut complete = true;
    for record in rows.records() {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                let line = error.position().map_or(1, csv::Position::line);
                return refuse(r, file, line, "this row is not readable CSV", error);
            }
        };
        let mut row = Row { r: &mut *r, file, text, header: &header, record: &record, sound: true };
        let candidate = row.candidate();
        complete &= row.sound && candidate.is_some();
        candidates.extend(candidate);
    }
    complete
}

/// Checks the head line: a misspelt column would silently leave its default to every agent.
fn head(r: &mut Reader<'_>, file: &str, header: &StringRecord) -> bool {
    let mut column = 1;
    let before = r.found.len();
    for name in header {
        if !COLUMNS.contains(&name) && !name.starts_with("x-") {
            let help = match nearest(name, COLUMNS) {
                Some(near) => format!("did you mean {near:?}?"),
                None => format!("known here: {}; a column of your own starts with x-", COLUMNS.join(", ")),
            };
            r.found.push(
                Diagnostic::new("BW0130", format!("unknown column {name:?} in the inventory"))
                    .at(file, 1, column)
                    .help(help),
            );
        }
        column += name.chars().count() as u64 + 1;
    }
    if !header.iter().any(|name| name == "name") {
        r.found.push(
            Diagnostic::new("BW0119", "the inventory has no column \"name\"")
                .at(file, 1, 1)
                .because(format!("its head line is {:?}", header.iter().collect::<Vec<_>>().join(",")))
                .help("start the file with a head line such as name,type,model,phase,critical"),
        );
    }
    r.found.len() == before
}

fn refuse(r: &mut Reader<'_>, file: &str, line: u64, message: &str, cause: csv::Error) -> bool {
    r.found.push(
        Diagnostic::new("BW0131", message)
            .at(file, line, 1)
            .because(cause)
            .help("write one agent per line, the values separated by commas"),
    );
    false
}

struct Row<'x, 'f> {
    r: &'x mut Reader<'f>,
    file: &'x str,
    text: &'x str,
    header: &'x StringRecord,
    record: &'x StringRecord,
    sound: bool,
}

impl Row<'_, '_> {
    fn candidate(&mut self) -> Option<Candidate> {
        let (have, want) = (self.record.len(), self.header.len());
        if have != want {
            self.report(
                0,
                Diagnostic::new("BW0131", format!("this row has {have} values, and the head line has {want} columns"))
                    .help("add or remove commas; an empty value still needs its comma"),
            );
            return None;
        }
        let name = match names::agent_name(self.value("name").map_or("", |(_, name)| name)) {
            Ok(name) => name,
            Err(bad) => {
                let index = self.header.iter().position(|column| column == "name").unwrap_or(0);
                self.report(index, bad);
                return None;
            }
        };
        let place = Place { file: self.file.to_owned(), line: self.line(), column: 1 };
        Some(Candidate { name, place, traits: self.traits() })
    }

    fn traits(&mut self) -> Traits {
        Traits {
            agent_type: self.read("type", |text| {
                names::is_word(text).then(|| AgentType::new(text)).ok_or_else(|| names::bad_word("type", text))
            }),
            model: self.read("model", |text| {
                names::is_model(text).then(|| ModelName::new(text)).ok_or_else(|| names::bad_model(text))
            }),
            phase: self.read("phase", |text| text.parse().map_err(|_| bad("phase", text, "a whole number such as 1"))),
            critical: self.read("critical", |text| match text.to_ascii_lowercase().as_str() {
                "true" | "yes" => Ok(true),
                "false" | "no" => Ok(false),
                _ => Err(bad("critical", text, "true or false")),
            }),
            memory_limit_bytes: self.read("memory_limit_mib", |text| {
                let limit = unit::bytes(&format!("{text}MiB")).ok().filter(|bytes| *bytes > 0);
                limit.ok_or_else(|| bad("memory_limit_mib", text, "a number of MiB such as 512"))
            }),
            cpu_limit: self.read("cpu_limit", |text| {
                let limit = text.parse().ok().filter(|cores: &f64| (0.01..=4096.0).contains(cores));
                limit.ok_or_else(|| bad("cpu_limit", text, "a number of cores such as 0.5"))
            }),
            ..Traits::default()
        }
    }

    /// The value of a column, or `None` where it is empty or was refused.
    fn read<T>(&mut self, column: &str, parse: impl Fn(&str) -> Result<T, Diagnostic>) -> Option<T> {
        let (index, text) = self.value(column)?;
        match parse(text) {
            Ok(value) => Some(value),
            Err(bad) => {
                self.report(index, bad);
                None
            }
        }
    }

    fn value(&self, column: &str) -> Option<(usize, &str)> {
        let index = self.header.iter().position(|name| name == column)?;
        self.record.get(index).filter(|text| !text.is_empty()).map(|text| (index, text))
    }

    fn report(&mut self, index: usize, diagnostic: Diagnostic) {
        self.sound = false;
        self.r.found.push(diagnostic.at(self.file, self.line(), self.column(index)));
    }

    fn line(&self) -> u64 {
        self.record.position().map_or(1, csv::Position::line)
    }

    /// Where the value starts, counted over the text as it is written, quotes included.
    fn column(&self, index: usize) -> u64 {
        let start = self.record.position().and_then(|position| usize::try_from(position.byte()).ok()).unwrap_or(0);
        let row = self.text.get(start..).unwrap_or_default().trim_start_matches(['\r', '\n']);
        let (mut quoted, mut commas) = (false, 0);
        for (column, c) in row.chars().enumerate() {
            if commas == index {
                return column as u64 + 1;
            }
            quoted ^= c == '"';
            commas += usize::from(c == ',' && !quoted);
        }
        1
    }
}

fn bad(column: &str, text: &str, wanted: &str) -> Diagnostic {
    Diagnostic::new("BW0120", format!("{text:?} cannot be a value of the column {column:?}"))
        .help(format!("write {wanted}"))
}
