//! What may be asked of a record, and what may be known of the time.

use std::time::Duration;

use bolero::TypeGenerator;

use super::record::{AnyMode, NOW, Number, When, Who, ttl};
use crate::record::MIN_TTL;
use crate::rules::{ServerTime, micros};
use crate::{
    AcquireRequest, Key, Linger, Mode, Payload, Queueing, ReleaseRequest, RenewRequest, Slot,
    SlotStart, Timestamp, Ttl, Watched,
};

#[derive(Clone, Debug, TypeGenerator)]
pub(crate) struct AnyTime {
    off: i16,
    anywhere: i64,
    width: u16,
    exact: bool,
    keep_later: bool,
    creates: bool,
}

impl AnyTime {
    /// About what the records take for now.
    pub(crate) fn get(&self) -> ServerTime {
        self.at(NOW + i64::from(self.off))
    }

    /// At any time that can be expressed.
    pub(crate) fn anywhere(&self) -> ServerTime {
        self.at(self.anywhere)
    }

    fn at(&self, ms: i64) -> ServerTime {
        let now = Timestamp::from_millis(ms);
        let width = Duration::from_millis(self.width.into());
        if self.exact {
            return ServerTime::exact(now, width);
        }
        let latest = now.saturating_add(width);
        ServerTime {
            earliest: now,
            latest,
            tolerance: Duration::from_secs(3),
            stamp: latest,
            pad: Duration::from_millis(1500),
            token_floor: if self.creates { micros(latest) } else { 0 },
            keep_later_expiry: self.keep_later,
        }
    }
}

#[derive(Clone, Copy, Debug, TypeGenerator)]
enum AnySlot {
    Every(u64),
    At(When),
    Once,
}

#[derive(Clone, Debug, TypeGenerator)]
pub(crate) struct AnyRequest {
    who: Who,
    seq: Number,
    mode: AnyMode,
    /// A public type can be out of range.
    limit: Option<u32>,
    queueing: u8,
    queued: bool,
    slot: Option<(AnySlot, bool)>,
    replaces: Option<Who>,
    ttl: u32,
    watched: Option<(Who, Number)>,
    token: Number,
    restamp: bool,
    linger: Option<(u32, u64)>,
    slot_done: Option<When>,
    state: Option<u8>,
    /// Some days at most.
    keep: Option<u32>,
    floor: Option<Number>,
    raise: Option<Number>,
    attempt: Option<Number>,
}

impl AnyRequest {
    pub(crate) fn acquire(&self) -> AcquireRequest {
        let claimant = self.who.get();
        let key = Key::new("k").unwrap();
        let mut request = AcquireRequest::new(&key, &claimant.owner, self.mode.get(), self.ttl());
        (request.id, request.seq, request.queued) = (claimant.id, self.seq.get(), self.queued);
        request.queueing = match self.queueing % 3 {
            0 => Queueing::Never,
            1 => Queueing::WhenNeeded,
            _ => Queueing::Fair,
        };
        request.replaces = self.replaces.map(Who::id);
        request.token_floor = self.floor.map_or(0, Number::get);
        request.watched = Vec::from_iter(self.watched.map(|(who, seq)| Watched {
            id: who.id(),
            seq: seq.get(),
        }));
        if let Some((start, until_done)) = self.slot {
            request.slot = Some(Slot {
                start: match start {
                    AnySlot::Every(ms) => SlotStart::Every(Duration::from_millis(ms)),
                    AnySlot::At(when) => SlotStart::At(when.get()),
                    AnySlot::Once => SlotStart::Once,
                },
                until_done,
            });
        }
        request
    }

    /// The same with a limit that no caller gets past the checks of [`Lock`](crate::Lock).
    pub(crate) fn unchecked(&self) -> AcquireRequest {
        let mut request = self.acquire();
        if let Some(limit) = self.limit {
            request.mode = Mode::Permit { limit };
        }
        request
    }

    pub(crate) fn renew(&self) -> RenewRequest {
        let mut request = RenewRequest::new(&self.acquire(), self.token.get(), self.seq.get());
        request.restamp = self.restamp;
        request.raise_token = self.raise.map(Number::get);
        request
    }

    pub(crate) fn release(&self) -> ReleaseRequest {
        let claimant = self.who.get();
        let key = Key::new("k").unwrap();
        let mut request = ReleaseRequest::new(&key, &claimant.owner, &claimant.id);
        request.queued = self.queued;
        request.linger = self.linger.map(|(ms, left)| Linger {
            ttl: ttl(ms),
            left: Duration::from_millis(left),
        });
        request.slot_done = self.slot_done.map(When::get);
        request.state = self.state.map(|number| Payload::new(&number).unwrap());
        request.keep = self.keep.map(|ms| Duration::from_millis((ms >> 3).into()));
        request.attempt = self.attempt.map(Number::get);
        request
    }

    fn ttl(&self) -> Ttl {
        ttl(self.ttl).max(Ttl::new(MIN_TTL).unwrap())
    }
}
