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
    let (entries, name) = match field {
        Field::Version => (None, "v"),
        Field::Rev => (None, "rev"),
        Field::Token => (None, "token"),
        Field::Mode => (None, "mode"),
        Field::Limit => (None, "limit"),
        Field::Holders => (None, "holders"),
        Field::Queue => (None, "queue"),
        Field::HolderOwner => (Some("holders"), "owner"),
        Field::HolderId => (Some("holders"), "id"),
        Field::HolderAcquiredAt => (Some("holders"), "acquired_at"),
        Field::HolderExpiresAt => (Some("holders"), "expires_at"),
        Field::HolderTtl => (Some("holders"), "ttl_ms"),
        Field::HolderSeq => (Some("holders"), "seq"),
        Field::WaiterOwner => (Some("queue"), "owner"),
        Field::WaiterId => (Some("queue"), "id"),
        Field::WaiterMode => (Some("queue"), "mode"),
        Field::WaiterLimit => (Some("queue"), "limit"),
        Field::WaiterEnqueuedAt => (Some("queue"), "enqueued_at"),
        Field::WaiterExpiresAt => (Some("queue"), "expires_at"),
        Field::WaiterTtl => (Some("queue"), "ttl_ms"),
        Field::WaiterSeq => (Some("queue"), "seq"),
        _ => panic!("{field:?} is new"),
    };
    match entries {
        Some(entries) => (&mut record[entries][0], name),
        None => (record, name),
    }
}
