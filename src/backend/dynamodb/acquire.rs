//! Acquiring: the server decides the plain cases in one request, the shared loop the rest.

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use aws_sdk_dynamodb::types::ReturnValue;

use crate::backend::store::{Seen, Store, Written};
use crate::backend::{AcquireRequest, Grant, Slot};
use crate::rules::ServerTime;
use crate::{Error, ErrorKind, Holder, LockRecord, Mode, Result};

use super::DynamoBackend;
use super::claim::{Lingers, claim};
use super::expression::Expression;
use super::field::Fields;
use super::grant::{mine, new_holder, plain_grant};
use super::look::no_time;
use super::queue::place;
use super::record::{Item, decode, text};
use super::request::{Exchange, Update};

/// One attempt to acquire.
pub(super) struct Attempt<'a> {
    pub(super) backend: &'a DynamoBackend,
    /// Where the rests of minimum holds stand in the item that was seen last.
    lingers: Mutex<Lingers>,
}

#[async_trait]
impl Store for Attempt<'_> {
    async fn try_acquire(&self, request: &AcquireRequest) -> Result<Written> {
        if let Some(replaced) = request.takes_over() {
            return self.hand_over(request, replaced).await;
        }
        // Which slot it is cannot be told before an answer told the time, nor what a lease is to take the place of
        // without the record.
        if request.slot.is_some_and(Slot::recurs) || request.replaces.is_some() {
            return self.read(request).await;
        }
        if request.waiting
            && let Some(seen) = self.look(request).await?
        {
            return Ok(seen);
        }
        let time = self.backend.write_time();
        // A token below the server's time may be asked for of a record that exists only.
        let is_first_token = request.token_floor == 0 || request.token_floor >= time.token_floor;
        let creates = request.mode == Mode::Exclusive
            && is_verified(&time)
            && is_first_token
            && !self.backend.place.is_attribute();
        let holder = new_holder(request, &time);
        let expression = plain_grant(request, &holder, &time, creates);
        match self.update(request, &expression).await? {
            Update::Applied(item, exchange) => self.granted(request, &holder, &item, &exchange),
            // It would have been created: something stands there, and something on the way dropped it.
            Update::Refused(None, _) if creates => self.read(request).await,
            Update::Refused(item, _) => self.shown(request, item).await,
        }
    }

    async fn grant(
        &self,
        request: &AcquireRequest,
        seen: &Seen,
        next: &LockRecord,
    ) -> Result<Written> {
        let known = self.lingers().clone();
        match claim(request, seen, next, known) {
            Some(expression) => self.write(request, &expression, next).await,
            None => self.swap(request, seen, next).await,
        }
    }

    async fn enqueue(
        &self,
        request: &AcquireRequest,
        seen: &Seen,
        next: &LockRecord,
    ) -> Result<Written> {
        let record = seen.record.as_ref();
        match record.and_then(|record| place(request, record, next)) {
            Some(expression) => self.write(request, &expression, next).await,
            None => self.swap(request, seen, next).await,
        }
    }

    async fn swap(
        &self,
        request: &AcquireRequest,
        seen: &Seen,
        next: &LockRecord,
    ) -> Result<Written> {
        if seen.record.is_none() && !is_verified(&seen.time) {
            return Err(no_time("no lock is created"));
        }
        let expression = self.backend.place.replacement(seen, next);
        self.write(request, &expression, next).await
    }

    /// A sharer's token may have been followed by others: it gets a new one.
    async fn recognise(
        &self,
        request: &AcquireRequest,
        seen: &Seen,
        holder: &Holder,
    ) -> Result<Grant> {
        if let (Mode::Exclusive, Some(record)) = (request.mode, &seen.record) {
            // It bounds the server's time of this answer as its `Date` does.
            let validity =
                self.backend
                    .validity_at(seen.time.stamp, holder, holder.ttl, request.margin);
            return Ok(Grant {
                token: record.token,
                validity,
                slot: request.slot.and(record.slot_started),
            });
        }
        let owner = holder.owner().unwrap_or(&request.owner);
        let expression = mine(Expression::retoken(), owner, &request.id)
            .value("mode", text(request.mode.name()));
        if let Update::Applied(item, exchange) = self.update(request, &expression).await? {
            let record = self.backend.place.record(Some(&item), decode)?;
            if let Some(record) = &record
                && let Some(holder) = record.holder(&request.id)
            {
                let validity = self
                    .backend
                    .validity(&exchange, holder, holder.ttl, request.margin);
                return Ok(Grant {
                    token: record.token,
                    validity,
                    slot: request.slot.and(record.slot_started),
                });
            }
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            "the record changed while its grant was being read: try again",
        ))
    }
}

impl<'a> Attempt<'a> {
    pub(super) fn new(backend: &'a DynamoBackend) -> Self {
        Self {
            backend,
            lingers: Mutex::default(),
        }
    }

    pub(super) fn lingers(&self) -> MutexGuard<'_, Lingers> {
        self.lingers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn update(
        &self,
        request: &AcquireRequest,
        expression: &Expression,
    ) -> Result<Update> {
        let (key, timeout) = (&request.key, request.timeout);
        let sent = self
            .backend
            .update(key, timeout, expression, ReturnValue::AllNew);
        sent.await
    }

    /// Writes what was decided, `next` or the part of it that is mine.
    async fn write(
        &self,
        request: &AcquireRequest,
        expression: &Expression,
        next: &LockRecord,
    ) -> Result<Written> {
        match (
            self.update(request, expression).await?,
            next.holder(&request.id),
        ) {
            (Update::Applied(item, exchange), Some(holder)) => {
                self.granted(request, holder, &item, &exchange)
            }
            // What others did meanwhile counts as well: it may be my turn now.
            (Update::Applied(item, _), None) => self.shown(request, Some(item)).await,
            (Update::Refused(None, _), _) => self.read(request).await,
            (Update::Refused(item, _), _) => self.shown(request, item).await,
        }
    }

    /// A grant's token and validity. The rest of the item is not read: the grant stands whatever is in it.
    pub(super) fn granted(
        &self,
        request: &AcquireRequest,
        holder: &Holder,
        item: &Item,
        exchange: &Exchange,
    ) -> Result<Written> {
        let place = &self.backend.place;
        let told = |item: &Item| {
            let fields = Fields::of(item);
            let slot = request.slot.map(|_| fields.time("slot_started"));
            Ok((fields.unsigned("token")?, slot.transpose()?))
        };
        let (token, slot) = place.record(Some(item), told)?.unwrap_or_default();
        place.keep(&request.id, item);
        Ok(Written::Granted(Grant {
            token,
            validity: self
                .backend
                .validity(exchange, holder, request.ttl, request.margin),
            slot,
        }))
    }
}

pub(super) fn is_verified(time: &ServerTime) -> bool {
    !time.keep_later_expiry
}
