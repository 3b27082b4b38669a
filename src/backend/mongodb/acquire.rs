//! Acquiring and queueing: one `findAndModify` by which the server decides, and a second one for the rest.

use async_trait::async_trait;
use mongodb::bson::Document;

use super::error::{self, Access};
use super::write::{self, Answer, Upsert};
use super::{MongoBackend, handing, pipeline, turn};
use crate::backend::store::{Seen, Store, Written, whole_ttl};
use crate::backend::{AcquireRequest, Grant, Slot};
use crate::rules::ServerTime;
use crate::time::Timestamp;
use crate::{Error, ErrorKind, Holder, LockRecord, Result};

/// How often a request is sent again whose answer decides nothing.
const ATTEMPTS: usize = 4;

#[async_trait]
impl Store for MongoBackend {
    async fn try_acquire(&self, request: &AcquireRequest) -> Result<Written> {
        // It may be refused where there is no record, and an upsert would leave an empty document.
        let recurs = request.slot.is_some_and(Slot::recurs);
        let upsert = if recurs || request.replaces.is_some() {
            Upsert::No
        } else {
            Upsert::Yes
        };
        let mut duplicates = 0;
        for _ in 0..ATTEMPTS {
            let pipeline = self.first_try(request)?;
            let written = self
                .find_and_modify(&request.key, pipeline, upsert, request.timeout)
                .await;
            match written {
                Ok(Some(answer)) => {
                    if let Some(written) = self.judge(request, &answer)? {
                        return Ok(written);
                    }
                }
                Ok(None) => return self.see_nothing().await,
                // Two first writers of a key: the later one meets the earlier one's record next time.
                Err(error) if error::is_duplicate(&error) => duplicates += 1,
                Err(error) => return Err(self.unsettled(request, error)),
            }
        }
        if duplicates == ATTEMPTS {
            return Err(Error::new(
                ErrorKind::NotSetUp,
                "the database refuses to create this key beside another document: give the locks a collection of \
                 their own, with the simple collation and no unique index but that of `_id`",
            ));
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            "the record changed under every attempt: try again",
        ))
    }

    async fn grant(
        &self,
        request: &AcquireRequest,
        seen: &Seen,
        next: &LockRecord,
    ) -> Result<Written> {
        if !turn::is_turn(request, seen, next) {
            return self.swap(request, seen, next).await;
        }
        let pipeline = turn::turn(request, self.skew)?;
        self.commute(request, seen, next, pipeline).await
    }

    async fn enqueue(
        &self,
        request: &AcquireRequest,
        seen: &Seen,
        next: &LockRecord,
    ) -> Result<Written> {
        if !turn::is_arrival(seen, next) {
            return self.swap(request, seen, next).await;
        }
        let pipeline = turn::enqueue(request)?;
        self.commute(request, seen, next, pipeline).await
    }

    async fn swap(
        &self,
        request: &AcquireRequest,
        seen: &Seen,
        next: &LockRecord,
    ) -> Result<Written> {
        let (pipeline, upsert) = write::swap(&request.key, seen.record.as_ref(), next)?;
        let swapped = self
            .find_and_modify(&request.key, pipeline, upsert, request.timeout)
            .await;
        let answer = match swapped {
            Ok(answer) => answer,
            Err(error) if error::is_duplicate(&error) => None,
            Err(error) => return Err(self.unsettled(request, error)),
        };
        let written = answer
            .map(|answer| self.judge(request, &answer))
            .transpose()?;
        match written.flatten() {
            Some(written) => Ok(written),
            // Removed meanwhile, or an answer without the time: nothing to decide from.
            None => self.try_acquire(request).await,
        }
    }

    async fn recognise(
        &self,
        request: &AcquireRequest,
        seen: &Seen,
        holder: &Holder,
    ) -> Result<Grant> {
        let slot = seen.record.as_ref().and_then(|record| record.slot_started);
        Ok(grant(request, holder, slot))
    }
}

impl MongoBackend {
    /// What the server decides by itself.
    fn first_try(&self, request: &AcquireRequest) -> Result<Vec<Document>> {
        if let Some(replaced) = request.takes_over() {
            handing::handing(request, replaced, self.skew)
        } else if request.replaces.is_some() {
            Ok(write::unchanged())
        } else if request.queued {
            turn::turn(request, self.skew)
        } else {
            pipeline::newcomer(request, self.skew)
        }
    }

    /// Sends what does not need the record to be the one that was seen, or [`swap`](Store::swap)s where the server
    /// leaves that one alone.
    async fn commute(
        &self,
        request: &AcquireRequest,
        seen: &Seen,
        next: &LockRecord,
        pipeline: Vec<Document>,
    ) -> Result<Written> {
        let sent = self
            .find_and_modify(&request.key, pipeline, Upsert::No, request.timeout)
            .await;
        let answer = sent.map_err(|error| self.unsettled(request, error))?;
        let written = answer
            .map(|answer| self.judge(request, &answer))
            .transpose()?;
        match written.flatten() {
            Some(Written::Refused(found)) if found.record == seen.record => {
                self.swap(request, seen, next).await
            }
            Some(written) => Ok(written),
            // Removed meanwhile, or an answer without the time: nothing to decide from.
            None => self.try_acquire(request).await,
        }
    }

    /// There is no record, and nothing was written that could have told the time.
    async fn see_nothing(&self) -> Result<Written> {
        if self.place.is_field() {
            return Err(crate::backend::no_document());
        }
        let now = self.server_time().await;
        let now = now.map_err(|error| error::convert(error, Access::Read))?;
        let time = ServerTime::exact(now, self.skew);
        Ok(Written::Refused(Box::new(Seen { record: None, time })))
    }

    /// Granted if this very acquisition holds in its mode. `None` if the answer does not tell enough.
    fn judge(&self, request: &AcquireRequest, answer: &Answer) -> Result<Option<Written>> {
        let record = self.place.record(&answer.document)?;
        let mine = record
            .as_ref()
            .filter(|record| record.mode.same_kind(request.mode))
            .and_then(|record| record.holder(&request.id));
        if let Some(holder) = mine {
            let slot = record.as_ref().and_then(|record| record.slot_started);
            self.place.keep(&request.id, &answer.document);
            return Ok(Some(Written::Granted(grant(request, holder, slot))));
        }
        let seen = answer.now.map(|now| Seen {
            record,
            time: ServerTime::exact(now, self.skew),
        });
        Ok(seen.map(|seen| Written::Refused(Box::new(seen))))
    }

    /// A write that no majority confirmed: unknown if it granted or queued; what was refused is refused again or not.
    fn unsettled(&self, request: &AcquireRequest, error: mongodb::error::Error) -> Error {
        let answer = error::answer_beside(&error);
        let converted = error::convert(error, Access::Write);
        match answer.map(|answer| self.judge(request, &answer)) {
            Some(Ok(Some(Written::Refused(seen)))) if !queues(request, &seen) => Error::new(
                ErrorKind::Unavailable,
                "held by others, as far as one server knows; no majority confirms it in time: try again",
            )
            .with_source(converted),
            _ => converted,
        }
    }
}

fn grant(request: &AcquireRequest, holder: &Holder, slot: Option<Timestamp>) -> Grant {
    Grant {
        slot: request.slot.and(slot),
        // Decoding wants a token of every holder that has an id.
        token: holder.token.unwrap_or_default(),
        validity: whole_ttl(holder),
    }
}

fn queues(request: &AcquireRequest, seen: &Seen) -> bool {
    let record = seen.record.as_ref();
    record.is_some_and(|record| record.waiter(&request.id).is_some())
}
