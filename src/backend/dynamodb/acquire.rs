//! Acquiring: the server decides the plain cases in one request, the shared loop the rest.

use std::time::Duration;

use async_trait::async_trait;

use crate::backend::store::{Seen, Store, Written};
use crate::backend::{AcquireRequest, Grant};
use crate::rules::{ServerTime, Verdict, admit};
use crate::{Error, ErrorKind, Holder, Key, LockRecord, Mode, Result};

use super::DynamoBackend;
use super::expression::Expression;
use super::field::Fields;
use super::grant::{mine, new_holder, plain_grant, replacement};
use super::record::{Item, decode, text};
use super::renew::TRIES;
use super::request::{Exchange, Update};

#[async_trait]
impl Store for DynamoBackend {
    async fn try_acquire(&self, request: &AcquireRequest) -> Result<Written> {
        if request.waiting
            && let Some(seen) = self.look(request).await?
        {
            return Ok(Written::Refused(Box::new(seen)));
        }
        let time = self.write_time();
        let creates = request.mode == Mode::Exclusive && is_verified(&time);
        let holder = new_holder(request, &time);
        let expression = plain_grant(request, &holder, &time, creates);
        match self
            .update(&request.key, request.timeout, &expression)
            .await?
        {
            Update::Applied(item, exchange) => self.granted(request, &holder, &item, &exchange),
            // It would have been created: something stands there, and something on the way dropped it.
            Update::Refused(None, _) if creates => self.read_again(request).await,
            Update::Refused(item, _) => self.refusal(request, item).await,
        }
    }

    async fn swap(
        &self,
        request: &AcquireRequest,
        seen: &Seen,
        next: &LockRecord,
    ) -> Result<Written> {
        if seen.record.is_none() && !is_verified(&seen.time) {
            return Err(no_time());
        }
        let expression = replacement(seen, next);
        match self
            .update(&request.key, request.timeout, &expression)
            .await?
        {
            Update::Applied(_, exchange) => Ok(match next.holder(&request.id) {
                Some(holder) => Written::Granted(Grant {
                    token: next.token,
                    validity: self.validity(&exchange, holder, request.ttl, request.margin),
                }),
                None => Written::Refused(Box::new(Seen {
                    record: Some(next.clone()),
                    time: seen.time,
                })),
            }),
            Update::Refused(None, _) => self.read_again(request).await,
            Update::Refused(item, _) => self.refusal(request, item).await,
        }
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
            let validity = self.validity_at(seen.time.stamp, holder, holder.ttl, request.margin);
            return Ok(Grant {
                token: record.token,
                validity,
            });
        }
        let owner = holder.owner().unwrap_or(&request.owner);
        let expression = mine(Expression::retoken(), owner, &request.id)
            .value("mode", text(request.mode.name()));
        let update = self
            .update(&request.key, request.timeout, &expression)
            .await?;
        if let Update::Applied(item, exchange) = update {
            let record = decode(&item)?;
            if let Some(holder) = record.holder(&request.id) {
                let validity = self.validity(&exchange, holder, holder.ttl, request.margin);
                return Ok(Grant {
                    token: record.token,
                    validity,
                });
            }
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            "the record changed while its grant was being read: try again",
        ))
    }
}

impl DynamoBackend {
    /// Looks before it writes: a read costs half a unit, a refused write a whole one. `None`: the plain write is
    /// worth a try, or what stands there must be read consistently.
    async fn look(&self, request: &AcquireRequest) -> Result<Option<Seen>> {
        let item = self
            .read(&request.key, false, Some(request.timeout))
            .await?;
        let seen = self.seen(request, item).await?;
        let worth_it = match (
            &seen.record,
            admit(seen.record.as_ref(), request, &seen.time),
        ) {
            (Some(record), Verdict::Granted(next)) => {
                next.holders.len() == record.holders.len() + 1
                    && next.queue.len() == record.queue.len()
            }
            (None, _) | (_, Verdict::Existing(_)) => true,
            (_, Verdict::Held { .. }) => false,
        };
        Ok((!worth_it).then_some(seen))
    }

    /// What an answer shows, with a time to judge it by.
    async fn seen(&self, request: &AcquireRequest, mut item: Option<Item>) -> Result<Seen> {
        for _ in 0..TRIES {
            let record = item.as_ref().map(decode).transpose()?;
            if let Some(time) = self.judging_time(record.as_ref()) {
                return Ok(Seen { record, time });
            }
            item = self.read(&request.key, true, Some(request.timeout)).await?;
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            "this machine's clocks jump: try again when they run evenly",
        ))
    }

    async fn refusal(&self, request: &AcquireRequest, item: Option<Item>) -> Result<Written> {
        let seen = self.seen(request, item).await?;
        Ok(Written::Refused(Box::new(seen)))
    }

    async fn read_again(&self, request: &AcquireRequest) -> Result<Written> {
        let item = self.read(&request.key, true, Some(request.timeout)).await?;
        self.refusal(request, item).await
    }

    /// A plain grant's token and validity. The rest of the item is not read: the grant stands whatever is in it.
    fn granted(
        &self,
        request: &AcquireRequest,
        holder: &Holder,
        item: &Item,
        exchange: &Exchange,
    ) -> Result<Written> {
        let token = Fields::of(item).unsigned("token")?;
        let validity = self.validity(exchange, holder, request.ttl, request.margin);
        Ok(Written::Granted(Grant { token, validity }))
    }

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
        item.as_ref().map(decode).transpose()
    }
}

/// No record is created on an unverified clock: its first token could be one that was issued before.
fn no_time() -> Error {
    Error::new(
        ErrorKind::Unsupported,
        "DynamoDB's responses bring no usable `Date` header, without which no lock is created: let the proxy in \
         between pass `Date` and `x-amzn-requestid`",
    )
}

pub(super) fn is_verified(time: &ServerTime) -> bool {
    !time.keep_later_expiry
}
