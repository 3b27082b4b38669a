//! The table, made or checked. Production roles often may do neither: nothing else here needs it.

use std::time::Duration;

use aws_sdk_dynamodb::operation::create_table::CreateTableError;
use aws_sdk_dynamodb::operation::describe_table::DescribeTableError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
    TableDescription, TableStatus, TimeToLiveSpecification, TimeToLiveStatus,
};

use crate::{Error, ErrorKind, Result};

use super::DynamoBackend;
use super::error::{Effect, translate};

/// How long a new table may take. A small one takes seconds.
const TABLE_TIMEOUT: Duration = Duration::from_mins(2);
/// The attribute that the database's TTL looks at.
const TTL_ATTRIBUTE: &str = "purge_at";

impl DynamoBackend {
    pub(super) async fn make_table(&self) -> Result<()> {
        if self.describe().await?.is_none() {
            self.create().await?;
        }
        let table = self.active().await?;
        self.check_keys(&table)?;
        self.enable_ttl().await
    }

    pub(super) async fn describe(&self) -> Result<Option<TableDescription>> {
        let sent = self.client.describe_table().table_name(&self.table).send();
        match sent.await {
            Ok(output) => Ok(output.table),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(DescribeTableError::is_resource_not_found_exception) =>
            {
                Ok(None)
            }
            Err(error) => Err(translate(error, Effect::Reads, self)),
        }
    }

    async fn create(&self) -> Result<()> {
        let mut keys = vec![(&self.keys.partition, KeyType::Hash)];
        keys.extend(
            self.keys
                .sort
                .iter()
                .map(|(name, _)| (name, KeyType::Range)),
        );
        let mut create = self
            .client
            .create_table()
            .table_name(&self.table)
            .billing_mode(BillingMode::PayPerRequest);
        for (name, kind) in keys {
            let definition = AttributeDefinition::builder()
                .attribute_name(name)
                .attribute_type(ScalarAttributeType::S)
                .build();
            let element = KeySchemaElement::builder()
                .attribute_name(name)
                .key_type(kind)
                .build();
            let (Ok(definition), Ok(element)) = (definition, element) else {
                continue;
            };
            create = create.attribute_definitions(definition).key_schema(element);
        }
        match create.send().await {
            Ok(_) => Ok(()),
            // Somebody else is creating it right now.
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(CreateTableError::is_resource_in_use_exception) =>
            {
                Ok(())
            }
            Err(error) => Err(translate(error, Effect::Writes, self)),
        }
    }

    async fn active(&self) -> Result<TableDescription> {
        let waiting = async {
            let mut pause = Duration::from_millis(50);
            loop {
                if let Some(table) = self.describe().await?
                    && table.table_status == Some(TableStatus::Active)
                {
                    return Ok(table);
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(2));
            }
        };
        let waited = tokio::time::timeout(TABLE_TIMEOUT, waiting).await;
        waited.unwrap_or_else(|_| {
            let message = format!(
                "table `{}` is not active after {TABLE_TIMEOUT:?}: try again later",
                self.table
            );
            Err(Error::new(ErrorKind::Unavailable, message))
        })
    }

    pub(super) fn check_keys(&self, table: &TableDescription) -> Result<()> {
        let name_of = |kind: KeyType| {
            let element = table.key_schema().iter().find(|key| key.key_type == kind);
            element.map(|key| key.attribute_name.as_str())
        };
        let type_of = |name: &str| {
            let mut definitions = table.attribute_definitions().iter();
            let found = definitions.find(|definition| definition.attribute_name == name);
            found.map_or("?", |found| found.attribute_type.as_str())
        };
        let partition = name_of(KeyType::Hash);
        let sort = name_of(KeyType::Range);
        let wanted_sort = self.keys.sort.as_ref().map(|(name, _)| name.as_str());
        let all_text = [partition, sort].into_iter().flatten();
        if partition == Some(&self.keys.partition)
            && sort == wanted_sort
            && all_text.map(type_of).all(|kind| kind == "S")
        {
            return Ok(());
        }
        let show = |name: Option<&str>| {
            name.map_or_else(
                || "none".to_owned(),
                |name| format!("`{name}` ({})", type_of(name)),
            )
        };
        let message = format!(
            "table `{}` has partition key {} and sort key {}, wanted are {}: name them with \
             `partition_key` and `sort_key`, or use another table",
            self.table,
            show(partition),
            show(sort),
            self.keys
        );
        Err(Error::new(ErrorKind::NotSetUp, message))
    }

    async fn enable_ttl(&self) -> Result<()> {
        if self.ttl_is_on().await? {
            return Ok(());
        }
        let specification = TimeToLiveSpecification::builder()
            .attribute_name(TTL_ATTRIBUTE)
            .enabled(true)
            .build()
            .map_err(|error| Error::new(ErrorKind::Other, "TTL").with_source(error))?;
        let update = self.client.update_time_to_live().table_name(&self.table);
        let sent = update
            .time_to_live_specification(specification)
            .send()
            .await;
        let Err(error) = sent else { return Ok(()) };
        // Somebody else may have been faster, which the service reports as an error.
        if self.ttl_is_on().await? {
            return Ok(());
        }
        Err(translate(error, Effect::Writes, self))
    }

    pub(super) async fn ttl_is_on(&self) -> Result<bool> {
        let describe = self.client.describe_time_to_live().table_name(&self.table);
        let output = describe.send().await;
        let output = output.map_err(|error| translate(error, Effect::Reads, self))?;
        let Some(ttl) = output.time_to_live_description else {
            return Ok(false);
        };
        let is_on = matches!(
            ttl.time_to_live_status,
            Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling)
        );
        match ttl.attribute_name {
            Some(other) if is_on && other != TTL_ATTRIBUTE => Err(Error::new(
                ErrorKind::NotSetUp,
                format!(
                    "table `{}` has TTL on attribute `{other}`, wanted is `{TTL_ATTRIBUTE}`: change it, or \
                     use another table",
                    self.table
                ),
            )),
            _ => Ok(is_on),
        }
    }
}
