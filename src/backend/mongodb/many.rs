//! Renewing many: one `update` command of many statements.
//!
//! The driver neither retries nor checks what it sends by `run_command`: whatever the answer does not say of a renewal
//! beyond doubt is found out by a look, and else by a renewal of its own.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures_util::TryStreamExt;
use futures_util::future::join_all;
use mongodb::bson::{Bson, Deserializer, Document, RawArrayBuf, RawDocumentBuf, doc, rawdoc};
use mongodb::error::{
    Error as Native, ErrorKind as NativeKind, Result as NativeResult, WriteConcernError,
    WriteError, WriteFailure,
};
use mongodb::options::ReadConcern;
use serde::Deserialize;
use tokio::time::Instant;

use super::error::{self, Access};
use super::list::primary;
use super::renew::{Form, renewed, shared, values};
use super::{MongoBackend, write};
use crate::backend::{
    Backend, RenewOutcome, RenewRequest, fail_all, hurried, left, shortest, within,
};
use crate::{Error, ErrorKind, Key, LeaseId, Result};

/// How many statements a command has. One takes the server some 0.1 ms and the wire some 5 KB: the first of so many does
/// not wait long for the last, and all stay far below the 16 MB of a command; while its round trip and its wait for a
/// majority are shared by so many that more would gain nothing.
pub(super) const BATCH: usize = 250;

/// What the server says of a command.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Reply {
    n_modified: usize,
    write_errors: Vec<Document>,
    write_concern_error: Option<WriteConcernError>,
}

/// What a command did to its statements, as far as its answer says.
#[derive(Debug, Default)]
struct Told {
    failed: HashMap<usize, Error>,
    /// Every statement that did not fail changed its document.
    complete: bool,
}

impl MongoBackend {
    /// Each batch has the time of the request that has the least.
    pub(super) async fn renew_all(&self, requests: &[RenewRequest]) -> Vec<Result<RenewOutcome>> {
        let batches = requests.chunks(BATCH).map(|batch| self.renew_batch(batch));
        join_all(batches).await.into_iter().flatten().collect()
    }

    async fn renew_batch(&self, requests: &[RenewRequest]) -> Vec<Result<RenewOutcome>> {
        if let [request] = requests {
            return vec![self.renew(request).await];
        }
        let told = self.tell(requests).await;
        told.unwrap_or_else(|error| fail_all(requests, error))
    }

    /// The outcome of each; an error if what became of all is unknown, or if they may be sent again.
    async fn tell(&self, requests: &[RenewRequest]) -> Result<Vec<Result<RenewOutcome>>> {
        let end = Instant::now() + shortest(requests);
        let updated = within(left(end), self.update_all(requests, left(end))).await;
        let mut told = unless_transient(updated)?;
        let mut standing = HashSet::new();
        if !told.complete {
            standing = unless_transient(within(left(end) / 2, self.standing(requests)).await)?;
        }
        let outcomes = requests.iter().enumerate().map(|(index, request)| {
            let failed = told.failed.remove(&index);
            let stands = told.complete
                || standing.contains(&identity(&self.filter(request), &request.id, request.seq));
            async move {
                match failed {
                    Some(error) => Err(error.with_operation("renew").with_key(&request.key)),
                    None if stands => Ok(renewed(request, request.seq)),
                    None => self.renew(&hurried(request, left(end))).await,
                }
            }
        });
        Ok(join_all(outcomes).await)
    }

    async fn update_all(&self, requests: &[RenewRequest], timeout: Duration) -> Result<Told> {
        // As bytes at once: in memory, documents take many times as much.
        let (mut statements, mut pipelines) = (RawArrayBuf::new(), HashMap::new());
        for request in requests {
            statements.push(self.statement(request, &mut pipelines)?);
        }
        let wait = write::majority(timeout).w_timeout.unwrap_or_default();
        let wait = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX).max(1);
        let command = rawdoc! {
            "update": self.collection.name(),
            "updates": statements,
            "ordered": false,
            "writeConcern": { "w": "majority", "j": true, "wtimeout": wait },
        };
        let database = &self.collection.namespace().db;
        let database = self.collection.client().database(database);
        let reply = database.run_raw_command(command).await.map_err(convert)?;
        told(reply, requests.len())
    }

    /// Nearly all of it is the same for most requests, and built only once.
    fn statement<'a>(
        &self,
        request: &'a RenewRequest,
        pipelines: &mut HashMap<(Form, Option<&'a Key>), RawArrayBuf>,
    ) -> Result<RawDocumentBuf> {
        let form = Form::of(request);
        // In a field it names the key.
        let key = self.place.is_field().then_some(&request.key);
        let pipeline = match pipelines.entry((form, key)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => {
                let mut pipeline = RawArrayBuf::new();
                for stage in self.place.moved(&request.key, shared(form)?) {
                    pipeline.push(raw(&stage)?);
                }
                unknown.insert(pipeline)
            }
        };
        Ok(rawdoc! {
            "q": raw(&self.place.filter(&request.key))?,
            "u": pipeline.clone(),
            "c": raw(&values(request)?)?,
            "collation": { "locale": "simple" },
        })
    }

    fn filter(&self, request: &RenewRequest) -> Bson {
        let id = self.place.filter(&request.key).remove("_id");
        id.unwrap_or(Bson::Null)
    }

    /// The attempts that stand on these keys. One of a command that a majority confirmed is confirmed.
    async fn standing(&self, requests: &[RenewRequest]) -> Result<HashSet<Identity>> {
        let ids: Vec<Bson> = requests
            .iter()
            .map(|request| self.filter(request))
            .collect();
        let found: NativeResult<Vec<Document>> = async {
            self.collection
                .find(doc! { "_id": { "$in": ids } })
                .projection(self.place.projection())
                .collation(write::simple())
                .read_concern(ReadConcern::majority())
                .selection_criteria(primary())
                .await?
                .try_collect()
                .await
        }
        .await;
        let mut standing = HashSet::new();
        for document in found.map_err(convert)? {
            let id = document.get("_id").unwrap_or(&Bson::Null);
            // One that cannot be read is left to a renewal of its own.
            let record = self.place.record(&document).ok().flatten();
            for holder in record.iter().flat_map(|record| &record.holders) {
                let claimant = holder.claimant.iter();
                standing.extend(claimant.map(|claimant| identity(id, &claimant.id, holder.seq)));
            }
        }
        Ok(standing)
    }
}

/// An attempt of an acquisition, of all documents.
type Identity = (String, LeaseId, u64);

fn identity(id: &Bson, lease: &LeaseId, seq: u64) -> Identity {
    (id.to_string(), lease.clone(), seq)
}

/// What a command did to `count` statements. An error, if what it wrote is not confirmed.
fn told(reply: Document, count: usize) -> Result<Told> {
    let reply: Reply = read(reply)?;
    if let Some(error) = reply.write_concern_error {
        return Err(failure(WriteFailure::WriteConcernError(error)));
    }
    let mut failed = HashMap::new();
    let mut attributed = true;
    for written in reply.write_errors {
        let index = written.get_i32("index").ok();
        let index = index.and_then(|index| usize::try_from(index).ok());
        let error: WriteError = read(written)?;
        match index.filter(|index| *index < count) {
            Some(index) => drop(failed.insert(index, failure(WriteFailure::WriteError(error)))),
            // Whose it is, a look tells.
            None => attributed = false,
        }
    }
    let complete = attributed && reply.n_modified.saturating_add(failed.len()) == count;
    Ok(Told { failed, complete })
}

/// A failure that would be the same if it were sent again may be that of a single one: a renewal of its own tells whose.
fn unless_transient<T: Default>(told: Result<T>) -> Result<T> {
    match told {
        Err(error) if !error.is_transient() => Ok(T::default()),
        told => told,
    }
}

fn raw(document: &Document) -> Result<RawDocumentBuf> {
    RawDocumentBuf::try_from(document)
        .map_err(|error| Error::new(ErrorKind::InvalidInput, error.to_string()))
}

/// In the words that all versions of the driver's `bson` know.
fn read<T: for<'de> Deserialize<'de>>(document: Document) -> Result<T> {
    T::deserialize(Deserializer::new(Bson::Document(document)))
        .map_err(|error| convert(error.into()))
}

fn failure(failure: WriteFailure) -> Error {
    convert(Native::from(NativeKind::Write(failure)))
}

fn convert(error: Native) -> Error {
    error::convert(error, Access::Write)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(told: &Told) -> Vec<(usize, ErrorKind)> {
        let mut failed: Vec<_> = told
            .failed
            .iter()
            .map(|(index, error)| (*index, error.kind()))
            .collect();
        failed.sort_by_key(|(index, _)| *index);
        failed
    }

    #[test]
    fn a_sum_tells_of_each_only_if_it_is_whole() {
        let whole = told(doc! { "n": 3, "nModified": 3, "ok": 1.0 }, 3).unwrap();
        assert!(whole.complete);
        let short = told(doc! { "n": 3, "nModified": 2, "ok": 1.0 }, 3).unwrap();
        assert!(!short.complete, "matched is not changed");
        assert!(!told(doc! { "n": 0, "ok": 1.0 }, 3).unwrap().complete);
    }

    #[test]
    fn an_error_is_its_own_statements() {
        let error = |index: i32, code: i32| doc! { "index": index, "code": code, "errmsg": "" };
        let reply = doc! { "n": 1, "nModified": 1, "writeErrors": [error(0, 112), error(2, 13)] };
        let answer = told(reply.clone(), 3).unwrap();
        assert!(answer.complete);
        let wanted = [
            (0, ErrorKind::Unavailable),
            (2, ErrorKind::PermissionDenied),
        ];
        assert_eq!(failed(&answer), wanted);
        assert!(
            !told(reply, 4).unwrap().complete,
            "one statement says nothing"
        );
    }

    #[test]
    fn an_error_of_nobody_leaves_all_open() {
        for index in [3, -1] {
            let error = doc! { "index": index, "code": 112, "errmsg": "" };
            let reply = doc! { "n": 2, "nModified": 2, "writeErrors": [error] };
            let answer = told(reply, 3).unwrap();
            assert!(!answer.complete && answer.failed.is_empty(), "{index}");
        }
    }

    #[test]
    fn what_no_majority_confirmed_is_unknown() {
        let concern = doc! { "code": 64, "errmsg": "waiting for replication timed out" };
        let reply = doc! { "n": 3, "nModified": 3, "writeConcernError": concern };
        assert_eq!(
            told(reply, 3).unwrap_err().kind(),
            ErrorKind::OutcomeUnknown
        );
    }
}
