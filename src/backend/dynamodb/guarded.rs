//! Items that carry their own lock: read with the grant, and written under the lease.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};

use crate::{Key, Lease, LeaseId, Result};

use super::DynamoBackend;
use super::embedded::Place;
use super::expression::Expression;
use super::grant::mine;
use super::record::{Item, entry_key, millis, number};
use super::request::Update;

/// What this crate's placeholders begin with, where a caller has placeholders too.
pub(crate) const PREFIX: &str = "doclock_";

/// A caller's part of a write.
pub(crate) struct Change<'a> {
    /// Each clause of the update with its keyword, and what it says.
    pub(crate) clauses: [(&'static str, &'a [String]); 4],
    pub(crate) condition: Option<&'a str>,
    pub(crate) names: &'a HashMap<String, String>,
    pub(crate) values: &'a Item,
}

/// What became of a write under a lease.
pub(crate) enum Held {
    Written(Item),
    /// The lease stands, but the caller's condition is not met.
    ConditionFailed,
    /// The lease does not stand.
    No,
}

impl DynamoBackend {
    /// The item that came with a grant, once.
    pub(crate) fn granted(&self, id: &LeaseId) -> Option<Item> {
        self.place.take(id)
    }

    /// The names of the table's keys.
    pub(crate) fn key_names(&self) -> (&str, Option<&str>) {
        let sort = self.keys.sort.as_ref().map(|(name, _)| name.as_str());
        (&self.keys.partition, sort)
    }

    pub(crate) async fn item(&self, key: &Key, timeout: Duration) -> Result<Option<Item>> {
        self.read(key, true, Some(timeout)).await
    }

    /// Writes to an item while this lease stands in it; with `unlocks`, ends the lease too.
    pub(crate) async fn update_held(
        &self,
        lease: &Lease,
        change: Change<'_>,
        unlocks: bool,
        timeout: Duration,
    ) -> Result<Held> {
        let Place::Attribute { name, .. } = &self.place else {
            return Ok(Held::No);
        };
        let ours = mine(Expression::held(unlocks), lease.owner(), lease.id())
            .value("token", number(lease.token()))
            .value("now", millis(self.write_time().stamp));
        let (update, condition, names, values) = change.beside(&ours.moved(name));
        let (texts, bound) = ((&*update, &*condition), (names, values));
        let sent = self.send(lease.key(), timeout, texts, bound, ReturnValue::AllNew);
        let item = match sent.await? {
            Update::Applied(item, _) => return Ok(Held::Written(item)),
            Update::Refused(Some(item), _) => Some(item),
            Update::Refused(None, _) => self.item(lease.key(), timeout).await?,
        };
        let stands = item
            .as_ref()
            .and_then(|item| item.get(&**name)?.as_m().ok())
            .is_some_and(|record| holds(record, lease));
        Ok(if stands {
            Held::ConditionFailed
        } else {
            Held::No
        })
    }
}

impl Expression {
    /// A write under a lease: only while it stands. With `unlocks`, what `rules::release` writes as well.
    fn held(unlocks: bool) -> Self {
        let update = if unlocks {
            "SET #rev = #rev + :one, #free_at = :now, #closed = :id, #written = :id REMOVE #holders.#me"
        } else {
            ""
        };
        Self::new(update, "#holders.#me.#id = :id AND #token = :token")
    }
}

impl Change<'_> {
    /// The texts, names and values of this change together with ours.
    fn beside(&self, ours: &Expression) -> (String, String, HashMap<String, String>, Item) {
        let prefixed = |text: &str| {
            let text = text.replace('#', &format!("#{PREFIX}"));
            text.replace(':', &format!(":{PREFIX}"))
        };
        let update = prefixed(&ours.update);
        let update = update.strip_prefix("SET ").unwrap_or_default();
        let (set, remove) = update.split_once(" REMOVE ").unwrap_or_default();
        let mut update = Vec::new();
        for (keyword, said) in &self.clauses {
            let own = match *keyword {
                "SET" => set,
                "REMOVE" => remove,
                _ => "",
            };
            let own = (!own.is_empty()).then_some(own);
            let all: Vec<_> = own
                .into_iter()
                .chain(said.iter().map(String::as_str))
                .collect();
            if !all.is_empty() {
                update.push(format!("{keyword} {}", all.join(", ")));
            }
        }
        let mut condition = prefixed(&ours.condition);
        if let Some(theirs) = self.condition {
            condition = format!("{condition} AND ({theirs})");
        }
        let mut names = self.names.clone();
        let own = ours.all_names().into_iter();
        names.extend(own.map(|(placeholder, name)| (prefixed(&placeholder), name)));
        let mut values = self.values.clone();
        let own = ours.all_values().into_iter();
        values.extend(own.map(|(placeholder, value)| (prefixed(&placeholder), value)));
        (update.join(" "), condition, names, values)
    }
}

/// Whether a lease stands in a record.
pub(crate) fn holds(record: &Item, lease: &Lease) -> bool {
    let holder = || {
        let holders = record.get("holders")?.as_m().ok()?;
        holders.get(&entry_key(lease.owner()))?.as_m().ok()
    };
    let is = |value: Option<&AttributeValue>, wanted: AttributeValue| value == Some(&wanted);
    let id = AttributeValue::S(lease.id().to_string());
    holder().is_some_and(|holder| is(holder.get("id"), id))
        && is(record.get("token"), number(lease.token()))
}
