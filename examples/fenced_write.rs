//! An operator takes a lock from a holder that seems dead, and is only slow. Its next write comes late, and the database
//! refuses it.
//!
//! ```sh
//! cargo run --all-features --example fenced_write
//! ```
//!
//! Everything is in this process: an embedded DynamoDB, with the locks and the items in one table.
//!
//! What to copy are `read` and `write`.

#[path = "support/mod.rs"]
mod support;

use anyhow::{Context, Result, ensure};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};
use doclock::fence::Guarded;
use doclock::{DynamoBackend, Lease, LockClient};

const TABLE: &str = "shop";

/// Reads the stock so that no older holder can change it from then on.
async fn read(client: &Client, lease: &Lease) -> Result<Option<i64>> {
    let touch = item(client).return_values(ReturnValue::AllNew);
    let Guarded::Applied(item) = lease.fence().dynamodb()?.guarded_update(touch).await? else {
        return Ok(None);
    };
    let item = item.attributes.context("no item")?;
    let stock = item.get("stock").and_then(|stock| stock.as_n().ok());
    Ok(Some(stock.context("no stock")?.parse()?))
}

/// Writes the stock; false if a newer holder has the lock.
async fn write(client: &Client, lease: &Lease, stock: i64) -> Result<bool> {
    let update = item(client)
        .update_expression("SET stock = :stock")
        .expression_attribute_values(":stock", AttributeValue::N(stock.to_string()));
    let written = lease.fence().dynamodb()?.guarded_update(update).await?;
    Ok(written.applied().is_some())
}

type Update = aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;

fn item(client: &Client) -> Update {
    let key = AttributeValue::S("item:42".to_owned());
    client.update_item().table_name(TABLE).key("pk", key)
}

async fn database() -> Result<Client> {
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("local"))
        .credentials_provider(Credentials::new("none", "none", None, None, "example"))
        .endpoint_url(support::embedded_endpoint().await?)
        .build();
    Ok(Client::from_conf(config))
}

/// Prints what happens; the stock in the end, and whether the late write was carried out.
async fn story() -> Result<(Option<i64>, bool)> {
    let client = database().await?;
    let [locks, others] =
        [0; 2].map(|_| LockClient::new(DynamoBackend::new(client.clone(), TABLE)));
    locks.setup().await?;
    let ten = item(&client)
        .update_expression("SET stock = :ten")
        .expression_attribute_values(":ten", AttributeValue::N("10".to_owned()));
    ten.send().await?;
    let say = |who: &str, lease: &Lease, what: &str, outcome: &str| {
        let believes = if lease.is_held() { "yes" } else { "no" };
        println!(
            "{who:8}  {:<18}  {believes:13}  {what:18}  {outcome}",
            lease.token()
        );
    };
    println!(
        "{:8}  {:18}  {:13}  {:18}  outcome",
        "holder", "token", "believes it", "does"
    );

    let first = locks.lock("lock:42").manual_renewal().acquire().await?;
    let seen = read(&client, &first).await?.context("fenced")?;
    say("first", &first, "reads", &format!("{seen} in stock"));

    others.force_release("lock:42").await?;
    let second = others.lock("lock:42").acquire().await?;
    let stock = read(&client, &second).await?.context("fenced")?;
    say("second", &second, "reads", &format!("{stock} in stock"));
    let written = write(&client, &second, stock - 3).await?;
    say("second", &second, "sells 3, writes 7", outcome(written));

    let late = write(&client, &first, seen - 1).await?;
    say("first", &first, "sells 1, writes 9", outcome(late));

    let left = read(&client, &second).await?;
    println!();
    println!("{} are in stock", left.unwrap_or_default());
    second.release().await?;
    drop(first);
    locks.shutdown().await;
    others.shutdown().await;
    Ok((left, late))
}

fn outcome(written: bool) -> &'static str {
    if written {
        "written"
    } else {
        "refused by the database"
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let (left, late) = story().await?;
    ensure!(
        left == Some(7) && !late,
        "a sale was lost: please report this bug"
    );
    println!("Next: read docs/patterns/fencing.md");
    Ok(())
}

#[cfg(test)]
mod tests {
    #[tokio::test]
    async fn the_late_write_is_refused() -> anyhow::Result<()> {
        assert_eq!(super::story().await?, (Some(7), false));
        Ok(())
    }
}
