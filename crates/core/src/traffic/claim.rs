//! The claims on one target: who uses it, and whether somebody new may.
//!
//! Everything is in one atomic word, so that a claim and a retirement cannot pass each other unseen: either the
//! claim came first and is counted, or it fails and the caller looks the target up again. That a target is
//! quiesced (nothing new) and that it is empty (nothing left) is told exactly once per retirement.

#[cfg(loom)]
use loom::sync::atomic::{AtomicU64, Ordering};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU64, Ordering};

use crate::id::Generation;

// generation: 30 bits | told empty | retired | count: 32 bits
const COUNT: u64 = (1 << 32) - 1;
const RETIRED: u64 = 1 << 32;
const TOLD: u64 = 1 << 33;
const GENERATION_SHIFT: u32 = 34;
const GENERATION_MAX: u64 = (1 << 30) - 1;

/// Begins closed: nothing can be claimed before [`Claims::open`], and there is no emptiness to tell.
#[derive(Debug)]
pub struct Claims(AtomicU64);

/// The target takes nothing new. The caller looks at the fresh route table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the target is retired")]
pub struct Retired;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Released {
    Still,
    /// This was the last claim on a retired target. Said once per retirement.
    Empty,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Retirement {
    /// No new claim can be granted from here on. Said once per retirement.
    Quiesced {
        held: u32,
    },
    /// As above, and nothing was held: it is empty too.
    QuiescedEmpty,
    Already,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClaimsView {
    /// That of the last opening, its lowest 30 bits.
    pub generation: Generation,
    pub retired: bool,
    pub held: u32,
}

impl Default for Claims {
    fn default() -> Self {
        Self(AtomicU64::new(RETIRED | TOLD))
    }
}

impl Claims {
    /// Lets new claims in. What is still held from before stays counted.
    pub fn open(&self, generation: Generation) {
        self.update(|word| (word & COUNT) | ((generation.0 & GENERATION_MAX) << GENERATION_SHIFT));
    }

    /// One more use of a target that takes new ones.
    pub fn try_claim(&self) -> Result<(), Retired> {
        self.0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| (word & RETIRED == 0).then_some(word + 1))
            .map(drop)
            .map_err(|_word| Retired)
    }

    /// One more use by the instance itself, for work that it was given earlier: a retired instance still makes
    /// model calls for the lease it holds. Emptiness that was told before is not told again for it.
    pub fn hold(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }

    /// Ends one claim or hold.
    pub fn release(&self) -> Released {
        let before = self.update(|word| {
            debug_assert!(word & COUNT > 0, "released more often than claimed");
            let left = word - 1;
            if left & (COUNT | RETIRED | TOLD) == RETIRED { left | TOLD } else { left }
        });
        if before & (COUNT | RETIRED | TOLD) == RETIRED | 1 { Released::Empty } else { Released::Still }
    }

    /// Lets nothing new in.
    pub fn retire(&self) -> Retirement {
        // One that is retired already stays as it is: without claims it has told that it is empty.
        let before = self.update(|word| if held(word) == 0 { word | RETIRED | TOLD } else { word | RETIRED });
        match (before & RETIRED != 0, held(before)) {
            (true, _) => Retirement::Already,
            (false, 0) => Retirement::QuiescedEmpty,
            (false, held) => Retirement::Quiesced { held },
        }
    }

    pub fn view(&self) -> ClaimsView {
        let word = self.0.load(Ordering::Acquire);
        ClaimsView { generation: Generation(word >> GENERATION_SHIFT), retired: word & RETIRED != 0, held: held(word) }
    }

    /// Returns the word as it was before.
    fn update(&self, change: impl Fn(u64) -> u64) -> u64 {
        let mut word = self.0.load(Ordering::Acquire);
        loop {
            match self.0.compare_exchange_weak(word, change(word), Ordering::AcqRel, Ordering::Acquire) {
                Ok(before) => return before,
                Err(now) => word = now,
            }
        }
    }
}

fn held(word: u64) -> u32 {
    (word & COUNT) as u32
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_target_that_was_never_opened_takes_nothing_and_tells_nothing() {
        let claims = Claims::default();
        assert_eq!(claims.try_claim(), Err(Retired));
        claims.hold();
        assert_eq!(claims.release(), Released::Still);
        assert_eq!(claims.retire(), Retirement::Already);
    }

    #[test]
    fn emptiness_is_told_once_by_the_last_to_leave() {
        let claims = Claims::default();
        claims.open(Generation(1));
        claims.try_claim().unwrap();
        claims.try_claim().unwrap();
        assert_eq!(claims.retire(), Retirement::Quiesced { held: 2 });
        assert_eq!(claims.retire(), Retirement::Already);
        assert_eq!(claims.try_claim(), Err(Retired));
        assert_eq!(claims.release(), Released::Still);
        claims.hold();
        assert_eq!(claims.release(), Released::Still);
        assert_eq!(claims.release(), Released::Empty);
        let empty = ClaimsView { generation: Generation(1), retired: true, held: 0 };
        assert_eq!(claims.view(), empty, "empty, and closed as before");
        assert_eq!(claims.try_claim(), Err(Retired));
        claims.hold();
        assert_eq!(claims.release(), Released::Still, "told before");
        assert_eq!(claims.retire(), Retirement::Already);
        assert_eq!(claims.view(), empty);
        claims.hold();
        assert_eq!(claims.release(), Released::Still, "told before the second retirement too");
    }

    #[test]
    fn what_is_held_over_a_reopening_counts_at_the_next_retirement() {
        let claims = Claims::default();
        claims.open(Generation(4));
        claims.try_claim().unwrap();
        assert_eq!(claims.retire(), Retirement::Quiesced { held: 1 });
        claims.open(Generation(5));
        assert_eq!(claims.view(), ClaimsView { generation: Generation(5), retired: false, held: 1 });
        assert_eq!(claims.retire(), Retirement::Quiesced { held: 1 });
        assert_eq!(claims.release(), Released::Empty);
    }

    #[test]
    fn retiring_an_unused_target_empties_it_at_once() {
        let claims = Claims::default();
        claims.open(Generation(1));
        assert_eq!(claims.retire(), Retirement::QuiescedEmpty);
        assert_eq!(claims.view(), ClaimsView { generation: Generation(1), retired: true, held: 0 });
        assert_eq!(claims.try_claim(), Err(Retired));
        claims.hold();
        assert_eq!(claims.release(), Released::Still, "its emptiness was told");
        claims.open(Generation(2));
        assert_eq!(claims.try_claim(), Ok(()));
    }
}
