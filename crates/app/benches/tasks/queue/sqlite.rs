//! SQLite as a queue without any grouping: each step a transaction and a sync of its own. The clients share one
//! connection, as a file has one writer, and pay for no sockets.

use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, params};

use super::payload;
use crate::{
    measure::{self, Queue, Row},
    options::Options,
    stage::Scratch,
};

const NAME: &str = "sqlite";
const TABLE: &str = "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;
CREATE TABLE tasks (id TEXT PRIMARY KEY, client INTEGER, state TEXT, body TEXT, result TEXT) WITHOUT ROWID;
CREATE INDEX queued ON tasks (client) WHERE state = 'queued';";

pub(crate) fn measure(options: &Options, connections: usize) -> Result<Row, String> {
    let scratch = Scratch::new()?;
    let database = Connection::open(scratch.0.join("queue.sqlite")).map_err(|error| error.to_string())?;
    database.execute_batch(TABLE).map_err(|error| error.to_string())?;
    let database = Arc::new(Mutex::new(database));
    let client = |number| {
        let payload = payload(options.payload);
        Box::new(Client { database: database.clone(), number, payload, held: String::new() }) as Box<dyn Queue>
    };
    measure::measure(NAME, options.span(), (0..connections).map(client).collect())
}

struct Client {
    database: Arc<Mutex<Connection>>,
    number: usize,
    payload: String,
    held: String,
}

impl Client {
    fn with<T>(&self, act: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, String> {
        let database = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        act(&database).map_err(|error| error.to_string())
    }
}

impl Queue for Client {
    fn submit(&mut self, number: u64) -> Result<(), String> {
        const SQL: &str = "INSERT INTO tasks (id, client, state, body) VALUES (?1, ?2, 'queued', ?3)";
        let id = format!("{}-{number}", self.number);
        self.with(|it| it.prepare_cached(SQL)?.execute(params![id, self.number, self.payload]).map(drop))
    }

    fn take(&mut self) -> Result<(), String> {
        const SQL: &str = "UPDATE tasks SET state = 'leased' WHERE id =
            (SELECT id FROM tasks WHERE client = ?1 AND state = 'queued' LIMIT 1) RETURNING id";
        self.held = self.with(|it| it.prepare_cached(SQL)?.query_row([self.number], |row| row.get(0)))?;
        Ok(())
    }

    fn complete(&mut self) -> Result<(), String> {
        const SQL: &str = "UPDATE tasks SET state = 'completed', result = ?2 WHERE id = ?1";
        self.with(|it| it.prepare_cached(SQL)?.execute(params![self.held, self.payload]).map(drop))
    }
}
