//! A lock that is really taken, to see what the server and the credentials allow.

use std::time::Duration;

use crate::backend::Backend;
use crate::{
    AcquireOutcome, AcquireRequest, Error, ErrorKind, Key, Mode, Owner, ReleaseOutcome,
    ReleaseRequest, RenewOutcome, RenewRequest, Result, Ttl,
};

use super::{Check, Diagnosis};

/// How long the lock stays if this process ends in the middle.
const TTL: Duration = Duration::from_secs(10);

/// The lock that is tried.
pub(crate) struct Trial<'a, B: ?Sized> {
    backend: &'a B,
    mine: AcquireRequest,
    token: u64,
    seq: u64,
}

impl<'a, B: Backend + ?Sized> Trial<'a, B> {
    /// Acquires, renews and reads. `None`: there is nothing to go on with.
    pub(crate) async fn begin(
        backend: &'a B,
        key: &Key,
        diagnosis: &mut Diagnosis,
    ) -> Option<Self> {
        let mut trial = match acquire(backend, key).await {
            Ok((mine, token)) => Self {
                backend,
                seq: mine.seq,
                mine,
                token,
            },
            Err(check) => {
                diagnosis.note(check);
                return None;
            }
        };
        diagnosis.note(Check::ok("acquire", "granted to one, refused to another"));
        let renewed = backend.renew(&trial.renewal()).await;
        diagnosis.note(judge("renew", renewed, |outcome| match outcome {
            RenewOutcome::Renewed(_) => Ok("renewed"),
            RenewOutcome::Lost => Err("a lease that was just granted is lost"),
        }));
        let seen = backend.inspect(key).await;
        diagnosis.note(judge("read", seen, |record| {
            let stands = record.is_some_and(|record| record.holder(&trial.mine.id).is_some());
            stands
                .then_some("the record shows its holder")
                .ok_or("the record does not show its holder")
        }));
        Some(trial)
    }

    /// The next renewal.
    pub(crate) fn renewal(&mut self) -> RenewRequest {
        self.seq += 1;
        RenewRequest::new(&self.mine, self.token, self.seq)
    }

    /// Releases, and lists the keys that start as this one does.
    pub(crate) async fn end(self, diagnosis: &mut Diagnosis) {
        const LIST: &str = "list";
        let key = &self.mine.key;
        let release = ReleaseRequest::new(key, &self.mine.owner, &self.mine.id);
        let released = self.backend.release(&release).await;
        diagnosis.note(judge("release", released, |outcome| match outcome {
            ReleaseOutcome::Released => Ok("released"),
            ReleaseOutcome::NotHeld => Err("a lease that was just renewed is not there"),
        }));
        match self.backend.list(key.as_str(), None).await {
            Ok(_) => {
                diagnosis.note(Check::ok(LIST, "keys may be listed"));
            }
            Err(error) if error.kind() == ErrorKind::Unsupported => {}
            Err(error) => {
                let remedy = "locks do without; to list them, allow `find` in MongoDB, `dynamodb:Scan` in DynamoDB";
                diagnosis.note(Check::optional(LIST, &error, remedy));
            }
        }
    }
}

/// Takes a free lock, and sees that nobody else is given it.
async fn acquire<B: Backend + ?Sized>(
    backend: &B,
    key: &Key,
) -> Result<(AcquireRequest, u64), Check> {
    const NAME: &str = "acquire";
    let request = || -> Result<AcquireRequest> {
        let ttl = Ttl::new(TTL)?;
        Ok(AcquireRequest::new(
            key,
            &Owner::random(),
            Mode::Exclusive,
            ttl,
        ))
    };
    let failed = |error: Error| Check::failed(NAME, &error);
    let mine = request().map_err(failed)?;
    let AcquireOutcome::Granted(grant) = backend.acquire(&mine).await.map_err(failed)? else {
        return Err(unfit(NAME, "a free lock is refused"));
    };
    let other = request().map_err(failed)?;
    match backend.acquire(&other).await.map_err(failed)? {
        AcquireOutcome::Granted(_) => Err(unfit(NAME, "a lock is granted twice")),
        _ => Ok((mine, grant.token)),
    }
}

fn judge<T>(
    name: &'static str,
    outcome: Result<T>,
    is_right: impl FnOnce(T) -> Result<&'static str, &'static str>,
) -> Check {
    match outcome.map(is_right) {
        Ok(Ok(found)) => Check::ok(name, found),
        Ok(Err(found)) => unfit(name, found),
        Err(error) => Check::failed(name, &error),
    }
}

fn unfit(name: &'static str, found: &str) -> Check {
    let remedy = "keep no locks here: this server does not do what it says, or only resembles MongoDB or DynamoDB";
    Check::fail(name, found, remedy)
}
