//! Credentials that are wrong, or not enough.

use anyhow::Result;
use doclock::ErrorKind;
use mongodb::bson::doc;

use super::{SECRETS, assert_caused};
use crate::processes::site::mongodb_url;
use crate::support::replica_set::ReplicaSet;
use crate::support::servers;

#[tokio::test]
async fn mongodb_refuses_credentials() -> Result<()> {
    if servers::without("mongodb") {
        return Ok(());
    }
    let set = ReplicaSet::start_with_auth().await?;
    let admin = mongodb::Client::with_uri_str(set.url())
        .await?
        .database("admin");
    for (user, role) in [
        // Of another database only, and of the right one but to read.
        ("stranger", doc! { "role": "readWrite", "db": "elsewhere" }),
        ("reader", doc! { "role": "read", "db": "processes" }),
    ] {
        let create = doc! { "createUser": user, "pwd": SECRETS[0], "roles": [role] };
        admin.run_command(create).await?;
    }
    let nobody = set.node_url(0).replace("root:secret@", "");
    for (server, who) in [
        (set.url_as("stranger", SECRETS[0]), "a stranger"),
        (set.url_as("reader", SECRETS[0]), "a reader"),
        (set.url_as("root", SECRETS[0]), "a wrong password"),
        (set.url_as("nobody", SECRETS[0]), "an unknown user"),
        (nobody, "nobody"),
    ] {
        println!("{who}");
        let admin = if server.contains('@') {
            "&authSource=admin"
        } else {
            ""
        };
        let url = mongodb_url(&format!("{server}{admin}"), "locks");
        // A client for each: after a failed login the driver leaves the server alone for ten seconds.
        let connect = async || doclock::connect(&url).await;
        let says = ["acquire `k`", "credentials", "grant"];
        let error = connect().await?.lock("k").acquire().await.unwrap_err();
        assert_caused(&error, ErrorKind::PermissionDenied, &says);
        let error = connect().await?.lock("k").try_acquire().await.unwrap_err();
        assert_caused(&error, ErrorKind::PermissionDenied, &says);
        let error = connect().await?.setup().await.unwrap_err();
        assert_caused(
            &error,
            ErrorKind::PermissionDenied,
            &["setup", "`createIndex`"],
        );
    }
    // What the error asks for is enough.
    let role = doc! {
        "createRole": "locker",
        "privileges": [{
            "resource": { "db": "processes", "collection": "locks" },
            "actions": ["find", "insert", "update"],
        }],
        "roles": [],
    };
    admin.run_command(role).await?;
    let create = doc! { "createUser": "locker", "pwd": SECRETS[0], "roles": ["locker"] };
    admin.run_command(create).await?;
    let server = format!("{}&authSource=admin", set.url_as("locker", SECRETS[0]));
    let locks = doclock::connect(&mongodb_url(&server, "locks")).await?;
    let lease = locks.lock("k").acquire().await?;
    lease.renew().await?;
    lease.release().await?;
    assert!(locks.inspect("k").await?.is_some());
    Ok(())
}
