//! What will happen, in the order in which it will. Two things of one moment happen in the order in which they
//! were entered, so that a seed gives the same run everywhere.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
};

use bellwether_core::time::{Millis, Nanos};

pub(crate) struct Agenda<T> {
    now: Nanos,
    entered: u64,
    heap: BinaryHeap<Reverse<Entry<T>>>,
}

struct Entry<T> {
    at: Nanos,
    seq: u64,
    what: T,
}

impl<T> Agenda<T> {
    pub(crate) fn new() -> Self {
        Self { now: Nanos(0), entered: 0, heap: BinaryHeap::new() }
    }

    pub(crate) fn now(&self) -> Nanos {
        self.now
    }

    pub(crate) fn after(&mut self, span: Millis, what: T) {
        self.at(self.now + span, what);
    }

    /// What should have happened already happens now.
    pub(crate) fn at(&mut self, at: Nanos, what: T) {
        self.entered += 1;
        self.heap.push(Reverse(Entry { at: at.max(self.now), seq: self.entered, what }));
    }

    /// Moves the time to what is next.
    pub(crate) fn next(&mut self) -> Option<T> {
        let Reverse(Entry { at, what, .. }) = self.heap.pop()?;
        self.now = at;
        Some(what)
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.seq).cmp(&(other.at, other.seq))
    }
}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Entry<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_goes_back_and_ties_keep_their_order() {
        let mut agenda = Agenda::new();
        agenda.after(Millis(5), "c");
        agenda.after(Millis(3), "a");
        agenda.after(Millis(3), "b");
        assert_eq!([agenda.next(), agenda.next()], [Some("a"), Some("b")]);
        agenda.at(Nanos(0), "late");
        assert_eq!(agenda.next(), Some("late"));
        assert_eq!(agenda.now(), Nanos(0) + Millis(3));
        assert_eq!([agenda.next(), agenda.next()], [Some("c"), None]);
    }
}
