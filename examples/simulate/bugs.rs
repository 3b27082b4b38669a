//! What the database does wrong on purpose: an invariant that nothing can break proves nothing.

/// One thing that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(test), expect(dead_code, reason = "the tests put them in"))]
pub(crate) enum Bug {
    /// A record is collected while it is held.
    PurgeLive,
    /// A grant is told with an older token.
    OldToken,
    /// Expiries are compared with a clock that is ahead.
    EarlyEviction,
    /// Expiries are compared with the server's own clock, as if all servers had the same.
    NoSkew,
    /// A release that finds nothing of its own ends what it finds.
    AnyoneReleases,
    /// A renewal that finds nothing of its own is renewed, and what it looks for may have been evicted too early.
    AnyoneRenews,
    /// A late renewal moves the expiry back.
    ShorterRenewal,
    /// There is one more permit than the limit.
    ExtraPermit,
    /// A new server lacks the last writes of the one before.
    Rollback,
    /// Nobody is kept waiting by those who queue.
    IgnoredQueue,
    /// A release is acknowledged, and forgotten.
    LostRelease,
    /// A late duplicate of an acquisition that was released is granted.
    Reopened,
}
