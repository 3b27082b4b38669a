//! The public suite, on every backend and every server that there is for it.

pub mod dynamodb;
mod mixed;
pub mod mongodb;
mod quorum;

use std::net::TcpListener;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use doclock::conformance::{Fixture, Omission};
use doclock::{Backend, Key, MemoryBackend};

use self::dynamodb::Dynamo;
use self::mixed::Mixed;
use self::mongodb::Mongo;
use self::quorum::{Fault, Five};
use crate::support::servers;

doclock::conformance_tests!(memory, Memory(MemoryBackend::new()));
doclock::conformance_tests!(mongodb_replica_set, {
    if servers::without("mongodb") {
        return;
    }
    Mongo::at(servers::mongodb_url()).await
});
doclock::conformance_tests!(mongodb_standalone, {
    if servers::without("mongodb") {
        return;
    }
    Mongo::at(servers::mongodb_standalone_url()).await
});
doclock::conformance_tests!(mongodb_least_privilege, {
    if servers::without("mongodb") {
        return;
    }
    Mongo::with_least_privilege().await
});
doclock::conformance_tests!(dynamodb_local, {
    if servers::without("dynamodb-local") {
        return;
    }
    Dynamo::at(servers::dynamodb_local_url()).await
});
doclock::conformance_tests!(dynoxide, {
    if servers::without("dynoxide") {
        return;
    }
    Dynamo::at(servers::dynoxide_url()).await
});

doclock::conformance_tests!(quorum_of_five, Five::with([None; 5]));
doclock::conformance_tests!(quorum_two_down, {
    let down = Some(Fault::Down);
    Five::with([down, None, None, down, None])
});
doclock::conformance_tests!(quorum_one_silent_one_slow, {
    let slow = Fault::Slow(Duration::from_millis(40));
    Five::with([None, Some(Fault::Silent), None, None, Some(slow)])
});
doclock::conformance_tests!(quorum_mixed, {
    let Some(mixed) = Mixed::start().await else {
        return;
    };
    mixed
});

struct Memory(MemoryBackend);

#[async_trait]
impl Fixture for Memory {
    async fn connect(&self) -> Arc<dyn Backend> {
        Arc::new(self.0.clone())
    }

    async fn purge(&self, key: &Key) {
        self.0.purge(key);
    }

    fn uncertainty(&self) -> Duration {
        Duration::ZERO
    }

    fn without(&self) -> &'static [Omission] {
        &[Omission::Damage, Omission::Silence]
    }
}

/// A port where connections are made and nothing is ever read.
pub fn silent_port() -> u16 {
    static LISTENER: OnceLock<TcpListener> = OnceLock::new();
    let listener = LISTENER.get_or_init(|| TcpListener::bind(("127.0.0.1", 0)).unwrap());
    listener.local_addr().unwrap().port()
}
