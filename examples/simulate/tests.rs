//! Honest worlds in which nothing must go wrong, and dishonest ones in which it must.

use std::time::Duration;

use doclock::{
    AcquireOutcome, AcquireRequest, Backend, Key, MemoryBackend, Mode, Owner, ReleaseRequest, Ttl,
};

use crate::bugs::Bug;
use crate::sums::Sums;
use crate::verdict::Verdict;
use crate::{seeds, world};

/// Seeds that once failed.
const REGRESSIONS: &[u64] = &[9633];

/// How many seeds, in a build without optimization.
const SEEDS: u64 = 200;

#[test]
fn honest_worlds_keep_every_invariant() {
    let mut sums = Sums::default();
    for seed in REGRESSIONS.iter().copied().chain(1..=SEEDS) {
        let past = world::run(seed, None, false);
        let verdict = Verdict::of(&past);
        assert!(!verdict.is_bad(), "seed {seed}:\n{verdict}");
        sums.add(&past, &verdict);
    }
    // What never happens is not tested.
    for name in [
        "grants, exclusive",
        "grants, shared",
        "grants, permit",
        "takeovers by a client younger than the ttl",
        "grants past waiters that did not claim",
        "unfenced writes out of order",
        "lost leases",
        "crash",
        "pause",
        "freeze",
        "purge",
        "failover",
        "duplicate",
        "late request",
        "reply lost",
    ] {
        assert!(sums.of(name) > 0, "{name} never happened:\n{sums}");
    }
}

#[test]
fn a_seed_replays_exactly() {
    // Among them some that take several keys at once: what is due at one instant has one order as well.
    for seed in (1..=8).chain([14, 61, 80, 81, 84, 101]) {
        let [one, other] = [0; 2].map(|_| world::run(seed, None, true));
        assert_eq!(one.trace, other.trace, "seed {seed}");
        assert_eq!(one.hash, other.hash, "seed {seed}");
    }
    assert_ne!(
        world::run(1, None, false).hash,
        world::run(2, None, false).hash
    );
}

/// Each is found by the check that it must trip, in one of the first seeds.
#[test]
fn every_bug_breaks_an_invariant() {
    for (bug, invariant) in [
        (Bug::PurgeLive, "I14"),
        (Bug::OldToken, "I2"),
        (Bug::EarlyEviction, "I12"),
        (Bug::NoSkew, "I12"),
        (Bug::AnyoneReleases, "I5"),
        (Bug::AnyoneRenews, "I4"),
        (Bug::ShorterRenewal, "I12"),
        (Bug::ExtraPermit, "I10"),
        (Bug::Rollback, "I3"),
        (Bug::IgnoredQueue, "I11"),
        (Bug::LostRelease, "I6"),
        (Bug::Reopened, "I7"),
    ] {
        let mut broken = (1..=60).flat_map(|seed| {
            let past = world::run(seed, Some(bug), false);
            Verdict::of(&past).broken()
        });
        assert!(
            broken.any(|it| it == invariant),
            "{bug:?} did not break {invariant}"
        );
    }
}

/// The same bugs, as clients see them who know nothing of the database.
#[test]
fn histories_alone_show_what_matters() {
    for (bug, invariant) in [
        (Bug::PurgeLive, "I5"),
        (Bug::OldToken, "I2"),
        (Bug::EarlyEviction, "I12"),
        (Bug::AnyoneReleases, "I5"),
        (Bug::AnyoneRenews, "I3"),
        (Bug::ExtraPermit, "I10"),
        (Bug::Rollback, "I3"),
    ] {
        let mut broken = (1..=60).flat_map(|seed| {
            let past = world::run(seed, Some(bug), false);
            Verdict::of(&past).report.violations
        });
        assert!(
            broken.any(|it| it.invariant == invariant),
            "{bug:?} did not break {invariant}"
        );
    }
}

#[test]
fn seeds_are_read_as_one_or_from_first_to_last() {
    assert_eq!(seeds("4711").unwrap(), 4711..=4711);
    assert_eq!(seeds("1..10000").unwrap(), 1..=10_000);
    assert_eq!(seeds("1..=3").unwrap(), 1..=3);
    for bad in ["", "x", "3..1", "1..x", "-1"] {
        assert!(seeds(bad).is_err(), "{bad}");
    }
}

/// A seed of a world where one owner takes leases of several modes showed it: the late request took the newer lease's
/// place, in the older mode.
#[tokio::test]
async fn a_late_request_of_an_owner_lets_nobody_in_beside_its_newer_lease() {
    let database = MemoryBackend::new();
    let key = Key::new("k").unwrap();
    let ttl = Ttl::new(Duration::from_secs(30)).unwrap();
    let ask = |owner: &str, mode| AcquireRequest::new(&key, &Owner::new(owner).unwrap(), mode, ttl);
    let is_granted = async |request: &AcquireRequest| {
        let outcome = database.acquire(request).await.unwrap();
        matches!(outcome, AcquireOutcome::Granted(_))
    };
    let (older, other) = (ask("o", Mode::Shared), ask("p", Mode::Shared));
    for request in [&older, &other] {
        assert!(is_granted(request).await);
        let release = ReleaseRequest::new(&key, &request.owner, &request.id);
        database.release(&release).await.unwrap();
    }
    assert!(is_granted(&ask("o", Mode::Exclusive)).await);
    is_granted(&older).await;
    assert!(!is_granted(&ask("q", Mode::Shared)).await);
}
