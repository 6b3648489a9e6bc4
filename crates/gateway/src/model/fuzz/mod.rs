//! What must hold for any bytes that come from outside, one file for each parser that reads them.
//!
//! Each property takes the bytes that a fuzzer invents, and panics where it does not hold. `fuzz/` at the root of the checkout
//! calls them by their names; what it found worth keeping is replayed by the tests below in every run.

mod headers;
mod last_words;
mod route;
mod wanted;
mod watch;

pub use self::{headers::headers, last_words::last_words, route::route, wanted::wanted, watch::watch};

/// The rest of the input cut in pieces, as a connection might deliver it. `seed` says where.
fn pieces(mut bytes: &[u8], seed: u8) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    let mut state = u32::from(seed) + 1;
    while !bytes.is_empty() {
        // Numerical Recipes' generator: all that is wanted is that a seed gives the same cuts each time.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let length = ((state >> 24) as usize % 23).min(bytes.len());
        let (piece, rest) = bytes.split_at(length);
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    /// Every input that was kept for it.
    fn replay(target: &str, property: fn(&[u8])) {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
        let kept = fs::read_dir(&corpus).unwrap_or_else(|error| panic!("{}: {error}", corpus.display()));
        let mut replayed = 0;
        for file in kept {
            let path = file.unwrap().path();
            // Printed only where it fails: which of them it was.
            println!("{}", path.display());
            property(&fs::read(&path).unwrap());
            replayed += 1;
        }
        assert!(replayed > 0, "nothing is kept in {}", corpus.display());
    }

    #[test]
    fn the_corpus_of_watch() {
        replay("watch", watch);
    }

    #[test]
    fn the_corpus_of_wanted() {
        replay("wanted", wanted);
    }

    #[test]
    fn the_corpus_of_headers() {
        replay("headers", headers);
    }

    #[test]
    fn the_corpus_of_last_words() {
        replay("last_words", last_words);
    }

    #[test]
    fn the_corpus_of_route() {
        replay("route", route);
    }
}
