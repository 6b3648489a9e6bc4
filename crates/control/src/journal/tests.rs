use std::{fs, path::PathBuf};

use bellwether_core::{
    id::{InstanceId, RolloutId},
    rollout::FleetAgent,
    spec::Delivery,
    time::Millis,
};
use bellwether_store::{Refused, Remedy, kept};

use super::*;

fn scratch(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("bw-journal-{name}-{}", std::process::id()));
    drop(fs::remove_dir_all(&dir));
    fs::create_dir_all(&dir).unwrap();
    dir.join("journal.sqlite")
}

fn read(journal: &Journal) -> Result<Vec<Event>, Error> {
    let mut events = Vec::new();
    journal.events(0, |_, _, event| {
        events.push(event);
        Ok(())
    })?;
    Ok(events)
}

fn at(seq: i64) -> Now {
    Now { mono: Nanos(seq.cast_unsigned() * 1_000_000), wall: UnixMillis(seq.cast_unsigned() * 1000) }
}

fn fleet() -> Event {
    let agent = |name: &str| FleetAgent {
        name: name.into(),
        agent_type: "worker".into(),
        revision: "v1".into(),
        http: false,
        delivery: Delivery::Pull,
        boot: Millis::from_secs(20),
        drain: Millis::from_secs(30),
    };
    Event::FleetDeclared { agents: vec![agent("a"), agent("b")] }
}

/// A fleet, and then instances that end and begin.
fn events(count: i64) -> Vec<(Now, Event)> {
    let event = |seq: i64| match seq {
        1 => fleet(),
        _ => Event::Enrolled { instances: vec![InstanceId(seq.cast_unsigned() % 5)] },
    };
    (1..=count).map(|seq| (at(seq), event(seq))).collect()
}

fn replayed(journal: &Journal) -> Result<(i64, Memory), Error> {
    let (after, mut memory) = journal.snapshot()?;
    let last = journal.events(after, |seq, now, event| {
        memory.replay(seq, now, event).unwrap();
        Ok(())
    })?;
    Ok((last, memory))
}

/// As form 1 was made.
const FORM_1: &str = "
CREATE TABLE events (seq INTEGER PRIMARY KEY, mono_ns INTEGER NOT NULL, wall_ms INTEGER NOT NULL, event TEXT NOT NULL,
    check_crc INTEGER NOT NULL) STRICT;
CREATE TABLE availability (second INTEGER PRIMARY KEY, without_ready INTEGER NOT NULL) STRICT;
CREATE TABLE usage (wall_ms INTEGER PRIMARY KEY, sample TEXT NOT NULL) STRICT;
PRAGMA user_version = 1;
";

#[test]
fn what_was_appended_comes_back_in_order() {
    let path = scratch("order");
    let mut journal = Journal::open(&path).unwrap();
    let last = journal.append(0, &[(Now::default(), Event::Restarted), (Now::default(), Event::Tick)]).unwrap();
    drop(journal);
    let mut journal = Journal::open(&path).unwrap();
    assert_eq!(journal.append(last, &[(Now::default(), Event::Tick)]).unwrap(), 3);
    assert_eq!(read(&journal).unwrap(), [Event::Restarted, Event::Tick, Event::Tick]);
}

#[test]
fn an_altered_or_missing_record_stops_the_replay() {
    let path = scratch("altered");
    let mut journal = Journal::open(&path).unwrap();
    journal.append(0, &[(Now::default(), Event::Restarted), (Now::default(), Event::Tick)]).unwrap();
    journal.db.execute("UPDATE events SET event = '{\"event\":\"restarted\"}' WHERE seq = 2", []).unwrap();
    let error = read(&journal).unwrap_err();
    assert!(matches!(error, Error::Unreplayable { seq: 2, .. }));
    assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    journal.db.execute("DELETE FROM events WHERE seq = 1", []).unwrap();
    assert!(matches!(read(&journal), Err(Error::Unreplayable { .. })));
    assert!(matches!(journal.snapshot(), Err(Error::Unreplayable { .. })), "and there is no snapshot to begin with");
}

#[test]
fn a_later_form_is_refused_left_alone_and_the_way_back_is_named() {
    let path = scratch("later");
    drop(Journal::open(&path).unwrap());
    let other = Connection::open(&path).unwrap();
    other.execute_batch("PRAGMA user_version = 99; UPDATE meta SET value = '\"7.1.0\"' WHERE key = 'build'").unwrap();
    drop(other);
    let before = fs::read(&path).unwrap();
    let text = Journal::open(&path).err().unwrap().to_string();
    assert!(text.contains("written by version 7.1.0 and has schema 99"), "{text}");
    assert!(text.contains("put back a backup that this version made: bellwether restore DIR"), "{text}");
    fs::write(kept(&path, 2), "").unwrap();
    let text = Journal::open(&path).err().unwrap().to_string();
    assert!(text.contains(&format!("bellwether restore {}", kept(&path, 2).display())), "{text}");
    assert_eq!(fs::read(&path).unwrap(), before, "nothing was changed");
    assert!(matches!(bellwether_store::refuse_later(&path, bellwether_store::JOURNAL), Err(Refused::Later { .. })));
}

#[test]
fn a_file_of_something_else_is_left_alone() {
    let path = scratch("foreign");
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE theirs (x); PRAGMA user_version = 1").unwrap();
    let before = fs::read(&path).unwrap();
    assert!(matches!(Journal::open(&path), Err(Error::Refused(Refused::Foreign { .. }))));
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn a_journal_of_the_form_before_is_kept_as_it_was_and_goes_on() {
    let path = scratch("form-1");
    let old = Connection::open(&path).unwrap();
    old.execute_batch(FORM_1).unwrap();
    for (now, event) in events(7) {
        let seq = now.wall.0.cast_signed() / 1000;
        let text = serde_json::to_string(&event).unwrap();
        let row = params![seq, now.mono.0.cast_signed(), now.wall.0.cast_signed(), text, checksum(seq, &text)];
        old.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?)", row).unwrap();
    }
    drop(old);
    for _ in 0..2 {
        let journal = Journal::open(&path).unwrap();
        assert_eq!(replayed(&journal).unwrap().0, 7);
    }
    let kept = Connection::open(kept(&path, 1)).unwrap();
    let pragma = |name: &str| kept.query_row(&format!("PRAGMA {name}"), (), |row| row.get::<_, i32>(0)).unwrap();
    assert_eq!((pragma("user_version"), pragma("application_id")), (1, 0));
    assert_eq!(kept.query_row("SELECT count(*) FROM events", (), |row| row.get::<_, i64>(0)).unwrap(), 7);
}

#[test]
fn a_form_is_not_changed_where_the_journal_cannot_be_kept_as_it_was() {
    let path = scratch("no-copy");
    Connection::open(&path).unwrap().execute_batch(FORM_1).unwrap();
    let mut partial = kept(&path, 1).into_os_string();
    partial.push(".partial");
    fs::create_dir_all(PathBuf::from(partial).join("in-the-way")).unwrap();
    assert!(matches!(Journal::open(&path), Err(Error::Keep(_))));
    let version = Connection::open(&path).unwrap().query_row("PRAGMA user_version", (), |row| row.get::<_, i32>(0));
    assert_eq!(version.unwrap(), 1);
}

#[test]
fn old_records_go_and_the_snapshot_stands_for_them() {
    let path = scratch("retention");
    let mut journal = Journal::open(&path).unwrap();
    let all = events(3000);
    let mut memory = Memory::default();
    let mut last = 0;
    for chunk in all.chunks(500) {
        for (now, event) in chunk {
            last += 1;
            memory.replay(last, *now, event.clone()).unwrap();
        }
        assert_eq!(journal.append(last - chunk.len() as i64, chunk).unwrap(), last);
        journal.put_snapshot(last, at(last).wall, &memory).unwrap();
    }
    let count = |journal: &Journal| read_from(journal);
    assert!(!journal.forget(at(600).wall, 0).unwrap(), "600 is less than one step");
    assert_eq!(count(&journal), 600, "only what is old goes");
    assert!(journal.forget(at(9000).wall, 2001).unwrap());
    assert!(!journal.forget(at(9000).wall, 2001).unwrap());
    assert_eq!(count(&journal), 2001, "a rollout under way stays in one piece");
    while journal.forget(at(9000).wall, 0).unwrap() {}
    assert_eq!(count(&journal), 2501, "what the older snapshot does not hold stays");
    assert_eq!(replayed(&journal).unwrap(), (3000, memory.clone()));

    // The newest is damaged: the one before it, and the records since.
    journal.db.execute("UPDATE snapshots SET body = body || ' ' WHERE seq = 3000", ()).unwrap();
    assert_eq!(replayed(&journal).unwrap(), (3000, memory));
    journal.db.execute("UPDATE snapshots SET form = 99, build = '9.9.9', body = body WHERE seq = 2500", ()).unwrap();
    let error = replayed(&journal).unwrap_err();
    assert!(matches!(error, Error::SnapshotLost { seq: 3000, .. }), "{error}");
}

/// The number of the first record that is there.
fn read_from(journal: &Journal) -> i64 {
    journal.db.query_row("SELECT min(seq) FROM events", (), |row| row.get(0)).unwrap()
}

#[test]
fn snapshots_that_cannot_be_used_cost_nothing_while_the_records_are_there() {
    let path = scratch("useless");
    let mut journal = Journal::open(&path).unwrap();
    let mut memory = Memory::default();
    for (seq, (now, event)) in (1..).zip(events(50)) {
        memory.replay(seq, now, event).unwrap();
    }
    journal.append(0, &events(50)).unwrap();
    journal.put_snapshot(50, at(50).wall, &memory).unwrap();
    for damage in ["body = '{}'", "check_crc = 0", "form = 99"] {
        journal.db.execute(&format!("UPDATE snapshots SET {damage}"), ()).unwrap();
        assert_eq!(replayed(&journal).unwrap(), (50, memory.clone()), "{damage}");
    }
}

/// The power goes in the middle of a write, or the disk returns something else than it was given.
#[test]
fn a_log_of_writes_that_is_cut_or_garbled_gives_a_beginning_of_what_was_written_or_an_error() {
    let path = scratch("torn");
    let wal = path.with_extension("sqlite-wal");
    let mut journal = Journal::open(&path).unwrap();
    let all = events(60);
    for (seq, record) in (0..).zip(&all) {
        journal.append(seq, std::slice::from_ref(record)).unwrap();
    }
    let (file, log) = (fs::read(&path).unwrap(), fs::read(&wal).unwrap());
    assert!(log.len() > 100_000, "{}", log.len());
    let torn = path.with_file_name("torn.sqlite");
    let replay = |file: &[u8], log: &[u8]| {
        for left in ["sqlite-wal", "sqlite-shm"] {
            drop(fs::remove_file(torn.with_extension(left)));
        }
        fs::write(&torn, file).unwrap();
        fs::write(torn.with_extension("sqlite-wal"), log).unwrap();
        Journal::open(&torn).and_then(|journal| read(&journal))
    };
    let expected: Vec<&Event> = all.iter().map(|(_, event)| event).collect();
    let is_beginning = |events: &[Event]| events.iter().zip(&expected).all(|(a, b)| a == *b);
    let (mut whole, mut shorter) = (0, 0);
    for cut in (0..log.len()).step_by(991) {
        // A log that was cut is what a power cut leaves: it must never be an error.
        let events = replay(&file, &log[..cut]).unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
        assert!(is_beginning(&events), "cut at {cut}");
        if events.len() == all.len() {
            whole += 1;
        } else {
            shorter += 1;
        }
        let mut garbled = log.clone();
        garbled[cut] ^= 0x5a;
        match replay(&file, &garbled) {
            Ok(events) => assert!(is_beginning(&events), "garbled at {cut}"),
            Err(error) => assert_eq!(error.remedy(), Remedy::Restore, "garbled at {cut}: {error}"),
        }
    }
    assert!(shorter > 100, "{whole} {shorter}");
}

#[test]
fn a_file_that_is_garbled_anywhere_is_noticed_or_makes_no_difference() {
    let path = scratch("garbled");
    let mut journal = Journal::open(&path).unwrap();
    let all = events(200);
    journal.append(0, &all).unwrap();
    drop(journal);
    let file = fs::read(&path).unwrap();
    let bad = path.with_file_name("bad.sqlite");
    let mut noticed = 0;
    for at in (0..file.len()).step_by(197) {
        let mut garbled = file.clone();
        garbled[at] ^= 0x5a;
        for left in ["sqlite-wal", "sqlite-shm"] {
            drop(fs::remove_file(bad.with_extension(left)));
        }
        fs::write(&bad, &garbled).unwrap();
        match Journal::open(&bad).and_then(|journal| read(&journal)) {
            Ok(events) => {
                let same = events.iter().zip(&all).all(|(a, (_, b))| a == b);
                assert!(same, "altered at {at} and not noticed");
            }
            Err(error) => {
                noticed += 1;
                assert!(error.to_string().contains("bad.sqlite"), "{at}: it names no file: {error}");
                let remedy = error.remedy();
                let known = [Remedy::Restore, Remedy::Version];
                assert!(known.contains(&remedy), "{at}: {error}: {remedy:?}");
            }
        }
    }
    assert!(noticed > 10, "{noticed}");
}

#[test]
fn a_full_disk_undoes_the_whole_transaction_and_is_known_as_such() {
    let path = scratch("full");
    let mut journal = Journal::open(&path).unwrap();
    let last = journal.append(0, &events(5)).unwrap();
    journal.limit_pages(journal.pages());
    let long = Event::DiskFull { why: "x".repeat(100_000) };
    let error = journal.append(last, &[(at(6), Event::Tick), (at(7), long.clone())]).unwrap_err();
    assert!(error.is_for_want_of_room() && error.remedy() == Remedy::Room, "{error}");
    assert_eq!(read(&journal).unwrap().len(), 5);
    journal.limit_pages(10_000);
    assert_eq!(journal.append(last, &[(at(6), Event::Tick), (at(7), long)]).unwrap(), 7);
}

#[test]
fn what_is_decided_and_begun_is_known_from_the_records() {
    let verb = Event::Alarm {
        rollout: RolloutId(1),
        alarm: Box::new(
            serde_json::from_value(serde_json::json!({
                "kind": "memory", "shared": false, "harm_began": 5, "agents": [], "types": [], "figures": [], "why": "w"
            }))
            .unwrap(),
        ),
    };
    assert_eq!(noted((UnixMillis(1), 4), 9, at(9), &verb), (at(9).wall, 4));
    assert_eq!(noted((UnixMillis(1), 4), 9, at(9), &Event::Tick), (UnixMillis(1), 4));
}
