//! Documents, as the format's description has them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use doclock::rules::ServerTime;
use doclock::{
    AcquireRequest, Backend, Holder, Key, LeaseId, LockRecord, Mode, MongoBackend, Payload,
    Timestamp, Waiter,
};
use mongodb::bson::{Bson, DateTime, Document, doc};
use mongodb::event::EventHandler;
use mongodb::event::command::CommandEvent;
use mongodb::options::ClientOptions;
use mongodb::{Client, Collection};

use super::{Database, SKEW};

pub(super) struct Documents {
    /// Not seen by the counter.
    raw: Collection<Document>,
    backend: MongoBackend,
    requests: Arc<AtomicUsize>,
}

impl Documents {
    pub(super) async fn connect(url: &str) -> Result<Self> {
        let requests = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&requests);
        let mut options = ClientOptions::parse(url).await?;
        options.command_event_handler = Some(EventHandler::callback(move |event| {
            if matches!(event, CommandEvent::Started(_)) {
                counter.fetch_add(1, Ordering::SeqCst);
            }
        }));
        let database = "doclock_differential";
        Ok(Self {
            raw: Client::with_uri_str(url)
                .await?
                .database(database)
                .collection("locks"),
            backend: MongoBackend::new(Client::with_options(options)?.database(database)),
            requests,
        })
    }
}

impl Database for Documents {
    type Raw = Document;

    fn backend(&self) -> &dyn Backend {
        &self.backend
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    fn keeps(&self, _: &mut LockRecord) {}

    fn time(&self, stamp: Timestamp, _: bool) -> ServerTime {
        ServerTime::exact(stamp, SKEW)
    }

    fn is_plain(
        &self,
        seen: Option<&LockRecord>,
        request: &AcquireRequest,
        now: Timestamp,
    ) -> bool {
        let Some(seen) = seen else {
            return true;
        };
        let mine = |holder: &Holder| {
            holder.owner() == Some(&request.owner) || holder.id() == Some(&request.id)
        };
        let late = |holder: &Holder| {
            holder.expires_at > now.saturating_add(holder.ttl.as_duration() + 10 * SKEW)
        };
        let live = seen
            .holders
            .iter()
            .filter(|holder| holder.expires_at > now)
            .count();
        let shares = seen.mode.same_kind(request.mode) && request.mode != Mode::Exclusive;
        seen.queue.is_empty()
            && seen.closed.as_ref() != Some(&request.id)
            && !seen
                .holders
                .iter()
                .any(|holder| mine(holder) || late(holder))
            && (live == 0 || (shares && live < request.mode.capacity()))
    }

    fn plain_evicts(&self) -> bool {
        true
    }

    fn retokens(&self) -> bool {
        false
    }

    fn looks(&self) -> bool {
        false
    }

    fn encode(&self, key: &Key, record: &LockRecord) -> Document {
        let mut document = doc! {
            "_id": key.as_str(),
            "v": 1,
            "rev": long(record.rev),
            "token": long(record.token),
            "mode": record.mode.name(),
            "limit": i64::from(record.mode.limit()),
            "holders": record.holders.iter().map(holder).collect::<Vec<_>>(),
            "queue": record.queue.iter().map(waiter).collect::<Vec<_>>(),
            "mine": { "$set": 1, "a b": ["$$NOW", 2.5] },
        };
        for (name, time) in [
            ("freeAt", record.free_at),
            ("slotStarted", record.slot_started),
            ("slotDone", record.slot_done),
            ("pinned", record.pinned),
            ("purgeAt", record.purge_at),
        ] {
            document.extend(time.map(|time| (name.to_owned(), date(time))));
        }
        let texts = [
            ("closed", record.closed.as_ref().map(LeaseId::as_str)),
            ("state", record.state.as_ref().map(Payload::as_json)),
        ];
        for (name, text) in texts {
            document.extend(text.map(|text| (name.to_owned(), text.into())));
        }
        document
    }

    async fn plant(&self, raw: &Document) -> Result<()> {
        self.raw.insert_one(raw).await?;
        Ok(())
    }

    async fn read(&self, key: &Key) -> Result<Option<Document>> {
        Ok(self.raw.find_one(doc! { "_id": key.as_str() }).await?)
    }

    fn bytes(&self, raw: &Document) -> Vec<u8> {
        mongodb::bson::to_vec(raw).unwrap()
    }

    fn fields(&self, raw: &Document) -> BTreeMap<String, String> {
        raw.iter()
            .map(|(name, value)| (name.clone(), canonical(value)))
            .collect()
    }
}

fn holder(holder: &Holder) -> Document {
    let mut document = Document::new();
    if let Some(claimant) = &holder.claimant {
        document.insert("owner", claimant.owner.as_str());
        document.insert("id", claimant.id.as_str());
        document.insert("token", long(holder.token.unwrap()));
    }
    document.insert("acquiredAt", date(holder.acquired_at));
    document.insert("expiresAt", date(holder.expires_at));
    document.insert("ttlMs", holder.ttl.as_millis());
    document.insert("seq", long(holder.seq));
    if let Some(label) = &holder.label {
        document.insert("label", label.as_str());
    }
    if let Some(data) = &holder.data {
        document.insert("data", data.as_json());
    }
    document
}

fn waiter(waiter: &Waiter) -> Document {
    doc! {
        "owner": waiter.claimant.owner.as_str(),
        "id": waiter.claimant.id.as_str(),
        "mode": waiter.mode.name(),
        "limit": i64::from(waiter.mode.limit()),
        "enqueuedAt": date(waiter.enqueued_at),
        "expiresAt": date(waiter.expires_at),
        "ttlMs": waiter.ttl.as_millis(),
        "seq": long(waiter.seq),
    }
}

fn long(number: u64) -> i64 {
    i64::try_from(number).unwrap()
}

fn date(time: Timestamp) -> Bson {
    DateTime::from_millis(time.as_millis()).into()
}

/// With the type of every value, whatever the order of fields.
fn canonical(value: &Bson) -> String {
    match value {
        Bson::Document(document) => {
            let fields = document
                .iter()
                .map(|(name, value)| (name, canonical(value)));
            format!("{:?}", fields.collect::<BTreeMap<_, _>>())
        }
        Bson::Array(values) => format!("{:?}", values.iter().map(canonical).collect::<Vec<_>>()),
        other => format!("{other:?}"),
    }
}
