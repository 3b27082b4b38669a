//! Leader election: an exclusive lock whose token is the term, and a look at who holds it.

mod watch;

use std::time::Duration;

use serde::Serialize;

use crate::client::LockClient;
use crate::lock::Lock;
use crate::record::{Label, Payload};
use crate::wait::Backoff;
use crate::{Error, Key, Lease, LockRecord, Mode, Owner, Result};

pub use watch::LeaderWatch;

impl LockClient {
    /// Describes the election of one leader under `key`. Candidates [`campaign`](Election::campaign) or
    /// [`run_as_leader`](Election::run_as_leader); everybody may ask for the [`leader`](Election::leader) and
    /// [`watch`](Election::watch) for the next.
    pub fn election(&self, key: impl Into<String>) -> Election {
        let lock = Lock::new(self.clone(), key.into(), Mode::Exclusive);
        Election {
            client: self.clone(),
            lock: lock.wait(Duration::MAX),
        }
    }
}

/// An election of one leader, made by [`LockClient::election`].
///
/// It is an exclusive lock whose fencing token is the *term*: each leader's is greater than those of all before. A leader
/// that is cut off steps down by its own deadline, before anybody else can be elected.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> doclock::Result<()> {
/// # let locks = doclock::LockClient::new(doclock::MemoryBackend::new());
/// let election = locks.election("scheduler").data(&"10.0.0.7:8080");
/// let leadership = election.campaign().await?;
///
/// let leader = election.leader().await?.expect("somebody leads");
/// assert_eq!(leader.term, leadership.term());
/// assert_eq!(leader.data::<String>()?.as_deref(), Some("10.0.0.7:8080"));
/// leadership.resign().await?;
/// # Ok(()) }
/// ```
///
/// # What it does not guarantee
///
/// That only one process *acts* as the leader: one that was paused acts until it looks. Send the term along with
/// whatever it writes, and have the receiver refuse one that is lower than the highest it has seen.
#[derive(Clone, Debug)]
#[must_use = "nobody is elected until `campaign` or `run_as_leader` is awaited"]
pub struct Election {
    client: LockClient,
    lock: Lock,
}

impl Election {
    /// How long a leader leads without renewal, as [`Lock::ttl`]: about how long there is no leader after a crash.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.lock = self.lock.ttl(ttl);
        self
    }

    /// How long [`campaign`](Self::campaign) waits; for ever by default.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.lock = self.lock.wait(wait);
        self
    }

    /// How long before others may be elected a leader that is cut off steps down, as [`Lock::margin`].
    pub fn margin(mut self, margin: Duration) -> Self {
        self.lock = self.lock.margin(margin);
        self
    }

    /// As [`Lock::owner`]: a restarted candidate with the same owner leads again at once, in a new term.
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.lock = self.lock.owner(owner);
        self
    }

    /// A few words for people, as [`Lock::label`].
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.lock = self.lock.label(label);
        self
    }

    /// What others learn of the leader, such as its address: at most 4,096 bytes as JSON.
    pub fn data(mut self, data: &impl Serialize) -> Self {
        self.lock = self.lock.data(data);
        self
    }

    /// Elects the candidates in the order in which they came, as [`Lock::fair`].
    pub fn fair(mut self) -> Self {
        self.lock = self.lock.fair();
        self
    }

    /// Waits until this candidate is elected. Transient errors are survived for as long as it waits.
    ///
    /// Cancel safe: if the future is dropped, it is no candidate any more.
    ///
    /// # Errors
    ///
    /// As [`Lock::acquire`].
    pub async fn campaign(&self) -> Result<Leadership> {
        let lease = self.lock.clone().acquire().await?;
        Ok(Leadership { lease })
    }

    /// Is elected if nobody leads: `None` if somebody does.
    ///
    /// # Errors
    ///
    /// As [`Lock::try_acquire`].
    pub async fn try_campaign(&self) -> Result<Option<Leadership>> {
        let lease = self.lock.clone().try_acquire().await?;
        Ok(lease.map(|lease| Leadership { lease }))
    }

    /// Works as the leader whenever this candidate is elected, and campaigns again after each loss, a little later each
    /// time. Ends when the work ends by itself, and resigns then. At a loss, the work is dropped at its next `await`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> doclock::Result<()> {
    /// # let locks = doclock::LockClient::new(doclock::MemoryBackend::new());
    /// # async fn next_tick() {} async fn rebalance(_term: u64) {}
    /// # let mut ticks = 0;
    /// let election = locks.election("scheduler");
    /// let led = election.run_as_leader(async |leadership| {
    ///     loop {
    ///         next_tick().await;
    ///         rebalance(leadership.term()).await;
    /// #       break;
    ///     }
    /// });
    /// # led.await
    /// # }
    /// ```
    ///
    /// Cancel safe: if the future is dropped, the candidate resigns.
    ///
    /// # Errors
    ///
    /// What cannot be survived by waiting: [`InvalidInput`](crate::ErrorKind::InvalidInput),
    /// [`CorruptRecord`](crate::ErrorKind::CorruptRecord), [`PermissionDenied`](crate::ErrorKind::PermissionDenied) and
    /// the like.
    pub async fn run_as_leader<T>(&self, work: impl AsyncFn(&Leadership) -> T) -> Result<T> {
        let clock = &self.client.inner().clock;
        let mut backoff = Backoff::new();
        loop {
            let leadership = self.campaign().await?;
            let elected = clock.now();
            tokio::select! {
                biased;
                _ = leadership.lost() => {}
                value = work(&leadership) => {
                    // What failed is told as an event.
                    let _ = leadership.resign().await;
                    return Ok(value);
                }
            }
            let led = clock.now().at_least_since(elected);
            if led > self.lock.longest_ttl() {
                backoff = Backoff::new();
            }
            tokio::time::sleep(backoff.next(fastrand::f64())).await;
        }
    }

    /// Who leads, as far as the database knows. One request; a leader that crashed is shown until somebody else is
    /// elected ([`watch`](Self::watch) finds out).
    ///
    /// # Errors
    ///
    /// As [`LockClient::inspect`].
    pub async fn leader(&self) -> Result<Option<Leader>> {
        let record = self.client.inspect(self.lock.name()).await?;
        Ok(record.as_ref().and_then(Leader::of))
    }

    /// Watches who leads, as a candidate or not.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for an impossible key.
    pub fn watch(&self) -> Result<LeaderWatch> {
        let key = Key::new(self.lock.name())?;
        Ok(LeaderWatch::new(self.client.clone(), key))
    }
}

/// The office of the leader, until it is resigned, dropped or lost.
#[derive(Debug)]
#[must_use = "dropped, it is resigned"]
pub struct Leadership {
    lease: Lease,
}

impl Leadership {
    /// The term: greater than that of every earlier leader.
    #[must_use]
    pub fn term(&self) -> u64 {
        self.lease.token()
    }

    /// Whether this candidate certainly leads at this instant. Once false, false for ever.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.lease.is_held()
    }

    /// Waits until the leadership is lost, and tells why. As [`Lease::lost`].
    pub fn lost(&self) -> impl Future<Output = Error> + Send + 'static + use<> {
        self.lease.lost()
    }

    /// The lease that it rests on.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Steps down, and waits until the database has confirmed it: the next leader can be elected at once.
    ///
    /// # Errors
    ///
    /// As [`Lease::release`].
    pub async fn resign(self) -> Result<()> {
        self.lease.release().await
    }
}

/// Who leads, as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Leader {
    /// Who it is.
    pub owner: Owner,
    /// Its term.
    pub term: u64,
    /// A few words for people.
    pub label: Option<Label>,
    /// What it says of itself, unread: [`data`](Self::data) reads it.
    pub payload: Option<Payload>,
}

impl Leader {
    /// What the leader says of itself, by [`Election::data`].
    ///
    /// # Errors
    ///
    /// [`CorruptRecord`](crate::ErrorKind::CorruptRecord) if it is not of that type.
    pub fn data<T: serde::de::DeserializeOwned>(&self) -> Result<Option<T>> {
        self.payload.as_ref().map(Payload::parse).transpose()
    }

    fn of(record: &LockRecord) -> Option<Self> {
        let holder = record.holders.first()?;
        let is_election = record.mode == Mode::Exclusive;
        Some(Self {
            owner: holder.owner().filter(|_| is_election)?.clone(),
            term: holder.token.unwrap_or(record.token),
            label: holder.label.clone(),
            payload: holder.data.clone(),
        })
    }
}
