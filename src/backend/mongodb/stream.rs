//! Who waits is told of changes by one change stream for all clones of a backend, as long as somebody waits.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mongodb::Collection;
use mongodb::bson::{Document, doc};
use mongodb::change_stream::ChangeStream;
use mongodb::error::{Error, Result};
use mongodb::options::{ReadConcern, ReadPreference, SelectionCriteria};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{MongoBackend, error};
use crate::wait::Backoff;
use crate::wake::{Wake, Wakes};
use crate::{Key, Mode};

/// How long the stream stays when nobody waits any more: somebody may in a moment.
const LINGER: Duration = Duration::from_secs(1);
/// How soon the server answers, with changes or without.
const ANSWER: Duration = Duration::from_secs(1);
/// A server that is silent for so long tells nothing: the network lost it, or this process was frozen meanwhile.
const SILENT: Duration = Duration::from_secs(5);

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
        let broken = tokio::select! {
            error = follow(&shared.wakes, &collection, &mut backoff) => Some(error),
            () = shared.wakes.unused(LINGER) => None,
        };
        // Before another task may say otherwise.
        drop(blind);
        let Some(error) = broken else {
            if shared.ends() {
                return;
            }
            continue;
        };
        if error.as_ref().is_some_and(error::is_unwatchable) {
            tracing::info!(
                db.collection.name = collection.name(), error = ?error.map(|error| error.kind),
                "no change stream here, so waiters poll: it takes a replica set, and the right to `changeStream`"
            );
            shared.impossible.store(true, Ordering::Relaxed);
            return;
        }
        tracing::debug!(error = ?error.map(|error| error.kind), "the change stream broke, waiters poll meanwhile");
        tokio::time::sleep(backoff.next(fastrand::f64())).await;
    }
}

/// Tells what the stream shows until it breaks. `None`: the server ended it, as it does if the collection is dropped, or
/// is silent.
async fn follow(
    wakes: &Wakes,
    collection: &Collection<Document>,
    backoff: &mut Backoff,
) -> Option<Error> {
    let opened = timeout(SILENT, async {
        Ok((is_prompt(collection).await?, open(collection).await?))
    });
    let (is_prompt, mut stream) = match opened.await.ok()? {
        Ok(opened) => opened,
        Err(error) => return Some(error),
    };
    tracing::debug!(
        db.collection.name = collection.name(),
        is_prompt,
        "waiters are told of changes"
    );
    if is_prompt {
        wakes.live();
    }
    while stream.is_alive() {
        match timeout(SILENT, stream.next_if_any()).await.ok()? {
            Ok(change) => change.iter().for_each(|change| tell(wakes, change)),
            Err(error) => return Some(error),
        }
        // One that breaks again and again, before it showed anything, is opened less and less often.
        *backoff = Backoff::new();
    }
    None
}

/// Whether changes are told at once. A sharded cluster tells those of all shards in one order, so each as late as the
/// idlest shard allows, which may be ten seconds: there, waiters poll as well.
async fn is_prompt(collection: &Collection<Document>) -> Result<bool> {
    let database = collection.client().database("admin");
    let hello = database.run_command(doc! { "hello": 1_i32 }).await?;
    let is_sharded = hello
        .get_str("msg")
        .is_ok_and(|message| message == "isdbgrid");
    Ok(!is_sharded)
}

pub(super) async fn open(collection: &Collection<Document>) -> Result<ChangeStream<Document>> {
    let stream = collection
        .watch()
        .pipeline(pipeline())
        .max_await_time(ANSWER)
        // Whatever the client's own are.
        .read_concern(ReadConcern::majority())
        .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary))
        .await?;
    Ok(stream.with_type())
}

/// Only what may matter to a waiter: a grant has a new token, and a release says when. A lock that is handed on within a
/// client, and so names the lease that it replaces, is nobody else's before and after.
fn pipeline() -> [Document; 2] {
    let grant = "updateDescription.updatedFields.token";
    let change = "updateDescription.updatedFields.mode";
    let release = "updateDescription.updatedFields.freeAt";
    let replaced = "updateDescription.updatedFields.closed";
    [
        doc! { "$match": { "$or": [
            { "operationType": { "$in": ["insert", "replace", "delete"] } },
            { "operationType": "update", grant: { "$exists": true }, "$or": [
                { replaced: { "$exists": false } },
                { change: { "$exists": true } },
            ] },
            { "operationType": "update", release: { "$exists": true } },
        ] } },
        doc! { "$project": {
            "operationType": 1,
            "documentKey._id": 1,
            grant: 1,
            change: 1,
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

impl News {
    const LEFT: Self = Self {
        granted: false,
        room: true,
    };
}

fn news(change: &Document) -> News {
    if let Ok(document) = change.get_document("fullDocument") {
        let held = document.get_array("holders").is_ok_and(|h| !h.is_empty());
        let alone = document
            .get_str("mode")
            .is_ok_and(|mode| mode == Mode::Exclusive.name());
        return News {
            granted: held,
            room: !(held && alone),
        };
    }
    let updated = change.get_document("updateDescription");
    let updated = updated.and_then(|update| update.get_document("updatedFields"));
    let Ok(updated) = updated else {
        return News::LEFT;
    };
    // Where an exclusive lease became a shared one, others may join.
    let opened = updated.get_str("mode");
    let opened = opened.is_ok_and(|mode| mode != Mode::Exclusive.name());
    let granted = updated.contains_key("token");
    News {
        granted,
        room: !granted || opened,
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
                updated(doc! { "token": 7_i64, "mode": "shared" }),
                true,
                true,
            ),
            (
                updated(doc! { "token": 7_i64, "mode": "exclusive" }),
                true,
                false,
            ),
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
