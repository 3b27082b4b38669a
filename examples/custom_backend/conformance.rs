//! The suite that tells whether it is right.

#![allow(clippy::expect_used, reason = "a fixture that breaks is a failed test")]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use doclock::conformance::{Damage, Field, Fixture, Omission};
use doclock::{Backend, Key};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::FileBackend;

doclock::conformance_tests!(
    file,
    Files(TempDir::new().expect("a directory for temporary files"))
);

struct Files(TempDir);

impl Files {
    fn backend(&self) -> FileBackend {
        FileBackend {
            path: self.0.path().join("locks.json"),
        }
    }
}

#[async_trait]
impl Fixture for Files {
    async fn connect(&self) -> Arc<dyn Backend> {
        Arc::new(self.backend())
    }

    async fn purge(&self, key: &Key) {
        let mut records = self.backend().load().expect("a file");
        records.remove(key.as_str()).expect("a record");
        self.backend().save(&records).expect("a file");
    }

    /// The resolution of the times in a record.
    fn uncertainty(&self) -> Duration {
        Duration::from_millis(2)
    }

    /// A file is never silent, and this backend does not list.
    fn without(&self) -> &'static [Omission] {
        &[Omission::List, Omission::Silence]
    }

    async fn damage(&self, key: &Key, damage: Damage) -> String {
        let mut records = self.backend().load().expect("a file");
        let record = records.get_mut(key.as_str()).expect("a record");
        let name = match damage {
            Damage::Foreign => {
                *record = json!({"name": "nobody's lock"});
                "v"
            }
            Damage::Future => {
                record["v"] = json!(2);
                "v"
            }
            Damage::Missing(field) => {
                let (of, name) = place(record, field);
                of.as_object_mut()
                    .and_then(|of| of.remove(name))
                    .expect("a field");
                name
            }
            Damage::WrongType(field) => {
                let (of, name) = place(record, field);
                of[name] = json!(true);
                name
            }
            _ => panic!("{damage:?} is new"),
        };
        self.backend().save(&records).expect("a file");
        name.to_owned()
    }

    async fn image(&self, key: &Key) -> String {
        let records = self.backend().load().expect("a file");
        format!("{:?}", records.get(key.as_str()))
    }
}

fn place(record: &mut Value, field: Field) -> (&mut Value, &'static str) {
    let of_record = match field {
        Field::Version => "v",
        Field::Rev => "rev",
        Field::Token => "token",
        Field::Mode => "mode",
        Field::Limit => "limit",
        Field::Holders => "holders",
        Field::Queue => "queue",
        _ => {
            let name = match field {
                Field::HolderOwner => "owner",
                Field::HolderId => "id",
                Field::HolderAcquiredAt => "acquired_at",
                Field::HolderExpiresAt => "expires_at",
                Field::HolderTtl => "ttl_ms",
                Field::HolderSeq => "seq",
                _ => panic!("{field:?} is new"),
            };
            return (&mut record["holders"][0], name);
        }
    };
    (record, of_record)
}
