//! Whether this deployment can keep locks: what rests on something else comes after it.

mod collection;
mod server;

use super::error::{self, Access};
use super::{MongoBackend, READ_TIMEOUT, stream, within};
use crate::Key;
use crate::diagnosis::{Check, Diagnosis, Trial};

impl MongoBackend {
    pub(super) async fn examine(&self, key: &Key) -> Diagnosis {
        let mut diagnosis = Diagnosis::default();
        let Some(topology) = self.examine_server(&mut diagnosis).await else {
            return diagnosis;
        };
        if !self.examine_collection(&mut diagnosis).await {
            return diagnosis;
        }
        let Some(trial) = Trial::begin(self, key, &mut diagnosis).await else {
            return diagnosis;
        };
        if topology.has_streams() {
            diagnosis.note(self.try_stream().await);
        }
        trial.end(&mut diagnosis).await;
        diagnosis.note(self.tidy(key).await);
        diagnosis
    }

    async fn try_stream(&self) -> Check {
        const NAME: &str = "change stream";
        let opened = within(READ_TIMEOUT, async {
            let opened = stream::open(&self.collection).await;
            opened.map_err(|error| error::convert(error, Access::Read))
        });
        match opened.await {
            Ok(_) => Check::ok(NAME, "waiters are told of releases"),
            Err(error) => {
                let remedy = "waiters poll; to have them told of releases, allow `changeStream` on the collection";
                Check::optional(NAME, &error, remedy)
            }
        }
    }

    async fn tidy(&self, key: &Key) -> Check {
        let removed = within(READ_TIMEOUT, async {
            let removed = self.remove(&[key]).await;
            removed.map_err(|error| error::convert(error, Access::Write))
        });
        Check::traces(key, &removed.await)
    }
}
