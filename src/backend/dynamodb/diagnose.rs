//! Whether this table can keep locks: what rests on something else comes after it.

mod table;

use tokio::time::Instant;

use crate::backend::RenewOutcome;
use crate::diagnosis::{Check, Clocks, Diagnosis, Pings, Trial};
use crate::{ErrorKind, Key, RenewRequest, Result};

use super::error::{Effect, translate};
use super::look::no_time;
use super::{DynamoBackend, READ_TIMEOUT, within};

impl DynamoBackend {
    pub(super) async fn examine(&self, key: &Key) -> Diagnosis {
        let mut diagnosis = Diagnosis::default();
        if !diagnosis.note(self.ping(key).await) {
            return diagnosis;
        }
        diagnosis.note(self.compare_clocks());
        if !self.examine_table(&mut diagnosis).await {
            return diagnosis;
        }
        let Some(mut trial) = Trial::begin(self, key, &mut diagnosis).await else {
            return diagnosis;
        };
        diagnosis.note(self.try_batch(trial.renewal()).await);
        trial.end(&mut diagnosis).await;
        diagnosis.note(Check::traces(key, &self.tidy(key).await));
        diagnosis
    }

    async fn ping(&self, key: &Key) -> Check {
        let mut pings = Pings::default();
        let mut missed = false;
        while !pings.are_enough() {
            let sent = Instant::now();
            let answer = within(READ_TIMEOUT, self.read(key, false, Some(READ_TIMEOUT))).await;
            let is_answer =
                |kind| matches!(kind, ErrorKind::NotSetUp | ErrorKind::PermissionDenied);
            match answer {
                Err(error) if !is_answer(error.kind()) => {
                    // The signature of a clock that is far off is refused once: the SDK learns from the answer.
                    if missed {
                        return Check::unreached(&error);
                    }
                    missed = true;
                }
                _ => {
                    pings.took(sent.elapsed());
                }
            }
        }
        pings.check()
    }

    fn compare_clocks(&self) -> Check {
        let now = self.local.now();
        let Some(interval) = self.estimate().interval(now) else {
            return Check::failed("clock", &no_time("no lock is made"));
        };
        let clocks = Clocks {
            local: now.wall,
            earliest: interval.earliest,
            latest: interval.latest,
        };
        let remedy =
            "set it, and have it synchronised (NTP): DynamoDB accepts no signature of such a clock";
        clocks.check(Some((self.max_skew, remedy)))
    }

    async fn try_batch(&self, renewal: RenewRequest) -> Check {
        const NAME: &str = "batches";
        let told = match self.send_statements(&[renewal], READ_TIMEOUT).await {
            Ok(told) => told,
            Err(error) => return Check::failed(NAME, &error),
        };
        if let Some(Some(Ok(RenewOutcome::Renewed(_)))) = told.first() {
            return Check::ok(NAME, "many leases are renewed by one request");
        }
        Check::warn(
            NAME,
            "refused: each lease is renewed by a request of its own",
            "to spend fewer requests on many leases, allow `dynamodb:PartiQLUpdate`",
        )
    }

    async fn tidy(&self, key: &Key) -> Result<()> {
        let delete = self
            .client
            .delete_item()
            .table_name(&self.table)
            .set_key(Some(self.place.key(&self.keys, key)));
        within(READ_TIMEOUT, async {
            let deleted = delete.send().await;
            deleted.map_err(|error| translate(error, Effect::Writes, self))
        })
        .await
        .map(|_| ())
    }
}
