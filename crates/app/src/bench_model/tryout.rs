//! One call of every model before anything is measured: an endpoint that is away, or has not the model, would measure as
//! one that fails very fast.

use std::time::Duration;

use tokio::time::timeout;

use super::{
    Options, Site,
    answer::{Cause, Reader},
    question::Questions,
    wire::Wire,
};

/// A large model may have to come from a slow disk.
const TRY_MAX: Duration = Duration::from_secs(120);

/// Why nothing was measured.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unfit {
    #[error("{url} cannot be reached")]
    Unreachable { url: String, why: String },
    #[error("{url} has no model {model}")]
    NoModel { url: String, model: String, why: String },
    #[error("{url} does not answer a call for the model {model}")]
    NoAnswer { url: String, model: String, why: String },
    #[error("stopped before anything was measured")]
    Stopped,
}

pub(super) async fn tried(site: &Site<'_>, options: &Options) -> Result<(), Unfit> {
    let questions = Questions::new(&options.models, options.api, options.stream, options.tokens, options.prompt_tokens);
    let mut reader = Reader::new(options.api, options.stream);
    let Some(caller) = site.callers.first() else { return Ok(()) };
    let mut wire = Wire::new(caller.clone());
    let url = &site.endpoint.url;
    for (at, model) in options.models.iter().enumerate() {
        // Unlike any prompt of the measurement, as far as chance goes.
        let body = questions.body(at, u64::MAX - at as u64);
        let answer = timeout(TRY_MAX, wire.ask(body, &mut reader)).await;
        let (url, model) = (url.clone(), model.clone());
        match answer {
            Ok(Ok(_answered)) => {}
            Err(_elapsed) => {
                let why = format!("no answer within {} s", TRY_MAX.as_secs());
                return Err(Unfit::NoAnswer { url, model, why });
            }
            Ok(Err(trouble)) => {
                let said = reader.excerpt();
                let why =
                    if said.is_empty() { trouble.cause.to_string() } else { format!("{}: {said}", trouble.cause) };
                return Err(match trouble.cause {
                    Cause::Connect => Unfit::Unreachable { url, why: trouble.cause.to_string() },
                    Cause::Status(404) => Unfit::NoModel { url, model, why },
                    _ => Unfit::NoAnswer { url, model, why },
                });
            }
        }
    }
    Ok(())
}
