//! Draws pictures over each other on a terminal, without flicker and without taking the screen over.

use std::io::{self, IsTerminal, Write};

pub(crate) struct Screen {
    drawn: usize,
}

impl Screen {
    /// `None` where nobody watches: output goes to a file or a pipe, or the terminal is too small.
    pub(crate) fn on_terminal() -> Option<Self> {
        let fits = size().is_some_and(|(columns, rows)| columns >= 60 && rows >= 20);
        (io::stderr().is_terminal() && fits).then_some(Self { drawn: 0 })
    }

    pub(crate) fn width() -> usize {
        size().map_or(80, |(columns, _)| columns).clamp(60, 100)
    }

    pub(crate) fn draw(&mut self, lines: &[String]) -> io::Result<()> {
        let mut picture = String::new();
        if self.drawn > 0 {
            picture.push_str(&format!("\x1b[{}A", self.drawn));
        }
        for line in lines {
            picture.push_str(line);
            picture.push_str("\x1b[K\n");
        }
        picture.push_str("\x1b[J");
        self.drawn = lines.len();
        let mut stderr = io::stderr().lock();
        stderr.write_all(picture.as_bytes())?;
        stderr.flush()
    }
}

fn size() -> Option<(usize, usize)> {
    let size = rustix::termios::tcgetwinsize(io::stderr()).ok()?;
    Some((usize::from(size.ws_col), usize::from(size.ws_row)))
}
