//! Reads a caller's request whole, because the model is named in its body, and readies it for sending.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::{
    StatusCode,
    body::{Body as _, Incoming},
    header::{self, HeaderName},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The largest request. Images travel inside.
pub(super) const BODY_MAX: usize = 32 << 20;
/// All requests together that are being read or wait, in kibibytes.
const HELD_MAX_KIB: usize = 256 << 10;

/// Says which task a call works for. Between an instance and its gateway, and nobody else's affair.
pub(super) const TASK: HeaderName = HeaderName::from_static("x-bellwether-task");
/// How urgent a call is.
pub(super) const CLASS: HeaderName = HeaderName::from_static("x-bellwether-class");

/// Room for request bodies.
#[derive(Clone)]
pub(super) struct Room(Arc<Semaphore>);

/// A body with the room that it takes up.
pub(super) struct HeldBody {
    pub(super) bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("the request is larger than {} MiB", BODY_MAX >> 20)]
    TooLarge,
    #[error("server busy: too much waits already, please try again later")]
    NoRoom,
    #[error("the request broke off")]
    Broken(#[source] hyper::Error),
}

impl Unreadable {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NoRoom => StatusCode::SERVICE_UNAVAILABLE,
            Self::Broken(_) => StatusCode::BAD_REQUEST,
        }
    }
}

impl Room {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(HELD_MAX_KIB)))
    }

    pub(super) async fn read(&self, mut body: Incoming) -> Result<HeldBody, Unreadable> {
        if body.size_hint().lower() > BODY_MAX as u64 {
            return Err(Unreadable::TooLarge);
        }
        let mut room = self.take(1)?;
        let mut taken_kib = 1;
        let mut bytes = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(Unreadable::Broken)?.into_data() else { continue };
            if bytes.len() + data.len() > BODY_MAX {
                return Err(Unreadable::TooLarge);
            }
            bytes.extend_from_slice(&data);
            let needed_kib = bytes.len().div_ceil(1024);
            if needed_kib > taken_kib {
                room.merge(self.take(needed_kib - taken_kib)?);
                taken_kib = needed_kib;
            }
        }
        Ok(HeldBody { bytes: bytes.freeze(), _room: room })
    }

    fn take(&self, kib: usize) -> Result<OwnedSemaphorePermit, Unreadable> {
        let kib = u32::try_from(kib).map_err(|_| Unreadable::TooLarge)?;
        Arc::clone(&self.0).try_acquire_many_owned(kib).map_err(|_| Unreadable::NoRoom)
    }
}

/// What the gateway answers for itself: it has to be able to read the answer, so it does not let it be compressed.
pub(super) const NOT_FORWARDED: [HeaderName; 4] = [header::EXPECT, header::ACCEPT_ENCODING, TASK, CLASS];
