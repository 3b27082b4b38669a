//! What one may get wrong: each is to be found by the check, or the check is worth nothing.

use std::time::Duration;

use crate::rules::{ServerTime, Verdict, admit};
use crate::{AcquireRequest, Contention, LockRecord, Mode, Reason, RenewRequest, Timestamp, Ttl};

use super::ghost::Cause;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bug {
    ReleasesByKey,
    RenewsByKey,
    RenewsWithoutToken,
    DeadlineFromAnswer,
    SwapCountsAnew,
    SwapUnconditioned,
    SwapOnRevAlone,
    GrantsByOwner,
    ForgetsClosed,
    TakesOverBlindly,
    TurnEndsEarly,
    ChangeNamesNothing,
    ChangesBesideOthers,
    EvictsEarly,
    EvictsNobody,
    IgnoresLimit,
    CountsDeadOut,
    TokenFromNothing,
    PurgesWithoutRetention,
    Unconfirmed,
    Unfenced,
    BargesIn,
    DeadHeadStays,
    BelievesItsWrite,
    BelievesOneDate,
    EvictsByTheWall,
    CreatesByTheWall,
}

impl Bug {
    /// [`admit`] with this bug in it.
    pub(super) fn admit(
        self,
        record: Option<&LockRecord>,
        request: &AcquireRequest,
        mut time: ServerTime,
        tick: Duration,
    ) -> Verdict {
        let mut request = request.clone();
        let Some(seen) = record else {
            if self == Self::TokenFromNothing {
                time.token_floor = 0;
            }
            return admit(None, &request, &time);
        };
        let mut record = seen.clone();
        let is_mine = |holder: &crate::Holder| holder.owner() == Some(&request.owner);
        match self {
            Self::ForgetsClosed => record.closed = None,
            Self::EvictsEarly => time.earliest = time.earliest.saturating_add(2 * tick),
            Self::EvictsNobody => time.earliest = Timestamp::default(),
            Self::BargesIn => record.queue.clear(),
            Self::GrantsByOwner => {
                if let Some(standing) = record.holders.iter().find(|holder| is_mine(holder)) {
                    return Verdict::Existing(standing.clone());
                }
            }
            Self::ChangesBesideOthers if request.replaces.is_some() => {
                record.holders.retain(is_mine);
            }
            Self::IgnoresLimit => {
                if let Mode::Permit { limit } = &mut request.mode {
                    *limit += 1;
                }
            }
            _ => {}
        }
        let verdict = admit(Some(&record), &request, &time);
        let place = seen
            .queue
            .iter()
            .position(|of| of.claimant.id == request.id);
        if self == Self::DeadHeadStays && place > Some(0) && matches!(verdict, Verdict::Granted(_))
        {
            let nobody = Contention::new(Reason::Queue, seen.mode, Vec::new(), Duration::MAX);
            return Verdict::Queued {
                contention: nobody,
                next: None,
            };
        }
        verdict
    }

    /// What a renewal asks for then.
    pub(super) fn renewal(self, seen: &LockRecord, request: &mut RenewRequest) {
        if self == Self::RenewsByKey
            && let Some(claimant) = seen.holders.first().and_then(|of| of.claimant.clone())
        {
            request.id = claimant.id;
            request.owner = claimant.owner;
        }
        if matches!(self, Self::RenewsByKey | Self::RenewsWithoutToken) {
            request.token = seen.token;
        }
    }

    /// What a release of somebody who does not hold makes of the record then.
    pub(super) fn stray_release(self, seen: &LockRecord) -> Option<LockRecord> {
        (self == Self::ReleasesByKey).then(|| {
            let mut next = seen.clone();
            next.rev += 1;
            next.holders.clear();
            next
        })
    }

    /// What is written then.
    pub(super) fn store(
        self,
        before: Option<&LockRecord>,
        next: &mut LockRecord,
        cause: &Cause,
        ttl: Ttl,
    ) {
        let Cause::Grant(ask) = cause else {
            return;
        };
        match (self, before) {
            (Self::CountsDeadOut, Some(before)) => {
                let gone = before.holders.iter();
                let gone: Vec<_> = gone
                    .filter(|of| of.id().is_some_and(|id| next.holder(id).is_none()))
                    .cloned()
                    .collect();
                next.holders.extend(gone);
            }
            (Self::PurgesWithoutRetention, _) => {
                let mine = next.holder(&ask.id.name());
                let granted =
                    mine.map(|mine| mine.acquired_at.saturating_add(ttl.as_duration() / 2));
                next.purge_at = granted;
            }
            _ => {}
        }
    }
}
