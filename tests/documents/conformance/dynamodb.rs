//! Maps in the items of a DynamoDB table.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use doclock::conformance::{Damage, Field, Fixture, Omission};
use doclock::document::dynamodb::Documents;
use doclock::{Backend, DynamoBackend, Key};

use super::{Business, OMISSIONS, Ready};
use crate::conformance::dynamodb::{attribute, client, only_entry, sorted};
use crate::conformance::silent_port;

const TABLE: &str = "doclock-documents";

type Item = HashMap<String, AttributeValue>;

pub struct Items {
    url: String,
    client: Client,
}

impl Items {
    pub async fn at(url: &str) -> Self {
        let client = client(url);
        DynamoBackend::new(client.clone(), TABLE)
            .setup()
            .await
            .unwrap();
        Self {
            url: url.to_owned(),
            client,
        }
    }

    async fn item(&self, key: &Key) -> Option<Item> {
        let get = self.client.get_item().table_name(TABLE);
        let get = get.key("pk", text(key.as_str())).consistent_read(true);
        get.send().await.unwrap().item
    }

    /// Changes the record of a key.
    async fn change(&self, key: &Key, change: impl FnOnce(&mut Item)) {
        let mut item = self.item(key).await.unwrap();
        match item.get_mut("lock") {
            Some(AttributeValue::M(record)) => change(record),
            other => panic!("{key} has no record, but {other:?}"),
        }
        let put = self.client.put_item().table_name(TABLE);
        put.set_item(Some(item)).send().await.unwrap();
    }
}

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

#[async_trait]
impl Business for Client {
    async fn create(&self, id: &str) {
        let update = self.update_item().table_name(TABLE).key("pk", text(id));
        // Nothing is overwritten, though it may be there.
        let update = update
            .update_expression("SET customer = :name, #token = :mine, v = :v")
            .expression_attribute_names("#token", "token")
            .expression_attribute_values(":name", text("a customer"))
            .expression_attribute_values(":mine", text("mine"))
            .expression_attribute_values(":v", AttributeValue::N("7".to_owned()));
        update.send().await.unwrap();
    }
}

#[async_trait]
impl Fixture for Items {
    async fn connect(&self) -> Arc<dyn Backend> {
        let client = client(&self.url);
        let documents = Documents::new(client.clone(), TABLE);
        Arc::new(Ready::new(documents.__backend(), client))
    }

    async fn purge(&self, key: &Key) {
        let update = self.client.update_item().table_name(TABLE);
        let update = update
            .key("pk", text(key.as_str()))
            .update_expression("REMOVE #lock")
            .condition_expression("attribute_exists(#lock)")
            .expression_attribute_names("#lock", "lock");
        update.send().await.unwrap();
    }

    fn without(&self) -> &'static [Omission] {
        OMISSIONS
    }

    async fn damage(&self, key: &Key, damage: Damage) -> String {
        let (field, value) = match damage {
            Damage::Foreign => {
                let foreign = [("name".to_owned(), text("nobody's lock"))];
                self.change(key, |record| *record = foreign.into()).await;
                return "v".to_owned();
            }
            Damage::Future => (Field::Version, Some(AttributeValue::N("2".to_owned()))),
            Damage::Missing(field) => (field, None),
            Damage::WrongType(field) => (field, Some(AttributeValue::Bool(true))),
            _ => panic!("{damage:?} is new: teach this fixture"),
        };
        let (entries, name) = attribute(field);
        self.change(key, |record| {
            let map = match entries {
                Some(entries) => only_entry(record, entries),
                None => record,
            };
            let old = match value {
                Some(value) => map.insert(name.to_owned(), value),
                None => map.remove(name),
            };
            assert!(old.is_some(), "{key} has no {name}");
        })
        .await;
        name.to_owned()
    }

    async fn image(&self, key: &Key) -> String {
        let item = self.item(key).await;
        format!("{:?}", item.as_ref().map(sorted))
    }

    async fn silent(&self) -> Arc<dyn Backend> {
        let url = format!("http://127.0.0.1:{}", silent_port());
        Documents::new(client(&url), TABLE).__backend()
    }
}
