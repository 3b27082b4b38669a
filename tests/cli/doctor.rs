//! `doclock doctor`: each thing that can be wrong is named, with what to do.

use anyhow::{Context, Result};
use doclock::LeaseId;
use mongodb::bson::doc;
use serde_json::Value;

use super::command::plain;
use super::operator::run;
use crate::privileges::dynamodb::deny;
use crate::privileges::mongodb as users;
use crate::processes::site::{Site, dynamodb_url, mongodb_url, on_every_server};
use crate::processes::skewed;
use crate::support::proxy::Proxy;
use crate::support::wire::Wire;
use crate::support::{install, servers};

const MONGODB: [&str; 14] = [
    "connection",
    "version",
    "topology",
    "clock",
    "server clocks",
    "collection",
    "ttl index",
    "acquire",
    "renew",
    "read",
    "change stream",
    "release",
    "list",
    "traces",
];
const DYNAMODB: [&str; 13] = [
    "connection",
    "clock",
    "table",
    "regions",
    "capacity",
    "ttl",
    "acquire",
    "renew",
    "read",
    "batches",
    "release",
    "list",
    "traces",
];

/// What it found, and its exit code was this.
struct Report(Vec<Value>);

impl Report {
    async fn of(url: &str, code: i32) -> Result<Self> {
        Self::with(url, code, &[]).await
    }

    async fn with(url: &str, code: i32, env: &[(&str, &str)]) -> Result<Self> {
        let mut command = plain(url, "doctor --json");
        command.envs(env.iter().copied());
        let mut lines = run(command).await?.json(code)?;
        let line = lines.pop().context("no line")?;
        let checks = line["checks"].as_array().context("no checks")?;
        Ok(Self(checks.clone()))
    }

    fn names(&self) -> Vec<&str> {
        self.0
            .iter()
            .filter_map(|check| check["name"].as_str())
            .collect()
    }

    /// The names of those that are not well.
    fn amiss(&self) -> Vec<(&str, &str)> {
        let checks = self.0.iter();
        let named =
            checks.filter_map(|check| Some((check["name"].as_str()?, check["status"].as_str()?)));
        named.filter(|(_, status)| *status != "ok").collect()
    }

    fn check(&self, name: &str) -> Result<(&str, &str)> {
        let check = self.0.iter().find(|check| check["name"] == name);
        let check = check.with_context(|| format!("no check `{name}` in {:?}", self.0))?;
        let found = check["found"].as_str().context("nothing found")?;
        Ok((found, check["remedy"].as_str().unwrap_or_default()))
    }

    /// That this check found such, and advises so.
    fn advises(&self, name: &str, found: &str, remedy: &str) -> Result<()> {
        let check = self.check(name)?;
        anyhow::ensure!(
            check.0.contains(found) && check.1.contains(remedy),
            "{check:?}"
        );
        Ok(())
    }
}

fn expected(site: Site) -> &'static [&'static str] {
    match site {
        Site::MongoDb => &MONGODB,
        Site::Dynoxide | Site::DynamoDbLocal => &DYNAMODB,
    }
}

async fn without_ttl(site: Site, url: &str) -> Result<()> {
    if site == Site::MongoDb {
        skewed::collection(url).await?.drop_indexes().await?;
        return Ok(());
    }
    let (client, table) = skewed::table(url)?;
    let off = aws_sdk_dynamodb::types::TimeToLiveSpecification::builder()
        .attribute_name("purge_at")
        .enabled(false)
        .build()?;
    let update = client.update_time_to_live().table_name(table);
    update.time_to_live_specification(off).send().await?;
    Ok(())
}

on_every_server! {
    async fn a_good_server_is_well_and_keeps_no_trace(site: Site) {
        let url = site.fresh().await?;
        let report = Report::of(&url, 0).await?;
        assert_eq!(report.names(), expected(site));
        assert_eq!(report.amiss(), []);
        let left = ::doclock::connect(&url).await?.list("", None).await?;
        assert!(left.records.is_empty(), "{left:?}");
        let text = run(plain(&url, "doctor --prefix billing:")).await?.with(0)?;
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), expected(site).len(), "{text}");
        assert!(lines.iter().all(|line| line.starts_with("ok    ")), "{text}");
    }

    async fn records_that_nobody_collects_are_a_warning(site: Site) {
        let url = site.fresh().await?;
        without_ttl(site, &url).await?;
        let report = Report::of(&url, 0).await?;
        let name = if site == Site::MongoDb { "ttl index" } else { "ttl" };
        assert_eq!(report.amiss(), [(name, "warn")]);
        report.advises(name, "never collected", "run `setup`")?;
        let text = run(plain(&url, "doctor")).await?.with(0)?;
        assert!(text.contains(&format!("\nwarn  {name} ")), "{text}");
        assert!(text.contains("  → run `setup`"), "{text}");
    }

    async fn a_clock_that_is_an_hour_off_is_told(site: Site) {
        if servers::without("faketime") {
            return Ok(());
        }
        let library = install::faketime()?;
        let url = site.fresh().await?;
        for (offset, found) in [("+1h", "s ahead of the server's"), ("-1h", "s behind the server's")] {
            let env = [("LD_PRELOAD", library.as_str()), ("FAKETIME", offset)];
            // Only AWS goes by this machine's clock.
            let (code, status) = if site == Site::MongoDb { (0, "warn") } else { (1, "fail") };
            let report = Report::with(&url, code, &env).await?;
            assert_eq!(report.amiss(), [("clock", status)], "{offset}");
            report.advises("clock", found, "synchronised (NTP)")?;
        }
    }
}

#[tokio::test]
async fn a_server_that_is_down_cannot_be_reached() -> Result<()> {
    for url in [
        "mongodb://127.0.0.1:1/app",
        "dynamodb://eu-west-1/locks?endpoint=http://127.0.0.1:1",
    ] {
        let report = Report::of(url, 69).await?;
        assert_eq!(report.names(), ["connection"]);
        report.advises("connection", "", "check")?;
    }
    Ok(())
}

#[tokio::test]
async fn a_table_with_other_keys_is_of_no_use() -> Result<()> {
    if servers::without("dynoxide") {
        return Ok(());
    }
    let url = Site::Dynoxide.fresh().await?;
    let report = Report::of(&format!("{url}&partition_key=id"), 1).await?;
    assert_eq!(report.names(), ["connection", "clock", "table"]);
    report.advises(
        "table",
        "partition key `pk` (S)",
        "name them with `partition_key`",
    )?;
    let missing = dynamodb_url(
        servers::dynoxide_url(),
        &format!("missing-{}", LeaseId::random()),
    );
    let report = Report::of(&missing, 1).await?;
    assert_eq!(report.names(), ["connection", "clock", "table"]);
    report.advises("table", "no table `missing-", "run `setup`")
}

#[tokio::test]
async fn a_collection_of_another_kind_is_of_no_use() -> Result<()> {
    if servers::without("mongodb") {
        return Ok(());
    }
    let name = format!("capped-{}", LeaseId::random());
    let url = mongodb_url(servers::mongodb_url(), &name);
    let client = mongodb::Client::with_uri_str(servers::mongodb_url()).await?;
    let database = client.database("processes");
    let report = Report::of(&url, 0).await?;
    assert_eq!(report.amiss(), [("collection", "warn")]);
    report.advises("collection", "not there yet", "run `setup`")?;
    assert!(
        !database.list_collection_names().await?.contains(&name),
        "made by a look"
    );
    let command = doc! { "create": &name, "capped": true, "size": 4096 };
    database.run_command(command).await?;
    let report = Report::of(&url, 1).await?;
    assert_eq!(report.amiss(), [("collection", "fail")]);
    assert_eq!(report.names().last(), Some(&"collection"));
    report.advises("collection", "capped", "name an ordinary collection")
}

#[tokio::test]
async fn a_standalone_server_is_a_warning() -> Result<()> {
    if servers::without("mongodb") {
        return Ok(());
    }
    let url = mongodb_url(
        servers::mongodb_standalone_url(),
        &format!("locks-{}", LeaseId::random()),
    );
    ::doclock::connect(&url).await?.setup().await?;
    let report = Report::of(&url, 0).await?;
    assert_eq!(report.amiss(), [("topology", "warn")]);
    report.advises("topology", "standalone", "use a replica set")?;
    assert!(report.check("change stream").is_err());
    Ok(())
}

/// The role that locks run by may not look at everything.
#[tokio::test]
async fn rights_of_mongodb_are_named() -> Result<()> {
    if servers::without("mongodb") {
        return Ok(());
    }
    let url = |user: &str| users::url(user).replace("/?", "/app?authSource=admin&");
    ::doclock::connect(&url("lockerSetup"))
        .await?
        .setup()
        .await?;
    let report = Report::of(&url("locker"), 0).await?;
    let amiss = ["topology", "collection", "ttl index", "change stream"];
    assert_eq!(report.amiss(), amiss.map(|name| (name, "warn")));
    report.advises("collection", "not authorized", "allow `listCollections`")?;
    report.advises("ttl index", "not authorized", "allow `listIndexes`")?;
    report.advises("change stream", "not authorized", "allow `changeStream`")?;
    report.advises("traces", "after two days", "")?;

    let root = mongodb::Client::with_uri_str(users::root_url()).await?;
    let reader = doc! { "createUser": "looker", "pwd": users::PASSWORD, "roles": [{ "role": "read", "db": "app" }] };
    root.database("admin").run_command(reader).await?;
    let report = Report::of(&url("looker"), 1).await?;
    assert_eq!(report.names().last(), Some(&"acquire"));
    report.advises(
        "acquire",
        "not authorized",
        "grant `find`, `insert` and `update`",
    )?;

    let report = Report::of(&url("locker").replace(users::PASSWORD, "wrong"), 1).await?;
    assert_eq!(report.names(), ["credentials"]);
    Ok(())
}

/// No emulator enforces a policy, so the answers of one come from in between.
#[tokio::test]
async fn rights_of_dynamodb_are_named() -> Result<()> {
    if servers::without("dynoxide") {
        return Ok(());
    }
    let (endpoint, table) = (
        servers::dynoxide_url(),
        format!("locks-{}", LeaseId::random()),
    );
    ::doclock::connect(&dynamodb_url(endpoint, &table))
        .await?
        .setup()
        .await?;
    let proxy = Proxy::start(servers::addr_of(endpoint)?, Wire::Http).await?;
    let url = dynamodb_url(&proxy.http_url(), &table);
    let optional = [
        ("DescribeTable", "table", "`dynamodb:DescribeTable`"),
        ("DescribeTimeToLive", "ttl", "`dynamodb:DescribeTimeToLive`"),
        (
            "BatchExecuteStatement",
            "batches",
            "`dynamodb:PartiQLUpdate`",
        ),
        ("Scan", "list", "`dynamodb:Scan`"),
    ];
    for (action, ..) in optional {
        deny(&proxy, action);
    }
    deny(&proxy, "DeleteItem");
    let report = Report::of(&url, 0).await?;
    assert_eq!(report.amiss(), optional.map(|(_, name, _)| (name, "warn")));
    for (_, name, right) in optional {
        report.advises(name, "", right)?;
    }
    report.advises("traces", "after two days", "")?;
    for action in ["UpdateItem", "GetItem"] {
        proxy.clear_faults();
        deny(&proxy, action);
        let report = Report::of(&url, 1).await?;
        let name = if action == "GetItem" {
            "read"
        } else {
            "acquire"
        };
        assert!(
            report.amiss().contains(&(name, "fail")),
            "{action}: {:?}",
            report.amiss()
        );
        report.advises(name, "does not let these credentials", action)?;
    }
    Ok(())
}
