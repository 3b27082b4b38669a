//! Who waits is told of changes by one change stream for all clones of a backend, as long as somebody waits.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use mongodb::Collection;
use mongodb::bson::{Document, doc};
use mongodb::error::Error;
use mongodb::options::{ReadConcern, ReadPreference, SelectionCriteria};
use tokio::task::JoinHandle;

use super::{MongoBackend, error};
use crate::wait::Backoff;
use crate::wake::{Wake, Wakes};
use crate::{Key, Mode};

/// How long the stream stays when nobody waits any more: somebody may in a moment.
const LINGER: Duration = Duration::from_secs(1);

/// The stream, or that there is none.
#[derive(Clone, Debug, Default)]
pub(super) struct Stream(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    wakes: Wakes,
    task: Mutex<Option<JoinHandle<()>>>,
    /// The server or its rights allow none.
    impossible: AtomicBool,
}

impl MongoBackend {
    pub(super) fn watch_key(&self, key: &Key, mode: Mode, waits: bool) -> Option<Wake> {
        let shared = &self.stream.0;
        // Anybody may write to a document that has a lock inside, as often as they like.
        let possible = !self.place.is_field() && !shared.impossible.load(Ordering::Relaxed);
        if !possible || !(waits || shared.wakes.is_live()) {
            return None;
        }
        let wake = shared.wakes.watch(key, mode);
        if waits {
            shared.start(&self.collection);
        }
        Some(wake)
    }
}

impl Shared {
    /// Starts the task, unless it runs. It may have ended with its runtime.
    fn start(self: &Arc<Self>, collection: &Collection<Document>) {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if task.as_ref().is_none_or(JoinHandle::is_finished) {
            let run = run(Arc::clone(self), collection.clone());
            *task = Some(tokio::spawn(run));
        }
    }

    /// Whether the task may end. Whoever comes later starts another.
    fn ends(&self) -> bool {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        let unused = self.wakes.waiters() == 0;
        if unused {
            self.wakes.blind();
            *task = None;
        }
        unused
    }
}

/// However the task ends, nobody is told anything any more.
struct Blind(Wakes);

impl Drop for Blind {
    fn drop(&mut self) {
        self.0.blind();
    }
}

async fn run(shared: Arc<Shared>, collection: Collection<Document>) {
    let mut backoff = Backoff::new();
    loop {
        let blind = Blind(shared.wakes.clone());
        let error = tokio::select! {
            error = follow(&shared.wakes, &collection, &mut backoff) => error,
            () = shared.wakes.unused(LINGER) => {
                if shared.ends() {
                    return;
                }
                continue;
            }
        };
        drop(blind);
        if error.as_ref().is_some_and(error::is_unwatchable) {
            tracing::info!(
                collection = %collection.namespace(), error = ?error.map(|error| error.kind),
                "no change stream here, so waiters poll: it takes a replica set, and the right to `changeStream`"
            );
            shared.impossible.store(true, Ordering::Relaxed);
            return;
        }
        tracing::debug!(error = ?error.map(|error| error.kind), "the change stream broke, waiters poll meanwhile");
        tokio::time::sleep(backoff.next(fastrand::f64())).await;
    }
}

/// Tells what the stream shows until it breaks. `None`: the server ended it, as it does if the collection is dropped.
async fn follow(
    wakes: &Wakes,
    collection: &Collection<Document>,
    backoff: &mut Backoff,
) -> Option<Error> {
    let opened = collection
        .watch()
        .pipeline(pipeline())
        // Whatever the client's own are.
        .read_concern(ReadConcern::majority())
        .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary))
        .await;
    let mut stream = match opened {
        Ok(stream) => stream.with_type::<Document>(),
        Err(error) => return Some(error),
    };
    tracing::debug!(collection = %collection.namespace(), "waiters are told of changes");
    wakes.live();
    while let Some(change) = stream.next().await {
        // One that breaks again and again, before it showed anything, is opened less and less often.
        *backoff = Backoff::new();
        match change {
            Ok(change) => tell(wakes, &change),
            Err(error) => return Some(error),
        }
    }
    None
}

/// Only what may matter to a waiter: a grant has a new token, and a release says when.
fn pipeline() -> [Document; 2] {
    let grant = "updateDescription.updatedFields.token";
    let release = "updateDescription.updatedFields.freeAt";
    [
        doc! { "$match": { "$or": [
            { "operationType": { "$in": ["insert", "replace", "delete"] } },
            { "operationType": "update", grant: { "$exists": true } },
            { "operationType": "update", release: { "$exists": true } },
        ] } },
        doc! { "$project": {
            "operationType": 1,
            "documentKey._id": 1,
            grant: 1,
            release: 1,
            // The server may report an update as a replacement, if that is shorter.
            "fullDocument.mode": 1,
            "fullDocument.holders.id": 1,
        } },
    ]
}

fn tell(wakes: &Wakes, change: &Document) {
    let key = change.get_document("documentKey");
    let Some(key) = key.ok().and_then(|key| key.get_str("_id").ok()) else {
        return;
    };
    let Ok(key) = Key::new(key) else { return };
    match news(change) {
        News { granted: false, .. } => wakes.freed(&key),
        News { room: false, .. } => wakes.granted(&key),
        News { .. } => {
            wakes.freed(&key);
            wakes.granted(&key);
        }
    }
}

/// What a change says.
#[derive(Debug, PartialEq, Eq)]
struct News {
    granted: bool,
    /// Somebody may have left as well.
    room: bool,
}

fn news(change: &Document) -> News {
    if let Ok(document) = change.get_document("fullDocument") {
        let held = document.get_array("holders").is_ok_and(|h| !h.is_empty());
        let alone = document.get_str("mode") == Ok(Mode::Exclusive.name());
        return News {
            granted: held,
            room: !(held && alone),
        };
    }
    let updated = change.get_document("updateDescription");
    let updated = updated.and_then(|update| update.get_document("updatedFields"));
    let granted = updated.is_ok_and(|fields| fields.contains_key("token"));
    News {
        granted,
        room: !granted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_tells_who_came_and_who_may_have_left() {
        let updated = |fields: Document| doc! { "operationType": "update", "updateDescription": { "updatedFields": fields } };
        let replaced = |mode: &str, holders: Vec<Document>| doc! { "fullDocument": { "mode": mode, "holders": holders } };
        let holder = || vec![doc! { "id": "i" }];
        for (change, granted, room) in [
            (updated(doc! { "token": 7_i64 }), true, false),
            (updated(doc! { "freeAt": 7_i64 }), false, true),
            (
                updated(doc! { "token": 7_i64, "freeAt": 7_i64 }),
                true,
                false,
            ),
            (replaced("exclusive", holder()), true, false),
            (replaced("permit", holder()), true, true),
            (replaced("exclusive", vec![]), false, true),
            (doc! { "operationType": "delete" }, false, true),
        ] {
            let told = news(&change);
            assert_eq!(told, News { granted, room }, "{change}");
        }
    }
}
