//! The public suite on the backends underneath: a lock in a document keeps the same promises as one of its own.

mod dynamodb;
mod mongodb;

use std::collections::HashSet;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use doclock::conformance::Omission;
use doclock::{
    AcquireOutcome, AcquireRequest, Backend, Holder, Key, ListPage, LockRecord, ReleaseOutcome,
    ReleaseRequest, RenewOutcome, RenewRequest, Result,
};

use self::dynamodb::Items;
use self::mongodb::SubDocuments;
use crate::support::servers;

doclock::conformance_tests!(in_mongodb, {
    if servers::without("mongodb") {
        return;
    }
    SubDocuments::at(servers::mongodb_url()).await
});
doclock::conformance_tests!(in_dynamodb_local, {
    if servers::without("dynamodb-local") {
        return;
    }
    Items::at(servers::dynamodb_local_url()).await
});

/// Nothing is listed: which documents have been locked is nobody's question. Nor collected: the document is not ours. And
/// whoever locks a document can ask for no run of a job and no other mode.
const OMISSIONS: &[Omission] = &[
    Omission::List,
    Omission::Purge,
    Omission::Slots,
    Omission::Upgrades,
];

/// Makes the business documents that the suite knows nothing of.
#[async_trait]
trait Business: Debug + Send + Sync + 'static {
    async fn create(&self, id: &str);
}

/// The suite's keys are the ids of documents, which are there before they are locked.
#[derive(Debug)]
struct Ready<B> {
    backend: Arc<dyn Backend>,
    business: B,
    created: Mutex<HashSet<Key>>,
}

impl<B: Business> Ready<B> {
    fn new(backend: Arc<dyn Backend>, business: B) -> Self {
        Self {
            backend,
            business,
            created: Mutex::default(),
        }
    }
}

/// The id as JSON, as keys are. One that gets too long so is taken as it is, which is no JSON.
fn json(key: &Key) -> Key {
    let json = serde_json::to_string(key.as_str()).unwrap();
    Key::new(json).unwrap_or_else(|_| key.clone())
}

#[async_trait]
impl<B: Business> Backend for Ready<B> {
    async fn acquire(&self, request: &AcquireRequest) -> Result<AcquireOutcome> {
        if !self.created.lock().unwrap().contains(&request.key) {
            self.business.create(request.key.as_str()).await;
            self.created.lock().unwrap().insert(request.key.clone());
        }
        let mut request = request.clone();
        request.key = json(&request.key);
        self.backend.acquire(&request).await
    }

    async fn renew(&self, request: &RenewRequest) -> Result<RenewOutcome> {
        let mut request = request.clone();
        request.key = json(&request.key);
        self.backend.renew(&request).await
    }

    async fn release(&self, request: &ReleaseRequest) -> Result<ReleaseOutcome> {
        let mut request = request.clone();
        request.key = json(&request.key);
        self.backend.release(&request).await
    }

    async fn inspect(&self, key: &Key) -> Result<Option<LockRecord>> {
        self.backend.inspect(&json(key)).await
    }

    async fn setup(&self) -> Result<()> {
        self.backend.setup().await
    }

    async fn list(&self, prefix: &str, page: Option<&str>) -> Result<ListPage> {
        self.backend.list(prefix, page).await
    }

    async fn force_release(&self, key: &Key) -> Result<Vec<Holder>> {
        self.backend.force_release(&json(key)).await
    }
}
