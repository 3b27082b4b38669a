//! DynamoDB: no emulator enforces a policy, so a client does.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result};
use aws_sdk_dynamodb::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_dynamodb::config::{
    BehaviorVersion, ConfigBag, Credentials, Intercept, Region, RuntimeComponents,
};
use aws_sdk_dynamodb::error::BoxError;
use aws_sdk_dynamodb::{Client, Config};
use doclock::{ErrorKind, LeaseId, LockClient};

use super::blocks;
use crate::processes::site::dynamodb_url;
use crate::support::proxy::Proxy;
use crate::support::raw::http_reply;
use crate::support::servers;
use crate::support::wire::Wire;

/// A policy of the page: what its only statement allows.
#[derive(Debug)]
pub struct Policy(BTreeSet<String>);

impl Policy {
    pub fn run_time() -> Self {
        Self::at(0)
    }

    pub fn setup() -> Self {
        Self::at(1)
    }

    fn at(place: usize) -> Self {
        Self::of(&blocks("### DynamoDB").swap_remove(place))
    }

    pub fn of(policy: &serde_json::Value) -> Self {
        assert_eq!(policy["Statement"].as_array().map(Vec::len), Some(1));
        let actions = policy["Statement"][0]["Action"].as_array();
        let actions = actions.expect("a list of actions").iter();
        let name = |action: &serde_json::Value| {
            let action = action
                .as_str()
                .and_then(|action| action.strip_prefix("dynamodb:"));
            action.expect("an action of DynamoDB").to_owned()
        };
        Self(actions.map(name).collect())
    }
}

/// A client that is refused what its policy does not allow, before it is sent.
pub fn client(url: &str, policy: Policy) -> Client {
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .credentials_provider(Credentials::new("doclock", "doclock", None, None, "tests"))
        .endpoint_url(url)
        .interceptor(policy);
    Client::from_conf(config.build())
}

impl Intercept for Policy {
    fn name(&self) -> &'static str {
        "Policy"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let target = context.request().headers().get("x-amz-target");
        let action = target.and_then(|target| target.split('.').next_back());
        let action = action.ok_or("a request without a target")?;
        // Of a batch, AWS asks what its statements do: all of this crate's are updates.
        let action = match action {
            "BatchExecuteStatement" => "PartiQLUpdate",
            action => action,
        };
        if self.0.contains(action) {
            return Ok(());
        }
        Err(format!("the policy does not allow `dynamodb:{action}`").into())
    }
}

#[test]
fn a_prefix_allows_what_run_time_does_but_scan_and_batches() {
    let mut wanted = Policy::run_time().0;
    assert!(wanted.remove("Scan") && wanted.remove("PartiQLUpdate"));
    assert_eq!(Policy::at(2).0, wanted);
}

/// Every action of both policies, and the first operation that fails without it.
#[tokio::test]
async fn every_action_is_needed() -> Result<()> {
    if servers::without("dynoxide") {
        return Ok(());
    }
    let table = format!("privileges-{}", LeaseId::random());
    let proxy = Proxy::start(servers::addr_of(servers::dynoxide_url())?, Wire::Http).await?;
    let locks = doclock::connect(&dynamodb_url(&proxy.http_url(), &table)).await?;
    let mut refused = Vec::new();
    let Policy(actions) = Policy::setup();
    for action in [
        "DescribeTable",
        "CreateTable",
        "DescribeTimeToLive",
        "UpdateTimeToLive",
    ] {
        assert!(actions.contains(action));
        deny(&proxy, action);
        let error = locks.setup().await.err().context(action)?;
        assert_eq!(
            error.kind(),
            ErrorKind::PermissionDenied,
            "{action}: {error:?}"
        );
        proxy.clear_faults();
    }
    assert_eq!(actions.len(), 4);
    locks.setup().await?;
    let Policy(mut actions) = Policy::run_time();
    // What a client does without: a test of the backend denies it.
    assert!(actions.remove("PartiQLUpdate"));
    for action in actions {
        deny(&proxy, &action);
        let (operation, error) = first_refusal(&locks).await.context(action.clone())?;
        assert_eq!(
            error.kind(),
            ErrorKind::PermissionDenied,
            "{operation}: {error:?}"
        );
        refused.push(format!("{action}: {operation}"));
        proxy.clear_faults();
    }
    assert_eq!(
        refused,
        ["GetItem: inspect", "Scan: list", "UpdateItem: acquire"]
    );
    Ok(())
}

async fn first_refusal(locks: &LockClient) -> Option<(&'static str, doclock::Error)> {
    let lock = locks.lock("k").wait(Duration::from_secs(5));
    if let Err(error) = lock.acquire().await {
        return Some(("acquire", error));
    }
    if let Err(error) = locks.inspect("k").await {
        return Some(("inspect", error));
    }
    locks
        .list("", None)
        .await
        .err()
        .map(|error| ("list", error))
}

pub fn deny(proxy: &Proxy, action: &str) {
    let body =
        r#"{"__type":"com.amazon.coral.service#AccessDeniedException","Message":"not authorized"}"#;
    let reply = http_reply("400 Bad Request", &[], body);
    proxy.answer_instead(action, usize::MAX, reply);
}
