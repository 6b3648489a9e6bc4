//! Lines on the wire.

use std::io;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The longest line either side accepts: an `Observe` answer of 10,000 agents fits with room to spare.
pub const LINE_MAX: usize = 64 << 20;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the other end of the link is gone")]
    Closed,
    #[error("link input or output failed")]
    Io(#[from] io::Error),
    #[error("a line of the link is not of the agreed form")]
    Malformed(#[source] serde_json::Error),
    #[error("a line of the link is longer than {LINE_MAX} bytes")]
    TooLong,
    #[error(
        "the other end speaks {theirs} version {their_version}, this one {ours} version {our_version}: both must be of one build"
    )]
    Protocol { ours: String, our_version: u32, theirs: String, their_version: u32 },
}

/// The first line in each direction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    pub protocol: String,
    pub version: u32,
}

impl Hello {
    pub fn new(protocol: &str, version: u32) -> Self {
        Self { protocol: protocol.to_owned(), version }
    }

    pub(crate) fn meets(&self, theirs: Self) -> Result<(), Error> {
        if *self == theirs {
            return Ok(());
        }
        Err(Error::Protocol {
            ours: self.protocol.clone(),
            our_version: self.version,
            theirs: theirs.protocol,
            their_version: theirs.version,
        })
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Asked<T> {
    pub(crate) id: u64,
    pub(crate) ask: T,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Told<A, E> {
    Answer { id: u64, answer: A },
    Push { push: E },
}

pub(crate) async fn write_line<W: AsyncWrite + Unpin>(to: &mut W, value: &impl Serialize) -> Result<(), Error> {
    let mut line = serde_json::to_vec(value).map_err(Error::Malformed)?;
    line.push(b'\n');
    to.write_all(&line).await?;
    to.flush().await?;
    Ok(())
}

/// `None` at a clean end of the stream.
pub(crate) async fn read_line<R: AsyncBufRead + Unpin, T: DeserializeOwned>(
    from: &mut R,
    line: &mut Vec<u8>,
) -> Result<Option<T>, Error> {
    line.clear();
    let read = (&mut *from).take(LINE_MAX as u64 + 1).read_until(b'\n', line).await?;
    if read == 0 {
        return Ok(None);
    }
    if line.last() != Some(&b'\n') {
        return Err(if read > LINE_MAX { Error::TooLong } else { Error::Closed });
    }
    serde_json::from_slice(line).map(Some).map_err(Error::Malformed)
}
