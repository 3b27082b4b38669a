//! Releasing: one request, judged by the rules when it is refused.

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};

use crate::backend::{ReleaseOutcome, ReleaseRequest};
use crate::rules::{Released, ServerTime, linger, release};
use crate::time::Timestamp;
use crate::{Claimant, LockRecord, Owner, Result};

use super::DynamoBackend;
use super::acquire::is_verified;
use super::expression::{Expression, PURGE};
use super::grant::mine;
use super::record::{holder_entry, linger_key, millis, seconds, text};
use super::renew::{TRIES, changed_too_often};
use super::request::Update;

/// Where the acquisition is believed to stand, and the slot to note.
struct Standing {
    in_queue: bool,
    owner: Owner,
    slot_done: Option<Timestamp>,
}

impl DynamoBackend {
    pub(super) async fn release_once(&self, request: &ReleaseRequest) -> Result<ReleaseOutcome> {
        if !request.queued && !is_verified(&self.write_time()) {
            // When it became free, and how long a rest of it lingers, is for others to believe: not by this machine's
            // clock alone, if an answer tells the time.
            self.read(&request.key, false, Some(request.timeout))
                .await?;
        }
        let mut standing = Standing {
            in_queue: request.queued,
            owner: request.owner.clone(),
            slot_done: request.slot_done,
        };
        for _ in 0..TRIES {
            let time = self.write_time();
            let expression = ending(request, &standing, &time);
            let item = match self
                .update(
                    &request.key,
                    request.timeout,
                    &expression,
                    ReturnValue::None,
                )
                .await?
            {
                Update::Applied(..) => return Ok(ReleaseOutcome::Released),
                Update::Refused(item, _) => item,
            };
            let record = self.refused(&request.key, request.timeout, item).await?;
            match release(record.as_ref(), request, &time) {
                Released::Already => return Ok(ReleaseOutcome::Released),
                Released::NotHeld => return Ok(ReleaseOutcome::NotHeld),
                Released::Write(next) => standing.learn(request, record.as_ref(), &next),
            }
        }
        Err(changed_too_often())
    }
}

impl Standing {
    /// It stands elsewhere than the request says, or a later slot is done: the id is what counts.
    fn learn(&mut self, request: &ReleaseRequest, seen: Option<&LockRecord>, next: &LockRecord) {
        let holder = seen.and_then(|record| record.holder(&request.id));
        let waiter = seen.and_then(|record| record.waiter(&request.id));
        let claimant = match holder {
            Some(holder) => holder.claimant.as_ref(),
            None => waiter.map(|waiter| &waiter.claimant),
        };
        self.in_queue = holder.is_none();
        if let Some(Claimant { owner, .. }) = claimant {
            self.owner.clone_from(owner);
        }
        self.slot_done = request.slot_done.and(next.slot_done);
    }
}

fn ending(request: &ReleaseRequest, standing: &Standing, time: &ServerTime) -> Expression {
    if standing.in_queue {
        return mine(Expression::leave(), &standing.owner, &request.id);
    }
    let linger = linger(request, time);
    let plain = Expression::release(
        linger.is_some(),
        standing.slot_done.is_some(),
        request.attempt,
    );
    let mut expression = mine(plain, &standing.owner, &request.id).value("now", millis(time.stamp));
    if let Some(linger) = &linger {
        expression = expression
            .name("linger", linger_key(&request.id))
            .value("linger", AttributeValue::M(holder_entry(linger)));
    }
    if let Some(slot) = standing.slot_done {
        expression = expression.value("slot", millis(slot));
    }
    if let Some(state) = &request.state {
        expression = expression
            .set("#state = :state")
            .value("state", text(state.as_json()));
    }
    if let Some(keep) = request.kept() {
        let purge_at = time.stamp.saturating_add(keep);
        expression = expression.set(PURGE).value("purge", seconds(purge_at));
    }
    expression
}
