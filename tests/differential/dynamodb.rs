//! Items, as the format's description has them.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{Display, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_dynamodb::types::AttributeValue;
use doclock::rules::{ServerTime, micros};
use doclock::{
    AcquireRequest, Backend, DynamoBackend, Holder, Key, LockRecord, Mode, Owner, Reason,
    ReleaseRequest, Timestamp,
};
use sha2::{Digest, Sha256};

use super::handing::handed;
use super::{Database, SKEW, rests_on_the_record};
use crate::support::counter::Counter;

type Item = HashMap<String, AttributeValue>;

const TABLE: &str = "doclock-differential";

pub(super) struct Items {
    /// Not seen by the counter.
    raw: Client,
    backend: DynamoBackend,
    requests: Arc<AtomicUsize>,
}

impl Items {
    pub(super) async fn connect(url: &str) -> Result<Self> {
        let requests = Arc::new(AtomicUsize::new(0));
        let config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-west-1"))
            .credentials_provider(Credentials::new("doclock", "doclock", None, None, "tests"))
            .endpoint_url(url);
        let counted = config.clone().interceptor(Counter(Arc::clone(&requests)));
        let backend = DynamoBackend::new(Client::from_conf(counted.build()), TABLE);
        backend.setup().await?;
        Ok(Self {
            raw: Client::from_conf(config.build()),
            backend,
            requests,
        })
    }
}

impl Database for Items {
    type Raw = Item;

    fn backend(&self) -> &dyn Backend {
        &self.backend
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    fn keeps(&self, record: &mut LockRecord) {
        record.rev = rev(record);
        for holder in &mut record.holders {
            holder.token = None;
        }
        record.holders.sort_by_key(|holder| holder.acquired_at);
        let up = |time: Timestamp| Timestamp::from_millis((time.as_millis() + 999) / 1000 * 1000);
        record.purge_at = record.purge_at.map(up);
    }

    fn time(&self, stamp: Timestamp, exists: bool) -> ServerTime {
        let second = std::time::Duration::from_secs(1);
        ServerTime {
            tolerance: std::time::Duration::ZERO,
            // Nothing in a test expires so near that more had to be known of it.
            earliest: stamp.saturating_sub(second + 2 * SKEW),
            latest: stamp,
            stamp,
            pad: second + SKEW,
            token_floor: if exists { 0 } else { micros(stamp) },
            keep_later_expiry: false,
        }
    }

    fn is_plain(
        &self,
        seen: Option<&LockRecord>,
        request: &AcquireRequest,
        now: Timestamp,
    ) -> bool {
        if rests_on_the_record(request) {
            return false;
        }
        // A token that is asked for is written where the record's is less, and decided by the rules elsewhere.
        let asked = sane_floor(request.token_floor, now);
        let Some(seen) = seen else {
            let is_first_token = request.token_floor == 0 || asked >= micros(now);
            return request.mode == Mode::Exclusive && is_first_token;
        };
        if asked > 0 && seen.token >= asked {
            return false;
        }
        let held = seen.holders.len();
        let mine = seen
            .holders
            .iter()
            .any(|holder| holder.owner() == Some(&request.owner));
        let shares = seen.mode.same_kind(request.mode) && request.mode != Mode::Exclusive;
        let bound = |holder: &Holder| now.saturating_add(holder.ttl.as_duration() + 20 * SKEW);
        let late = |holder: &Holder| holder.expires_at > bound(holder);
        // Who has looked corrects what it saw.
        let corrects = request.waiting && seen.holders.iter().any(late);
        !corrects
            && seen.queue.is_empty()
            && seen.closed.as_ref() != Some(&request.id)
            && (held == 0 || (shares && !mine && held < request.mode.capacity()))
    }

    fn hands_over(
        &self,
        seen: Option<&LockRecord>,
        request: &AcquireRequest,
        now: Timestamp,
    ) -> bool {
        let asked = sane_floor(request.token_floor, now);
        let until = now.saturating_add(request.ttl.as_duration());
        handed(seen, request, now).is_some_and(|holder| holder.expires_at <= until)
            && (asked == 0 || seen.is_some_and(|seen| seen.token < asked))
    }

    fn release_cost(&self, seen: Option<&LockRecord>, request: &ReleaseRequest) -> usize {
        let holder = seen.and_then(|seen| seen.holder(&request.id));
        let waiter = seen.and_then(|seen| seen.waiter(&request.id));
        let (is_where_it_says, owner) = match (holder, waiter) {
            (Some(holder), _) => (!request.queued, holder.owner()),
            (None, waiter) => (request.queued, waiter.map(|waiter| &waiter.claimant.owner)),
        };
        // A later slot is done already.
        let done = seen.and_then(|seen| seen.slot_done);
        let is_late = holder.is_some() && request.slot_done.is_some() && done > request.slot_done;
        let plain = is_where_it_says && owner == Some(&request.owner) && !is_late;
        if plain { 1 } else { 2 }
    }

    fn confirms(&self, request: &AcquireRequest, reason: Reason) -> bool {
        let ends = matches!(reason, Reason::Closed | Reason::Replaced);
        request.waiting && !rests_on_the_record(request) && (request.queued || ends)
    }

    fn plain_evicts(&self) -> bool {
        false
    }

    fn retokens(&self) -> bool {
        true
    }

    fn looks(&self) -> bool {
        true
    }

    fn encode(&self, key: &Key, record: &LockRecord) -> Item {
        let holders = record.holders.iter().enumerate().map(|(index, holder)| {
            let mut entry = BTreeMap::from([
                ("acquired_at", millis(holder.acquired_at)),
                ("expires_at", millis(holder.expires_at)),
                ("ttl_ms", number(holder.ttl.as_millis())),
                ("seq", number(holder.seq)),
            ]);
            let mut name = hash(&format!("released {index}"));
            if let Some(claimant) = &holder.claimant {
                name = owner_hash(&claimant.owner);
                entry.insert("owner", text(claimant.owner.as_str()));
                entry.insert("id", text(claimant.id.as_str()));
            }
            entry.extend(
                holder
                    .label
                    .as_ref()
                    .map(|label| ("label", text(label.as_str()))),
            );
            entry.extend(
                holder
                    .data
                    .as_ref()
                    .map(|data| ("data", text(data.as_json()))),
            );
            (name, map(entry))
        });
        let queue = record.queue.iter().map(|waiter| {
            let entry = BTreeMap::from([
                ("owner", text(waiter.claimant.owner.as_str())),
                ("id", text(waiter.claimant.id.as_str())),
                ("mode", text(waiter.mode.name())),
                ("limit", number(waiter.mode.limit())),
                ("enqueued_at", millis(waiter.enqueued_at)),
                ("expires_at", millis(waiter.expires_at)),
                ("ttl_ms", number(waiter.ttl.as_millis())),
                ("seq", number(waiter.seq)),
            ]);
            (owner_hash(&waiter.claimant.owner), map(entry))
        });
        let tickets = record.queue.iter().enumerate();
        let tickets =
            tickets.map(|(place, waiter)| (owner_hash(&waiter.claimant.owner), number(place)));
        let mut item = BTreeMap::from([
            ("pk", text(key.as_str())),
            ("v", number(1)),
            ("rev", number(rev(record))),
            ("token", number(record.token)),
            ("mode", text(record.mode.name())),
            ("limit", number(record.mode.limit())),
            ("holders", AttributeValue::M(holders.collect())),
            ("queue", AttributeValue::M(queue.collect())),
            ("tickets", AttributeValue::M(tickets.collect())),
            ("mine", AttributeValue::L(vec![text("$$NOW"), number(2.5)])),
        ]);
        item.extend(record.free_at.map(|time| ("free_at", millis(time))));
        item.extend(
            record
                .slot_started
                .map(|time| ("slot_started", millis(time))),
        );
        item.extend(record.slot_done.map(|time| ("slot_done", millis(time))));
        item.extend(
            record
                .pinned
                .map(|time| ("pinned", number(time.as_millis() / 1000))),
        );
        item.extend(
            record
                .purge_at
                .map(|time| ("purge_at", number(time.as_millis() / 1000))),
        );
        item.extend(
            record
                .closed
                .as_ref()
                .map(|id| ("closed", text(id.as_str()))),
        );
        item.extend(
            record
                .state
                .as_ref()
                .map(|state| ("state", text(state.as_json()))),
        );
        item.into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }

    async fn plant(&self, raw: &Item) -> Result<()> {
        let put = self.raw.put_item().table_name(TABLE);
        put.set_item(Some(raw.clone())).send().await?;
        Ok(())
    }

    async fn read(&self, key: &Key) -> Result<Option<Item>> {
        let get = self
            .raw
            .get_item()
            .table_name(TABLE)
            .key("pk", text(key.as_str()));
        Ok(get.consistent_read(true).send().await?.item)
    }

    fn bytes(&self, raw: &Item) -> Vec<u8> {
        canonical(&AttributeValue::M(raw.clone())).into_bytes()
    }

    /// Tickets only tell an order, and what nobody owns may stand anywhere.
    fn fields(&self, raw: &Item) -> BTreeMap<String, String> {
        let mut fields: BTreeMap<_, _> = raw
            .iter()
            .map(|(name, value)| (name.clone(), canonical(value)))
            .collect();
        if let Some(AttributeValue::M(tickets)) = raw.get("tickets") {
            let mut order: Vec<_> = tickets
                .iter()
                .map(|(name, n)| (n.as_n().unwrap().parse::<u64>(), name))
                .collect();
            order.sort_by_key(|(ticket, _)| ticket.clone().unwrap());
            let order: Vec<_> = order.into_iter().map(|(_, name)| name).collect();
            fields.insert("tickets".to_owned(), format!("{order:?}"));
        }
        if let Some(AttributeValue::M(holders)) = raw.get("holders") {
            let mut entries: Vec<_> = holders
                .iter()
                .map(|(name, entry)| {
                    let owned = entry.as_m().unwrap().contains_key("owner");
                    (if owned { name } else { "" }, canonical(entry))
                })
                .collect();
            entries.sort();
            fields.insert("holders".to_owned(), format!("{entries:?}"));
        }
        fields
    }
}

/// It has grown with every waiter, so that no ticket is later than the next one.
fn rev(record: &LockRecord) -> u64 {
    record.rev.max(u64::try_from(record.queue.len()).unwrap())
}

fn owner_hash(owner: &Owner) -> String {
    hash(owner.as_str())
}

/// The first 32 hex digits of SHA-256.
fn hash(text: &str) -> String {
    Sha256::digest(text.as_bytes())
        .iter()
        .take(16)
        .fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}

fn text(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

fn number(number: impl Display) -> AttributeValue {
    AttributeValue::N(format!("{number}"))
}

fn millis(time: Timestamp) -> AttributeValue {
    number(time.as_millis())
}

fn map(fields: BTreeMap<&'static str, AttributeValue>) -> AttributeValue {
    AttributeValue::M(
        fields
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    )
}

fn canonical(value: &AttributeValue) -> String {
    match value {
        AttributeValue::M(map) => {
            let fields = map.iter().map(|(name, value)| (name, canonical(value)));
            format!("{:?}", fields.collect::<BTreeMap<_, _>>())
        }
        other => format!("{other:?}"),
    }
}

/// As in the rules: none beyond a day ahead of the server's time counts.
fn sane_floor(floor: u64, now: Timestamp) -> u64 {
    let bound = micros(now) + 24 * 3_600_000_000;
    if floor <= bound { floor } else { 0 }
}
