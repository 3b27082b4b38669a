//! Several keys at once: all of them, or none.

use std::fmt;
use std::time::{Duration, SystemTime};

use futures_util::future::{join_all, select_all};

use crate::acquire::no_answer;
use crate::client::{LockClient, invalid};
use crate::lock::Lock;
use crate::renewal::Span;
use crate::{Error, ErrorKind, Key, Lease, Mode, Owner, Result};

/// The most keys of one set.
pub const MAX_KEYS: usize = 100;

impl LockClient {
    /// Describes exclusive locks on all of these keys, 1 to 100, to be taken together; keys that are named twice count
    /// once.
    ///
    /// Free, they take one round trip: all requests go out at once. If one is held by others, what was got is given back,
    /// and they are taken one after another in the order of their names. So two sets never wait for each other, however
    /// their keys are ordered.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> doclock::Result<()> {
    /// # let locks = doclock::LockClient::new(doclock::MemoryBackend::new());
    /// let both = locks.all(["account:7", "account:3"]).acquire().await?;
    /// transfer(both.token("account:3"), both.token("account:7")).await;
    /// both.release().await?;
    /// # Ok(()) }
    /// # async fn transfer(_from: Option<u64>, _to: Option<u64>) {}
    /// ```
    pub fn all<K: Into<String>>(&self, keys: impl IntoIterator<Item = K>) -> LockSet {
        LockSet {
            client: self.clone(),
            keys: keys.into_iter().map(Into::into).collect(),
            lock: Lock::new(self.clone(), String::new(), Mode::Exclusive),
            owner: None,
        }
    }
}

/// Locks that are to be taken together, made by [`LockClient::all`].
#[derive(Clone, Debug)]
#[must_use = "nothing is locked until `acquire`, `try_acquire` or `run` is awaited"]
pub struct LockSet {
    client: LockClient,
    keys: Vec<String>,
    /// The options of each.
    lock: Lock,
    owner: Option<String>,
}

impl LockSet {
    /// As [`Lock::ttl`], for each key.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.lock = self.lock.ttl(ttl);
        self
    }

    /// How long [`acquire`](Self::acquire) waits for others in all, 30 s by default.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.lock = self.lock.wait(wait);
        self
    }

    /// As [`Lock::margin`], for each key.
    pub fn margin(mut self, margin: Duration) -> Self {
        self.lock = self.lock.margin(margin);
        self
    }

    /// As [`Lock::owner`], for all keys.
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = Some(owner.into());
        self
    }

    /// As [`Lock::label`], for each key.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.lock = self.lock.label(label);
        self
    }

    /// As [`Lock::deadline`], for each key.
    pub fn deadline(mut self, deadline: SystemTime) -> Self {
        self.lock = self.lock.deadline(deadline);
        self
    }

    /// As [`Lock::max_hold`]; counted for each key from its own grant, so the first that was taken ends the set.
    pub fn max_hold(mut self, max_hold: Duration) -> Self {
        self.lock = self.lock.max_hold(max_hold);
        self
    }

    /// As [`Lock::fair`], for each key that must be waited for.
    pub fn fair(mut self) -> Self {
        self.lock = self.lock.fair();
        self
    }

    /// Takes all, waiting for others as long as [`wait`](Self::wait) says in all.
    ///
    /// Cancel safe: if the future is dropped, whatever was got is released.
    ///
    /// # Errors
    ///
    /// As [`Lock::acquire`]; none is held then. [`ErrorKind::InvalidInput`] for no key, or more than 100.
    pub async fn acquire(self) -> Result<LeaseSet> {
        let clock = &self.client.inner().clock;
        let wait = Span {
            from: clock.now(),
            length: self.lock.longest_wait(),
        };
        let locks = self.locks()?;
        let waits = !wait.length.is_zero();
        // What is dropped at the end of the wait is given back.
        let first = if waits {
            tokio::time::timeout(wait.length, self.take_at_once(&locks)).await
        } else {
            Ok(self.take_at_once(&locks).await)
        };
        match first.unwrap_or_else(|_| Err(no_answer())) {
            Err(error) if error.is_retryable() && !wait.left(clock.now()).is_zero() => {
                self.take_in_order(locks, wait, error).await
            }
            taken => taken,
        }
    }

    /// Takes all if all are free: `None` if one is held by others.
    ///
    /// Cancel safe: if the future is dropped, whatever was got is released.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire), but never [`ErrorKind::WaitTimeout`].
    pub async fn try_acquire(self) -> Result<Option<LeaseSet>> {
        match self.take_at_once(&self.locks()?).await {
            Ok(set) => Ok(Some(set)),
            Err(error) if error.kind() == ErrorKind::WaitTimeout => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Takes all, does the work, and gives them back, whatever happens. If one is lost, the work is dropped at its next
    /// `await`.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire), or [`ErrorKind::LeaseLost`]. A failed release is logged, not returned: the work's
    /// own result is.
    pub async fn run<T>(self, work: impl AsyncFnOnce(&LeaseSet) -> T) -> Result<T> {
        let set = self.acquire().await?;
        let result = tokio::select! {
            biased;
            why = set.lost() => Err(why.with_operation("run")),
            value = work(&set) => Ok(value),
        };
        // What failed is told as an event.
        let _ = set.release().await;
        result
    }

    /// One lock for each key, in the order in which all sets take them.
    fn locks(&self) -> Result<Vec<Lock>> {
        let mut keys = self.keys.clone();
        keys.sort_unstable();
        keys.dedup();
        if keys.is_empty() || keys.len() > MAX_KEYS {
            return Err(invalid(format!(
                "{} keys to be locked together: name 1 to {MAX_KEYS}",
                keys.len()
            )));
        }
        for key in &keys {
            Key::new(key)?;
        }
        let lock = match &self.owner {
            Some(owner) => self.lock.clone().owner(owner),
            None => self.lock.clone().owned_by(&Owner::random()),
        };
        let locks = keys.into_iter().map(|key| lock.clone().on(key));
        Ok(locks.collect())
    }

    /// `why` they are not held yet is told if the wait ends before anything better is known.
    async fn take_in_order(&self, locks: Vec<Lock>, wait: Span, why: Error) -> Result<LeaseSet> {
        let clock = &self.client.inner().clock;
        let mut set = LeaseSet { leases: Vec::new() };
        for lock in locks {
            let left = wait.left(clock.now());
            if left.is_zero() {
                return Err(self.given_back(set, why).await);
            }
            match lock.wait(left).acquire().await {
                Ok(lease) => set.leases.push(lease),
                Err(error) => {
                    let is_cut_short = error.is_transient() && wait.left(clock.now()).is_zero();
                    let error = if is_cut_short { why } else { error };
                    return Err(self.given_back(set, error).await);
                }
            }
        }
        self.checked(set).await
    }

    /// Fails as the first of them does in the order of keys, but rather for another reason than that it is held by others.
    async fn take_at_once(&self, locks: &[Lock]) -> Result<LeaseSet> {
        let attempts = locks.iter().map(|lock| lock.clone().wait(Duration::ZERO));
        let outcomes = join_all(attempts.map(Lock::acquire)).await;
        let mut set = LeaseSet { leases: Vec::new() };
        let (mut failed, mut held) = (None, None);
        for outcome in outcomes {
            match outcome {
                Ok(lease) => set.leases.push(lease),
                Err(error) if error.kind() == ErrorKind::WaitTimeout => held = held.or(Some(error)),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        match failed.or(held) {
            Some(error) => Err(self.given_back(set, error).await),
            None => self.checked(set).await,
        }
    }

    /// The last look before it is handed out: the first may have been lost while the others were waited for.
    async fn checked(&self, set: LeaseSet) -> Result<LeaseSet> {
        if set.is_held() {
            return Ok(set);
        }
        let lost = Error::new(
            ErrorKind::LeaseLost,
            "one of the locks was lost while the others were waited for: try again, with a longer ttl",
        );
        Err(self.given_back(set, lost).await)
    }

    /// Waits for the releases no longer than a request may take: they go on by themselves.
    async fn given_back(&self, set: LeaseSet, error: Error) -> Error {
        let most = self.client.inner().request_timeout;
        // What failed is told as an event, now or later.
        let _ = tokio::time::timeout(most, set.release()).await;
        error
    }
}

/// Several locks that are held together, in the order of their keys. Dropped, all are released.
#[must_use = "the locks are released when the leases are dropped"]
pub struct LeaseSet {
    leases: Vec<Lease>,
}

impl LeaseSet {
    /// The lease of each key, in the order of the keys.
    pub fn leases(&self) -> &[Lease] {
        &self.leases
    }

    /// The fencing token of one of the keys; `None` for a key that is none of them.
    #[must_use]
    pub fn token(&self, key: &str) -> Option<u64> {
        let lease = self.leases.iter().find(|lease| lease.key().as_str() == key);
        lease.map(Lease::token)
    }

    /// Whether all are certainly ours at this instant. Once false, false for ever.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.leases.iter().all(Lease::is_held)
    }

    /// How long all are certainly ours if no renewal succeeds from now on; zero once one is lost.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        let remaining = self.leases.iter().map(Lease::remaining);
        remaining.min().unwrap_or_default()
    }

    /// Waits until the first of them is lost, and tells why and which. As [`Lease::lost`].
    pub fn lost(&self) -> impl Future<Output = Error> + Send + 'static + use<> {
        let lost: Vec<_> = self
            .leases
            .iter()
            .map(|lease| Box::pin(lease.lost()))
            .collect();
        async move {
            if lost.is_empty() {
                return std::future::pending().await;
            }
            select_all(lost).await.0
        }
    }

    /// Prolongs all now. Not needed: they renew themselves.
    ///
    /// # Errors
    ///
    /// The first error of [`Lease::renew`].
    pub async fn renew(&self) -> Result<()> {
        let renewed = join_all(self.leases.iter().map(Lease::renew)).await;
        renewed.into_iter().collect()
    }

    /// Gives all back, and waits until the database has confirmed it. As [`Lease::release`].
    ///
    /// # Errors
    ///
    /// The first error of [`Lease::release`]; the others are released nevertheless.
    pub async fn release(self) -> Result<()> {
        let released = join_all(self.leases.into_iter().map(Lease::release)).await;
        released.into_iter().collect()
    }
}

impl fmt::Debug for LeaseSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.leases).finish()
    }
}
