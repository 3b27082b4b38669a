//! Reading what stands there, with a time to judge it by.

use std::time::Duration;

use crate::backend::store::{Seen, Written};
use crate::backend::{AcquireRequest, Reason, Slot, no_document};
use crate::rules::{Verdict, admit};
use crate::{Error, ErrorKind, Key, LockRecord, Result};

use super::DynamoBackend;
use super::acquire::{Attempt, is_verified};
use super::record::{Item, decode_to_raise, lingers};
use super::renew::TRIES;

impl Attempt<'_> {
    /// Looks before it writes: a read that may be a little behind costs half a unit, a refused write a whole one.
    ///
    /// What it shows is good enough to wait for, and for a write that names what it rests on. It ends nothing, and
    /// takes back nothing that was told before. `None`: nothing is there, which only a write knows for certain.
    pub(super) async fn look(&self, request: &AcquireRequest) -> Result<Option<Written>> {
        let item = self.get(request, false).await?;
        let seen = self.seen(request, item).await?;
        let is_enough = match admit(seen.record.as_ref(), request, &seen.time) {
            _ if seen.record.is_none() => return Ok(None),
            Verdict::Granted(_) | Verdict::Queued { .. } => true,
            Verdict::Held { contention, .. } => {
                let ends = matches!(contention.reason, Reason::Closed | Reason::Replaced);
                !ends && !request.queued
            }
            Verdict::Existing(_) | Verdict::Skipped(_) => false,
        };
        if is_enough {
            return Ok(Some(Written::Refused(Box::new(seen))));
        }
        self.read(request).await.map(Some)
    }

    /// What an answer shows, with a time to judge it by.
    async fn seen(&self, request: &AcquireRequest, mut item: Option<Item>) -> Result<Seen> {
        let place = &self.backend.place;
        if item.is_none() && place.is_attribute() {
            // Something on the way may have dropped it.
            item = self.get(request, true).await?;
            if item.is_none() {
                return Err(no_document());
            }
        }
        for _ in 0..TRIES {
            let record = place.record(item.as_ref(), decode_to_raise)?;
            if let Some(time) = self.backend.judging_time(record.is_some()) {
                if request.slot.is_some_and(Slot::recurs) && !is_verified(&time) {
                    return Err(no_time("no slot is judged"));
                }
                *self.lingers() = place.record(item.as_ref(), lingers)?.unwrap_or_default();
                return Ok(Seen { record, time });
            }
            item = self.get(request, true).await?;
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            "this machine's clocks jump: try again when they run evenly",
        ))
    }

    async fn get(&self, request: &AcquireRequest, consistent: bool) -> Result<Option<Item>> {
        let timeout = Some(request.timeout);
        self.backend.read(&request.key, consistent, timeout).await
    }

    /// What stands in the way, as an answer shows it.
    pub(super) async fn shown(
        &self,
        request: &AcquireRequest,
        item: Option<Item>,
    ) -> Result<Written> {
        let seen = self.seen(request, item).await?;
        Ok(Written::Refused(Box::new(seen)))
    }

    /// What stands in the way for certain.
    pub(super) async fn read(&self, request: &AcquireRequest) -> Result<Written> {
        let item = self.get(request, true).await?;
        self.shown(request, item).await
    }
}

impl DynamoBackend {
    /// The record of a refused write that needs one to be refused: what `ALL_OLD` brought, or a read.
    pub(super) async fn refused(
        &self,
        key: &Key,
        timeout: Duration,
        item: Option<Item>,
    ) -> Result<Option<LockRecord>> {
        let item = match item {
            Some(item) => Some(item),
            None => self.read(key, true, Some(timeout)).await?,
        };
        self.place.record(item.as_ref(), decode_to_raise)
    }
}

/// What is not done on an unverified clock. The first token of a record could be one that was issued before, and a run
/// could happen twice.
pub(super) fn no_time(what: &str) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!(
            "DynamoDB's responses bring no usable `Date` header, without which {what}: let the proxy in between pass \
             `Date` and `x-amzn-requestid`"
        ),
    )
}
