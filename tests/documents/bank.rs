//! Accounts that carry their own lock, on every database: what the tests need of them, and nothing of a driver.

mod dynamodb;
mod mongodb;

use anyhow::Result;
use async_trait::async_trait;
use doclock::{Lease, Lock, LockRecord};

use crate::processes::site::Site;
use crate::support::servers;

/// What every account starts with.
pub const START: i64 = 100;

/// The options of a lock.
pub type Options = fn(Lock) -> Lock;

/// An account that is locked.
#[async_trait]
pub trait Account: Send + Sync {
    /// As it was read, or written last.
    fn balance(&self) -> i64;
    fn lease(&self) -> &Lease;
    async fn add(&mut self, amount: i64) -> doclock::Result<()>;
    async fn add_and_unlock(self: Box<Self>, amount: i64) -> doclock::Result<()>;
    async fn set_and_unlock(self: Box<Self>, balance: i64) -> doclock::Result<()>;
    /// An update of the lock itself, and of the id: each in several ways.
    async fn meddle(&mut self) -> Vec<(String, doclock::Result<()>)>;
    async fn unlock(self: Box<Self>) -> doclock::Result<()>;
}

/// A client of its own, as one more process would have.
#[async_trait]
pub trait Bank: Send + Sync {
    /// Another process on the same accounts.
    async fn another(&self) -> Result<Box<dyn Bank>>;
    async fn acquire(&self, id: &str, options: Options) -> doclock::Result<Box<dyn Account>>;
    async fn try_acquire(&self, id: &str) -> doclock::Result<Option<Box<dyn Account>>>;
    async fn inspect(&self, id: &str) -> doclock::Result<Option<LockRecord>>;
    async fn force(&self, id: &str) -> doclock::Result<()>;
    async fn shutdown(&self);
    /// How many requests this process sent since the last call.
    fn sent(&self) -> usize;

    /// By somebody who knows nothing of locks.
    async fn create(&self, id: &str) -> Result<()>;
    async fn replace(&self, id: &str, balance: i64) -> Result<()>;
    async fn delete(&self, id: &str) -> Result<()>;
    /// Lets the holder's time be over long ago.
    async fn expire(&self, id: &str) -> Result<()>;
    /// Puts something in the lock's place that is none. What the error must name; `None`: there is no such `nth`.
    async fn spoil(&self, id: &str, nth: usize) -> Result<Option<&'static str>>;
    /// The document, exact to the byte and the order of its fields.
    async fn image(&self, id: &str) -> Result<String>;
    /// The same without the lock.
    async fn rest(&self, id: &str) -> Result<String>;
    /// The names of the fields of the lock.
    async fn fields(&self, id: &str) -> Result<Vec<String>>;
}

/// Accounts of the test's own.
pub async fn open(site: Site) -> Result<Box<dyn Bank>> {
    let name = format!("accounts-{}", doclock::LeaseId::random());
    Ok(match site {
        Site::MongoDb => Box::new(mongodb::Collection::at(servers::mongodb_url(), &name).await?),
        Site::Dynoxide => Box::new(dynamodb::Table::make(servers::dynoxide_url(), &name).await?),
        Site::DynamoDbLocal => {
            Box::new(dynamodb::Table::make(servers::dynamodb_local_url(), &name).await?)
        }
    })
}

/// A table of this name.
pub async fn table(url: &str, name: &str) -> Result<()> {
    dynamodb::Table::make(url, name).await.map(drop)
}

/// The same accounts, by another address of their server.
pub async fn through(site: Site, url: &str, name: &str) -> Result<Box<dyn Bank>> {
    Ok(match site {
        Site::MongoDb => Box::new(mongodb::Collection::at(url, name).await?),
        Site::Dynoxide | Site::DynamoDbLocal => Box::new(dynamodb::Table::at(url, name)),
    })
}

/// Nobody comes to look at it: the lease is neither renewed nor released.
pub fn abandon(account: Box<dyn Account>) {
    std::mem::forget(account);
}
