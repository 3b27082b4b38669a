//! The table, and how the database collects its records.

use aws_sdk_dynamodb::types::{
    BillingMode, MultiRegionConsistency, ProvisionedThroughputDescription, TableDescription,
    TableStatus,
};

use super::super::{DynamoBackend, READ_TIMEOUT, within};
use crate::diagnosis::{Check, Diagnosis};

const TABLE: &str = "table";
const TTL: &str = "ttl";

impl DynamoBackend {
    /// Whether locks may be tried in it.
    pub(super) async fn examine_table(&self, diagnosis: &mut Diagnosis) -> bool {
        match within(READ_TIMEOUT, self.describe()).await {
            Ok(Some(table)) => {
                if !diagnosis.note(self.fitness(&table)) {
                    return false;
                }
                diagnosis.note(regions(&table));
                diagnosis.note(capacity(&table));
            }
            Ok(None) => {
                let found = format!("there is no table `{}` in this region", self.table);
                let remedy = "run `setup`, by a role that may `dynamodb:CreateTable`, or name another region or table";
                return diagnosis.note(Check::fail(TABLE, found, remedy));
            }
            Err(error) => {
                let remedy = "to have it looked at, allow `dynamodb:DescribeTable`";
                if !diagnosis.note(Check::optional(TABLE, &error, remedy)) {
                    return false;
                }
            }
        }
        diagnosis.note(self.collection().await);
        true
    }

    fn fitness(&self, table: &TableDescription) -> Check {
        if let Err(error) = self.check_keys(table) {
            return Check::failed(TABLE, &error);
        }
        match &table.table_status {
            Some(TableStatus::Active | TableStatus::Updating) | None => {
                Check::ok(TABLE, format!("`{}` has {}", self.table, self.keys))
            }
            Some(status) => {
                let found = format!("`{}` is {status}", self.table);
                Check::fail(TABLE, found, "wait until it is active, and try again")
            }
        }
    }

    /// Whether free records are collected.
    async fn collection(&self) -> Check {
        match within(READ_TIMEOUT, self.ttl_is_on()).await {
            Ok(true) => Check::ok(TTL, "on `purge_at`"),
            Ok(false) => {
                let remedy = "run `setup`, by a role that may `dynamodb:UpdateTimeToLive`";
                Check::warn(TTL, "off: free records are never collected", remedy)
            }
            Err(error) => {
                let remedy = "to have it looked at, allow `dynamodb:DescribeTimeToLive`";
                Check::optional(TTL, &error, remedy)
            }
        }
    }
}

fn regions(table: &TableDescription) -> Check {
    const NAME: &str = "regions";
    let names = table
        .replicas()
        .iter()
        .filter_map(|replica| replica.region_name());
    let names: Vec<_> = names.collect();
    if names.is_empty() {
        return Check::ok(NAME, "this one only");
    }
    let found = format!("a global table, with replicas in {}", names.join(", "));
    if table.multi_region_consistency() == Some(&MultiRegionConsistency::Strong) {
        return Check::ok(NAME, format!("{found}, strongly consistent"));
    }
    Check::warn(
        NAME,
        format!("{found}, eventually consistent"),
        "lock in one region only, everywhere: each of the others would grant the same lock once more",
    )
}

fn capacity(table: &TableDescription) -> Check {
    const NAME: &str = "capacity";
    let mode = table
        .billing_mode_summary()
        .and_then(|summary| summary.billing_mode());
    if mode == Some(&BillingMode::PayPerRequest) {
        return Check::ok(NAME, "on demand");
    }
    let writes = table
        .provisioned_throughput()
        .and_then(ProvisionedThroughputDescription::write_capacity_units);
    Check::ok(
        NAME,
        format!(
            "provisioned, {} writes a second; to acquire, to renew and to release are one each",
            writes.unwrap_or_default()
        ),
    )
}

#[cfg(test)]
mod tests;
