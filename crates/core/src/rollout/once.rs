//! Requests that may be said twice and are done once: each carries a key that its sender made up, and the last of
//! them are remembered with what came of them. The memory is made from journaled events alone, so it outlives a crash.

use std::{collections::VecDeque, sync::Arc};

use serde::{Deserialize, Serialize};

use super::controller::Refusal;
use crate::id::RolloutId;

/// A key, and a digest of what was asked for under it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Once {
    key: String,
    digest: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    #[error("an idempotency key has 1 to {} characters, all of them visible ASCII", Once::KEY_MAX)]
    Form,
    #[error("the request cannot be digested")]
    Digest,
}

impl Once {
    pub const KEY_MAX: usize = 128;

    /// `asked` is all that makes two requests the same.
    pub fn new(key: &str, asked: &impl Serialize) -> Result<Self, BadKey> {
        if key.is_empty() || key.len() > Self::KEY_MAX || !key.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(BadKey::Form);
        }
        let text = serde_json::to_vec(asked).map_err(|_unwritable| BadKey::Digest)?;
        let digest = blake3::hash(&text).to_hex();
        Ok(Self { key: key.to_owned(), digest: digest.as_str()[..DIGEST_CHARS].to_owned() })
    }

    pub fn key(&self) -> &str {
        &self.key
    }
}

/// 128 bits, in hexadecimal: no two requests of one fleet will ever share it.
const DIGEST_CHARS: usize = 32;

/// What was done under the last keys, oldest first. Shared, because the machine is copied for every picture of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Done {
    done: VecDeque<(Arc<Once>, RolloutId)>,
}

impl Done {
    /// A client that repeats itself does so within seconds; nobody asks for so much in that time.
    const KEPT: usize = 256;

    /// Refuses what was done already, and what another request used the key for.
    pub(crate) fn is_first(&self, once: Option<&Once>) -> Result<(), Refusal> {
        let Some(once) = once else { return Ok(()) };
        match self.done.iter().find(|(done, _)| done.key == once.key) {
            None => Ok(()),
            Some((done, rollout)) if done.digest == once.digest => Err(Refusal::Repeated(*rollout)),
            Some(_) => Err(Refusal::KeyReused(once.key.clone())),
        }
    }

    pub(crate) fn remember(&mut self, once: Option<Once>, rollout: RolloutId) {
        let Some(once) = once else { return };
        if self.done.len() == Self::KEPT {
            self.done.pop_front();
        }
        self.done.push_back((Arc::new(once), rollout));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn once(key: &str, asked: &str) -> Once {
        Once::new(key, &asked).unwrap()
    }

    #[test]
    fn a_key_stands_for_one_request() {
        let mut done = Done::default();
        assert_eq!(done.is_first(Some(&once("k", "pause"))), Ok(()));
        done.remember(Some(once("k", "pause")), RolloutId(3));
        assert_eq!(done.is_first(Some(&once("k", "pause"))), Err(Refusal::Repeated(RolloutId(3))));
        assert_eq!(done.is_first(Some(&once("k", "resume"))), Err(Refusal::KeyReused("k".into())));
        assert_eq!(done.is_first(Some(&once("other", "pause"))), Ok(()));
        assert_eq!(done.is_first(None), Ok(()));
    }

    #[test]
    fn the_oldest_keys_are_forgotten_and_no_others() {
        let mut done = Done::default();
        for n in 0..=Done::KEPT {
            done.remember(Some(once(&n.to_string(), "pause")), RolloutId(1));
        }
        assert_eq!(done.done.len(), Done::KEPT);
        assert_eq!(done.is_first(Some(&once("0", "pause"))), Ok(()));
        assert_eq!(done.is_first(Some(&once("1", "pause"))), Err(Refusal::Repeated(RolloutId(1))));
    }

    #[test]
    fn a_key_that_could_not_stand_in_a_header_is_refused() {
        for key in ["", "a b", "naïve", &"x".repeat(Once::KEY_MAX + 1)] {
            assert_eq!(Once::new(key, &"pause"), Err(BadKey::Form), "{key:?}");
        }
        assert!(Once::new(&"x".repeat(Once::KEY_MAX), &"pause").is_ok());
    }
}
