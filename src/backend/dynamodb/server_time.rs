//! What is known of DynamoDB's time when something is written or decided, and what a written lease is worth.

use std::time::Duration;

use crate::backend::Validity;
use crate::rules::{ServerTime, micros};
use crate::time::Timestamp;
use crate::{Holder, LockRecord, Ttl};

use super::DynamoBackend;
use super::request::Exchange;
use super::validity::{EXCESS, Written, expires_at, pad};

impl DynamoBackend {
    /// The time to write by, of a record that exists or is about to.
    pub(super) fn write_time(&self) -> ServerTime {
        let now = self.local.now();
        let written = self.estimate().write_time(now, self.max_skew);
        ServerTime {
            earliest: written.latest,
            latest: written.latest,
            stamp: written.latest,
            pad: pad(self.skew),
            token_floor: micros(written.latest),
            keep_later_expiry: !written.verified,
        }
    }

    /// The time to judge others' leases by. `None`: ask the server again.
    pub(super) fn judging_time(&self, record: Option<&LockRecord>) -> Option<ServerTime> {
        let now = self.local.now();
        let estimate = self.estimate();
        let interval = estimate.judge(now, self.max_skew)?;
        let verified = estimate.interval(now).is_some();
        let absent_floor = micros(interval.latest);
        Some(ServerTime {
            earliest: interval.earliest,
            latest: record.map_or(interval.latest, |record| {
                self.bound(record, interval.latest)
            }),
            stamp: interval.latest,
            pad: pad(self.skew),
            token_floor: if record.is_some() { 0 } else { absent_floor },
            keep_later_expiry: !verified,
        })
    }

    /// What implausible expiries are cut down to, with ttl and pad. Estimates differ in width: an expiry that its
    /// writer's validity rule let pass is left alone, or a narrow estimate would mend what a wide one wrote.
    fn bound(&self, record: &LockRecord, latest: Timestamp) -> Timestamp {
        let tolerated = latest.saturating_add(EXCESS);
        let is_implausible = |holder: &Holder| {
            let ttl = holder.ttl.as_duration();
            holder.expires_at > expires_at(tolerated, ttl, self.skew)
        };
        if record.holders.iter().any(is_implausible) {
            return latest;
        }
        tolerated
    }

    /// What a lease is worth that a response confirmed.
    ///
    /// The client counts from the instant before *some* attempt of this lease was sent: the one that was answered, or
    /// an earlier one whose own answer got lost. What is left now is left from now on; counted from any earlier
    /// instant it ends earlier, which is safe. The time since that earlier attempt is thus counted twice, and if it is
    /// more than the margin, `refresh` asks for a renewal, whose validity counts from its own send.
    pub(super) fn validity(
        &self,
        exchange: &Exchange,
        holder: &Holder,
        ttl: Ttl,
        margin: Duration,
    ) -> Validity {
        let latest = self
            .estimate()
            .latest_at_send(exchange.sent, exchange.date, self.max_skew);
        self.validity_at(latest, holder, ttl, margin)
    }

    /// The same, where `latest` is what no server's clock had passed; `ttl` is what the client asked for, of which the
    /// record may have more.
    pub(super) fn validity_at(
        &self,
        latest: Timestamp,
        holder: &Holder,
        ttl: Ttl,
        margin: Duration,
    ) -> Validity {
        let written = Written {
            expires_at: holder.expires_at,
            ttl: holder.ttl.as_duration(),
            margin,
        };
        let worth = written.validity(latest, self.skew);
        Validity {
            seq: holder.seq,
            valid_for: worth.valid_for.min(ttl.as_duration()),
            refresh: worth.refresh,
        }
    }
}
