use aws_sdk_dynamodb::types::{BillingModeSummary, ReplicaDescription};

use super::*;
use crate::CheckStatus;

fn replicas(names: &[&str], consistency: Option<MultiRegionConsistency>) -> Check {
    let replicas = names
        .iter()
        .map(|name| ReplicaDescription::builder().region_name(*name).build());
    let table = TableDescription::builder()
        .set_replicas(Some(replicas.collect()))
        .set_multi_region_consistency(consistency);
    regions(&table.build())
}

#[test]
fn a_global_table_is_one_table_in_each_region() {
    let one = replicas(&[], None);
    assert_eq!(one.status, CheckStatus::Ok);
    let many = replicas(&["eu-west-1", "us-east-2"], None);
    assert_eq!(many.status, CheckStatus::Warn);
    assert!(many.found.contains("eu-west-1, us-east-2"), "{many:?}");
    let remedy = many.remedy.unwrap();
    assert!(remedy.contains("one region only"), "{remedy}");
    let strong = replicas(&["eu-west-1"], Some(MultiRegionConsistency::Strong));
    assert_eq!(strong.status, CheckStatus::Ok);
}

#[test]
fn a_table_says_how_much_it_can_write() {
    let mode = |mode| BillingModeSummary::builder().billing_mode(mode).build();
    let on_demand =
        TableDescription::builder().billing_mode_summary(mode(BillingMode::PayPerRequest));
    assert_eq!(capacity(&on_demand.build()).found, "on demand");
    let throughput = ProvisionedThroughputDescription::builder().write_capacity_units(7);
    let provisioned = TableDescription::builder().provisioned_throughput(throughput.build());
    let found = capacity(&provisioned.build()).found;
    assert!(found.contains("provisioned, 7 writes a second"), "{found}");
}
