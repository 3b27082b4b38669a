//! Reading: one record, or a page of them.

use mongodb::bson::{Document, doc};
use mongodb::error::Result as NativeResult;
use mongodb::options::{ReadConcern, ReadPreference, SelectionCriteria};

use super::error::{self, Access};
use super::write::simple;
use super::{MongoBackend, record};
use crate::record::ListPage;
use crate::{Key, LockRecord, Result};

/// How many documents a page is made from.
const PAGE: usize = 100;

impl MongoBackend {
    pub(super) async fn read(&self, key: &Key) -> Result<Option<LockRecord>> {
        let found = self
            .collection
            .find_one(self.place.filter(key))
            .collation(simple())
            .read_concern(ReadConcern::majority())
            .selection_criteria(primary())
            .await
            .map_err(|error| error::convert(error, Access::Read))?;
        let record = found.map(|found| self.place.record(&found)).transpose()?;
        Ok(record.flatten())
    }

    pub(super) async fn read_page(&self, prefix: &str, page: Option<&str>) -> Result<ListPage> {
        let documents = self
            .documents(prefix, page)
            .await
            .map_err(|error| error::convert(error, Access::Read))?;
        // In the order of bytes, keys with one prefix stand together.
        let named = documents.iter().filter_map(|document| {
            let name = document.get_str("_id").ok()?;
            Some((name, document))
        });
        let mut found = named.take_while(|(name, _)| name.starts_with(prefix));
        let mut last = None;
        let mut records = Vec::new();
        for (name, document) in found.by_ref().take(PAGE) {
            last = Some(name);
            records.extend(well_formed(name, document));
        }
        let next = last.filter(|_| found.next().is_some()).map(str::to_owned);
        Ok(ListPage::new(records, next))
    }

    async fn documents(&self, prefix: &str, page: Option<&str>) -> NativeResult<Vec<Document>> {
        let range = match page {
            Some(page) if page >= prefix => doc! { "$gt": page },
            _ => doc! { "$gte": prefix },
        };
        let mut cursor = self
            .collection
            .find(doc! { "_id": range })
            .sort(doc! { "_id": 1_i32 })
            .limit(i64::try_from(PAGE).unwrap_or(i64::MAX) + 1)
            .collation(simple())
            .read_concern(ReadConcern::majority())
            .selection_criteria(primary())
            .await?;
        let mut documents = Vec::with_capacity(PAGE + 1);
        while cursor.advance().await? {
            documents.push(cursor.deserialize_current()?);
        }
        Ok(documents)
    }
}

fn well_formed(name: &str, document: &Document) -> Option<(Key, LockRecord)> {
    let record = match record::decode(document) {
        Ok(record) => record?,
        Err(error) => {
            tracing::debug!(doclock.key = name, %error, "left out of a list");
            return None;
        }
    };
    match Key::new(name) {
        Ok(key) => Some((key, record)),
        Err(error) => {
            tracing::debug!(doclock.key = name, %error, "left out of a list");
            None
        }
    }
}

pub(super) fn primary() -> SelectionCriteria {
    SelectionCriteria::ReadPreference(ReadPreference::Primary)
}
