//! Memory that is held and really there: for agents that stand for heavy ones.

/// Touched memory, freed when dropped.
pub(crate) struct Ballast(#[expect(dead_code, reason = "it is held, not read")] Vec<u8>);

impl Ballast {
    pub(crate) fn of(bytes: u64) -> Self {
        // Anything but nought: pages that are only promised cost nothing.
        Self(std::hint::black_box(vec![1; usize::try_from(bytes).unwrap_or(usize::MAX)]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::resident_bytes;

    #[test]
    fn the_kernel_counts_it() {
        let before = resident_bytes().unwrap();
        let ballast = Ballast::of(32 << 20);
        let held = resident_bytes().unwrap() - before;
        drop(ballast);
        assert!(held > 24 << 20, "{held} bytes");
    }
}
