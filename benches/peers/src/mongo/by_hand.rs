use anyhow::{Result, ensure};
use async_trait::async_trait;
use futures_util::FutureExt;
use mongodb::bson::{Document, doc};
use mongodb::error::{Error, ErrorKind, WriteFailure};
use mongodb::{Collection, Database};
use tokio::time::sleep;
use uuid::Uuid;

use crate::measure::RETRY;
use crate::peer::{Peer, Release};

/// Whoever inserts the document holds, until it deletes it. It never expires.
pub(super) struct ByHand(Collection<Document>);

impl ByHand {
    pub(super) fn new(database: &Database) -> Self {
        Self(database.collection("by_hand"))
    }
}

#[async_trait]
impl Peer for ByHand {
    async fn acquire<'a>(&'a self, key: &'a str) -> Result<Release<'a>> {
        let document = doc! { "_id": key, "owner": Uuid::new_v4().to_string() };
        while let Err(error) = self.0.insert_one(&document).await {
            if !is_taken(&error) {
                return Err(error.into());
            }
            sleep(RETRY).await;
        }
        let release = async {
            let deleted = self.0.delete_one(document).await?;
            ensure!(deleted.deleted_count == 1, "held by another");
            Ok(())
        };
        Ok(release.boxed())
    }
}

fn is_taken(error: &Error) -> bool {
    const DUPLICATE_KEY: i32 = 11_000;
    matches!(&*error.kind, ErrorKind::Write(WriteFailure::WriteError(why)) if why.code == DUPLICATE_KEY)
}
