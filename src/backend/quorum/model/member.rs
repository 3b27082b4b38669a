//! A member: the crate's rules and one record.

use std::time::Duration;

use crate::backend::{AcquireRequest, Grant, ReleaseRequest, RenewRequest, Validity};
use crate::rules::{self, Released, Renewed, ServerTime, Verdict};
use crate::{Key, LeaseId, LockRecord, Mode, Owner, Timestamp, Ttl};

use super::client::Client;

pub(super) const TICK: Duration = Duration::from_secs(1);
/// It is over at the second tick after it was granted, and believed in until just before.
pub(super) const TTL: Duration = Duration::from_secs(2);

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Member {
    record: Option<LockRecord>,
}

pub(super) fn ttl() -> Ttl {
    Ttl::new(TTL).unwrap()
}

pub(super) fn id(client: usize) -> LeaseId {
    LeaseId::new(client.to_string()).unwrap()
}

fn owner(client: usize) -> Owner {
    Owner::new(client.to_string()).unwrap()
}

fn key() -> Key {
    Key::new("k").unwrap()
}

fn time(now: u64) -> ServerTime {
    let now = Timestamp::default().saturating_add(TICK * u32::try_from(now).unwrap());
    let mut time = ServerTime::exact(now, Duration::ZERO);
    // Tokens are what members count.
    time.token_floor = 0;
    time
}

pub(super) fn request(client: usize, seq: u64) -> AcquireRequest {
    AcquireRequest {
        id: id(client),
        seq,
        ..AcquireRequest::new(&key(), &owner(client), Mode::Exclusive, ttl())
    }
}

impl Member {
    pub(super) fn with_token(token: u64) -> Self {
        let record = LockRecord {
            token,
            ..LockRecord::new(Mode::Exclusive)
        };
        Self {
            record: (token > 0).then_some(record),
        }
    }

    pub(super) fn token(&self) -> u64 {
        self.record.as_ref().map_or(0, |record| record.token)
    }

    pub(super) fn holds(&self, client: &Client) -> bool {
        let record = self.record.as_ref();
        record.is_some_and(|record| record.holder(&id(client.number)).is_some())
    }

    pub(super) fn acquire(&mut self, client: usize, seq: u64, now: u64) -> Option<Grant> {
        let request = request(client, seq);
        let (token, seq) = match rules::admit(self.record.as_ref(), &request, &time(now)) {
            Verdict::Granted(next) => {
                let token = next.token;
                self.write(*next);
                (token, seq)
            }
            Verdict::Existing(holder) => (holder.token.unwrap(), holder.seq),
            _ => return None,
        };
        Some(Grant {
            token,
            validity: validity(seq),
            slot: None,
        })
    }

    pub(super) fn raise(
        &mut self,
        client: usize,
        seq: u64,
        (from, to): (u64, u64),
        now: u64,
    ) -> Option<Validity> {
        let mut renewal = RenewRequest::new(&request(client, seq), from, seq);
        renewal.raise_token = Some(to);
        match rules::renew(self.record.as_ref(), &renewal, &time(now)) {
            Renewed::Write(next) => {
                let seq = next.holder(&renewal.id).unwrap().seq;
                self.write(*next);
                Some(validity(seq))
            }
            Renewed::Newer { seq, .. } => Some(validity(seq)),
            Renewed::Passed | Renewed::Lost => None,
        }
    }

    pub(super) fn release(&mut self, client: usize, attempt: Option<u64>, now: u64) {
        let mut request = ReleaseRequest::new(&key(), &owner(client), &id(client));
        request.attempt = attempt;
        if let Released::Write(next) = rules::release(self.record.as_ref(), &request, &time(now)) {
            self.write(*next);
        }
    }

    /// Without what no decision rests on, for the sake of fewer states.
    fn write(&mut self, mut next: LockRecord) {
        next.rev = 0;
        next.purge_at = None;
        next.free_at = None;
        for holder in &mut next.holders {
            holder.acquired_at = Timestamp::default();
        }
        self.record = Some(next);
    }
}

fn validity(seq: u64) -> Validity {
    Validity {
        seq,
        valid_for: TTL,
        refresh: false,
    }
}
