//! MongoDB, with or without a replica set.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use doclock::conformance::{Damage, Field, Fixture};
use doclock::{Backend, Key, MongoBackend};
use mongodb::bson::{Document, RawDocumentBuf, doc};
use mongodb::{Client, Collection, Database};

use crate::privileges::divided::Divided;
use crate::privileges::mongodb as privileges;

pub struct Mongo {
    /// The backend's, which may have fewer rights than the fixture.
    url: String,
    /// The one to set up by.
    setup: String,
    database: Database,
}

impl Mongo {
    pub async fn at(url: &str) -> Self {
        let client = Client::with_uri_str(url).await.unwrap();
        let database = client.database("doclock_conformance");
        MongoBackend::new(database.clone()).setup().await.unwrap();
        Self {
            url: url.to_owned(),
            setup: url.to_owned(),
            database,
        }
    }

    /// With the rights that the page on safety names, and no others.
    pub async fn with_least_privilege() -> Self {
        let root = privileges::root_url();
        let client = Client::with_uri_str(root).await.unwrap();
        let setup = privileges::url("lockerSetup");
        privileges::backend(&setup).await.setup().await.unwrap();
        Self {
            url: privileges::url("locker"),
            setup,
            database: client.database(privileges::DATABASE),
        }
    }

    fn raw<T: Send + Sync>(&self) -> Collection<T> {
        self.database.collection("locks")
    }
}

#[async_trait]
impl Fixture for Mongo {
    async fn connect(&self) -> Arc<dyn Backend> {
        let backend = async |url| {
            let client = Client::with_uri_str(url).await.unwrap();
            MongoBackend::new(client.database(self.database.name()))
        };
        Arc::new(Divided {
            run_time: backend(&self.url).await,
            setup: backend(&self.setup).await,
        })
    }

    async fn purge(&self, key: &Key) {
        let filter = doc! { "_id": key.as_str() };
        let deleted = self.raw::<Document>().delete_one(filter).await.unwrap();
        assert_eq!(deleted.deleted_count, 1, "{key} has no document");
    }

    fn uncertainty(&self) -> Duration {
        Duration::from_secs(1)
    }

    async fn damage(&self, key: &Key, damage: Damage) -> String {
        let update = match damage {
            Damage::Foreign => {
                let foreign = doc! { "_id": key.as_str(), "name": "nobody's lock", "holders": 3 };
                vec![doc! { "$replaceWith": { "$literal": foreign } }]
            }
            Damage::Future => vec![doc! { "$set": { "v": 2_i32 } }],
            Damage::Missing(field) => return self.update(key, field, "$unset").await,
            Damage::WrongType(field) => return self.update(key, field, "$set").await,
            _ => panic!("{damage:?} is new: teach this fixture"),
        };
        let filter = doc! { "_id": key.as_str() };
        let raw = self.raw::<Document>();
        let updated = raw.update_one(filter, update).await.unwrap();
        assert_eq!(updated.modified_count, 1, "{key}: {damage:?}");
        "v".to_owned()
    }

    async fn image(&self, key: &Key) -> String {
        let raw = self.raw::<RawDocumentBuf>();
        let found = raw.find_one(doc! { "_id": key.as_str() }).await.unwrap();
        format!("{:?}", found.map(RawDocumentBuf::into_bytes))
    }

    async fn silent(&self) -> Arc<dyn Backend> {
        let url = format!("mongodb://127.0.0.1:{}/", super::silent_port());
        let client = Client::with_uri_str(url).await.unwrap();
        Arc::new(MongoBackend::new(client.database(self.database.name())))
    }
}

impl Mongo {
    async fn update(&self, key: &Key, field: Field, operator: &str) -> String {
        let path = path(field);
        let filter = doc! { "_id": key.as_str() };
        let update = doc! { operator: { path: true } };
        let raw = self.raw::<Document>();
        let updated = raw.update_one(filter, update).await.unwrap();
        assert_eq!(updated.modified_count, 1, "{key}: {operator} {path}");
        let name = path.rsplit('.').next().unwrap_or(path);
        name.to_owned()
    }
}

/// Where a field stands in the record.
pub fn path(field: Field) -> &'static str {
    match field {
        Field::Version => "v",
        Field::Rev => "rev",
        Field::Token => "token",
        Field::Mode => "mode",
        Field::Limit => "limit",
        Field::Holders => "holders",
        Field::Queue => "queue",
        Field::HolderOwner => "holders.0.owner",
        Field::HolderId => "holders.0.id",
        Field::HolderAcquiredAt => "holders.0.acquiredAt",
        Field::HolderExpiresAt => "holders.0.expiresAt",
        Field::HolderTtl => "holders.0.ttlMs",
        Field::HolderSeq => "holders.0.seq",
        Field::WaiterOwner => "queue.0.owner",
        Field::WaiterId => "queue.0.id",
        Field::WaiterMode => "queue.0.mode",
        Field::WaiterLimit => "queue.0.limit",
        Field::WaiterEnqueuedAt => "queue.0.enqueuedAt",
        Field::WaiterExpiresAt => "queue.0.expiresAt",
        Field::WaiterTtl => "queue.0.ttlMs",
        Field::WaiterSeq => "queue.0.seq",
        _ => panic!("{field:?} is new: teach this fixture"),
    }
}
