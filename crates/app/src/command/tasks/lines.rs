//! The lines of `bellwether tasks submit --from`: read one by one, each with its number, and made into a task.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::PathBuf,
    thread,
};

use bellwether_core::diagnostic::Diagnostic;
use serde_json::error::Category;
use tokio::sync::mpsc;

use super::{
    submit::{new_id, unreadable},
    task::Fields,
};
use crate::failure::Failure;

/// Longer than any task that a gateway takes; the rest of such a line is skipped, not kept.
const LINE_MAX: u64 = 4 << 20;
/// Lines that are read before somebody wants them.
const AHEAD_MAX: usize = 32;

/// Where tasks come from, and what fills in for what a line leaves out.
pub(super) struct Lines {
    pub(super) file: PathBuf,
    pub(super) flags: Fields,
    /// What ids begin with, so that the same file can be submitted again.
    pub(super) ids: Option<String>,
}

pub(super) struct Line {
    pub(super) number: u64,
    text: io::Result<Vec<u8>>,
}

impl Lines {
    pub(super) fn name(&self) -> String {
        if self.is_stdin() { "<stdin>".to_owned() } else { self.file.display().to_string() }
    }

    fn is_stdin(&self) -> bool {
        self.file.as_os_str() == "-"
    }

    /// Those that are not blank, from a thread that may block in a read.
    pub(super) fn read(&self) -> Result<mpsc::Receiver<Line>, Failure> {
        let mut source: Box<dyn BufRead + Send> = if self.is_stdin() {
            Box::new(BufReader::new(io::stdin()))
        } else {
            let file = File::open(&self.file);
            Box::new(BufReader::new(file.map_err(|error| unreadable(&format!("the file {:?}", self.name()), &error))?))
        };
        let (tell, told) = mpsc::channel(AHEAD_MAX);
        let reading = move || {
            for number in 1.. {
                let text = match next(&mut *source) {
                    Ok(None) => return,
                    Ok(Some(text)) if text.trim_ascii().is_empty() => continue,
                    Ok(Some(text)) => Ok(text),
                    Err(error) => Err(error),
                };
                // After an error of reading there is nothing more to be had; a line that is too long is skipped.
                let last = text.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::FileTooLarge);
                if tell.blocking_send(Line { number, text }).is_err() || last {
                    return;
                }
            }
        };
        thread::Builder::new().name("lines".into()).spawn(reading).map_err(|error| unreadable("the input", &error))?;
        Ok(told)
    }

    /// The line as a task, and its id.
    pub(super) fn task(&self, line: &Line) -> Result<(String, Fields), Failure> {
        let wrong = |column: u64, why: String| {
            let help =
                "write one JSON object per line, such as {\"agent\": \"builder\", \"prompt\": \"Summarise the log\"}";
            let told = Diagnostic::new("BW0396", "this line is no task").at(self.name(), line.number, column);
            Failure::invalid(vec![told.because(why).help(help)])
        };
        let text = line.text.as_ref().map_err(|error| wrong(1, error.to_string()))?;
        let mut fields: Fields = serde_json::from_slice(text).map_err(|error| {
            let column = u64::try_from(error.column()).unwrap_or(u64::MAX).max(1);
            let text = error.to_string();
            let why = text.split(" at line ").next().unwrap_or(&text);
            match error.classify() {
                Category::Data => wrong(column, "it is JSON, and no object".to_owned()),
                Category::Syntax | Category::Eof | Category::Io => wrong(column, format!("it is not JSON: {why}")),
            }
        })?;
        let is_addressed = fields.contains_key("agent") || fields.contains_key("type");
        for (key, value) in &self.flags {
            if !(is_addressed && matches!(key.as_str(), "agent" | "type")) {
                fields.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
        if !fields.contains_key("agent") && !fields.contains_key("type") {
            return Err(wrong(1, "it names neither an agent nor a type, and the command line names none".to_owned()));
        }
        let id = match (fields.get("id"), &self.ids) {
            (Some(id), _) => {
                serde_json::from_str(id.get()).map_err(|_other| wrong(1, "its id is not text".to_owned()))?
            }
            (None, Some(prefix)) => format!("{prefix}-{}", line.number),
            (None, None) => new_id(),
        };
        Ok((id, fields))
    }
}

fn next(source: &mut dyn BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut text = Vec::new();
    if source.take(LINE_MAX).read_until(b'\n', &mut text)? == 0 {
        return Ok(None);
    }
    if text.len() as u64 == LINE_MAX && text.last() != Some(&b'\n') {
        source.skip_until(b'\n')?;
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is longer than {} MiB", LINE_MAX >> 20)));
    }
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_line_that_is_far_too_long_is_skipped_and_the_next_one_read() {
        let mut text = vec![b'x'; usize::try_from(LINE_MAX).unwrap() + 10];
        text.extend(b"\n{\"agent\": \"a\"}");
        let file = std::env::temp_dir().join(format!("bw-lines-{}", std::process::id()));
        fs::write(&file, text).unwrap();
        let lines = Lines { file: file.clone(), flags: Fields::new(), ids: Some("x".to_owned()) };
        let mut read = lines.read().unwrap();
        let [first, second] = [(); 2].map(|()| read.blocking_recv().unwrap());
        assert!(read.blocking_recv().is_none());
        fs::remove_file(file).unwrap();
        let refused = lines.task(&first).unwrap_err().to_string();
        assert!(refused.contains(":1:1") && refused.contains("longer than 4 MiB"), "{refused}");
        assert_eq!(lines.task(&second).unwrap().0, "x-2");
    }
}
