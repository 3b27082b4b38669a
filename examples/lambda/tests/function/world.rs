//! A shop of a test's own: tables, a proxy before them, the payment service.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_dynamodb::types::AttributeValue;
use doclock::{DynamoBackend, Holder, LockClient};
use serde_json::{Value, json};

use crate::payments::Payments;
use crate::runtime::Function;
use crate::support::dynoxide::Dynoxide;
use crate::support::proxy::Proxy;
use crate::support::wire::Wire;

pub const LOCKS: &str = "locks";
pub const SHOP: &str = "shop";
pub const STOCK: u32 = 100;
/// Time enough for whatever an invocation does.
pub const LONG: Duration = Duration::from_mins(1);

const LOCK: &str = "stock:apples";
/// How often Lambda tries an event again; more than its own two, for a slow machine.
const RETRIES: usize = 10;

pub struct World {
    pub payments: Payments,
    pub proxy: Proxy,
    /// Past the proxy.
    client: Client,
    locks: LockClient,
    _server: Dynoxide,
}

impl World {
    pub async fn new() -> Result<Self> {
        let server = Dynoxide::start()?;
        let address = server.url().trim_start_matches("http://").parse()?;
        let config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-west-1"))
            .credentials_provider(Credentials::new("none", "none", None, None, "tests"))
            .endpoint_url(server.url())
            .build();
        let client = Client::from_conf(config);
        // The shop's table has the same key.
        for table in [LOCKS, SHOP] {
            let table = DynamoBackend::new(client.clone(), table);
            LockClient::new(table).setup().await?;
        }
        let stock = client.put_item().table_name(SHOP);
        let stock = stock.item("pk", text(LOCK));
        let stock = stock.item("stock", AttributeValue::N(STOCK.to_string()));
        stock.send().await?;
        Ok(Self {
            payments: Payments::start().await?,
            proxy: Proxy::start(address, Wire::Http).await?,
            locks: LockClient::new(DynamoBackend::new(client.clone(), LOCKS)),
            client,
            _server: server,
        })
    }

    pub fn env(&self) -> [(&'static str, String); 7] {
        [
            ("AWS_ACCESS_KEY_ID", "none".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "none".to_owned()),
            ("AWS_REGION", "eu-west-1".to_owned()),
            ("AWS_ENDPOINT_URL_DYNAMODB", self.proxy.http_url()),
            ("LOCKS_TABLE", LOCKS.to_owned()),
            ("SHOP_TABLE", SHOP.to_owned()),
            ("PAYMENTS_URL", self.payments.url.clone()),
        ]
    }

    pub async fn function(&self) -> Result<Function> {
        let env = self.env();
        let env = env.each_ref().map(|(name, value)| (*name, value.as_str()));
        Function::start(&env).await
    }

    /// As Lambda does it: with the same request id until it succeeds.
    pub async fn sell(&self, function: &Function, order: &str) -> Result<()> {
        let mut last = None;
        for _ in 0..RETRIES {
            let begun = function.begin(&format!("request-{order}"), &apples(order), LONG)?;
            match begun.answered().await? {
                Ok(answer) if answer == "sold" => return Ok(()),
                Ok(answer) => bail!("{order}: {answer}"),
                Err(error) => last = Some(error),
            }
        }
        bail!("{order}: {last:?}")
    }

    /// How many requests the functions have sent.
    pub fn requests(&self) -> usize {
        let operations = [
            "UpdateItem",
            "GetItem",
            "TransactWriteItems",
            "BatchExecuteStatement",
        ];
        let counts = operations.map(|operation| self.proxy.requests(operation));
        counts.iter().sum()
    }

    /// Who has the lock.
    pub async fn holder(&self) -> Result<Option<Holder>> {
        let record = self.locks.inspect(LOCK).await?.context("no record")?;
        Ok(record.holders.into_iter().next())
    }

    pub async fn stock(&self) -> Result<u32> {
        let get = self.client.get_item().table_name(SHOP);
        let found = get.key("pk", text(LOCK)).consistent_read(true);
        let item = found.send().await?.item.context("no item")?;
        let stock = item.get("stock").and_then(|stock| stock.as_n().ok());
        Ok(stock.context("no stock")?.parse()?)
    }
}

/// The event of an order for one apple.
pub fn apples(order: &str) -> Value {
    json!({ "id": order, "item": "apples", "amount": 1 })
}

fn text(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}
