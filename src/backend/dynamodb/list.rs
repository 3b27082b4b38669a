//! Listing: a scan, a page at a time.

use std::collections::HashMap;

use aws_sdk_dynamodb::config::Builder;
use aws_sdk_dynamodb::types::AttributeValue;

use crate::record::ListPage;
use crate::{Error, ErrorKind, Key, Result};

use super::DynamoBackend;
use super::error::{Effect, translate};
use super::keys::Keys;
use super::record::{Item, decode, number, text};
use super::request::Tap;

impl DynamoBackend {
    pub(super) async fn scan(&self, prefix: &str, page: Option<&str>) -> Result<ListPage> {
        let tap = Tap::new(&self.local);
        let mut scan = self
            .client
            .scan()
            .table_name(&self.table)
            .filter_expression(filter(prefix, &self.keys))
            .expression_attribute_names("#pk", &self.keys.partition)
            .expression_attribute_names("#v", "v")
            .expression_attribute_names("#holders", "holders")
            .expression_attribute_values(":one", number(1))
            .expression_attribute_values(":map", text("M"))
            .set_exclusive_start_key(page.map(|page| self.keys.start(page)).transpose()?);
        if !prefix.is_empty() {
            scan = scan.expression_attribute_values(":prefix", text(prefix));
        }
        if let Some((name, value)) = &self.keys.sort {
            scan = scan
                .expression_attribute_names("#sk", name)
                .expression_attribute_values(":sk", text(value));
        }
        let listening = tap.listening(Builder::default());
        let sent = scan.customize().config_override(listening).send().await;
        self.observe(&tap);
        let output = sent.map_err(|error| translate(error, Effect::Reads, self))?;
        let items = output.items.unwrap_or_default();
        let records = items.iter().filter_map(|item| {
            let key = Key::new(item.get(&self.keys.partition)?.as_s().ok()?).ok()?;
            Some((key, decode(item).ok()?))
        });
        let last = output.last_evaluated_key.filter(|key| !key.is_empty());
        let next = last.and_then(|key| self.keys.to_page(&key));
        Ok(ListPage::new(records.collect(), next))
    }
}

/// An empty prefix is no value that `begins_with` takes everywhere.
fn filter(prefix: &str, keys: &Keys) -> String {
    let mut filter =
        "attribute_exists(#pk) AND #v = :one AND attribute_type(#holders, :map)".to_owned();
    if !prefix.is_empty() {
        filter.push_str(" AND begins_with(#pk, :prefix)");
    }
    if keys.sort.is_some() {
        filter.push_str(" AND #sk = :sk");
    }
    filter
}

impl Keys {
    /// Where a page ended: at any item of the table, so with its sort key as well.
    fn to_page(&self, last: &Item) -> Option<String> {
        let partition = last.get(&self.partition)?.as_s().ok()?;
        let Some((name, _)) = &self.sort else {
            return Some(partition.clone());
        };
        let sort = last.get(name)?.as_s().ok()?;
        serde_json::to_string(&[partition, sort]).ok()
    }

    fn start(&self, page: &str) -> Result<HashMap<String, AttributeValue>> {
        let Some((name, _)) = &self.sort else {
            return Ok(HashMap::from([(self.partition.clone(), text(page))]));
        };
        let [partition, sort]: [String; 2] = serde_json::from_str(page).map_err(|error| {
            let message = "this is no page of a list: pass what `next` of another page was";
            Error::new(ErrorKind::InvalidInput, message).with_source(error)
        })?;
        Ok(HashMap::from([
            (self.partition.clone(), text(&partition)),
            (name.clone(), text(&sort)),
        ]))
    }
}
