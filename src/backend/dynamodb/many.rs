//! Renewing many: statements of `PartiQL`, in batches.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use aws_sdk_dynamodb::error::{BuildError, ProvideErrorMetadata};
use aws_sdk_dynamodb::types::{
    BatchStatementError, BatchStatementErrorCodeEnum, BatchStatementRequest,
};
use futures_util::future::join_all;
use tokio::time::Instant;

use crate::backend::{Backend, RenewOutcome, RenewRequest, fail_all, hurried, left, shortest};
use crate::rules::ServerTime;
use crate::{Holder, Key, Result};

use super::DynamoBackend;
use super::error::{of_statement, translate};
use super::expression::Expression;
use super::renew::{bind, plain_renewal, renewal};
use super::request::{Tap, once};
use super::statement::Template;

/// How many statements a request may have.
const BATCH: usize = 25;

impl DynamoBackend {
    pub(super) fn statements_at_once(&self) -> usize {
        if self.place.is_attribute() || self.no_batches.load(Ordering::Relaxed) {
            return 1;
        }
        BATCH
    }

    /// Each batch has the time of the request that has the least.
    pub(super) async fn renew_all(&self, requests: &[RenewRequest]) -> Vec<Result<RenewOutcome>> {
        let mut outcomes: Vec<_> = requests.iter().map(|_| None).collect();
        let batches = batches(requests, self.statements_at_once())
            .into_iter()
            .map(async |batch| {
                let of_batch: Vec<_> = batch
                    .iter()
                    .filter_map(|index| requests.get(*index).cloned())
                    .collect();
                (batch, self.renew_batch(&of_batch).await)
            });
        for (batch, done) in join_all(batches).await {
            for (index, outcome) in batch.into_iter().zip(done) {
                if let Some(place) = outcomes.get_mut(index) {
                    *place = Some(outcome);
                }
            }
        }
        outcomes.into_iter().flatten().collect()
    }

    async fn renew_batch(&self, requests: &[RenewRequest]) -> Vec<Result<RenewOutcome>> {
        if let [request] = requests {
            return vec![self.renew(request).await];
        }
        let end = Instant::now() + shortest(requests);
        let told = match self.send_statements(requests, left(end)).await {
            Ok(told) => told,
            Err(error) => return fail_all(requests, error),
        };
        let told = told.into_iter().chain(std::iter::repeat_with(|| None));
        let outcomes = requests
            .iter()
            .zip(told)
            .map(async |(request, told)| match told {
                Some(told) => {
                    told.map_err(|error| error.with_operation("renew").with_key(&request.key))
                }
                None => self.renew(&hurried(request, left(end))).await,
            });
        join_all(outcomes).await
    }

    /// What became of each, as far as the answer says: whatever else is wrong with one, a renewal of its own finds out.
    pub(super) async fn send_statements(
        &self,
        requests: &[RenewRequest],
        timeout: Duration,
    ) -> Result<Vec<Option<Result<RenewOutcome>>>> {
        let time = self.write_time();
        let wanted: Vec<Holder> = requests
            .iter()
            .map(|request| plain_renewal(request, &time))
            .collect();
        let Ok(statements) = self.statements(requests, &wanted, &time) else {
            return Ok(Vec::new());
        };
        let tap = Tap::new(&self.local);
        let sent = self
            .client
            .batch_execute_statement()
            .set_statements(Some(statements))
            .customize()
            .config_override(tap.listening(once(timeout)))
            .send()
            .await;
        let exchange = self.observe(&tap);
        let output = match sent {
            Ok(output) => output,
            Err(error) => {
                let refused = error.code().is_some_and(is_forbidden);
                let error = translate(error, tap.effect(), self);
                if refused {
                    self.give_up_batches();
                }
                return if error.is_transient() {
                    Err(error)
                } else {
                    Ok(Vec::new())
                };
            }
        };
        let told = output
            .responses
            .unwrap_or_default()
            .into_iter()
            .zip(requests.iter().zip(&wanted));
        Ok(told
            .map(|(response, (request, wanted))| match response.error {
                None => {
                    let validity = self.validity(&exchange, wanted, request.ttl, request.margin);
                    Some(Ok(RenewOutcome::Renewed(validity)))
                }
                Some(error) => self.failed(&error).map(Err),
            })
            .collect())
    }

    /// Nearly all of a statement's text is the same for most requests, and built only once.
    fn statements(
        &self,
        requests: &[RenewRequest],
        wanted: &[Holder],
        time: &ServerTime,
    ) -> Result<Vec<BatchStatementRequest>, BuildError> {
        let mut templates = HashMap::new();
        let statement = |(request, wanted): (&RenewRequest, &Holder)| {
            let form = (request.mode, request.restamp);
            let template = templates.entry(form).or_insert_with(|| {
                let expression = renewal(request, None, time).unscheduled(request.mode);
                Template::new(&self.table, &self.keys, &expression)
            });
            let lease = bind(Expression::default(), request, wanted, request.token, time);
            let key = self.keys.of(&request.key);
            let (statement, parameters) = template.statement(&key, &lease);
            BatchStatementRequest::builder()
                .statement(statement)
                .set_parameters(Some(parameters))
                .build()
        };
        requests.iter().zip(wanted).map(statement).collect()
    }

    fn failed(&self, error: &BatchStatementError) -> Option<crate::Error> {
        if error.code() == Some(&BatchStatementErrorCodeEnum::AccessDenied) {
            self.give_up_batches();
        }
        of_statement(error, self)
    }

    fn give_up_batches(&self) {
        if !self.no_batches.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                db.collection.name = self.table,
                "DynamoDB does not allow these credentials to renew leases in batches, so each is renewed by a request of \
                 its own: allow `dynamodb:PartiQLUpdate`"
            );
        }
    }
}

/// For good: credentials that expired are none of it.
fn is_forbidden(code: &str) -> bool {
    matches!(
        code,
        "AccessDeniedException" | "AccessDenied" | "UnknownOperationException"
    )
}

/// Which requests go into which batch, by their indexes: no two of one key, for the whole request would fail. One that
/// a statement cannot say goes by itself.
fn batches(requests: &[RenewRequest], size: usize) -> Vec<Vec<usize>> {
    let mut batches: Vec<(HashSet<&Key>, Vec<usize>)> = Vec::new();
    let mut alone = Vec::new();
    for (index, request) in requests.iter().enumerate() {
        if request.raise_token.is_some() || size == 1 {
            alone.push(vec![index]);
            continue;
        }
        let has_room = |(keys, batch): &&mut (HashSet<&Key>, Vec<usize>)| {
            batch.len() < size && !keys.contains(&request.key)
        };
        match batches.iter_mut().find(has_room) {
            Some((keys, batch)) => {
                keys.insert(&request.key);
                batch.push(index);
            }
            None => batches.push((HashSet::from([&request.key]), vec![index])),
        }
    }
    batches
        .into_iter()
        .map(|(_, batch)| batch)
        .chain(alone)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::AcquireRequest;
    use crate::{Mode, Owner, Ttl};

    fn requests(keys: &[&str]) -> Vec<RenewRequest> {
        let ttl = Ttl::new(Duration::from_secs(30)).unwrap();
        let renewal = |key: &&str| {
            let key = Key::new(*key).unwrap();
            RenewRequest::new(
                &AcquireRequest::new(&key, &Owner::random(), Mode::Shared, ttl),
                1,
                2,
            )
        };
        keys.iter().map(renewal).collect()
    }

    #[test]
    fn no_batch_has_a_key_twice_or_too_many() {
        let mixed = requests(&["a", "b", "a", "c", "a", "d"]);
        assert_eq!(
            batches(&mixed, 3),
            [[0, 1, 3].to_vec(), [2, 5].to_vec(), [4].to_vec()]
        );
        assert_eq!(
            batches(&requests(&["a", "b", "c", "d"]), 3),
            [[0, 1, 2].to_vec(), [3].to_vec()]
        );
        assert!(batches(&[], 3).is_empty());
    }

    #[test]
    fn where_there_are_no_batches_each_is_by_itself() {
        assert_eq!(batches(&requests(&["a", "b"]), 1), [[0], [1]]);
        let mut raised = requests(&["a", "b", "c"]);
        raised[1].raise_token = Some(9);
        assert_eq!(batches(&raised, 25), [[0, 2].to_vec(), [1].to_vec()]);
    }
}
