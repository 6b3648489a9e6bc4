//! Bodies that the gateway itself reads: bounded in size and time.

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::{StatusCode, http::request::Parts};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::{
    body::{Request, Response},
    heir::gate::Visit,
    limits,
    problem::problem,
};

pub(crate) async fn json<T: DeserializeOwned>(request: Request, bytes_max: usize) -> Result<T, Response> {
    parse(&read(request, bytes_max).await?.1)
}

pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Response> {
    serde_json::from_slice(bytes)
        .map_err(|error| problem(StatusCode::BAD_REQUEST, &format!("the body is not the JSON that is wanted: {error}")))
}

/// The store may go to another gateway while a slow body arrives. The request goes there too then, and the answer of that
/// one is what comes back as an error.
pub(crate) async fn read(request: Request, bytes_max: usize) -> Result<(Parts, Bytes), Response> {
    let visit = Visit::of(&request);
    let (head, body) = request.into_parts();
    let Some(visit) = visit else { return Ok((head, whole(body, bytes_max).await?)) };
    visit.step_out();
    let bytes = whole(body, bytes_max).await?;
    if visit.step_in().await { Ok((head, bytes)) } else { Err(visit.pass_on(head, bytes).await) }
}

async fn whole(body: hyper::body::Incoming, bytes_max: usize) -> Result<Bytes, Response> {
    let collected = timeout(limits::BODY_TIMEOUT, Limited::new(body, bytes_max).collect())
        .await
        .map_err(|_late| problem(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time"))?;
    match collected {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            let detail = format!("the body is larger than {bytes_max} bytes");
            Err(problem(StatusCode::PAYLOAD_TOO_LARGE, &detail))
        }
        Err(error) => {
            tracing::debug!(%error, "a body broke off");
            Err(problem(StatusCode::BAD_REQUEST, "the body broke off"))
        }
    }
}
