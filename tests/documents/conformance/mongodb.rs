//! Sub-documents of a MongoDB collection.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use doclock::conformance::{Damage, Fixture, Omission};
use doclock::document::mongodb::Documents;
use doclock::{Backend, Key};
use mongodb::bson::{Document, RawDocumentBuf, doc};
use mongodb::{Client, Collection, Database};

use super::{Business, OMISSIONS, Ready};
use crate::conformance::mongodb::path;
use crate::conformance::silent_port;

pub struct SubDocuments {
    url: String,
    database: Database,
}

impl SubDocuments {
    pub async fn at(url: &str) -> Self {
        let client = Client::with_uri_str(url).await.unwrap();
        Self {
            url: url.to_owned(),
            database: client.database("doclock_documents"),
        }
    }

    fn raw<T: Send + Sync>(&self) -> Collection<T> {
        self.database.collection("conformance")
    }

    async fn update(&self, key: &Key, update: Document) {
        let filter = doc! { "_id": key.as_str() };
        let raw = self.raw::<Document>();
        let updated = raw.update_one(filter, update.clone()).await.unwrap();
        assert_eq!(updated.modified_count, 1, "{key}: {update}");
    }
}

#[async_trait]
impl Business for Collection<Document> {
    async fn create(&self, id: &str) {
        let business = doc! { "$setOnInsert": { "name": "a customer", "token": "mine", "v": 7 } };
        let created = self.update_one(doc! { "_id": id }, business).upsert(true);
        created.await.unwrap();
    }
}

#[async_trait]
impl Fixture for SubDocuments {
    async fn connect(&self) -> Arc<dyn Backend> {
        let client = Client::with_uri_str(&self.url).await.unwrap();
        let collection = client
            .database(self.database.name())
            .collection::<Document>("conformance");
        let documents = Documents::new(collection.clone());
        Arc::new(Ready::new(documents.__backend(), collection))
    }

    async fn purge(&self, key: &Key) {
        self.update(key, doc! { "$unset": { "lock": 1 } }).await;
    }

    fn uncertainty(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn without(&self) -> &'static [Omission] {
        OMISSIONS
    }

    async fn damage(&self, key: &Key, damage: Damage) -> String {
        let field = match damage {
            Damage::Foreign => {
                let foreign = doc! { "name": "nobody's lock", "holders": 3 };
                self.update(key, doc! { "$set": { "lock": foreign } }).await;
                return "v".to_owned();
            }
            Damage::Future => {
                self.update(key, doc! { "$set": { "lock.v": 2_i32 } }).await;
                return "v".to_owned();
            }
            Damage::Missing(field) | Damage::WrongType(field) => field,
            _ => panic!("{damage:?} is new: teach this fixture"),
        };
        let operator = match damage {
            Damage::Missing(_) => "$unset",
            _ => "$set",
        };
        let path = path(field);
        let change = doc! { operator: { format!("lock.{path}"): true } };
        self.update(key, change).await;
        path.rsplit('.').next().unwrap_or(path).to_owned()
    }

    async fn image(&self, key: &Key) -> String {
        let raw = self.raw::<RawDocumentBuf>();
        let found = raw.find_one(doc! { "_id": key.as_str() }).await.unwrap();
        format!("{:?}", found.map(RawDocumentBuf::into_bytes))
    }

    async fn silent(&self) -> Arc<dyn Backend> {
        let url = format!("mongodb://127.0.0.1:{}/", silent_port());
        let client = Client::with_uri_str(url).await.unwrap();
        let collection = client.database("silent").collection::<Document>("silent");
        Documents::new(collection).__backend()
    }
}
