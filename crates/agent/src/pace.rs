//! Waiting times that do not march in step across a fleet.

use std::time::Duration;

/// `base`, up to a quarter more or less.
pub(crate) fn jittered(base: Duration) -> Duration {
    base.mul_f64(0.75 + fastrand::f64() / 2.0)
}

/// Doubling waits with jitter, from `first` to `longest`.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
    longest: Duration,
}

impl Backoff {
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Self { next: first, longest }
    }

    pub(crate) fn wait(&mut self) -> Duration {
        let wait = jittered(self.next);
        self.next = (self.next * 2).min(self.longest);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_bound() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        let waits: Vec<_> = (0..20).map(|_| backoff.wait()).collect();
        assert!(waits[0] <= Duration::from_millis(125));
        assert!(waits[10..].iter().all(|wait| (750..=1250).contains(&wait.as_millis())));
    }
}
