//! Accounts as items of a DynamoDB table.

use std::collections::HashMap;

use anyhow::{Context, Result};
use aws_config::{BehaviorVersion, Region};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::Credentials;
use aws_sdk_dynamodb::types::AttributeValue;
use doclock::document::dynamodb::{Documents, Update};
use tokio::time::sleep;
use url::Url;

use crate::{ACCOUNTS, BALANCE, Bank, THINKING, id};

pub(crate) struct InTable {
    client: Client,
    table: String,
    accounts: Documents,
}

impl InTable {
    pub(crate) async fn open(url: &str) -> Result<Self> {
        let url = Url::parse(url)?;
        let region = url.host_str().context("the URL names no region")?;
        let mut config =
            aws_config::defaults(BehaviorVersion::latest()).region(Region::new(region.to_owned()));
        let mut options = url.query_pairs();
        if let Some((_, endpoint)) = options.find(|(name, _)| name == "endpoint") {
            let local = Credentials::new("local", "local", None, None, "example");
            config = config.endpoint_url(endpoint).credentials_provider(local);
        }
        let client = Client::new(&config.load().await);
        let table = url.path().trim_matches('/').to_owned();
        Ok(Self {
            accounts: Documents::new(client.clone(), &table),
            client,
            table,
        })
    }

    async fn put(&self, account: &str, balance: i64) -> Result<()> {
        let set = self.client.update_item().table_name(&self.table);
        let set = set
            .key("pk", AttributeValue::S(id(account)))
            .update_expression("SET balance = :balance")
            .expression_attribute_values(":balance", number(balance));
        set.send().await?;
        Ok(())
    }
}

impl Bank for InTable {
    async fn transfer(&self, from: &str, to: &str, amount: i64) -> Result<()> {
        // In the order of their names: two who lock the same accounts in opposite orders would wait for each other.
        let (first, second) = (from.min(to), from.max(to));
        let first_account = self.accounts.lock(id(first)).acquire().await?;
        let second_account = self.accounts.lock(id(second)).acquire().await?;
        let (less, more) = if first == from {
            (first_account, second_account)
        } else {
            (second_account, first_account)
        };
        sleep(THINKING).await;
        let left = balance(less.document())? - amount;
        if left < 0 {
            less.unlock().await?;
            return Ok(more.unlock().await?);
        }
        let sum = balance(more.document())? + amount;
        less.update_and_unlock(set(left)).await?;
        more.update_and_unlock(set(sum)).await?;
        Ok(())
    }

    async fn transfer_carelessly(&self, from: &str, to: &str, amount: i64) -> Result<()> {
        let (less, more) = (self.balance(from).await?, self.balance(to).await?);
        sleep(THINKING).await;
        self.put(from, less - amount).await?;
        self.put(to, more + amount).await
    }

    async fn reset(&self) -> Result<()> {
        for account in ACCOUNTS {
            self.put(account, BALANCE).await?;
        }
        Ok(())
    }

    async fn balance(&self, account: &str) -> Result<i64> {
        let get = self.client.get_item().table_name(&self.table);
        let get = get.key("pk", AttributeValue::S(id(account)));
        let found = get.consistent_read(true).send().await?.item;
        balance(&found.context("no such account")?)
    }

    async fn close(&self) {
        self.accounts.shutdown().await;
    }
}

fn balance(item: &HashMap<String, AttributeValue>) -> Result<i64> {
    let balance = item.get("balance").and_then(|balance| balance.as_n().ok());
    Ok(balance.context("no balance")?.parse()?)
}

fn set(balance: i64) -> Update {
    let set = Update::new().set("balance = :balance");
    set.value(":balance", number(balance))
}

fn number(number: i64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}
