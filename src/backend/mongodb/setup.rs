//! What a collection needs, and whether the server can do the work.

use std::time::Duration;

use mongodb::IndexModel;
use mongodb::bson::{Document, doc};
use mongodb::error::{Error as Native, ErrorKind as NativeKind};
use mongodb::options::IndexOptions;

use super::MongoBackend;
use super::error::{self, Access};
use crate::backend::store::{self, Store, Written};
use crate::backend::{
    AcquireOutcome, AcquireRequest, ReleaseOutcome, ReleaseRequest, RenewOutcome, RenewRequest,
};
use crate::{Error, ErrorKind, Key, LeaseId, Mode, Owner, Result, Ttl};

/// An index of the same fields or the same name, with other options.
const INDEX_CONFLICTS: [i32; 2] = [85, 86];

impl MongoBackend {
    pub(super) async fn prepare(&self) -> Result<()> {
        self.create_index().await?;
        let (lower, upper) = probe_keys()?;
        let probed = self.probe(&lower, &upper).await;
        if let Err(error) = self.remove(&[&lower, &upper]).await {
            tracing::debug!(error = %error.kind, "the documents of the probe stay until they are purged");
        }
        probed
    }

    async fn create_index(&self) -> Result<()> {
        let options = IndexOptions::builder().expire_after(Duration::ZERO).build();
        let index = IndexModel::builder()
            .keys(doc! { "purgeAt": 1_i32 })
            .options(options)
            .build();
        match self.collection.create_index(index).await {
            Ok(_) => Ok(()),
            Err(error) if conflicts(&error) => Err(Error::new(
                ErrorKind::NotSetUp,
                "there is another index on `purgeAt`, so released locks are never collected or too early: drop it and \
                 call `setup()` again",
            )
            .with_source(*error.kind)),
            Err(error) => Err(error::convert(error, Access::Write)),
        }
    }

    /// Locks, meets a lock, renews and releases. A server that only resembles MongoDB shows it here, and not by letting
    /// two in.
    async fn probe(&self, lower: &Key, upper: &Key) -> Result<()> {
        let ttl = Ttl::new(Duration::from_secs(10))?;
        // A server that does not know `$literal` stores the whole document instead.
        let mine = AcquireRequest::new(lower, &Owner::new("$$ROOT")?, Mode::Exclusive, ttl);
        let Written::Granted(grant) = self.try_acquire(&mine).await? else {
            return Err(differs("refuses a free lock"));
        };
        let other = AcquireRequest::new(lower, &Owner::random(), Mode::Exclusive, ttl);
        if let AcquireOutcome::Granted(_) = store::acquire(self, &other).await? {
            return Err(differs("grants a lock twice"));
        }
        let renewal = RenewRequest::new(&mine, grant.token, mine.seq + 1);
        if self.renew_once(&renewal).await? == RenewOutcome::Lost {
            return Err(differs("loses a lock"));
        }
        let release = ReleaseRequest::new(lower, &mine.owner, &mine.id);
        if self.release_once(&release).await? != ReleaseOutcome::Released {
            return Err(differs("does not release a lock"));
        }
        // Refused where the collection's collation is blind to case.
        let beside = AcquireRequest::new(upper, &Owner::random(), Mode::Exclusive, ttl);
        match self.try_acquire(&beside).await? {
            Written::Granted(_) => Ok(()),
            Written::Refused(_) => Err(differs("refuses a free lock")),
        }
    }

    /// What cannot be removed is collected by its `purgeAt`.
    pub(super) async fn remove(&self, keys: &[&Key]) -> mongodb::error::Result<()> {
        let names: Vec<_> = keys.iter().map(|key| key.as_str()).collect();
        let filter: Document = doc! { "_id": { "$in": names } };
        self.collection.delete_many(filter).await.map(|_| ())
    }
}

fn probe_keys() -> Result<(Key, Key)> {
    let name = format!("doclock-setup-{}", LeaseId::random());
    Ok((Key::new(&name)?, Key::new(name.to_uppercase())?))
}

fn conflicts(error: &Native) -> bool {
    matches!(&*error.kind, NativeKind::Command(command) if INDEX_CONFLICTS.contains(&command.code))
}

fn differs(what: &str) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!(
            "this server {what}: use MongoDB 5.0 or newer; one that only resembles it cannot keep locks"
        ),
    )
}
