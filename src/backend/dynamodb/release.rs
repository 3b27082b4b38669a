//! Releasing: one request, judged by the rules when it is refused.

use crate::Result;
use crate::backend::{ReleaseOutcome, ReleaseRequest};
use crate::rules::{Released, release};

use super::DynamoBackend;
use super::expression::Expression;
use super::grant::mine;
use super::record::millis;
use super::renew::{TRIES, changed_too_often};
use super::request::Update;

impl DynamoBackend {
    pub(super) async fn release_once(&self, request: &ReleaseRequest) -> Result<ReleaseOutcome> {
        let mut owner = request.owner.clone();
        for _ in 0..TRIES {
            let time = self.write_time();
            let expression =
                mine(Expression::release(), &owner, &request.id).value("now", millis(time.stamp));
            let item = match self
                .update(&request.key, request.timeout, &expression)
                .await?
            {
                Update::Applied(..) => return Ok(ReleaseOutcome::Released),
                Update::Refused(item, _) => item,
            };
            let record = self.refused(&request.key, request.timeout, item).await?;
            match release(record.as_ref(), request, &time) {
                Released::Already => return Ok(ReleaseOutcome::Released),
                Released::NotHeld => return Ok(ReleaseOutcome::NotHeld),
                // It stands under another owner than the request names: the id is what counts.
                Released::Write(_) => {
                    let standing = record
                        .as_ref()
                        .and_then(|record| record.holder(&request.id));
                    let claimant = standing.and_then(|holder| holder.claimant.clone());
                    owner = claimant.map_or(owner, |claimant| claimant.owner);
                }
            }
        }
        Err(changed_too_often())
    }
}
