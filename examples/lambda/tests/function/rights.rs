//! The templates allow what the function sends, and nothing else.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::support::poll;
use crate::support::proxy::Recorded;
use crate::world::{LOCKS, LONG, SHOP, World, apples};

/// Table and action of each right that a request needs.
fn rights(request: &Recorded) -> Result<Vec<(String, String)>> {
    let text = String::from_utf8_lossy(&request.bytes);
    let (_, body) = text.split_once("\r\n\r\n").context("no body")?;
    let body: Value = serde_json::from_str(body)?;
    let table = |part: &Value| part["TableName"].as_str().map(str::to_owned);
    if request.operation != "TransactWriteItems" {
        return Ok(vec![(
            table(&body).context("no table")?,
            request.operation.clone(),
        )]);
    }
    let parts = body["TransactItems"].as_array().context("no parts")?;
    let parts = parts
        .iter()
        .flat_map(|part| part.as_object().into_iter().flatten());
    parts
        .map(|(kind, part)| {
            let action = match kind.as_str() {
                "ConditionCheck" => "ConditionCheckItem".to_owned(),
                kind => format!("{kind}Item"),
            };
            Ok((table(part).context("no table")?, action))
        })
        .collect()
}

/// The actions on DynamoDB, in the order in which a template names them.
fn allowed(template: &str) -> Result<Vec<String>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    let text = fs::read_to_string(folder.join(template))?;
    let actions = text.split("dynamodb:").skip(1);
    let name = |rest: &str| rest.chars().take_while(char::is_ascii_alphabetic).collect();
    // An ARN goes on with the region.
    let names = actions
        .map(name)
        .filter(|name: &String| name.ends_with("Item"));
    Ok(names.collect())
}

#[tokio::test]
async fn every_template_allows_what_the_function_sends() -> Result<()> {
    let world = World::new().await?;
    world.proxy.record(true);
    let [first, second] = [world.function().await?, world.function().await?];
    // One that is renewed, and one that waits for it.
    world.payments.hold("1");
    let held = first.begin("request-1", &apples("1"), LONG)?;
    world.payments.entered(1).await?;
    let waits = second.begin("request-2", &apples("2"), LONG)?;
    let granted = world.holder().await?.context("nobody holds")?.seq;
    poll::until("it is renewed", LONG, || async {
        let holder = world.holder().await.ok().flatten();
        holder.is_some_and(|holder| holder.seq > granted)
    })
    .await?;
    world.payments.go_on("1");
    assert!(held.answered().await?.is_ok());
    waits.answered().await?.ok().context("in time")?;

    let mut needed = BTreeSet::new();
    for request in world.proxy.recorded() {
        needed.extend(rights(&request)?);
    }
    let of = |table| {
        let rights = needed.iter().filter(move |(name, _)| name == table);
        rights.map(|(_, action)| action.clone())
    };
    let needed: Vec<_> = of(LOCKS).chain(of(SHOP)).collect();
    for template in ["sam.yaml", "cloudformation.yaml", "main.tf"] {
        assert_eq!(allowed(template)?, needed, "{template}");
    }
    Ok(())
}
