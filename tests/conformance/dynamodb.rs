//! DynamoDB's emulators.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_dynamodb::types::AttributeValue;
use doclock::conformance::{Damage, Field, Fixture};
use doclock::{Backend, DynamoBackend, Key};

use crate::privileges::divided::Divided;
use crate::privileges::dynamodb as privileges;
use crate::privileges::dynamodb::Policy;

const TABLE: &str = "doclock-conformance";

pub struct Dynamo {
    url: String,
    client: Client,
}

impl Dynamo {
    pub async fn at(url: &str) -> Self {
        let setup = privileges::client(url, Policy::setup());
        DynamoBackend::new(setup, TABLE).setup().await.unwrap();
        Self {
            url: url.to_owned(),
            client: client(url),
        }
    }

    async fn item(&self, key: &Key) -> Option<HashMap<String, AttributeValue>> {
        let get = self.client.get_item().table_name(TABLE);
        let get = get.key("pk", text(key.as_str())).consistent_read(true);
        get.send().await.unwrap().item
    }

    async fn put(&self, item: HashMap<String, AttributeValue>) {
        let put = self.client.put_item().table_name(TABLE);
        put.set_item(Some(item)).send().await.unwrap();
    }
}

pub fn client(url: &str) -> Client {
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .credentials_provider(Credentials::new("doclock", "doclock", None, None, "tests"))
        .endpoint_url(url);
    Client::from_conf(config.build())
}

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

#[async_trait]
impl Fixture for Dynamo {
    async fn connect(&self) -> Arc<dyn Backend> {
        let backend = |policy| DynamoBackend::new(privileges::client(&self.url, policy), TABLE);
        Arc::new(Divided {
            run_time: backend(Policy::run_time()),
            setup: backend(Policy::setup()),
        })
    }

    async fn purge(&self, key: &Key) {
        let delete = self.client.delete_item().table_name(TABLE);
        let delete = delete.key("pk", text(key.as_str()));
        let delete = delete.condition_expression("attribute_exists(pk)");
        delete.send().await.unwrap();
    }

    async fn damage(&self, key: &Key, damage: Damage) -> String {
        let mut item = self.item(key).await.unwrap();
        let (field, value) = match damage {
            Damage::Foreign => {
                let foreign = [("pk", text(key.as_str())), ("name", text("nobody's lock"))];
                item = foreign.map(|(name, value)| (name.to_owned(), value)).into();
                self.put(item).await;
                return "v".to_owned();
            }
            Damage::Future => (Field::Version, Some(AttributeValue::N("2".to_owned()))),
            Damage::Missing(field) => (field, None),
            Damage::WrongType(field) => (field, Some(AttributeValue::Bool(true))),
            _ => panic!("{damage:?} is new: teach this fixture"),
        };
        let (entries, name) = attribute(field);
        let map = match entries {
            Some(entries) => only_entry(&mut item, entries),
            None => &mut item,
        };
        let old = match value {
            Some(value) => map.insert(name.to_owned(), value),
            None => map.remove(name),
        };
        assert!(old.is_some(), "{key} has no {name}");
        self.put(item).await;
        name.to_owned()
    }

    async fn image(&self, key: &Key) -> String {
        let item = self.item(key).await;
        format!("{:?}", item.as_ref().map(sorted))
    }

    async fn silent(&self) -> Arc<dyn Backend> {
        let url = format!("http://127.0.0.1:{}", super::silent_port());
        Arc::new(DynamoBackend::new(client(&url), TABLE))
    }
}

pub fn only_entry<'a>(
    item: &'a mut HashMap<String, AttributeValue>,
    entries: &str,
) -> &'a mut HashMap<String, AttributeValue> {
    let Some(AttributeValue::M(entries)) = item.get_mut(entries) else {
        panic!("no {entries}");
    };
    match entries.values_mut().next() {
        Some(AttributeValue::M(entry)) => entry,
        other => panic!("no entry, but {other:?}"),
    }
}

/// Whose entry has the attribute, if it is not the item's, and its name.
pub fn attribute(field: Field) -> (Option<&'static str>, &'static str) {
    let (holder, waiter) = (Some("holders"), Some("queue"));
    match field {
        Field::Version => (None, "v"),
        Field::Rev => (None, "rev"),
        Field::Token => (None, "token"),
        Field::Mode => (None, "mode"),
        Field::Limit => (None, "limit"),
        Field::Holders => (None, "holders"),
        Field::Queue => (None, "queue"),
        Field::HolderOwner => (holder, "owner"),
        Field::HolderId => (holder, "id"),
        Field::HolderAcquiredAt => (holder, "acquired_at"),
        Field::HolderExpiresAt => (holder, "expires_at"),
        Field::HolderTtl => (holder, "ttl_ms"),
        Field::HolderSeq => (holder, "seq"),
        Field::WaiterOwner => (waiter, "owner"),
        Field::WaiterId => (waiter, "id"),
        Field::WaiterMode => (waiter, "mode"),
        Field::WaiterLimit => (waiter, "limit"),
        Field::WaiterEnqueuedAt => (waiter, "enqueued_at"),
        Field::WaiterExpiresAt => (waiter, "expires_at"),
        Field::WaiterTtl => (waiter, "ttl_ms"),
        Field::WaiterSeq => (waiter, "seq"),
        _ => panic!("{field:?} is new: teach this fixture"),
    }
}

/// A map of attributes in an order of its own.
pub fn sorted(map: &HashMap<String, AttributeValue>) -> BTreeMap<&str, String> {
    let shown = |value: &AttributeValue| match value {
        AttributeValue::M(map) => format!("{:?}", sorted(map)),
        other => format!("{other:?}"),
    };
    let fields = map.iter();
    fields
        .map(|(name, value)| (name.as_str(), shown(value)))
        .collect()
}
