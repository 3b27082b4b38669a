//! What is known of DynamoDB's time when something is written or decided, and what a written lease is worth.

use std::time::Duration;

use crate::backend::Validity;
use crate::rules::{ServerTime, micros};
use crate::time::{Moment, Timestamp};
use crate::{Holder, Ttl};

use super::DynamoBackend;
use super::clock::IntervalClock;
use super::request::Exchange;
use super::validity::{EXCESS, Written, pad};

impl IntervalClock {
    /// The time to write by, of a record that exists or is about to.
    pub(crate) fn time_to_write(&self, now: Moment, max_skew: Duration) -> ServerTime {
        let written = self.write_time(now, max_skew);
        self.server_time(written.latest, written.latest, written.verified)
    }

    /// The time to judge a record by that exists, or does not. `None`: ask the server again.
    pub(crate) fn time_to_judge(
        &self,
        now: Moment,
        max_skew: Duration,
        exists: bool,
    ) -> Option<ServerTime> {
        let interval = self.judge(now, max_skew)?;
        let verified = self.interval(now).is_some();
        let mut time = self.server_time(interval.earliest, interval.latest, verified);
        if exists {
            time.token_floor = 0;
        }
        Some(time)
    }

    fn server_time(&self, earliest: Timestamp, latest: Timestamp, verified: bool) -> ServerTime {
        ServerTime {
            earliest,
            latest,
            // Estimates differ in width: an expiry that its writer's validity rule let pass is left alone, or a narrow
            // estimate would mend what a wide one wrote.
            tolerance: EXCESS,
            stamp: latest,
            pad: pad(self.clock_skew()),
            token_floor: micros(latest),
            keep_later_expiry: !verified,
        }
    }
}

impl DynamoBackend {
    /// The time to write by, of a record that exists or is about to.
    pub(super) fn write_time(&self) -> ServerTime {
        let now = self.local.now();
        self.estimate().time_to_write(now, self.max_skew)
    }

    /// The time to judge a record by that exists, or does not. `None`: ask the server again.
    pub(super) fn judging_time(&self, exists: bool) -> Option<ServerTime> {
        let now = self.local.now();
        self.estimate().time_to_judge(now, self.max_skew, exists)
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
        worth(latest, self.skew, holder, ttl, margin)
    }
}

/// What a lease that stands in the record is worth to who asked for `ttl`, if no server's clock had passed `latest`.
pub(crate) fn worth(
    latest: Timestamp,
    skew: Duration,
    holder: &Holder,
    ttl: Ttl,
    margin: Duration,
) -> Validity {
    let written = Written {
        expires_at: holder.expires_at,
        ttl: holder.ttl.as_duration(),
        margin,
    };
    let worth = written.validity(latest, skew);
    Validity {
        seq: holder.seq,
        valid_for: worth.valid_for.min(ttl.as_duration()),
        refresh: worth.refresh,
    }
}
