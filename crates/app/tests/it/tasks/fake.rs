//! A gateway that answers what the test wants, for what a real one does seldom: no room, a broken connection, a restart.

use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use serde_json::Value;

pub(crate) struct Fake {
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<Question>>>,
}

#[derive(Clone, Debug)]
pub(crate) struct Question {
    /// Method and path with its query.
    pub(crate) call: String,
    pub(crate) body: Value,
    /// The body as it was written.
    pub(crate) text: String,
}

pub(crate) enum Reply {
    Json(u16, Value),
    /// A refusal: status, detail, and the seconds of `Retry-After`.
    Problem(u16, String, Option<u64>),
    /// The connection is closed without an answer.
    Nothing,
}

type Answering = dyn Fn(usize, &Question) -> Reply + Send + Sync;

impl Fake {
    /// `answer` is given the number of the question, from 0, and the question.
    pub(crate) fn start(answer: impl Fn(usize, &Question) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it has one"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (answer, books): (Arc<Answering>, _) = (Arc::new(answer), asked.clone());
        // Ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, books) = (answer.clone(), books.clone());
                thread::spawn(move || serve(stream, &*answer, &books));
            }
        });
        Self { url, asked }
    }

    pub(crate) fn asked(&self) -> Vec<Question> {
        self.asked.lock().expect("no answer panics").clone()
    }
}

fn serve(stream: TcpStream, answer: &Answering, asked: &Mutex<Vec<Question>>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut stream = stream;
    loop {
        let question = read(&mut reader)?;
        let number = {
            let mut asked = asked.lock().expect("no answer panics");
            asked.push(question.clone());
            asked.len() - 1
        };
        let (status, header, body) = match answer(number, &question) {
            Reply::Json(status, body) => (status, String::new(), body),
            Reply::Problem(status, detail, after) => {
                let header = after.map_or(String::new(), |after| format!("retry-after: {after}\r\n"));
                (status, header, serde_json::json!({"title": "refused", "status": status, "detail": detail}))
            }
            Reply::Nothing => return None,
        };
        let body = body.to_string();
        let head = format!("HTTP/1.1 {status} X\r\n{header}content-length: {}\r\n\r\n", body.len());
        stream.write_all(format!("{head}{body}").as_bytes()).ok()?;
    }
}

fn read(reader: &mut impl BufRead) -> Option<Question> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let mut words = line.split(' ');
    let call = format!("{} {}", words.next()?, words.next()?);
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let header = header.trim().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let text = String::from_utf8(body).ok()?;
    Some(Question { call, body: serde_json::from_str(&text).unwrap_or(Value::Null), text })
}
