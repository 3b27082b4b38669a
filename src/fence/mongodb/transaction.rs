//! Several documents, all or nothing, only while the lock is held.

use std::any::Any;
use std::time::Duration;

use ::mongodb::ClientSession;
use ::mongodb::error::{
    Error as Native, Result as NativeResult, TRANSIENT_TRANSACTION_ERROR,
    UNKNOWN_TRANSACTION_COMMIT_RESULT,
};
use ::mongodb::options::{ReadConcern, ReadPreference, SelectionCriteria, WriteConcern};
use tokio::time::timeout;

use super::super::{Guarded, held, invalid, number};
use super::MongoFence;
use super::error::failed;
use crate::backend::Backend;
use crate::backend::mongodb::MongoBackend;
use crate::backend::mongodb::error::Access;
use crate::wait::Backoff;
use crate::{Error, ErrorKind, Lease, Result};

/// How long the abort of a transaction may take whose time is over: the server ends it by itself.
const ABORT: Duration = Duration::from_secs(1);

impl Lease {
    /// Lets a MongoDB transaction commit only if the lock is still held: its last statement.
    ///
    /// It *writes* the lock's record. So whoever takes the lock over and this transaction cannot both succeed, not even if
    /// the transaction read everything before, and commits long after.
    ///
    /// The session must be one of the client that the locks were made with: `MongoBackend::new(client.database("app"))`, and
    /// a transaction must be under way on it: without one this is a write by itself, and guards nothing. A
    /// renewal in the middle is a conflict, after which the driver's [`and_run`] starts the transaction again;
    /// [`MongoFence::transaction`] holds renewals back. Acquire before the transaction starts: it does not see what came
    /// later, and takes the lease for lost.
    ///
    /// ```no_run
    /// # use mongodb::bson::{Document, doc};
    /// # async fn example(client: mongodb::Client, lease: doclock::Lease, orders: mongodb::Collection<Document>) -> mongodb::error::Result<()> {
    /// let mut session = client.start_session().await?;
    /// session
    ///     .start_transaction()
    ///     .and_run2(async |session| {
    ///         orders.insert_one(doc! { "item": 42 }).session(&mut *session).await?;
    ///         lease.assert_held(session).await
    ///     })
    ///     .await
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The driver's own errors, with their labels. If the lock is not held, an [`Error`] of the kind
    /// [`ErrorKind::LeaseLost`] inside the driver's ([`get_custom`]); if the lock is in another kind of database,
    /// [`ErrorKind::InvalidInput`].
    ///
    /// [`and_run`]: mongodb::action::StartTransaction::and_run
    /// [`get_custom`]: mongodb::error::Error::get_custom
    pub async fn assert_held(&self, session: &mut ClientSession) -> NativeResult<()> {
        let named = |error: Error| error.with_operation("assert_held").with_key(self.key());
        match self.asserted(session).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Native::custom(named(taken_over()))),
            Err(Refusal::Ours(error)) => Err(Native::custom(named(error))),
            Err(Refusal::Drivers(error)) => Err(error),
        }
    }

    async fn asserted(&self, session: &mut ClientSession) -> std::result::Result<bool, Refusal> {
        let token = number(self)?;
        let locks = locks(self)?;
        held(self)?;
        let holds = locks.assert_holder(session, self.key(), self.id(), token);
        holds.await.map_err(Refusal::Drivers)
    }
}

impl MongoFence<'_> {
    /// Runs a transaction that commits only if the lock is still held: [`Guarded::Fenced`] if it is not, and nothing was
    /// written.
    ///
    /// It reads a snapshot and commits by a majority. The body may run several times: conflicts and commits without an
    /// answer are tried again, as by the driver's [`and_run2`], as long as the lease lives. The lease is not renewed
    /// meanwhile, for a renewal is a conflict; it is renewed before if less than half of its ttl is left. So a transaction
    /// has at least half a ttl. The field of the fence plays no part: documents need none.
    ///
    /// ```no_run
    /// # use mongodb::bson::{Document, doc};
    /// # async fn example(client: mongodb::Client, lease: doclock::Lease, accounts: mongodb::Collection<Document>) -> doclock::Result<()> {
    /// let mut session = client.start_session().await.expect("a session");
    /// let moved = lease
    ///     .fence()
    ///     .mongodb()?
    ///     .transaction(&mut session, async |session| {
    ///         for (account, by) in [("a", -10), ("b", 10)] {
    ///             let change = doc! { "$inc": { "balance": by } };
    ///             accounts.update_one(doc! { "_id": account }, change).session(&mut *session).await?;
    ///         }
    ///         Ok(())
    ///     })
    ///     .await?;
    /// # Ok(()) }
    /// ```
    ///
    /// The session must be one of the client that the locks were made with. A process that stands still in the middle
    /// keeps others from the lock until the server gives the transaction up, after a minute.
    ///
    /// Cancel safe for the lease. Dropped, it leaves the session in the middle of a transaction: drop that as well.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if the lock is in another kind of database, or of another client than the session;
    /// [`ErrorKind::LeaseLost`] if the lease ran out before the commit; [`ErrorKind::OutcomeUnknown`] if the commit had no
    /// answer. What the body fails with is the driver's error, and the [`source`](std::error::Error::source) here.
    ///
    /// [`and_run2`]: mongodb::action::StartTransaction::and_run2
    pub async fn transaction<T, F>(
        &self,
        session: &mut ClientSession,
        body: F,
    ) -> Result<Guarded<T>>
    where
        F: AsyncFnMut(&mut ClientSession) -> NativeResult<T>,
    {
        let run = self.run(session, body).await;
        run.map_err(|error| self.named(error, "transaction"))
    }

    async fn run<T, F>(&self, session: &mut ClientSession, mut body: F) -> Result<Guarded<T>>
    where
        F: AsyncFnMut(&mut ClientSession) -> NativeResult<T>,
    {
        locks(self.lease)?;
        self.held()?;
        let _still = Still::begin(self.lease).await?;
        let mut stage = Stage::Open;
        let ended = self.attempts(&mut *session, &mut body, &mut stage);
        let ended = timeout(self.lease.remaining(), ended).await;
        match (ended, stage) {
            (Ok(Ok(ended)), _) => Ok(ended),
            (Ok(Err(Refusal::Ours(error))), _) => Err(error),
            (Ok(Err(Refusal::Drivers(error))), Stage::Open) => Err(failed(error, Access::Read)),
            (Ok(Err(Refusal::Drivers(error))), Stage::Commits) => Err(failed(error, Access::Write)),
            (Err(_), Stage::Commits) => Err(unanswered()),
            (Err(_), Stage::Open) => {
                let _ = timeout(ABORT, session.abort_transaction()).await;
                Err(ran_out())
            }
        }
    }

    /// As the driver's own loop, which does not tell what a commit without an answer may have done.
    async fn attempts<T, F>(
        &self,
        session: &mut ClientSession,
        body: &mut F,
        stage: &mut Stage,
    ) -> std::result::Result<Guarded<T>, Refusal>
    where
        F: AsyncFnMut(&mut ClientSession) -> NativeResult<T>,
    {
        let mut backoff = Backoff::new();
        loop {
            start(session).await.map_err(Refusal::Drivers)?;
            let refusal = match self.attempt(session, body).await {
                Ok(Some(answer)) => {
                    *stage = Stage::Commits;
                    match commit(session).await {
                        Ok(()) => return Ok(Guarded::Applied(answer)),
                        Err(error) => Refusal::Drivers(error),
                    }
                }
                Ok(None) => {
                    let _ = session.abort_transaction().await;
                    return Ok(Guarded::Fenced);
                }
                Err(refusal) => {
                    // It may have ended by itself.
                    let _ = session.abort_transaction().await;
                    refusal
                }
            };
            if !refusal.is_transient() {
                return Err(refusal);
            }
            *stage = Stage::Open;
            tokio::time::sleep(backoff.next(fastrand::f64())).await;
        }
    }

    /// The body, and the look at the lock: `None` if it is not held.
    async fn attempt<T, F>(
        &self,
        session: &mut ClientSession,
        body: &mut F,
    ) -> std::result::Result<Option<T>, Refusal>
    where
        F: AsyncFnMut(&mut ClientSession) -> NativeResult<T>,
    {
        let answer = body(&mut *session).await.map_err(Refusal::Drivers)?;
        let holds = self.lease.asserted(session).await?;
        Ok(holds.then_some(answer))
    }
}

async fn start(session: &mut ClientSession) -> NativeResult<()> {
    session
        .start_transaction()
        .read_concern(ReadConcern::snapshot())
        .write_concern(WriteConcern::majority())
        .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary))
        .await
}

/// Until there is an answer: a repeated commit commits once.
async fn commit(session: &mut ClientSession) -> NativeResult<()> {
    let mut backoff = Backoff::new();
    loop {
        match session.commit_transaction().await {
            Err(error) if error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT) => {
                tokio::time::sleep(backoff.next(fastrand::f64())).await;
            }
            ended => return ended,
        }
    }
}

/// How far a transaction is.
#[derive(Clone, Copy)]
enum Stage {
    /// Nothing of it can have been written.
    Open,
    Commits,
}

/// No renewal is sent as long as this lives.
struct Still<'a>(&'a Lease);

impl<'a> Still<'a> {
    async fn begin(lease: &'a Lease) -> Result<Self> {
        let worker = &lease.hold.client.inner().worker;
        // Before anything is awaited: it resumes when it is dropped.
        let still = Self(lease);
        let Some(plan) = worker.pause(&lease.hold.state).await? else {
            held(lease)?;
            return Err(taken_over());
        };
        if lease.remaining() < plan.request.ttl.as_duration() / 2 {
            lease.renew().await?;
        }
        Ok(still)
    }
}

impl Drop for Still<'_> {
    fn drop(&mut self) {
        // Of a client that was shut down there is nothing to resume.
        let _ = self.0.hold.client.inner().worker.resume(&self.0.hold.state);
    }
}

fn locks(lease: &Lease) -> Result<&MongoBackend> {
    let backend: &dyn Backend = &*lease.hold.client.inner().backend;
    let backend: &dyn Any = backend;
    backend.downcast_ref().ok_or_else(|| {
        invalid(
            "the lock is not in one MongoDB, so a transaction there cannot check it: make the lock client by `MongoBackend::new`, \
             or guard each document",
        )
    })
}

/// Why the record could not be asked.
enum Refusal {
    Ours(Error),
    Drivers(Native),
}

impl Refusal {
    fn is_transient(&self) -> bool {
        matches!(self, Self::Drivers(error) if error.contains_label(TRANSIENT_TRANSACTION_ERROR))
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Ours(error)
    }
}

fn taken_over() -> Error {
    Error::new(
        ErrorKind::LeaseLost,
        "the record does not show the lease any more: stop what it protected; another may hold the lock by now",
    )
}

fn ran_out() -> Error {
    Error::new(
        ErrorKind::LeaseLost,
        "the lease ran out before the transaction could be committed: nothing was written. Use a longer ttl, or a shorter \
         transaction",
    )
}

fn unanswered() -> Error {
    Error::new(
        ErrorKind::OutcomeUnknown,
        "the commit had no answer, so it may have been carried out: read the data before you repeat it",
    )
}
