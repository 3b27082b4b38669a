//! Once more by AWS's own runtime interface emulator, which starts the function and ends it at its time-out.

use std::env;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::support::poll;
use crate::support::port::free_port;
use crate::world::{LONG, STOCK, World, apples};

#[tokio::test]
#[ignore = "needs AWS's emulator: run by .ci/emulator"]
async fn it_runs_under_the_emulator_of_aws() -> Result<()> {
    let emulator = env::var("DOCLOCK_TEST_RIE").context("run .ci/emulator")?;
    let world = World::new().await?;
    let [front, runtime] = [free_port()?, free_port()?].map(|port| format!("127.0.0.1:{port}"));
    let _emulator = Command::new(emulator)
        .args(["--runtime-interface-emulator-address", &front])
        .args(["--runtime-api-address", &runtime])
        .arg(env!("CARGO_BIN_EXE_doclock-lambda"))
        .env("AWS_LAMBDA_FUNCTION_TIMEOUT", "6")
        .envs(world.env())
        .kill_on_drop(true)
        .spawn()?;
    let url = format!("http://{front}/2015-03-31/functions/function/invocations");
    let caller = reqwest::Client::new();
    let invoke = async |order: &str| -> Result<Value> {
        let answer = caller.post(&url).json(&apples(order)).send().await?;
        Ok(serde_json::from_str(&answer.text().await?)?)
    };
    poll::until("the emulator listens", Duration::from_secs(30), || async {
        TcpStream::connect(&front).await.is_ok()
    })
    .await?;
    assert_eq!(invoke("1").await?, "sold");
    assert_eq!(invoke("1").await?, "sold_before");

    world.payments.hold("2");
    let error = invoke("2").await?;
    assert!(error["errorMessage"].is_string(), "{error}");
    assert_eq!(world.holder().await?, None, "it was released");
    world.payments.go_on("2");
    poll::until("the next invocation sells", LONG, || async {
        invoke("2").await.is_ok_and(|answer| answer == "sold")
    })
    .await?;
    assert_eq!(world.stock().await?, STOCK - 2);
    Ok(())
}
