//! What locks in `DynamoDB`.

mod by_hand;
mod lease;

use anyhow::Result;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{Builder, Credentials};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
    TimeToLiveSpecification,
};
use doclock::DynamoBackend;

use self::by_hand::ByHand;
use self::lease::DynamodbLease;
use crate::meter::Meter;
use crate::ours::Ours;
use crate::peer::Contestant;

/// The key of the peers' tables.
const KEY: &str = "key";

/// The lock by hand comes first.
pub(crate) async fn contestants(url: &str, run: &str) -> Result<Vec<Contestant>> {
    let [by_hand, ours, lease] = ["by-hand", "doclock", "lease"].map(|of| format!("{run}-{of}"));
    let client = async |meter: &Meter| connect(url, meter).await;
    let admin = client(&Meter::default()).await;
    create_table(&admin, &by_hand).await?;
    create_table(&admin, &lease).await?;
    Ok(vec![
        Contestant::new("by hand", async |meter| {
            Ok(ByHand::new(client(meter).await, &by_hand))
        })
        .await?,
        Contestant::new("doclock", async |meter| {
            Ours::new(DynamoBackend::new(client(meter).await, &ours)).await
        })
        .await?,
        Contestant::new("dynamodb-lease", async |meter| {
            DynamodbLease::new(client(meter).await, &lease).await
        })
        .await?,
    ])
}

async fn connect(url: &str, meter: &Meter) -> Client {
    let config = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .endpoint_url(url)
        .credentials_provider(Credentials::new("local", "local", None, None, "peers"))
        .load()
        .await;
    let config = Builder::from(&config).interceptor(meter.clone());
    Client::from_conf(config.build())
}

/// As dynamodb-lease wants it.
async fn create_table(client: &Client, name: &str) -> Result<()> {
    let key = AttributeDefinition::builder()
        .attribute_name(KEY)
        .attribute_type(ScalarAttributeType::S);
    let schema = KeySchemaElement::builder()
        .attribute_name(KEY)
        .key_type(KeyType::Hash);
    client
        .create_table()
        .table_name(name)
        .attribute_definitions(key.build()?)
        .key_schema(schema.build()?)
        .billing_mode(BillingMode::PayPerRequest)
        .send()
        .await?;
    let ttl = TimeToLiveSpecification::builder()
        .enabled(true)
        .attribute_name("lease_expiry");
    client
        .update_time_to_live()
        .table_name(name)
        .time_to_live_specification(ttl.build()?)
        .send()
        .await?;
    Ok(())
}
