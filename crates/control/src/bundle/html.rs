//! The document for a browser: one file without script and without anything from elsewhere. All text passes
//! through [`Page::text`], which escapes; only literals of this file become markup.

use super::{
    document::{Block, Cell, Chart, Charts, Curve, Document, Kind, Log, Section, Table, Tone, Values},
    words::tame,
};

const STYLE: &str = include_str!("page.css");
/// What a text may be long in one place.
const TEXT_MAX: usize = 4000;
const CHART_WIDTH: f64 = 300.0;
const CHART_HEIGHT: f64 = 36.0;

pub(super) fn render(document: &Document) -> String {
    let mut page = Page(String::with_capacity(64 << 10));
    page.raw("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    // Even if something slipped through, nothing in it would run or be fetched.
    page.raw(
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n",
    );
    page.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    page.raw("<meta name=\"color-scheme\" content=\"light dark\">\n");
    page.element("title", &document.title);
    page.raw("<style>\n");
    page.raw(STYLE);
    page.raw("</style>\n</head>\n<body>\n<main>\n");
    page.head(document);
    for section in &document.sections {
        page.section(section);
    }
    page.element("footer", &document.foot);
    page.raw("</main>\n</body>\n</html>\n");
    page.0
}

struct Page(String);

impl Page {
    fn raw(&mut self, markup: &'static str) {
        self.0.push_str(markup);
    }

    fn text(&mut self, text: &str) {
        for c in tame(text, TEXT_MAX).chars() {
            match c {
                '&' => self.raw("&amp;"),
                '<' => self.raw("&lt;"),
                '>' => self.raw("&gt;"),
                '"' => self.raw("&quot;"),
                '\'' => self.raw("&#39;"),
                c => self.0.push(c),
            }
        }
    }

    fn element(&mut self, tag: &'static str, text: &str) {
        self.open(tag);
        self.prose(text);
        self.close(tag);
    }

    fn open(&mut self, tag: &'static str) {
        self.raw("<");
        self.raw(tag);
        self.raw(">");
    }

    fn close(&mut self, tag: &'static str) {
        self.raw("</");
        self.raw(tag);
        self.raw(">\n");
    }

    /// Escaped text in which what stands between backticks is set as code.
    fn prose(&mut self, text: &str) {
        let mut parts = text.split('`').peekable();
        let mut code = false;
        while let Some(part) = parts.next() {
            // The last backtick of an odd number is itself.
            let closed = parts.peek().is_some();
            match (code, closed) {
                (true, true) => {
                    self.raw("<code>");
                    self.text(part);
                    self.raw("</code>");
                }
                (true, false) => {
                    self.raw("`");
                    self.text(part);
                }
                (false, _) => self.text(part),
            }
            code = !code;
        }
    }

    fn head(&mut self, document: &Document) {
        self.raw("<header>\n");
        self.raw("<p class=\"state ");
        self.raw(class(document.state.0));
        self.raw("\">");
        self.text(&document.state.1);
        self.raw("</p>\n");
        self.element("h1", &document.title);
        for sentence in &document.lead {
            self.raw("<p class=\"lead\">");
            self.prose(sentence);
            self.raw("</p>\n");
        }
        self.raw("</header>\n<section class=\"first\">\n<h2>What to do now</h2>\n<ol>\n");
        for step in &document.steps {
            self.element("li", step);
        }
        self.raw("</ol>\n</section>\n");
        if !document.missing.is_empty() {
            self.raw("<section class=\"missing\">\n<h2>What could not be read</h2>\n<ul>\n");
            for missing in &document.missing {
                self.element("li", missing);
            }
            self.raw("</ul>\n</section>\n");
        }
    }

    fn section(&mut self, section: &Section) {
        self.raw("<section>\n");
        self.element("h2", section.title);
        self.blocks(&section.blocks);
        self.raw("</section>\n");
    }

    fn blocks(&mut self, blocks: &[Block]) {
        for block in blocks {
            match block {
                Block::Text(text) => self.element("p", text),
                Block::Table(table) => self.table(table),
                Block::Charts(charts) => self.charts(charts),
                Block::Log(log) => self.log(log),
                Block::Fold { title, blocks } => {
                    self.raw("<details>\n");
                    self.element("summary", title);
                    self.blocks(blocks);
                    self.raw("</details>\n");
                }
            }
        }
    }

    fn table(&mut self, table: &Table) {
        self.raw("<div class=\"wide\"><table>\n<thead><tr>");
        for (index, head) in table.head.iter().enumerate() {
            let number = table.rows.first().and_then(|row| row.get(index)).is_some_and(|cell| cell.number);
            self.raw(if number { "<th class=\"number\">" } else { "<th>" });
            self.text(head);
            self.raw("</th>");
        }
        self.raw("</tr></thead>\n<tbody>\n");
        for row in &table.rows {
            self.raw("<tr>");
            for cell in row {
                self.cell(cell);
            }
            self.raw("</tr>\n");
        }
        self.raw("</tbody></table></div>\n");
    }

    fn cell(&mut self, cell: &Cell) {
        self.raw("<td class=\"");
        self.raw(class(cell.tone));
        self.raw(if cell.number { " number\">" } else { "\">" });
        self.prose(&cell.text);
        self.raw("</td>");
    }

    fn charts(&mut self, charts: &Charts) {
        self.raw("<p class=\"legend\"><span class=\"blue\">blue</span> <span class=\"green\">green</span>");
        if !charts.marks.is_empty() {
            let marks: Vec<&str> = charts.marks.iter().map(|mark| mark.what).collect();
            self.raw(" <span class=\"mark\">");
            self.text(&format!("dashed, from left to right: {}", marks.join(", ")));
            self.raw("</span>");
        }
        self.raw("</p>\n<div class=\"wide\"><table class=\"charts\">\n<thead><tr><th>Metric</th>");
        self.raw("<th class=\"number\">Blue</th><th class=\"number\">Green</th><th>");
        self.text(&format!("{} to {} UTC, in steps of {}", charts.from, charts.until, charts.step));
        self.raw("</th><th>Highest</th></tr></thead>\n<tbody>\n");
        for row in &charts.rows {
            self.chart(charts, row);
        }
        self.raw("</tbody></table></div>\n");
    }

    fn chart(&mut self, charts: &Charts, chart: &Chart) {
        self.raw("<tr><td>");
        self.text(chart.name);
        match &chart.values {
            Values::Sides { blue, green } => {
                self.raw("</td><td class=\"number\">");
                self.text(blue);
                self.raw("</td><td class=\"number\">");
                self.text(green);
            }
            Values::Shared(value) => {
                self.raw("</td><td class=\"number\" colspan=\"2\">");
                self.text(value);
            }
        }
        self.raw("</td><td>");
        self.svg(charts, chart);
        self.raw("</td><td>");
        self.text(&chart.peak);
        self.raw("</td></tr>\n");
    }

    fn svg(&mut self, charts: &Charts, chart: &Chart) {
        self.raw("<svg viewBox=\"0 -2 300 40\" width=\"300\" height=\"40\" role=\"img\" aria-label=\"");
        self.text(chart.name);
        self.raw("\">");
        for mark in &charts.marks {
            let x = number(mark.at.clamp(0.0, 1.0) * CHART_WIDTH);
            self.raw("<path class=\"mark\" d=\"");
            self.text(&format!("M{x} 0V{CHART_HEIGHT}"));
            self.raw("\"/>");
        }
        let top = Charts::top(chart);
        for curve in &chart.curves {
            self.raw("<path class=\"");
            self.raw(match curve.kind {
                Kind::Blue => "blue",
                Kind::Green => "green",
                Kind::Shared => "shared",
            });
            self.raw("\" d=\"");
            self.text(&path(curve, top));
            self.raw("\"/>");
        }
        self.raw("</svg>");
    }

    fn log(&mut self, log: &Log) {
        self.raw("<details class=\"log\" open>\n<summary>");
        self.text(&log.title);
        self.raw(" <span class=\"note\">");
        self.text(&log.note);
        self.raw("</span></summary>\n<pre>");
        for line in &log.lines {
            self.text(line);
            self.raw("\n");
        }
        self.raw("</pre>\n</details>\n");
    }
}

fn class(tone: Tone) -> &'static str {
    match tone {
        Tone::Plain => "plain",
        Tone::Good => "good",
        Tone::Bad => "bad",
        Tone::Open => "open",
    }
}

/// A line through the points, broken where nothing was measured; a lone point is a short dash.
fn path(curve: &Curve, top: f64) -> String {
    let step = CHART_WIDTH / f64::from(u32::try_from(curve.points.len()).unwrap_or(u32::MAX).max(1));
    let mut path = String::new();
    let mut x = 0.0;
    let mut drawing = false;
    for point in &curve.points {
        if let Some(value) = point {
            let y = number(CHART_HEIGHT * (1.0 - if top > 0.0 { value / top } else { 0.0 }));
            let (from, until) = (number(x), number(x + step));
            path.push_str(&if drawing { format!("V{y}H{until}") } else { format!("M{from} {y}H{until}") });
        }
        drawing = point.is_some();
        x += step;
    }
    path
}

fn number(x: f64) -> String {
    let text = format!("{x:.1}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}
