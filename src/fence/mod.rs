//! Fenced writes: the write itself checks the lock, in the very same database request.
//!
//! A lock alone cannot stop a late write: a process can be paused between its last look at the lease and the write. With a
//! fence, every guarded write leaves the lease's token in a field of the document, and is applied only if no newer token
//! has written there. The paused holder's write then finds its successor's token, and is refused by the database.
//!
//! ```no_run
//! # #[cfg(feature = "mongodb")]
//! # async fn example(locks: doclock::LockClient, items: mongodb::Collection<mongodb::bson::Document>) -> doclock::Result<()> {
//! use doclock::fence::Guarded;
//! use mongodb::bson::doc;
//!
//! let lease = locks.lock("item:42").acquire().await?;
//! let fence = lease.fence().mongodb()?;
//! let deducted = fence
//!     .guarded_update_one(&items, doc! { "_id": 42 }, doc! { "$inc": { "stock": -1 } }, None)
//!     .await?;
//! if let Guarded::Fenced = deducted {
//!     // Somebody newer has the lock, and has written: stop.
//! }
//! # Ok(()) }
//! ```
//!
//! # What it does not protect
//!
//! * **Documents that the newer holder has not written yet.** Until then the old holder's write is as good as any: nothing
//!   in the document tells. Who reads, computes and writes back therefore reads by a guarded write too
//!   ([`guarded_find_one_and_update`](mongodb::MongoFence::guarded_find_one_and_update) with an empty update, or
//!   [`guarded_update`](dynamodb::DynamoFence::guarded_update) that asks for the new values): from then on no older holder
//!   can change it.
//! * **Deleted documents.** A delete takes the fence along: an older holder may create the document again. Mark it as
//!   deleted instead, if that matters.
//! * **Writers without the fence.** They are not refused, and leave the old token behind.
//!
//! Where that is not enough, or several documents change together, use a transaction that checks the lock record itself:
//! [`MongoFence::transaction`](mongodb::MongoFence::transaction), or
//! [`Lease::condition_check`](crate::Lease::condition_check) on DynamoDB. It needs the lock and the data in one database.
//!
//! Only exclusive leases have a fence: of two that hold at once, each would refuse the other's writes.
//!
//! ```compile_fail
//! async fn example(lease: doclock::Lease<doclock::Shared>) {
//!     let _ = lease.fence();
//! }
//! ```

#[cfg(feature = "dynamodb")]
pub mod dynamodb;
#[cfg(feature = "mongodb")]
pub mod mongodb;

use crate::{Error, ErrorKind, Lease, Result};

/// The field that keeps the token, unless [`Fence::field`] names another.
const FIELD: &str = "fence";

/// What became of a guarded write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a write that was refused has changed nothing"]
pub enum Guarded<T> {
    /// It was carried out, as the same write without a guard would have been.
    Applied(T),
    /// A newer holder has written there: nothing was changed, and whatever else the lock protected is not ours any more.
    Fenced,
}

impl<T> Guarded<T> {
    /// What the write answered; `None` if it was refused.
    pub fn applied(self) -> Option<T> {
        match self {
            Self::Applied(answer) => Some(answer),
            Self::Fenced => None,
        }
    }
}

/// The guard of an exclusive lease, for one of the databases. Made by [`Lease::fence`]; see the [module](self).
#[derive(Debug)]
pub struct Fence<'a> {
    lease: &'a Lease,
    field: String,
}

impl Lease {
    /// Guards writes: what a newer holder has written is not overwritten by this one, however late its write arrives.
    ///
    /// The data may lie in any collection or table, of any client, and in another database than the lock.
    #[must_use]
    pub fn fence(&self) -> Fence<'_> {
        Fence {
            lease: self,
            field: FIELD.to_owned(),
        }
    }
}

impl Fence<'_> {
    /// The field of the data that keeps the token. Default: `fence`.
    ///
    /// One field belongs to one lock: documents that several locks protect need one for each, or a transaction.
    #[must_use]
    pub fn field(mut self, name: impl Into<String>) -> Self {
        self.field = name.into();
        self
    }

    /// The token, once the field's name is known to be one.
    fn checked(&self) -> Result<i64> {
        let name = self.field.as_str();
        if name.is_empty() || name.starts_with('$') || name.contains(['.', '\0']) || name == "_id" {
            return Err(invalid(format!(
                "`{}` cannot keep a fencing token: name a field of the document itself, without `.` and not with `$` at the \
                 start, and not `_id`",
                name.escape_default()
            )));
        }
        number(self.lease)
    }
}

/// The token as the databases keep it.
fn number(lease: &Lease) -> Result<i64> {
    i64::try_from(lease.token()).map_err(|_| Error::corrupt("token", "is at the end of its range"))
}

/// An error if the lease is lost. Asked last before a request is sent.
fn held(lease: &Lease) -> Result<()> {
    if lease.is_held() {
        return Ok(());
    }
    lease.hold.state.check()
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}

/// The data has something else where the token should be.
fn no_token(field: &str, what: impl std::fmt::Display) -> Error {
    Error::new(
        ErrorKind::CorruptRecord,
        format!(
            "field `{field}` of the data is {what}, where a fencing token would be a whole number: nothing was written. \
             Name another field by `Fence::field`, or remove this one"
        ),
    )
}
