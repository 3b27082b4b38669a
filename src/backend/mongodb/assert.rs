//! The lock record inside of a user's transaction.

use mongodb::ClientSession;
use mongodb::bson::doc;

use super::MongoBackend;
use super::write::simple;
use crate::{Key, LeaseId};

impl MongoBackend {
    /// Whether the record still has this holder.
    ///
    /// It is a write, for a read conflicts with nothing: its transaction would commit after the successor's grant. And it
    /// raises `rev`, so that whoever decided on the record before decides again.
    pub(crate) async fn assert_holder(
        &self,
        session: &mut ClientSession,
        key: &Key,
        id: &LeaseId,
        token: i64,
    ) -> mongodb::error::Result<bool> {
        let holder = doc! { "$elemMatch": { "id": id.as_str(), "token": token } };
        let mut filter = self.place.filter(key);
        filter.insert(self.place.path("holders"), holder);
        let written = self
            .collection
            .update_one(filter, doc! { "$inc": { self.place.path("rev"): 1_i64 } })
            .collation(simple())
            .session(session)
            .await?;
        Ok(written.matched_count > 0)
    }
}
