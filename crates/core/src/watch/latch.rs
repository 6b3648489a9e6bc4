//! Fires once for a cause that stands, however long it does, because a rollout may be held meanwhile.

use std::{
    collections::BTreeSet,
    mem::{replace, take},
};

use crate::{id::AgentName, spec::Scope};

/// Looks in a row without the cause after which it counts as gone: what flickers at its limit is one cause.
const GONE_AFTER: u32 = 5;

/// One kind of alarm and what it was last raised for.
#[derive(Debug)]
pub(super) struct Latch {
    /// An alarm takes back the agents that it names and leaves the rest, so one that is not named yet is news.
    narrow: bool,
    standing: bool,
    absent: u32,
    named: BTreeSet<AgentName>,
    shared: bool,
}

impl Latch {
    pub(super) fn new(scope: Scope) -> Self {
        let narrow = match scope {
            Scope::Agent | Scope::Type => true,
            Scope::Phase | Scope::Rollout => false,
        };
        Self { narrow, standing: false, absent: 0, named: BTreeSet::new(), shared: false }
    }

    /// Whom an alarm should name; `None` if none is due. A cause that was taken for a shared one and turns out to
    /// be green's own is due again.
    pub(super) fn look(&mut self, agents: BTreeSet<AgentName>, shared: bool) -> Option<BTreeSet<AgentName>> {
        self.absent = 0;
        if !replace(&mut self.standing, true) || (self.shared && !shared) {
            self.shared = shared;
            self.named.extend(agents.iter().cloned());
            return Some(agents);
        }
        if !self.narrow {
            return None;
        }
        let fresh: BTreeSet<AgentName> = agents.difference(&self.named).cloned().collect();
        self.named.extend(fresh.iter().cloned());
        (!fresh.is_empty()).then_some(fresh)
    }

    /// The cause is not there.
    pub(super) fn absent(&mut self) {
        self.absent = self.absent.saturating_add(1);
        if self.absent >= GONE_AFTER {
            self.standing = false;
            take(&mut self.named);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> BTreeSet<AgentName> {
        names.iter().map(|&name| name.into()).collect()
    }

    #[test]
    fn a_standing_cause_fires_once_and_again_after_it_has_gone() {
        let mut latch = Latch::new(Scope::Rollout);
        assert_eq!(latch.look(names(&["a"]), false), Some(names(&["a"])));
        assert_eq!(latch.look(names(&["a", "b"]), false), None);
        (0..GONE_AFTER - 1).for_each(|_| latch.absent());
        assert_eq!(latch.look(names(&["a"]), false), None, "a flicker is no end");
        (0..GONE_AFTER).for_each(|_| latch.absent());
        assert_eq!(latch.look(names(&["a"]), false), Some(names(&["a"])));
    }

    #[test]
    fn where_only_the_named_are_taken_back_the_next_one_is_news() {
        let mut latch = Latch::new(Scope::Agent);
        latch.look(names(&["a"]), false);
        assert_eq!(latch.look(names(&["a", "b"]), false), Some(names(&["b"])));
        assert_eq!(latch.look(names(&["b"]), false), None);
    }

    #[test]
    fn what_was_held_as_shared_fires_once_it_is_greens_own() {
        let mut latch = Latch::new(Scope::Rollout);
        assert!(latch.look(names(&[]), true).is_some());
        assert_eq!(latch.look(names(&["a"]), true), None);
        assert_eq!(latch.look(names(&["a"]), false), Some(names(&["a"])));
        assert_eq!(latch.look(names(&["a"]), false), None);
    }
}
