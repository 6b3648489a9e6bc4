//! Whose file it is, and of which form.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _};

use crate::copy::kept;

/// What this build calls itself in the files that it writes.
pub const BUILD: &str = env!("CARGO_PKG_VERSION");

/// One of the two stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    pub name: &'static str,
    /// In the state directory.
    pub file: &'static str,
    /// Tells our files from those of other programs.
    pub application: i32,
    /// The first form that has the application's number.
    application_since: i32,
    /// A table that every form has.
    table: &'static str,
    /// The newest form that this build knows, and writes.
    pub schema: i32,
}

/// "BWJR".
pub const JOURNAL: Kind = Kind {
    name: "journal",
    file: "journal.sqlite",
    application: 0x4257_4a52,
    application_since: 2,
    table: "events",
    schema: 2,
};

/// "BWGW".
pub const GATEWAY: Kind = Kind {
    name: "gateway's store",
    file: "gateway.sqlite",
    application: 0x4257_4757,
    application_since: 1,
    table: "routes",
    schema: 2,
};

/// What a file that may be used holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    Nothing,
    /// Of this form, which is this build's or an earlier one.
    Schema(i32),
}

/// Why a file is left as it is.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("{} is not the {kind} of a fleet; nothing was changed in it", path.display())]
    Foreign { path: PathBuf, kind: &'static str },
    #[error(
        "the {kind} {} was written by {writer} and has schema {found}; this is {BUILD}, which knows {known}. Nothing was \
         changed in it. {way_back}",
        path.display()
    )]
    Later { path: PathBuf, kind: &'static str, writer: String, found: i32, known: i32, way_back: String },
    #[error("the {kind} {} is damaged: {what}", path.display())]
    Damaged { path: PathBuf, kind: &'static str, what: String },
    #[error("the {kind} {} cannot be read", path.display())]
    Unreadable { path: PathBuf, kind: &'static str, source: rusqlite::Error },
}

/// What an open file is, before anything is written to it.
pub fn identify(connection: &Connection, path: &Path, kind: Kind) -> Result<Found, Refused> {
    let unreadable = |source: rusqlite::Error| match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => Refused::Foreign { path: path.to_owned(), kind: kind.name },
        _ => Refused::Unreadable { path: path.to_owned(), kind: kind.name, source },
    };
    let number = |pragma: &str| connection.query_row(&format!("PRAGMA {pragma}"), (), |row| row.get::<_, i32>(0));
    let application = number("application_id").map_err(unreadable)?;
    let schema = number("user_version").map_err(unreadable)?;
    let tables = |sql: &str| connection.query_row(sql, (), |row| row.get::<_, i64>(0)).map_err(unreadable);
    if schema == 0 && application == 0 && tables("SELECT COUNT(*) FROM sqlite_schema")? == 0 {
        return Ok(Found::Nothing);
    }
    let marked = application == kind.application || application == 0 && (1..kind.application_since).contains(&schema);
    let own_table = format!("SELECT COUNT(*) FROM sqlite_schema WHERE type = 'table' AND name = '{}'", kind.table);
    if !marked || tables(&own_table)? == 0 {
        return Err(Refused::Foreign { path: path.to_owned(), kind: kind.name });
    }
    if schema > kind.schema {
        let writer = writer(connection).map_or("a later version".to_owned(), |build| format!("version {build}"));
        let way_back = way_back(path, kind, &writer);
        let (path, kind_name) = (path.to_owned(), kind.name);
        return Err(Refused::Later { path, kind: kind_name, writer, found: schema, known: kind.schema, way_back });
    }
    Ok(Found::Schema(schema))
}

/// Looks at a file that nobody may have open, and leaves no trace. What is not there is not refused.
pub fn refuse_later(path: &Path, kind: Kind) -> Result<(), Refused> {
    if std::fs::metadata(path).is_ok_and(|meta| meta.len() > 0) {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
        let opened = Connection::open_with_flags(format!("file:{}?immutable=1", in_uri(path)), flags);
        match opened.map(|connection| identify(&connection, path, kind)) {
            Ok(Err(refused @ (Refused::Later { .. } | Refused::Foreign { .. }))) => return Err(refused),
            // Whoever opens it for good says what is wrong with it.
            Ok(Ok(_) | Err(Refused::Unreadable { .. } | Refused::Damaged { .. })) | Err(_) => {}
        }
    }
    Ok(())
}

/// Looks through a whole file that nobody has open, and leaves no trace. None where there is nothing in it.
pub fn check(path: &Path, kind: Kind) -> Result<Option<i32>, Refused> {
    let unreadable = |source| Refused::Unreadable { path: path.to_owned(), kind: kind.name, source };
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let connection =
        Connection::open_with_flags(format!("file:{}?immutable=1", in_uri(path)), flags).map_err(unreadable)?;
    let Found::Schema(schema) = identify(&connection, path, kind)? else { return Ok(None) };
    let found: String = connection.query_row("PRAGMA quick_check(1)", (), |row| row.get(0)).map_err(unreadable)?;
    if found == "ok" {
        return Ok(Some(schema));
    }
    Err(Refused::Damaged { path: path.to_owned(), kind: kind.name, what: found })
}

/// The highest number of an instance that a gateway's store knows, of one that nobody has open.
pub fn highest_instance(path: &Path) -> Option<u64> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(format!("file:{}?immutable=1", in_uri(path)), flags).ok()?;
    let highest: Option<i64> =
        connection.query_row("SELECT max(instance) FROM instances", (), |row| row.get(0)).ok()?;
    highest.map(i64::cast_unsigned)
}

/// Writes who changes the file from here on, for a build that will not know its form.
pub fn stamp(connection: &Connection) -> rusqlite::Result<()> {
    let sql = "INSERT INTO meta (key, value) VALUES ('build', ?1)
               ON CONFLICT (key) DO UPDATE SET value = ?1 WHERE value <> ?1";
    connection.execute(sql, [format!("\"{BUILD}\"")]).map(drop)
}

fn writer(connection: &Connection) -> Option<String> {
    let build: Option<String> =
        connection.query_row("SELECT value FROM meta WHERE key = 'build'", (), |row| row.get(0)).optional().ok()?;
    build.map(|build| build.trim_matches('"').to_owned())
}

/// What a person who has only this build can do.
fn way_back(path: &Path, kind: Kind, writer: &str) -> String {
    let copies = (1..=kind.schema).rev().map(|schema| kept(path, schema));
    match copies.into_iter().find(|copy| copy.exists()) {
        Some(copy) => format!(
            "Start {writer} again, or go back to the copy that was kept before the form changed, and lose what happened \
             since: bellwether restore {}",
            copy.display()
        ),
        None => format!("Start {writer} again, or put back a backup that this version made: bellwether restore DIR"),
    }
}

/// A path as it stands in a URI.
fn in_uri(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte);
    let escaped = |byte: &u8| if plain(*byte) { char::from(*byte).to_string() } else { format!("%{byte:02X}") };
    path.as_os_str().as_bytes().iter().map(escaped).collect()
}
