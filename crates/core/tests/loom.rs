//! Interleavings of claims with a retirement. Run with
//! `RUSTFLAGS="--cfg loom" cargo test -p bellwether-core --release --test loom`.
#![cfg(loom)]

use bellwether_core::{
    id::Generation,
    traffic::{Claims, Released, Retirement},
};
use loom::{
    model::Builder,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
};

struct Target {
    claims: Claims,
    told_empty: AtomicUsize,
}

/// Three switches where a thread could have gone on: more takes hours and has shown nothing else.
fn check(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

impl Target {
    fn open() -> Arc<Self> {
        let target = Arc::new(Self { claims: Claims::default(), told_empty: AtomicUsize::new(0) });
        target.claims.open(Generation(1));
        target
    }

    fn serve_one(&self) {
        if self.claims.try_claim().is_ok() {
            assert_eq!(self.told_empty.load(SeqCst), 0, "used after it was said to be empty");
            self.release();
        }
    }

    fn release(&self) {
        if self.claims.release() == Released::Empty {
            self.tell_empty();
        }
    }

    fn retire(&self) -> bool {
        match self.claims.retire() {
            Retirement::QuiescedEmpty => {
                self.tell_empty();
                true
            }
            Retirement::Quiesced { .. } => true,
            Retirement::Already => false,
        }
    }

    fn tell_empty(&self) {
        self.told_empty.fetch_add(1, SeqCst);
    }
}

#[test]
fn a_retired_target_is_told_empty_once_and_with_nobody_inside() {
    check(|| {
        let target = Target::open();
        let users: Vec<_> = (0..2)
            .map(|_| {
                let target = target.clone();
                thread::spawn(move || target.serve_one())
            })
            .collect();
        assert!(target.retire());
        users.into_iter().for_each(|user| user.join().unwrap());
        assert_eq!(target.told_empty.load(SeqCst), 1);
        assert!(target.claims.try_claim().is_err());
    });
}

#[test]
fn two_that_retire_at_once_quiesce_it_once() {
    check(|| {
        let target = Target::open();
        let other = target.clone();
        let rival = thread::spawn(move || other.retire());
        let user = {
            let target = target.clone();
            thread::spawn(move || target.serve_one())
        };
        let mine = target.retire();
        let theirs = rival.join().unwrap();
        user.join().unwrap();
        assert!(mine != theirs, "one of the two quiesced it");
        assert_eq!(target.told_empty.load(SeqCst), 1);
    });
}

#[test]
fn a_hold_by_the_instance_itself_delays_emptiness() {
    check(|| {
        let target = Target::open();
        target.claims.try_claim().unwrap();
        let other = target.clone();
        let model_call = thread::spawn(move || {
            other.claims.hold();
            other.release();
        });
        assert!(target.retire());
        target.release();
        model_call.join().unwrap();
        assert_eq!(target.told_empty.load(SeqCst), 1, "told once, before the call or after it");
    });
}
