//! The rules applied to a record that was read, and written as a whole: what an `update` with a plain filter leaves.

use std::time::Duration;

use super::error::{self, Access};
use super::{MongoBackend, write};
use crate::rules::ServerTime;
use crate::time::Timestamp;
use crate::{Error, ErrorKind, Key, LockRecord, Result};

/// How often a decision is taken anew after somebody else's write.
const SWAPS: usize = 8;

/// What the rules say of a record.
pub(super) enum Decision<T> {
    /// That is the outcome; nothing is written.
    Done(T),
    /// That is the outcome once this record stands in place of the one that was seen.
    Write(Box<LockRecord>, T),
}

impl MongoBackend {
    /// Looks, decides, and writes if the record is still the same.
    pub(super) async fn decide<T: Send>(
        &self,
        key: &Key,
        timeout: Duration,
        rules: impl Fn(Option<&LockRecord>, &ServerTime) -> Decision<T> + Send + Sync,
    ) -> Result<T> {
        let mut answer = self.look(key, timeout).await;
        let mut wanted = None;
        for _ in 0..SWAPS {
            let answered = answer.map_err(|error| error::convert(error, Access::Write))?;
            let seen = answered
                .as_ref()
                .map(|answer| self.place.record(&answer.document));
            let seen = seen.transpose()?.flatten();
            if let Some((next, outcome)) = wanted.take()
                && seen.as_ref() == Some(&next)
            {
                return Ok(outcome);
            }
            let now = match &answered {
                Some(answer) => answer.now,
                // No rule asks for the time of nothing.
                None => Some(Timestamp::default()),
            };
            let Some(now) = now else {
                answer = self.look(key, timeout).await;
                continue;
            };
            let (next, outcome) = match rules(seen.as_ref(), &ServerTime::exact(now, self.skew)) {
                Decision::Done(outcome) => return Ok(outcome),
                Decision::Write(next, outcome) => (self.place.stored(*next), outcome),
            };
            let (pipeline, upsert) = write::swap(key, seen.as_ref(), &next)?;
            answer = self.find_and_modify(key, pipeline, upsert, timeout).await;
            wanted = Some((next, outcome));
        }
        Err(Error::new(
            ErrorKind::OutcomeUnknown,
            format!("the record changed {SWAPS} times while it was being decided: try again"),
        ))
    }
}
