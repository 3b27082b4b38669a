//! What is sold, and to whom.

use anyhow::{Context, Result, ensure};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem, Update};
use doclock::Lease;
use serde::{Deserialize, Serialize};

/// What the function is invoked with. Sent twice, it is carried out once.
#[derive(Debug, Deserialize)]
pub(crate) struct Order {
    id: String,
    pub(crate) item: String,
    amount: u32,
}

/// What the function answers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    Sold,
    SoldBefore,
    SoldOut,
}

/// What the payment service is asked for.
#[derive(Serialize)]
struct Payment<'a> {
    item: &'a str,
    amount: u32,
}

/// A table with an item for each stock and for each order, and the payment service.
pub(crate) struct Shop {
    dynamodb: Client,
    table: String,
    payments: reqwest::Client,
    payments_url: String,
}

impl Shop {
    pub(crate) fn new(dynamodb: Client, table: String, payments_url: String) -> Self {
        Self {
            dynamodb,
            table,
            payments: reqwest::Client::new(),
            payments_url,
        }
    }

    /// Sells under the lock of the item.
    pub(crate) async fn sell(&self, order: &Order, lease: &Lease) -> Result<Answer> {
        if self.number(&order_key(order), "amount").await?.is_some() {
            return Ok(Answer::SoldBefore);
        }
        let stock = self.number(&stock_key(order), "stock").await?;
        if stock.with_context(|| format!("no such item: {}", order.item))? < order.amount {
            return Ok(Answer::SoldOut);
        }
        self.charge(order, lease).await?;
        self.write(order, lease).await?;
        Ok(Answer::Sold)
    }

    /// The payment service charges once for each order, and refuses a token below the highest that it has seen.
    async fn charge(&self, order: &Order, lease: &Lease) -> Result<()> {
        let payment = Payment {
            item: &order.item,
            amount: order.amount,
        };
        let charge = self.payments.post(&self.payments_url).json(&payment);
        let charged = charge
            .header("Idempotency-Key", &order.id)
            .header("Fencing-Token", lease.token())
            .send()
            .await?;
        ensure!(
            charged.status().is_success(),
            "the payment service answered {}",
            charged.status()
        );
        Ok(())
    }

    /// The order, and the stock without it: both, and only while the lock is held.
    async fn write(&self, order: &Order, lease: &Lease) -> Result<()> {
        let amount = AttributeValue::N(order.amount.to_string());
        let ordered = Put::builder()
            .table_name(&self.table)
            .item("pk", order_key(order))
            .item("amount", amount.clone())
            .condition_expression("attribute_not_exists(pk)")
            .build()?;
        let sold = Update::builder()
            .table_name(&self.table)
            .key("pk", stock_key(order))
            .update_expression("SET stock = stock - :amount")
            .condition_expression("stock >= :amount")
            .expression_attribute_values(":amount", amount)
            .build()?;
        let held = lease.condition_check(&self.dynamodb).await?;
        let part = TransactWriteItem::builder;
        let write = self.dynamodb.transact_write_items();
        let write = write.transact_items(part().condition_check(held).build());
        let write = write.transact_items(part().put(ordered).build());
        let write = write.transact_items(part().update(sold).build());
        write.send().await.context("not sold")?;
        Ok(())
    }

    async fn number(&self, key: &AttributeValue, attribute: &str) -> Result<Option<u32>> {
        let get = self.dynamodb.get_item().table_name(&self.table);
        let found = get.key("pk", key.clone()).consistent_read(true);
        let Some(item) = found.send().await?.item else {
            return Ok(None);
        };
        let number = item.get(attribute).and_then(|number| number.as_n().ok());
        Ok(Some(number.context("not a number")?.parse()?))
    }
}

fn order_key(order: &Order) -> AttributeValue {
    AttributeValue::S(format!("order:{}", order.id))
}

fn stock_key(order: &Order) -> AttributeValue {
    AttributeValue::S(format!("stock:{}", order.item))
}
