//! The command line's side of the control API.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use bellwether_control::types::Problem;
use bellwether_core::diagnostic::{Diagnostic, chain};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{Method, Request, StatusCode, header};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde::{Serialize, de::DeserializeOwned};

use crate::failure::{Exit, Failure};

/// Where a controller listens unless it was told otherwise.
pub(crate) const DEFAULT_CONTROL: &str = "http://127.0.0.1:7401";

const PATIENCE: Duration = Duration::from_secs(60);
const ANSWER_MAX: usize = 256 << 20;
/// A controller that was killed is started again, and reads its journal, well within this.
const ABSENCE_MAX: Duration = Duration::from_secs(15);
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(200);

/// Which controller a command talks to.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ControlArgs {
    /// The controller's address
    #[arg(long, env = "BELLWETHER_CONTROL", default_value = DEFAULT_CONTROL, value_name = "URL")]
    pub(crate) control: String,
}

pub(crate) struct Control {
    base: String,
    client: Client<HttpConnector, Full<Bytes>>,
    /// A controller has answered: if it is away now, it is expected back.
    met: AtomicBool,
}

/// Why a request came to nothing, and whether asking again can help.
enum Trouble {
    Refused(Failure),
    /// The connection broke, or the controller is stopping: it may have done what it was asked.
    Lost(Failure),
    /// Nobody listens.
    Nobody(Failure),
}

struct Question<'q> {
    method: Method,
    path: &'q str,
    body: Bytes,
    key: Option<&'q str>,
    /// The answer may take so long.
    patience: Duration,
}

impl Control {
    pub(crate) fn new(base: &str) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { base: base.trim_end_matches('/').to_owned(), client, met: AtomicBool::new(false) }
    }

    /// Asked again for a while if the controller goes away in the middle.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.insist(&Question { method: Method::GET, path, body: Bytes::new(), key: None, patience: PATIENCE }).await
    }

    /// For what changes nothing.
    pub(crate) async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Failure> {
        self.post_within(PATIENCE, path, body).await
    }

    /// For what takes its time.
    pub(crate) async fn post_within<T: DeserializeOwned>(
        &self,
        patience: Duration,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        let body = self.written(path, body)?;
        match self.ask(&Question { method: Method::POST, path, body, key: None, patience }).await {
            Ok(answer) => Ok(answer),
            Err(Trouble::Refused(failure) | Trouble::Lost(failure) | Trouble::Nobody(failure)) => Err(failure),
        }
    }

    /// Under a key of its own, so that it is done once however often it has to be asked for.
    pub(crate) async fn post_once<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Failure> {
        let key = format!("cli-{:032x}", fastrand::u128(..));
        let body = self.written(path, body)?;
        self.insist(&Question { method: Method::POST, path, body, key: Some(&key), patience: PATIENCE }).await
    }

    fn written(&self, path: &str, body: &impl Serialize) -> Result<Bytes, Failure> {
        Ok(serde_json::to_vec(body).map_err(|error| self.strange(path, &error))?.into())
    }

    async fn insist<T: DeserializeOwned>(&self, question: &Question<'_>) -> Result<T, Failure> {
        let mut lost: Option<Instant> = None;
        loop {
            let failure = match self.ask(question).await {
                Ok(answer) => return Ok(answer),
                Err(Trouble::Refused(failure)) => return Err(failure),
                // Where nobody was met there is nobody to wait for.
                Err(Trouble::Nobody(failure)) if !self.met.load(Ordering::Relaxed) => return Err(failure),
                Err(Trouble::Lost(failure) | Trouble::Nobody(failure)) => failure,
            };
            let since = *lost.get_or_insert_with(|| {
                let once = if question.key.is_some() { ", under the same key, so that it is done once" } else { "" };
                eprintln!("the controller went away; asking again for {} s{once}", ABSENCE_MAX.as_secs());
                Instant::now()
            });
            if since.elapsed() > ABSENCE_MAX {
                return Err(failure);
            }
            tokio::time::sleep(ASK_AGAIN_AFTER).await;
        }
    }

    async fn ask<T: DeserializeOwned>(&self, question: &Question<'_>) -> Result<T, Trouble> {
        let Question { method, path, body, key, patience } = question;
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(key) = key {
            request = request.header("idempotency-key", *key);
        }
        let request =
            request.body(Full::new(body.clone())).map_err(|error| Trouble::Refused(self.unreachable(&error)))?;
        let asked = async {
            let answer = self.client.request(request).await.map_err(|error| {
                let failure = self.unreachable(&error);
                if error.is_connect() { Trouble::Nobody(failure) } else { Trouble::Lost(failure) }
            })?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await.map_err(|error| {
                let failure = self.strange(path, &*error);
                if error.is::<LengthLimitError>() { Trouble::Refused(failure) } else { Trouble::Lost(failure) }
            })?;
            Ok::<_, Trouble>((status, body.to_bytes()))
        };
        let (status, body) = match tokio::time::timeout(*patience, asked).await {
            Ok(answered) => answered?,
            Err(elapsed) => return Err(Trouble::Refused(self.strange(path, &elapsed))),
        };
        self.met.store(true, Ordering::Relaxed);
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|error| Trouble::Refused(self.strange(path, &error)));
        }
        let failure = match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => refusal(status, problem),
            Err(error) => self.strange(path, &error),
        };
        Err(if status == StatusCode::SERVICE_UNAVAILABLE { Trouble::Lost(failure) } else { Trouble::Refused(failure) })
    }

    fn unreachable(&self, cause: &dyn std::error::Error) -> Failure {
        Failure::error(
            Diagnostic::new("BW0304", format!("no controller answers at {}", self.base))
                .because(root(cause))
                .help("start one with `bellwether serve --fleet FILE`, or name its address with --control or BELLWETHER_CONTROL"),
        )
    }

    fn strange(&self, path: &str, cause: &dyn std::error::Error) -> Failure {
        Failure::error(
            Diagnostic::new(
                "BW0305",
                format!("{}{path} gave an answer that this build does not understand", self.base),
            )
            .because(chain(cause))
            .help("check that the address is a Bellwether controller of the same version"),
        )
    }
}

/// What the operating system said; the layers above it say where, and that is in the message.
pub(crate) fn root(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

fn refusal(status: StatusCode, problem: Problem) -> Failure {
    let invalid = status == StatusCode::UNPROCESSABLE_ENTITY;
    if !problem.diagnostics.is_empty() {
        let told = problem.diagnostics.into_iter().map(|diagnostic| diagnostic.text).collect();
        return Failure::told(if invalid { Exit::Invalid } else { Exit::Error }, told);
    }
    Failure::error(refused(&problem.title))
}

/// A controller's sentence says what it refused, then why, then what can be done instead: `…: why; instead`.
fn refused(title: &str) -> Diagnostic {
    let (message, rest) = title.split_once(": ").map_or((title, None), |(message, rest)| (message, Some(rest)));
    let (message, cause, help) = match rest {
        Some(rest) => match rest.split_once("; ") {
            Some((why, instead)) => (message, Some(why), Some(instead)),
            None => (message, Some(rest), None),
        },
        None => match message.split_once("; ") {
            Some((message, instead)) => (message, None, Some(instead)),
            None => (message, None, None),
        },
    };
    let help = help.unwrap_or("`bellwether rollout show --why` says how the rollout stands and what can be done now");
    let told = Diagnostic::new("BW0401", message).help(help);
    match cause {
        Some(cause) => told.because(cause),
        None => told,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_of_the_controller_is_told_in_its_parts() {
        let told = [
            "cannot promote rollout 3 while it is completed: all phases are done; `commit` gives up blue",
            "cannot roll back rollout 3 while it is ended by its preflight: nothing was changed",
            "there is no rollout 9; `bellwether rollout list` shows which there are",
            "the plan has no phase with an agent in it",
        ];
        insta::assert_snapshot!(told.map(|title| refused(title).to_string()).join("\n"), @r"
        error[BW0401]: cannot promote rollout 3 while it is completed
          = cause: all phases are done
          = help: `commit` gives up blue
        error[BW0401]: cannot roll back rollout 3 while it is ended by its preflight
          = cause: nothing was changed
          = help: `bellwether rollout show --why` says how the rollout stands and what can be done now
        error[BW0401]: there is no rollout 9
          = help: `bellwether rollout list` shows which there are
        error[BW0401]: the plan has no phase with an agent in it
          = help: `bellwether rollout show --why` says how the rollout stands and what can be done now
        ");
    }
}
