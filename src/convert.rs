//! From exclusive to shared and back, without letting go.

use crate::acquire::convert;
use crate::lease::{Hold, Loss};
use crate::{Error, ErrorKind, Lease, LeaseId, Mode, Result, Shared};

/// What became of [`Lease::try_upgrade`].
#[derive(Debug)]
#[must_use = "the lock is released when the lease is dropped"]
pub enum Upgrade {
    /// It was the only holder: the lease is exclusive now, and a new one.
    Exclusive(Lease),
    /// Others share it: the lease is as it was.
    Held(Lease<Shared>),
}

impl Lease<Shared> {
    /// Makes a shared lease exclusive, if nobody shares it. Never waits for the others: two that waited for each other to
    /// let go would wait for ever. To be sure to get it, release, and acquire the exclusive lock.
    ///
    /// The exclusive lease is a new one, with a new id and a new fencing token; renewals, limits and a slot go on as they
    /// were. Whoever waits in the queue waits on.
    ///
    /// Cancel safe: if the future is dropped, the lock is released.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::LeaseLost`], or why the database could not be used. With any error the lease is given back.
    pub async fn try_upgrade(self) -> Result<Upgrade> {
        Ok(match self.hold.change(Mode::Exclusive).await? {
            Ok(hold) => Upgrade::Exclusive(Lease::of(hold)),
            Err(hold) => Upgrade::Held(Lease::of(hold)),
        })
    }
}

impl Lease {
    /// Makes an exclusive lease shared, with nobody in between: what was written under the one can be read under the
    /// other.
    ///
    /// The shared lease is a new one, as with [`try_upgrade`](Self::try_upgrade). Cancel safe: if the future is dropped,
    /// the lock is released.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> doclock::Result<()> {
    /// # let locks = doclock::LockClient::new(doclock::MemoryBackend::new());
    /// let writer = locks.lock("catalogue").acquire().await?;
    /// let reader = writer.downgrade().await?;
    /// let another = locks.shared("catalogue").acquire().await?;
    /// # drop((reader, another));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::LeaseLost`], or why the database could not be used. With any error the lease is given back.
    pub async fn downgrade(self) -> Result<Lease<Shared>> {
        let lost = self.key().clone();
        match self.hold.change(Mode::Shared).await? {
            Ok(hold) => Ok(Lease::of(hold)),
            // Others cannot stand beside it as long as it is ours.
            Err(_) => Err(gone().with_operation("downgrade").with_key(&lost)),
        }
    }
}

impl Hold {
    /// A lease of the new mode, or this one again if others are in the way.
    async fn change(mut self, to: Mode) -> Result<Result<Self, Self>> {
        let worker = &self.client.inner().worker;
        // Renewals would be refused once the new lease has taken the old one's place: none is sent meanwhile.
        let Some(mut plan) = worker.pause(&self.state).await? else {
            return Err(gone().with_key(&self.state.key));
        };
        plan.since = Some(self.state.since);
        plan.request.id = LeaseId::random();
        plan.request.replaces = Some(self.state.id.clone());
        plan.request.mode = to;
        // The lease may have waited in the queue for its grant; this acquisition has not.
        plan.request.queued = false;
        plan.request.waiting = false;
        plan.request.watched.clear();
        let mut turn = self.state.turn().take();
        let changed = convert(&self.client, plan, self.state.remaining(), &mut turn).await;
        let error = match changed {
            Ok(Some(lease)) => {
                // Too late if it was lost meanwhile: then the new one is dropped.
                self.state.end()?;
                self.released = true;
                worker.forget(&self.state);
                return Ok(Ok(lease));
            }
            Err(error) if error.kind() == ErrorKind::WaitTimeout => {
                *self.state.turn() = turn;
                worker.resume(&self.state)?;
                return Ok(Err(self));
            }
            Ok(None) => gone(),
            Err(error) if error.kind() == ErrorKind::LeaseLost => gone(),
            Err(error) => error,
        };
        self.state.lose(Loss::Change);
        Err(error.with_key(&self.state.key))
    }
}

fn gone() -> Error {
    Error::new(
        ErrorKind::LeaseLost,
        "the lease was lost before its mode was changed: stop what it protected; another may hold the lock by now",
    )
}
