//! Renewing: one request, judged by the rules when it is refused.

use aws_sdk_dynamodb::types::ReturnValue;

use crate::backend::{RenewOutcome, RenewRequest, passed};
use crate::record::RETENTION;
use crate::rules::{Renewed, ServerTime, renew};
use crate::{Claimant, Error, ErrorKind, Holder, Mode, Result};

use super::DynamoBackend;
use super::acquire::is_verified;
use super::expression::Expression;
use super::grant::mine;
use super::record::{millis, number, seconds, text};
use super::request::Update;

/// How often a write is built anew from what its refusal shows.
pub(super) const TRIES: usize = 4;

impl DynamoBackend {
    pub(super) async fn renew_once(&self, request: &RenewRequest) -> Result<RenewOutcome> {
        let mut time = self.write_time();
        let mut wanted = plain_renewal(request, &time);
        let mut token = Token {
            seen: request.token,
            raise: request.raise_token.filter(|raise| *raise > request.token),
        };
        for _ in 0..TRIES {
            let expression = renewal(request, token.raise, &time);
            let expression = bind(expression, request, &wanted, token.seen, &time);
            let (item, exchange) = match self
                .update(
                    &request.key,
                    request.timeout,
                    &expression,
                    ReturnValue::None,
                )
                .await?
            {
                Update::Applied(_, exchange) => {
                    let validity = self.validity(&exchange, &wanted, request.ttl, request.margin);
                    return Ok(RenewOutcome::Renewed(validity));
                }
                Update::Refused(item, exchange) => (item, exchange),
            };
            let record = self.refused(&request.key, request.timeout, item).await?;
            time = self.write_time();
            match renew(record.as_ref(), request, &time) {
                Renewed::Lost => return Ok(RenewOutcome::Lost),
                Renewed::Passed => return Err(passed()),
                Renewed::Newer { .. } => {
                    let standing = record
                        .as_ref()
                        .and_then(|record| record.holder(&request.id));
                    return Ok(standing.map_or(RenewOutcome::Lost, |standing| {
                        let validity =
                            self.validity(&exchange, standing, standing.ttl, request.margin);
                        RenewOutcome::Renewed(validity)
                    }));
                }
                // Its ttl, or on an unverified clock its expiry, must not be lowered to what was asked for.
                Renewed::Write(next) => {
                    wanted = next.holder(&request.id).cloned().unwrap_or(wanted);
                    let seen = record.map_or(request.token, |record| record.token);
                    let raise = Some(next.token).filter(|token| *token > seen);
                    token = Token { seen, raise };
                }
            }
        }
        Err(changed_too_often())
    }
}

/// The record's token, and what it is to become.
struct Token {
    seen: u64,
    raise: Option<u64>,
}

/// The holder after this renewal if its ttl was not raised before: the plain case.
pub(super) fn plain_renewal(request: &RenewRequest, time: &ServerTime) -> Holder {
    let claimant = Claimant {
        owner: request.owner.clone(),
        id: request.id.clone(),
    };
    let expires_at = time.expiry(request.ttl);
    Holder::new(
        Some(claimant),
        time.stamp,
        expires_at,
        request.ttl,
        request.seq,
    )
}

/// What it does; all the rest is [bound](bind).
pub(super) fn renewal(request: &RenewRequest, raise: Option<u64>, time: &ServerTime) -> Expression {
    let exclusive = request.mode == Mode::Exclusive;
    Expression::renewal(request.restamp, exclusive, !is_verified(time), raise)
}

pub(super) fn bind(
    expression: Expression,
    request: &RenewRequest,
    wanted: &Holder,
    token: u64,
    time: &ServerTime,
) -> Expression {
    let owner = wanted.owner().unwrap_or(&request.owner);
    let purge_at = wanted.expires_at.saturating_add(RETENTION);
    mine(expression, owner, &request.id)
        .value("mode", text(request.mode.name()))
        .value("token", number(token))
        .value("expires", millis(wanted.expires_at))
        .value("ttl", number(wanted.ttl.as_millis()))
        .value("seq", number(wanted.seq))
        .value("purge", seconds(purge_at))
        .value("now", millis(time.stamp))
}

pub(super) fn changed_too_often() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("the record changed {TRIES} times while it was being written: try again"),
    )
}
