//! The body of an answer, taken out of what was read: where it ends, and its pieces.

use bytes::{Buf, Bytes, BytesMut};

use super::Broken;

/// What stands beside a chunk's size is not read, and neither are trailers. More of either is no answer.
const ASIDE_MAX: u32 = 16 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes are still to come.
    Sized(u64),
    Chunked {
        at: At,
        aside: u32,
    },
    UntilClose,
    Over,
    /// Not to be read on from: why.
    Bad(&'static str),
}

/// Where in a chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// In a size, of which so much was read.
    Size(Option<u64>),
    Extension(u64),
    /// Before the line feed that ends a size.
    SizeEnd(u64),
    Data(u64),
    DataCr,
    DataLf,
    TrailerStart,
    Trailer,
    TrailerEnd,
    LastLf,
}

impl Framing {
    pub(super) fn sized(length: u64) -> Self {
        if length == 0 { Self::Over } else { Self::Sized(length) }
    }

    pub(super) fn chunked() -> Self {
        Self::Chunked { at: At::Size(None), aside: 0 }
    }

    pub(super) fn is_over(self) -> bool {
        self == Self::Over
    }

    /// The next piece; none if more has to be read for it, or there is none.
    pub(super) fn next(&mut self, unread: &mut BytesMut) -> Result<Option<Bytes>, Broken> {
        self.between_chunks(unread);
        let piece = match self {
            Self::Bad(why) => return Err(Broken::Malformed(why)),
            Self::UntilClose => take(unread, u64::MAX),
            Self::Sized(left) | Self::Chunked { at: At::Data(left), .. } => {
                let piece = take(unread, *left);
                *left -= piece.as_ref().map_or(0, Bytes::len) as u64;
                piece
            }
            Self::Chunked { .. } | Self::Over => None,
        };
        if *self == Self::Sized(0) {
            *self = Self::Over;
        }
        // So that the last piece is known to be it where the end came along.
        self.between_chunks(unread);
        Ok(piece)
    }

    /// The peer has closed its side.
    pub(super) fn closed(&mut self) -> Result<(), Broken> {
        match self {
            Self::UntilClose | Self::Over => {
                *self = Self::Over;
                Ok(())
            }
            Self::Bad(why) => Err(Broken::Malformed(why)),
            Self::Sized(_) | Self::Chunked { .. } => Err(Broken::Closed),
        }
    }

    /// Reads what is neither data nor further on than that.
    fn between_chunks(&mut self, unread: &mut BytesMut) {
        let Self::Chunked { at, aside } = self else { return };
        if *at == At::Data(0) {
            *at = At::DataCr;
        }
        let mut read = 0;
        let mut next = Ok(Some(*at));
        while let Ok(Some(now)) = next {
            *at = now;
            if matches!(now, At::Data(_)) {
                break;
            }
            let Some(&byte) = unread.get(read) else { break };
            read += 1;
            next = now.after(byte, aside);
        }
        unread.advance(read);
        match next {
            Ok(Some(_)) => {}
            Ok(None) => *self = Self::Over,
            Err(why) => *self = Self::Bad(why),
        }
    }
}

impl At {
    /// None at the end of the body.
    fn after(self, byte: u8, aside: &mut u32) -> Result<Option<Self>, &'static str> {
        let mut passed = |then: Self| {
            *aside += 1;
            if *aside > ASIDE_MAX { Err("too much beside its chunks") } else { Ok(then) }
        };
        Ok(Some(match (self, byte) {
            (Self::Size(size), digit) if digit.is_ascii_hexdigit() => {
                let size = size.unwrap_or(0);
                if size >> 60 != 0 {
                    return Err("a chunk's size is too large");
                }
                let digit = (digit as char).to_digit(16).unwrap_or_default();
                Self::Size(Some(size << 4 | u64::from(digit)))
            }
            (Self::Size(Some(size)) | Self::Extension(size), b'\r') => Self::SizeEnd(size),
            (Self::Size(Some(size)), b';' | b' ' | b'\t') => Self::Extension(size),
            (Self::Size(_), _) => return Err("a chunk's size"),
            (Self::Extension(_), b'\n') => return Err("the end of a chunk's size"),
            (Self::Extension(size), _) => passed(Self::Extension(size))?,
            (Self::SizeEnd(0), b'\n') => Self::TrailerStart,
            (Self::SizeEnd(size), b'\n') => Self::Data(size),
            (Self::SizeEnd(_), _) => return Err("the end of a chunk's size"),
            (Self::DataCr, b'\r') => Self::DataLf,
            (Self::DataLf, b'\n') => Self::Size(None),
            (Self::Data(_) | Self::DataCr | Self::DataLf, _) => return Err("the end of a chunk"),
            (Self::TrailerStart, b'\r') => Self::LastLf,
            (Self::Trailer, b'\r') => Self::TrailerEnd,
            (Self::TrailerStart | Self::Trailer, b'\n') => return Err("a trailer"),
            (Self::TrailerStart | Self::Trailer, _) => passed(Self::Trailer)?,
            (Self::TrailerEnd, b'\n') => Self::TrailerStart,
            (Self::LastLf, b'\n') => return Ok(None),
            (Self::TrailerEnd | Self::LastLf, _) => return Err("a trailer"),
        }))
    }
}

fn take(unread: &mut BytesMut, max: u64) -> Option<Bytes> {
    let long = usize::try_from(max).unwrap_or(usize::MAX).min(unread.len());
    (long > 0).then(|| unread.split_to(long).freeze())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What comes of these parts, and whether it is over after them, and what is left; or the failure.
    fn read(mut framing: Framing, parts: &[&[u8]]) -> Result<(Vec<u8>, bool, Vec<u8>), String> {
        let (mut unread, mut all) = (BytesMut::new(), Vec::new());
        for part in parts {
            unread.extend_from_slice(part);
            while let Some(piece) = framing.next(&mut unread).map_err(|error| error.to_string())? {
                all.extend_from_slice(&piece);
            }
        }
        Ok((all, framing.is_over(), unread.to_vec()))
    }

    const CHUNKS: &[u8] = b"3\r\nabc\r\n0A;name=\"x\"\r\n0123456789\r\n0\r\nTrailer: 1\r\n\r\nnext";

    #[test]
    fn a_body_is_the_same_however_it_is_cut() {
        for cut in 0..=CHUNKS.len() {
            let (all, over, rest) = read(Framing::chunked(), &[&CHUNKS[..cut], &CHUNKS[cut..]]).unwrap();
            assert_eq!((all.as_slice(), over, rest.as_slice()), (&b"abc0123456789"[..], true, &b"next"[..]), "{cut}");
        }
        for cut in 0..=5 {
            let (all, over, rest) = read(Framing::sized(4), &[&b"abcde"[..cut], &b"abcde"[cut..]]).unwrap();
            assert_eq!((all.as_slice(), over, rest.as_slice()), (&b"abcd"[..], true, &b"e"[..]));
        }
    }

    #[test]
    fn the_last_piece_is_known_to_be_it() {
        let (mut framing, mut unread) = (Framing::chunked(), BytesMut::from("2\r\nab\r\n0\r\n\r\n"));
        assert_eq!(framing.next(&mut unread).unwrap().unwrap(), "ab");
        assert!(framing.is_over());
        let (mut framing, mut unread) = (Framing::chunked(), BytesMut::from("2\r\nab\r\n0\r\nx"));
        assert_eq!(framing.next(&mut unread).unwrap().unwrap(), "ab");
        assert!(!framing.is_over());
    }

    #[test]
    fn what_is_no_chunk_is_refused_at_once() {
        let bad = [
            "x",
            "\r\n",
            "-1\r\n",
            "+1\r\n",
            "0x1\r\n",
            "1\n",
            "1;a\n",
            "1\r\nab",
            "1\r\na\n",
            "11111111111111111\r\n",
            "0\r\n\n",
            "0\r\na\n",
            "0\r\n\rx",
            "1 \ra",
        ];
        for bad in bad {
            assert!(read(Framing::chunked(), &[bad.as_bytes()]).is_err(), "{bad:?}");
        }
        for prefix in ["1;", "0\r\n"] {
            let long = format!("{prefix}{}", "x".repeat(ASIDE_MAX as usize + 1));
            assert!(read(Framing::chunked(), &[long.as_bytes()]).is_err());
        }
        // Fifteen digits after the first are the most that fit.
        assert!(read(Framing::chunked(), &[b"FFFFFFFFFFFFFFFF\r\n"]).is_ok());
    }

    #[test]
    fn a_close_is_an_end_only_where_nothing_else_is() {
        for mut framing in [Framing::Sized(1), Framing::chunked()] {
            assert!(matches!(framing.closed(), Err(Broken::Closed)));
        }
        let mut framing = Framing::UntilClose;
        framing.closed().unwrap();
        assert!(framing.is_over());
    }

    proptest! {
        /// Whatever comes is the same, good or bad, in one piece and in many.
        #[test]
        fn pieces_make_no_difference(
            bytes in prop::collection::vec(prop::sample::select(&b"0123aF\r\n;: x"[..]), 0..80),
            cuts in prop::collection::vec(0usize..80, 0..8),
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let parts: Vec<&[u8]> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
            prop_assert_eq!(read(Framing::chunked(), &parts), read(Framing::chunked(), &[&bytes]));
        }
    }
}
