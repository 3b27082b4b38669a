//! Guarded requests to DynamoDB, and the lock's part in a transaction.

use std::collections::HashMap;
use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_dynamodb::operation::delete_item::builders::DeleteItemFluentBuilder;
use aws_sdk_dynamodb::operation::put_item::builders::PutItemFluentBuilder;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, Put, ReturnValue, TransactWriteItem};
use doclock::document::dynamodb::Documents;
use doclock::fence::Guarded;
use doclock::fence::dynamodb::DynamoFence;
use doclock::{Backend, DynamoBackend, ErrorKind, Lease, Lock, LockClient, MemoryBackend};

use super::{lost, old_and_new, quorum};
use crate::processes::site::Site;
use crate::support::counter::Counter;
use crate::support::servers;

type Item = HashMap<String, AttributeValue>;

/// One named test per case and emulator.
macro_rules! on_both {
    ($($(#[$doc:meta])* async fn $name:ident($data:ident: Data) $body:block)*) => {$(
        mod $name {
            use super::*;

            $(#[$doc])*
            async fn case($data: Data) -> Result<()> {
                $body
                Ok(())
            }

            #[tokio::test]
            async fn dynamodb_local() -> Result<()> {
                if Site::DynamoDbLocal.is_left_out() {
                    return Ok(());
                }
                case(Data::new(servers::dynamodb_local_url()).await?).await
            }

            #[tokio::test]
            async fn dynoxide() -> Result<()> {
                if Site::Dynoxide.is_left_out() {
                    return Ok(());
                }
                case(Data::new(servers::dynoxide_url()).await?).await
            }
        }
    )*};
}

fn client(endpoint: &str, region: &'static str, sent: &Arc<AtomicUsize>) -> Client {
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region))
        .credentials_provider(Credentials::new("doclock", "doclock", None, None, "tests"))
        .endpoint_url(endpoint)
        .interceptor(Counter(Arc::clone(sent)))
        .build();
    Client::from_conf(config)
}

/// A table of the data's own, through a client that counts what it puts on the wire. The locks are in it too.
struct Data {
    client: Client,
    endpoint: String,
    table: String,
    sent: Arc<AtomicUsize>,
    locks: LockClient,
}

impl Data {
    async fn new(endpoint: &str) -> Result<Self> {
        let sent = Arc::new(AtomicUsize::new(0));
        let client = client(endpoint, "eu-west-1", &sent);
        let table = format!("fences-{}", doclock::LeaseId::random());
        let backend = DynamoBackend::new(client.clone(), &table);
        backend.setup().await?;
        Ok(Self {
            client,
            endpoint: endpoint.to_owned(),
            table,
            sent,
            locks: LockClient::new(backend),
        })
    }

    /// How many requests an operation took.
    async fn count<T>(&self, operation: impl Future<Output = T>) -> (usize, T) {
        let before = self.sent.load(Ordering::SeqCst);
        let result = operation.await;
        (self.sent.load(Ordering::SeqCst) - before, result)
    }

    async fn item(&self, key: &str) -> Result<Option<Item>> {
        let get = self.client.get_item().table_name(&self.table);
        Ok(get
            .key("pk", text(key))
            .consistent_read(true)
            .send()
            .await?
            .item)
    }

    fn put(&self, key: &str) -> PutItemFluentBuilder {
        let put = self.client.put_item().table_name(&self.table);
        put.item("pk", text(key)).item("by", text("late"))
    }

    fn update(&self, key: &str) -> UpdateItemFluentBuilder {
        self.client
            .update_item()
            .table_name(&self.table)
            .key("pk", text(key))
    }

    /// Uses every clause, a condition, and names of its own.
    fn rich(&self, key: &str) -> UpdateItemFluentBuilder {
        self.update(key)
            .update_expression("REMOVE #set sEt #by = :set, m = :set ADD n :one")
            .condition_expression("attribute_not_exists(absent) OR absent = :set")
            .expression_attribute_names("#by", "by")
            .expression_attribute_names("#set", "set")
            .expression_attribute_values(":set", text("late"))
            .expression_attribute_values(":one", number(1))
    }

    fn delete(&self, key: &str) -> DeleteItemFluentBuilder {
        self.client
            .delete_item()
            .table_name(&self.table)
            .key("pk", text(key))
    }

    /// Each kind of write: whether it was applied.
    async fn write(&self, lease: &Lease, form: &str, key: &str) -> doclock::Result<bool> {
        let fence = fence(lease);
        Ok(match form {
            "put" => fence.guarded_put(self.put(key)).await?.applied().is_some(),
            "update" => fence
                .guarded_update(self.rich(key))
                .await?
                .applied()
                .is_some(),
            "touch" => fence
                .guarded_update(self.update(key))
                .await?
                .applied()
                .is_some(),
            "delete" => fence
                .guarded_delete(self.delete(key))
                .await?
                .applied()
                .is_some(),
            other => panic!("{other}"),
        })
    }

    /// Puts an item in a transaction that checks the lock: whether it was carried out.
    async fn put_if_held(&self, lease: &Lease, key: &str) -> Result<bool> {
        let check = lease.condition_check(&self.client).await?;
        let put = Put::builder()
            .table_name(&self.table)
            .item("pk", text(key))
            .build()?;
        let sent = self
            .client
            .transact_write_items()
            .transact_items(TransactWriteItem::builder().condition_check(check).build())
            .transact_items(TransactWriteItem::builder().put(put).build())
            .send()
            .await;
        let Err(error) = sent else { return Ok(true) };
        match error.into_service_error() {
            TransactWriteItemsError::TransactionCanceledException(cancelled) => {
                let reasons = cancelled.cancellation_reasons();
                assert_eq!(
                    reasons[0].code(),
                    Some("ConditionalCheckFailed"),
                    "{reasons:?}"
                );
                Ok(false)
            }
            other => Err(other.into()),
        }
    }
}

const FORMS: [&str; 4] = ["put", "update", "touch", "delete"];

fn fence(lease: &Lease) -> DynamoFence<'_> {
    lease.fence().dynamodb().unwrap()
}

fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

fn number(value: impl ToString + Copy) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

on_both! {
    async fn a_late_write_is_refused_and_changes_nothing(data: Data) {
        let (old, new) = old_and_new(&data.locks, "k").await?;
        for form in FORMS {
            assert!(data.write(&new, "update", form).await?);
            let before = data.item(form).await?;
            let (sent, applied) = data.count(data.write(&old, form, form)).await;
            assert_eq!((sent, applied?), (1, false), "{form}");
            assert_eq!(data.item(form).await?, before, "{form}");
            // The control: the same write without a guard.
            data.rich(form).send().await?;
            assert_ne!(data.item(form).await?, before, "{form}");
        }
    }

    async fn a_guarded_request_is_one_and_does_what_it_did(data: Data) {
        let lease = data.locks.lock("k").acquire().await?;
        let token = number(lease.token());
        for (form, key) in [("put", "a"), ("update", "b"), ("touch", "c"), ("update", "b"), ("update", "a")] {
            let (sent, applied) = data.count(data.write(&lease, form, key)).await;
            assert_eq!((sent, applied?), (1, true), "{form}");
        }
        let item = data.item("b").await?.context("no item")?;
        let expected = [
            ("pk", text("b")), ("by", text("late")), ("m", text("late")), ("n", number(2)), ("fence", token.clone()),
        ];
        assert_eq!(item, expected.map(|(name, value)| (name.to_owned(), value)).into());
        assert_eq!(data.item("c").await?.context("no item")?["fence"], token);
        let (sent, applied) = data.count(data.write(&lease, "delete", "b")).await;
        assert_eq!((sent, applied?, data.item("b").await?), (1, true, None));

        // A read that keeps older holders out.
        let reading = data.update("a").return_values(ReturnValue::AllNew);
        let read = fence(&lease).guarded_update(reading).await?.applied().context("fenced")?;
        assert_eq!(read.attributes.context("nothing read")?["n"], number(1));
    }

    /// The older token gives way, the same one writes as often as it likes, and another field is another lock's.
    async fn a_newer_holder_writes_over_an_older_one(data: Data) {
        let (old, new) = old_and_new(&data.locks, "k").await?;
        for lease in [&old, &old, &new, &new] {
            assert!(data.write(lease, "update", "a").await?);
        }
        let theirs = old.fence().field("theirs").dynamodb()?;
        assert!(matches!(theirs.guarded_update(data.update("a")).await?, Guarded::Applied(_)));
        assert!(!data.write(&old, "update", "a").await?);
    }

    async fn a_fence_of_a_wrong_type_is_an_error_that_names_it(data: Data) {
        let lease = data.locks.lock("k").acquire().await?;
        let values = [
            text("1"), AttributeValue::Null(true), AttributeValue::Bool(false), AttributeValue::L(vec![number(1)]),
            AttributeValue::M(HashMap::new()), AttributeValue::Ns(vec!["1".to_owned()]),
        ];
        for value in values {
            data.put("a").item("fence", value.clone()).send().await?;
            let before = data.item("a").await?;
            for form in FORMS {
                let error = data.write(&lease, form, "a").await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::CorruptRecord, "{form}, {value:?}: {error}");
                assert!(error.to_string().contains("`fence`"), "{error}");
                assert_eq!(data.item("a").await?, before, "{form}, {value:?}");
            }
        }
    }

    async fn a_condition_of_ones_own_is_told_apart(data: Data) {
        let (old, new) = old_and_new(&data.locks, "k").await?;
        let closed = || data.update("a").condition_expression("attribute_exists(opened) OR attribute_exists(ready)");
        for existing in [false, true] {
            if existing {
                assert!(data.write(&new, "update", "a").await?);
            }
            let (sent, refused) = data.count(fence(&new).guarded_update(closed())).await;
            let error = refused.unwrap_err();
            assert_eq!((sent, error.kind()), (1, ErrorKind::ConditionFailed), "{error}");
            let source = error.source().context("no source")?.downcast_ref::<UpdateItemError>();
            assert!(source.is_some_and(UpdateItemError::is_conditional_check_failed_exception), "{source:?}");
        }
        // DynamoDB refuses a second pair of parentheses around it.
        let there = data.update("a").condition_expression("(attribute_exists(pk) AND attribute_not_exists(opened))");
        assert!(fence(&new).guarded_update(there).await?.applied().is_some());
        // Whatever the rest of it says, a newer holder has written.
        assert_eq!(fence(&old).guarded_update(closed()).await?.applied(), None);
    }

    async fn with_a_lost_lease_nothing_is_sent(data: Data) {
        let lease = lost(&data.locks, "k").await?;
        for form in FORMS {
            let (sent, written) = data.count(data.write(&lease, form, "a")).await;
            assert_eq!((sent, written.unwrap_err().kind()), (0, ErrorKind::LeaseLost), "{form}");
        }
        let (sent, check) = data.count(lease.condition_check(&data.client)).await;
        assert_eq!((sent, check.unwrap_err().kind()), (0, ErrorKind::LeaseLost));
    }

    async fn bad_input_is_refused_before_any_request(data: Data) {
        let lease = data.locks.lock("k").acquire().await?;
        for name in ["", "$a", "a.b", "a\0", "_id"] {
            assert_eq!(lease.fence().field(name).dynamodb().unwrap_err().kind(), ErrorKind::InvalidInput);
        }
        let fence = fence(&lease);
        let key = lease.fence().field("pk").dynamodb()?;
        let named = || data.update("a").expression_attribute_names("#f", "fence");
        let (sent, errors) = data.count(async { [
            fence.guarded_put(data.put("a").item("fence", number(1))).await.unwrap_err(),
            fence.guarded_update(named().update_expression("SET a = :a, #f = :a")).await.unwrap_err(),
            fence.guarded_update(data.update("a").update_expression("REMOVE fence")).await.unwrap_err(),
            fence.guarded_put(data.put("a").expression_attribute_values(":doclock_token", number(1))).await.unwrap_err(),
            fence.guarded_delete(data.delete("a").expression_attribute_names("#doclock_fence", "a")).await.unwrap_err(),
            key.guarded_put(data.put("a")).await.unwrap_err(),
            key.guarded_update(data.update("a")).await.unwrap_err(),
            key.guarded_delete(data.delete("a")).await.unwrap_err(),
        ] }).await;
        assert_eq!(sent, 0);
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        }
        // To read it, and to test it, is nobody's harm.
        let reading = named().condition_expression("attribute_not_exists(#f)");
        assert!(fence.guarded_update(reading).await?.applied().is_some());
    }

    async fn the_pieces_are_enough_for_a_request_of_ones_own(data: Data) {
        let (old, new) = old_and_new(&data.locks, "k").await?;
        for (lease, applied) in [(&new, true), (&old, false)] {
            let fence = fence(lease);
            let own = data.update("a")
                .update_expression(format!("SET {}", fence.assignment()))
                .condition_expression(fence.condition())
                .set_expression_attribute_names(Some(fence.names()))
                .set_expression_attribute_values(Some(fence.values()));
            assert_eq!(own.send().await.is_ok(), applied);
            let (field, token) = fence.field();
            assert_eq!((field.as_str(), token), ("fence", number(lease.token())));
        }
    }

    async fn a_transaction_is_carried_out_only_while_the_lock_is_held(data: Data) {
        let old = data.locks.lock("k").manual_renewal().acquire().await?;
        assert!(data.put_if_held(&old, "a").await?);
        let new = crate::fences::succeed(&data.locks, &old).await?;
        assert!(!data.put_if_held(&old, "b").await?);
        assert_eq!(data.item("b").await?, None);
        new.renew().await?;
        assert!(data.put_if_held(&new, "b").await?);
        // Not a well-formed record any more.
        data.update("k").update_expression("SET queue = :q")
            .expression_attribute_values(":q", text("nobody")).send().await?;
        assert!(!data.put_if_held(&new, "c").await?);
    }

    /// Whoever holds a document lock may change other items with it.
    async fn the_lock_of_an_item_is_checked_in_that_item(data: Data) {
        data.put("a").send().await?;
        let documents = Documents::new(data.client.clone(), &data.table);
        let locked = documents.lock("a").with(Lock::manual_renewal).acquire().await?;
        assert!(data.put_if_held(locked.lease(), "b").await?);
        documents.force_release("a").await?;
        assert!(locked.lease().is_held(), "it believes so");
        assert!(!data.put_if_held(locked.lease(), "c").await?);
    }

    async fn the_client_of_another_place_is_refused(data: Data) {
        let lease = data.locks.lock("k").acquire().await?;
        let (sent, check) = data.count(lease.condition_check(&data.client)).await;
        assert_eq!((sent, check?.table_name()), (0, data.table.as_str()));
        for client in [
            client(&data.endpoint, "eu-west-2", &data.sent),
            client("http://127.0.0.1:1", "eu-west-1", &data.sent),
        ] {
            let (sent, check) = data.count(lease.condition_check(&client)).await;
            assert_eq!((sent, check.unwrap_err().kind()), (0, ErrorKind::InvalidInput));
        }
        let memory = LockClient::new(MemoryBackend::new());
        for locks in [memory, quorum()?] {
            let elsewhere = locks.lock("k").acquire().await?;
            let (sent, check) = data.count(elsewhere.condition_check(&data.client)).await;
            assert_eq!((sent, check.unwrap_err().kind()), (0, ErrorKind::InvalidInput));
        }
    }
}

/// Where nothing listens, and where nobody answers.
#[tokio::test]
async fn what_is_not_known_is_told() -> Result<()> {
    let locks = LockClient::builder(MemoryBackend::new())
        .request_timeout(std::time::Duration::from_millis(200));
    let lease = locks.build().lock("k").acquire().await?;
    let fence = fence(&lease);
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let silent = (silent.local_addr()?, silent);
    for (endpoint, kind, sent) in [
        ("http://127.0.0.1:1".to_owned(), ErrorKind::Unavailable, 1),
        (format!("http://{}", silent.0), ErrorKind::OutcomeUnknown, 1),
    ] {
        let counter = Arc::new(AtomicUsize::new(0));
        let put = client(&endpoint, "eu-west-1", &counter)
            .put_item()
            .table_name("t")
            .item("pk", text("a"));
        let error = fence.guarded_put(put).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert_eq!(
            counter.load(Ordering::SeqCst),
            sent,
            "it is not tried again"
        );
    }
    Ok(())
}

#[tokio::test]
async fn guarded_requests_can_be_spawned() -> Result<()> {
    if Site::Dynoxide.is_left_out() {
        return Ok(());
    }
    let data = Data::new(servers::dynoxide_url()).await?;
    let lease = data.locks.lock("k").acquire().await?;
    let task = tokio::spawn(async move {
        let check = lease.condition_check(&data.client).await.is_ok();
        check && data.write(&lease, "update", "a").await.unwrap()
    });
    assert!(task.await?);
    Ok(())
}
