use std::time::Duration;

use super::Leader;
use crate::client::LockClient;
use crate::time::Moment;
use crate::wait::{Backoff, dead_after};
use crate::{Key, LockRecord, Result, Timestamp};

/// How often it looks unless told otherwise.
const POLL: Duration = Duration::from_secs(1);

/// Tells who leads, each time that it changes: made by [`Election::watch`](super::Election::watch).
///
/// It reads the record once a second, and writes nothing. A leader whose record has not changed for longer than its ttl
/// and a quarter, and a second, has gone.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> doclock::Result<()> {
/// # let locks = doclock::LockClient::new(doclock::MemoryBackend::new());
/// # let _leadership = locks.election("scheduler").data(&"10.0.0.7:8080").campaign().await?;
/// let mut watch = locks.election("scheduler").watch()?;
/// while let Some(leader) = watch.changed().await? {
///     println!("term {}: {:?}", leader.term, leader.data::<String>()?);
/// #   break;
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct LeaderWatch {
    client: LockClient,
    key: Key,
    every: Duration,
    sight: Sight,
    /// Who was told last; nobody may have been.
    told: Told,
}

impl LeaderWatch {
    pub(super) fn new(client: LockClient, key: Key) -> Self {
        Self {
            client,
            key,
            every: POLL,
            sight: Sight::default(),
            told: Told::Nothing,
        }
    }

    /// How often the database is asked, 1 s by default.
    #[must_use]
    pub fn every(mut self, every: Duration) -> Self {
        self.every = every.max(Duration::from_millis(1));
        self
    }

    /// Waits until it is somebody else who leads, or the same in another term, or nobody (`None`). The first call tells
    /// who leads at once.
    ///
    /// Cancel safe. Transient errors are waited out.
    ///
    /// # Errors
    ///
    /// As [`LockClient::inspect`], but for transient ones.
    pub async fn changed(&mut self) -> Result<Option<Leader>> {
        let mut backoff = Backoff::new();
        loop {
            let pause = match self.look().await {
                Ok(()) if self.told.is_old(&self.sight) => {
                    let leader = self.sight.leader.clone();
                    self.told = Told::Leader(leader.clone());
                    return Ok(leader);
                }
                Ok(()) => self.every,
                Err(error) if error.is_transient() => {
                    let telemetry = &self.client.inner().telemetry;
                    tracing::debug!(
                        doclock.key = %telemetry.name(self.key.as_str()), error = %telemetry.error(&error),
                        "could not look who leads"
                    );
                    backoff.next(fastrand::f64()).max(self.every)
                }
                Err(error) => return Err(error),
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn look(&mut self) -> Result<()> {
        let inner = self.client.inner();
        let record = inner.backend.inspect(&self.key).await?;
        self.sight.observe(record.as_ref(), inner.clock.now());
        Ok(())
    }
}

#[derive(Debug)]
enum Told {
    Nothing,
    Leader(Option<Leader>),
}

impl Told {
    fn is_old(&self, sight: &Sight) -> bool {
        match self {
            Self::Nothing => true,
            Self::Leader(leader) => *leader != sight.leader,
        }
    }
}

/// The leader as it was seen last, and since when nothing moved.
#[derive(Debug, Default)]
struct Sight {
    leader: Option<Leader>,
    mark: Option<Mark>,
}

/// What every renewal changes.
#[derive(Debug)]
struct Mark {
    term: u64,
    seq: u64,
    expires_at: Timestamp,
    since: Moment,
}

impl Sight {
    fn observe(&mut self, record: Option<&LockRecord>, now: Moment) {
        let seen = record.and_then(|record| Some((Leader::of(record)?, record.holders.first()?)));
        let Some((leader, holder)) = seen else {
            *self = Self::default();
            return;
        };
        let mark = Mark {
            term: leader.term,
            seq: holder.seq,
            expires_at: holder.expires_at,
            since: now,
        };
        let moved = self.mark.as_ref().is_none_or(|before| {
            (before.term, before.seq, before.expires_at) != (mark.term, mark.seq, mark.expires_at)
        });
        if moved {
            self.mark = Some(mark);
            self.leader = Some(leader);
            return;
        }
        let unmoved = self
            .mark
            .as_ref()
            .map(|mark| now.at_least_since(mark.since));
        if unmoved >= Some(dead_after(holder.ttl.as_duration())) {
            self.leader = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Claimant, Holder, LeaseId, Mode, Owner, Ttl};

    fn record(seq: u64) -> LockRecord {
        let claimant = Claimant {
            owner: Owner::new("o").unwrap(),
            id: LeaseId::new("i").unwrap(),
        };
        let ttl = Ttl::new(Duration::from_secs(4)).unwrap();
        let (from, to) = (Timestamp::from_millis(0), Timestamp::from_millis(4000));
        let mut record = LockRecord::new(Mode::Exclusive);
        record.token = 7;
        record.holders = vec![Holder::new(Some(claimant), from, to, ttl, seq)];
        record
    }

    fn at(seconds: u64) -> Moment {
        Moment {
            monotonic: Duration::from_secs(seconds),
            wall: Timestamp::from_millis(0),
        }
    }

    #[test]
    fn a_leader_whose_record_stands_still_has_gone() {
        let mut sight = Sight::default();
        let mut leads = |record: Option<&LockRecord>, seconds| {
            sight.observe(record, at(seconds));
            sight.leader.as_ref().map(|leader| leader.term)
        };
        assert_eq!(leads(None, 0), None);
        assert_eq!(leads(Some(&record(1)), 1), Some(7));
        assert_eq!(leads(Some(&record(2)), 6), Some(7), "it renewed");
        assert_eq!(leads(Some(&record(2)), 11), Some(7));
        assert_eq!(leads(Some(&record(2)), 12), None);
        assert_eq!(leads(Some(&record(2)), 13), None, "it stays gone");
        assert_eq!(leads(Some(&record(3)), 14), Some(7), "it was only slow");
    }

    #[test]
    fn who_shares_does_not_lead() {
        let mut sight = Sight::default();
        let shared = LockRecord {
            mode: Mode::Shared,
            ..record(1)
        };
        sight.observe(Some(&shared), at(1));
        assert_eq!(sight.leader, None);
    }
}
