//! An eventually consistent read may be behind: what it shows ends nothing, and grants nothing by itself.

use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use aws_sdk_dynamodb::config::interceptors::{
    BeforeSerializationInterceptorContextRef, FinalizerInterceptorContextMut,
};
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use aws_sdk_dynamodb::operation::get_item::{GetItemInput, GetItemOutput};
use doclock::{Backend, Mode, Reason, RenewRequest};

use super::*;

/// Answers reads that need not be consistent by what stood there once.
#[derive(Clone, Debug, Default)]
struct Behind {
    item: Arc<Mutex<Option<Item>>>,
    is_asked: Arc<AtomicBool>,
}

impl Intercept for Behind {
    fn name(&self) -> &'static str {
        "Behind"
    }

    fn read_before_serialization(
        &self,
        context: &BeforeSerializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let get = context.input().downcast_ref::<GetItemInput>();
        let is_asked = get.is_some_and(|get| get.consistent_read != Some(true));
        self.is_asked.store(is_asked, Ordering::SeqCst);
        Ok(())
    }

    fn modify_before_completion(
        &self,
        context: &mut FinalizerInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if self.is_asked.load(Ordering::SeqCst)
            && let Some(Ok(output)) = context.output_or_error_mut()
            && let Some(got) = output.downcast_mut::<GetItemOutput>()
        {
            got.item.clone_from(&self.item.lock().unwrap());
        }
        Ok(())
    }
}

/// A backend on a new table, and another on the same that is behind as soon as it is told so.
async fn both(server: &Server) -> Result<(DynamoBackend, DynamoBackend, Behind, String)> {
    let (backend, table) = server.backend().await?;
    let behind = Behind::default();
    let config = server.client.config().to_builder();
    let config = config.interceptor(behind.clone()).build();
    let late = DynamoBackend::new(Client::from_conf(config), &table);
    Ok((backend, late, behind, table))
}

impl Behind {
    /// From now on it sees what stands there now.
    async fn stop(&self, server: &Server, table: &str) -> Result<()> {
        *self.item.lock().unwrap() = server.item(table, "key").await?;
        Ok(())
    }
}

on_both! {
    /// Its place is there, though the read does not show it yet.
    async fn a_place_is_not_lost(server: Server) {
        let (backend, late, behind, table) = both(&server).await?;
        granted(&backend, &request("key", Mode::Exclusive)?).await?;
        behind.stop(&server, &table).await?;
        let waiter = fair("key", Mode::Exclusive)?;
        queued(&late, &waiter).await?;
        let second = fair("key", Mode::Exclusive)?;
        queued(&backend, &second).await?;
        let before = server.item(&table, "key").await?;
        let contention = queued(&late, &poll(&waiter)).await?;
        assert_eq!(contention.ahead, 0);
        assert_eq!(server.item(&table, "key").await?, before);
    }

    /// The read shows its owner's older acquisition, where it stands itself by now.
    async fn nobody_is_replaced_by_what_it_replaced(server: Server) {
        let (backend, late, behind, table) = both(&server).await?;
        granted(&backend, &request("key", Mode::Exclusive)?).await?;
        let old = fair("key", Mode::Exclusive)?;
        queued(&backend, &old).await?;
        behind.stop(&server, &table).await?;
        let mut heir = fair("key", Mode::Exclusive)?;
        heir.owner = old.owner.clone();
        queued(&late, &heir).await?;
        queued(&late, &poll(&heir)).await?;
        // Who reads that it is replaced by now, is.
        assert_eq!(held(&backend, &poll(&old)).await?.reason, Reason::Replaced);
    }

    /// It was free then.
    async fn nobody_is_passed(server: Server) {
        let (backend, late, behind, table) = both(&server).await?;
        let holder = request("key", Mode::Exclusive)?;
        granted(&backend, &holder).await?;
        backend.release(&ending(&holder)).await?;
        behind.stop(&server, &table).await?;
        let next = request("key", Mode::Exclusive)?;
        granted(&backend, &next).await?;
        queued(&backend, &fair("key", Mode::Exclusive)?).await?;
        for mode in [Mode::Exclusive, Mode::Shared, Mode::Permit { limit: 9 }] {
            let mut newcomer = request("key", mode)?;
            newcomer.waiting = true;
            let before = server.item(&table, "key").await?;
            assert_eq!(held(&late, &newcomer).await?.occupants.len(), 1);
            assert_eq!(server.item(&table, "key").await?, before);
        }
        backend.release(&ending(&next)).await?;
        let mut newcomer = request("key", Mode::Exclusive)?;
        newcomer.waiting = true;
        assert_eq!(held(&late, &newcomer).await?.reason, Reason::Queue);
    }

    /// The holder renewed since, and the waiter ahead asked again.
    async fn the_living_are_not_evicted(server: Server) {
        let (backend, late, behind, table) = both(&server).await?;
        let holder = request("key", Mode::Exclusive)?;
        let token = granted(&backend, &holder).await?.token;
        let first = fair("key", Mode::Exclusive)?;
        queued(&backend, &first).await?;
        let waiter = fair("key", Mode::Exclusive)?;
        queued(&backend, &waiter).await?;
        server.kill(&table, "holders", &holder).await?;
        server.kill(&table, "queue", &first).await?;
        behind.stop(&server, &table).await?;
        backend.renew(&RenewRequest::new(&holder, token, 2)).await?;
        let (sent, contention) = server.count(queued(&late, &poll(&waiter))).await;
        let contention = contention?;
        assert_eq!((sent, contention.occupants.len()), (2, 1));

        backend.release(&ending(&holder)).await?;
        behind.stop(&server, &table).await?;
        let mut item = server.item(&table, "key").await?.context("no item")?;
        let entry = entries(entries(&mut item, "queue"), &entry_key(&first.owner));
        entry.insert("seq".into(), number(2));
        let soon = doclock::Timestamp::from(std::time::SystemTime::now()).as_millis() + 30_000;
        entry.insert("expires_at".into(), number(soon));
        entry.insert("ttl_ms".into(), number(60_000));
        // So that it has time enough to claim its turn.
        item.insert("free_at".into(), number(soon));
        server.put(&table, item.clone()).await?;
        assert_eq!(queued(&late, &poll(&waiter)).await?.ahead, 1);
        assert_eq!(server.item(&table, "key").await?, Some(item));
    }

    /// It was not in the queue then; it has been granted since, and released.
    async fn who_holds_does_not_queue(server: Server) {
        let (backend, late, behind, table) = both(&server).await?;
        let holder = request("key", Mode::Exclusive)?;
        granted(&backend, &holder).await?;
        behind.stop(&server, &table).await?;
        let waiter = fair("key", Mode::Exclusive)?;
        queued(&backend, &waiter).await?;
        backend.release(&ending(&holder)).await?;
        let next = poll(&waiter);
        let token = granted(&backend, &next).await?.token;
        assert_eq!(granted(&late, &poll(&next)).await?.token, token);
        backend.release(&ending(&waiter)).await?;
        assert_eq!(held(&late, &poll(&next)).await?.reason, Reason::Closed);
        assert_eq!(record(&backend, &waiter.key).await?.queue, []);
    }

    /// It was the first in line then, and has joined anew since.
    async fn an_older_place_is_not_claimed(server: Server) {
        let (backend, late, behind, table) = both(&server).await?;
        let holder = request("key", Mode::Exclusive)?;
        granted(&backend, &holder).await?;
        let waiter = fair("key", Mode::Exclusive)?;
        queued(&backend, &waiter).await?;
        backend.release(&ending(&holder)).await?;
        behind.stop(&server, &table).await?;
        queued(&backend, &fair("key", Mode::Exclusive)?).await?;
        let mut item = server.item(&table, "key").await?.context("no item")?;
        let place = entry_key(&waiter.owner);
        let entry = entries(entries(&mut item, "queue"), &place);
        let joined: i64 = entry["enqueued_at"].as_n().unwrap().parse()?;
        entry.insert("enqueued_at".into(), number(joined + 1));
        entries(&mut item, "tickets").insert(place, number(1000));
        server.put(&table, item).await?;
        assert_eq!(queued(&late, &poll(&waiter)).await?.ahead, 1);
    }

    /// It held then, and has been evicted since.
    async fn a_grant_is_not_believed(server: Server) {
        let (backend, late, behind, table) = both(&server).await?;
        for mode in [Mode::Exclusive, Mode::Permit { limit: 1 }] {
            let mine = request("key", mode)?;
            granted(&backend, &mine).await?;
            behind.stop(&server, &table).await?;
            server.kill(&table, "holders", &mine).await?;
            let heir = request("key", mode)?;
            granted(&backend, &heir).await?;
            let mut again = poll(&mine);
            again.queued = false;
            held(&late, &again).await?;
            backend.release(&ending(&heir)).await?;
        }
    }

    /// Nor that there is nothing: a record is created where none is, and its token starts anew.
    async fn absence_is_not_believed(server: Server) {
        let (backend, late, _behind, _) = both(&server).await?;
        let holder = request("key", Mode::Exclusive)?;
        let token = granted(&backend, &holder).await?.token;
        for mode in [Mode::Exclusive, Mode::Shared] {
            let mut waiter = request("key", mode)?;
            waiter.waiting = true;
            held(&late, &waiter).await?;
        }
        backend.release(&ending(&holder)).await?;
        let mut waiter = request("key", Mode::Shared)?;
        waiter.waiting = true;
        assert_eq!(granted(&late, &waiter).await?.token, token + 1);
    }
}
