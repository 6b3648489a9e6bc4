//! The journal's slice as a table. What many instances did one after the other becomes one row, so that the few
//! events that matter are not lost among them.

use bellwether_core::{
    id::InstanceId,
    port::driver::Exit,
    rollout::{Event, Only, Verb},
};

use super::super::{
    document::{Block, Cell, Table, Tone},
    facts::{Entry, Facts, Roster},
    words::{clock, names, plural},
};

/// Newer rows go before older ones.
const ROWS_MAX: usize = 200;
const NAMES_MAX: usize = 4;

pub(super) fn blocks(facts: &Facts) -> Vec<Block> {
    let mut rows = rows(&facts.slice.entries, &facts.roster);
    let surplus = rows.len().saturating_sub(ROWS_MAX);
    rows.drain(..surplus);
    let mut note = format!(
        "{} of the journal since {} UTC are in journal.jsonl.",
        plural(facts.slice.entries.len(), "event", "events"),
        clock(facts.slice.from)
    );
    if facts.slice.left_out > 0 {
        note.push_str(&format!(" {} older ones of that time are in the journal only.", facts.slice.left_out));
    }
    if surplus > 0 {
        note.push_str(&format!(" The newest {ROWS_MAX} rows:"));
    }
    let mut table = Table::new(&["UTC", "Record", "What", "Details"]);
    for row in rows {
        let record =
            if row.first == row.last { row.first.to_string() } else { format!("{}–{}", row.first, row.last) };
        table.rows.push(vec![
            Cell::text(row.at),
            Cell::number(record),
            Cell::toned(row.what, row.tone),
            Cell::text(row.details),
        ]);
    }
    vec![Block::Text(note), Block::Table(table)]
}

struct Row {
    at: String,
    first: i64,
    last: i64,
    what: String,
    details: String,
    tone: Tone,
}

/// What one event is to a reader.
enum Told {
    Nothing,
    /// One of many alike.
    Step {
        what: &'static str,
        of: Option<InstanceId>,
        many: usize,
    },
    Row {
        what: &'static str,
        details: String,
        tone: Tone,
    },
}

fn rows(entries: &[Entry], roster: &Roster) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let mut steps = Steps::default();
    for entry in entries {
        match told(&entry.event, roster) {
            Told::Nothing => {}
            Told::Step { what, of, many } => steps.add(entry, what, of, many),
            Told::Row { what, details, tone } => {
                rows.extend(std::mem::take(&mut steps).row(roster));
                match rows.last_mut().filter(|row| row.what == what && row.details == details) {
                    Some(same) => same.last = entry.seq,
                    None => rows.push(Row {
                        at: clock(entry.at),
                        first: entry.seq,
                        last: entry.seq,
                        what: what.to_owned(),
                        details,
                        tone,
                    }),
                }
            }
        }
    }
    rows.extend(steps.row(roster));
    rows
}

/// Steps of instances that came one after the other.
#[derive(Default)]
struct Steps {
    first: Option<(String, i64)>,
    last: i64,
    counts: Vec<(&'static str, usize)>,
    instances: Vec<InstanceId>,
}

impl Steps {
    fn add(&mut self, entry: &Entry, what: &'static str, of: Option<InstanceId>, many: usize) {
        self.first.get_or_insert_with(|| (clock(entry.at), entry.seq));
        self.last = entry.seq;
        match self.counts.iter_mut().find(|(known, _)| *known == what) {
            Some((_, count)) => *count += many,
            None => self.counts.push((what, many)),
        }
        if let Some(instance) = of.filter(|instance| !self.instances.contains(instance)) {
            self.instances.push(instance);
        }
    }

    fn row(self, roster: &Roster) -> Option<Row> {
        let (at, first) = self.first?;
        let counts: Vec<String> = self.counts.iter().map(|(what, count)| format!("{count} {what}")).collect();
        let who: Vec<String> = self.instances.iter().map(|instance| name(*instance, roster)).collect();
        let who = if who.is_empty() { String::new() } else { format!(": {}", names(&who, NAMES_MAX)) };
        let details = format!("{}{who}", counts.join(", "));
        Some(Row { at, first, last: self.last, what: "instances".to_owned(), details, tone: Tone::Plain })
    }
}

fn told(event: &Event, roster: &Roster) -> Told {
    let row = |what, details: String, tone| Told::Row { what, details, tone };
    let step = |what, instance| Told::Step { what, of: Some(instance), many: 1 };
    match event {
        Event::Tick => Told::Nothing,
        Event::FleetDeclared { agents } => row("fleet declared", plural(agents.len(), "agent", "agents"), Tone::Plain),
        Event::Restarted => row("controller restarted", String::new(), Tone::Open),
        Event::ClockJumped { jump } => row("wall clock set", jump.to_string(), Tone::Open),
        Event::Restored { next } => {
            row("put back from a backup", format!("instance numbers go on at {next}"), Tone::Open)
        }
        Event::Converge { running, gateway } => row(
            "looked at the world",
            format!("{} running, generation {}", plural(running.len(), "instance", "instances"), gateway.generation),
            Tone::Plain,
        ),
        Event::Enrolled { instances } => Told::Step { what: "enrolled", of: None, many: instances.len() },
        Event::Started { instance } => step("started", *instance),
        Event::Polled { instance } => step("asked for work", *instance),
        Event::Healthy { instance } => step("healthy", *instance),
        Event::TriedOut { instance, fault: None } => step("answered their synthetic task", *instance),
        Event::TriedOut { instance, fault: Some(fault) } => {
            row("synthetic task failed", format!("{}: {fault}", name(*instance, roster)), Tone::Bad)
        }
        Event::Frozen { instance } => step("frozen", *instance),
        Event::Thawed { instance } => step("thawed", *instance),
        Event::StartFailed { instance, reason } => {
            row("start failed", format!("{}: {reason}", name(*instance, roster)), Tone::Bad)
        }
        Event::Exited { instance, exit } if exit.asked => step("ended", *instance),
        Event::Exited { instance, exit } => {
            row("ended by itself", format!("{}: {}", name(*instance, roster), ending(exit)), Tone::Bad)
        }
        Event::Empty { instance, revoked: 0 } => step("empty", *instance),
        Event::Empty { instance, revoked } => {
            let what = plural(usize::try_from(*revoked).unwrap_or(usize::MAX), "piece of work", "pieces of work");
            row("work taken back", format!("{}: {what}", name(*instance, roster)), Tone::Open)
        }
        Event::CutOver { generation } => row("cut over", format!("generation {generation} stands"), Tone::Good),
        Event::CutOverStale { standing } => row("cutover refused", format!("generation {standing} stands"), Tone::Open),
        Event::FellBack { agent, from, to, generation } => row(
            "gateway fell back",
            format!("{agent} from {} to {}, generation {generation}", name(*from, roster), name(*to, roster)),
            Tone::Bad,
        ),
        Event::WindowOpened { after_second, .. } => {
            row("window opened", format!("after record {after_second}"), Tone::Plain)
        }
        Event::BaselineMeasured { until_second, refused, .. } => match refused {
            None => row("baseline measured", format!("up to record {until_second}"), Tone::Plain),
            Some(why) => row("baseline refused", why.clone(), Tone::Bad),
        },
        Event::Judged { look, report, .. } => {
            let failed: Vec<&str> = report.failed().map(|judgement| judgement.id.as_str()).collect();
            let verdict = format!("{:?}", report.verdict()).to_lowercase();
            let failed = if failed.is_empty() { String::new() } else { format!(": {}", failed.join(", ")) };
            row("judged", format!("look {look}: {verdict}{failed}"), Tone::Plain)
        }
        Event::Planned { plan, by, again, once: _ } => {
            let again =
                again.as_ref().map_or(String::new(), |again| format!(", which tries rollout {} again", again.rollout));
            row("rollout started", format!("release {} by {by}{again}", plan.release), Tone::Plain)
        }
        Event::Alarm { alarm, .. } => {
            let kind = format!("{} ({})", alarm.kind.name(), alarm.kind.requirement());
            row("alarm", format!("{kind}: {}", alarm.why), Tone::Bad)
        }
        Event::RollbackChecked { fault, .. } => match fault {
            None => row("blue checked", "nothing stands against it".to_owned(), Tone::Good),
            Some(fault) => row("blue checked", fault.clone(), Tone::Open),
        },
        Event::RollbackAuthorised { reserve_bytes, .. } => {
            row("room held back", format!("{reserve_bytes} bytes for the way back"), Tone::Plain)
        }
        Event::DiskFull { why } => row("disk full", why.clone(), Tone::Bad),
        Event::RollbackFound { why, .. } => row("rollback found", why.clone(), Tone::Bad),
        Event::Verb(verb) => row("asked for", asked(verb), Tone::Open),
    }
}

fn asked(verb: &Verb) -> String {
    let only = match &verb.only {
        None => String::new(),
        Some(Only::Agents(agents)) => format!(" of {}", names(&agents.iter().collect::<Vec<_>>(), NAMES_MAX)),
        Some(Only::Types(types)) => format!(" of type {}", names(&types.iter().collect::<Vec<_>>(), NAMES_MAX)),
        Some(Only::Phase(phase)) => format!(" of phase {phase}"),
    };
    let why = if verb.reason.is_empty() { String::new() } else { format!(": {}", verb.reason) };
    format!("{}{only} by {}{why}", verb.verb.as_str(), verb.by)
}

fn ending(exit: &Exit) -> String {
    let memory = if exit.out_of_memory { ", out of memory" } else { "" };
    match (exit.code, exit.signal) {
        (Some(code), _) => format!("exit code {code}{memory}"),
        (None, Some(signal)) => format!("signal {signal}{memory}"),
        (None, None) => format!("nobody saw how{memory}"),
    }
}

fn name(instance: InstanceId, roster: &Roster) -> String {
    match roster.get(&instance) {
        Some(member) => format!("{} ({} {instance})", member.agent, member.side),
        None => format!("instance {instance}"),
    }
}
