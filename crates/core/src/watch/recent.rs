//! The last seconds, by the numbers of their records: a wall clock that jumps neither stretches nor shortens it.

use std::collections::VecDeque;

/// What was seen in the last `span` records. Holds at most `span` entries, because numbers only grow.
#[derive(Debug)]
pub(super) struct Recent<T> {
    span: u64,
    entries: VecDeque<(u64, T)>,
}

impl<T> Recent<T> {
    pub(super) fn new(span: u64) -> Self {
        Self { span, entries: VecDeque::new() }
    }

    /// Moves on to record `number` without anything to keep from it.
    pub(super) fn advance(&mut self, number: u64) {
        while self.entries.front().is_some_and(|(first, _)| number.saturating_sub(*first) >= self.span) {
            self.entries.pop_front();
        }
    }

    pub(super) fn push(&mut self, number: u64, entry: T) {
        self.advance(number);
        self.entries.push_back((number, entry));
    }

    /// From the oldest to the latest.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.entries.iter().map(|(_, entry)| entry)
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_records_are_kept_and_gaps_count() {
        let mut recent = Recent::new(3);
        (1..=4).for_each(|number| recent.push(number, number));
        assert_eq!(recent.iter().copied().collect::<Vec<_>>(), [2, 3, 4]);
        recent.push(6, 6);
        assert_eq!(recent.iter().copied().collect::<Vec<_>>(), [4, 6]);
        recent.advance(u64::MAX);
        assert_eq!(recent.iter().count(), 0);
    }
}
