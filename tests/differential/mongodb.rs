//! Documents, as the format's description has them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use doclock::rules::ServerTime;
use doclock::{
    AcquireRequest, Backend, Holder, Key, LeaseId, LockRecord, Mode, MongoBackend, Payload,
    ReleaseRequest, Timestamp, Ttl, Waiter,
};
use mongodb::bson::{Bson, DateTime, Document, doc};
use mongodb::event::EventHandler;
use mongodb::event::command::CommandEvent;
use mongodb::options::ClientOptions;
use mongodb::{Client, Collection};

use super::handing::handed;
use super::{Database, SKEW, rests_on_the_record};

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
            // Nothing may be created before a run's time has come, and there is nothing that tells the time.
            return !rests_on_the_record(request);
        };
        let live = seen.holders.iter().filter(|holder| holder.expires_at > now);
        let live = live.count();
        let shares = seen.mode.same_kind(request.mode) && request.mode != Mode::Exclusive;
        request.replaces.is_none()
            && is_ordinary(seen, request, now)
            && (seen.queue.is_empty() || request.queued && is_first(seen, request, live, now))
            && (live == 0 || (shares && live < request.mode.capacity()))
    }

    fn hands_over(
        &self,
        seen: Option<&LockRecord>,
        request: &AcquireRequest,
        now: Timestamp,
    ) -> bool {
        let late = |expires_at: Timestamp, ttl: Ttl| is_late(expires_at, ttl, now);
        let queue = seen.map_or(&[][..], |seen| &seen.queue);
        handed(seen, request, now).is_some_and(|holder| !late(holder.expires_at, holder.ttl))
            && !queue
                .iter()
                .any(|waiter| late(waiter.expires_at, waiter.ttl))
    }

    fn is_plain_refresh(
        &self,
        seen: Option<&LockRecord>,
        request: &AcquireRequest,
        now: Timestamp,
    ) -> bool {
        let stands = |seen: &LockRecord| seen.waiter(&request.id).is_some();
        request.queued
            && request.replaces.is_none()
            && seen.is_some_and(|seen| stands(seen) && is_ordinary(seen, request, now))
    }

    fn release_cost(&self, seen: Option<&LockRecord>, request: &ReleaseRequest) -> usize {
        let holds = seen.is_some_and(|seen| seen.holder(&request.id).is_some());
        if holds || request.queued { 1 } else { 3 }
    }

    fn creates_late(&self) -> bool {
        true
    }

    fn never(&self) -> &[&str] {
        &[]
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

/// No other lease or place of the same owner, and no expiry that must be cut down.
fn is_ordinary(seen: &LockRecord, request: &AcquireRequest, now: Timestamp) -> bool {
    let mine = |holder: &Holder| {
        holder.owner() == Some(&request.owner) || holder.id() == Some(&request.id)
    };
    let other = |waiter: &Waiter| {
        waiter.claimant.owner == request.owner && waiter.claimant.id != request.id
    };
    let late = |expires_at: Timestamp, ttl: Ttl| is_late(expires_at, ttl, now);
    seen.closed.as_ref() != Some(&request.id)
        && !seen
            .holders
            .iter()
            .any(|holder| mine(holder) || late(holder.expires_at, holder.ttl))
        && !seen
            .queue
            .iter()
            .any(|waiter| other(waiter) || late(waiter.expires_at, waiter.ttl))
}

fn is_late(expires_at: Timestamp, ttl: Ttl, now: Timestamp) -> bool {
    expires_at > now.saturating_add(ttl.as_duration() + 10 * SKEW)
}

/// Nobody must go before, the dead aside.
fn is_first(seen: &LockRecord, request: &AcquireRequest, live: usize, now: Timestamp) -> bool {
    let ahead = seen.queue.iter();
    let ahead = ahead.take_while(|waiter| waiter.claimant.id != request.id);
    let ahead: Vec<Mode> = ahead
        .filter(|waiter| waiter.expires_at > now)
        .map(|waiter| waiter.mode)
        .collect();
    if seen.waiter(&request.id).is_none() || request.mode == Mode::Exclusive {
        return ahead.is_empty();
    }
    let held = if seen.mode.same_kind(request.mode) {
        live
    } else {
        0
    };
    let beside = held + ahead.len() + 1;
    let limits = ahead.iter().chain([&request.mode]);
    ahead.iter().all(|mode| mode.same_kind(request.mode))
        && (ahead.is_empty()
            || request.mode == Mode::Shared
            || limits.map(|mode| mode.capacity()).min() >= Some(beside))
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
