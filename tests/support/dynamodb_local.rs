//! AWS's own emulator, DynamoDB Local, on the JVM.

use std::ffi::OsString;
use std::net::SocketAddr;

use anyhow::Result;

use super::port::free_port;
use super::process::{Server, Spec};
use super::{install, raw};

/// A DynamoDB Local on a free port. It does not look at credentials or regions: all see the same tables.
#[derive(Debug)]
pub struct DynamoDbLocal {
    server: Server,
}

impl DynamoDbLocal {
    /// In memory: a restart forgets everything.
    pub async fn start() -> Result<Self> {
        Self::launch(false, &[]).await
    }

    /// On disk: tables survive a kill and a restart.
    pub async fn start_durable() -> Result<Self> {
        Self::launch(true, &[]).await
    }

    /// In memory, with environment variables for the JVM (a skewed clock, say).
    pub async fn start_with_env(env: &[(String, String)]) -> Result<Self> {
        Self::launch(false, env).await
    }

    pub fn addr(&self) -> SocketAddr {
        self.server.addr()
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.addr())
    }

    /// To kill, pause and restart it.
    pub fn server(&self) -> &Server {
        &self.server
    }

    async fn launch(durable: bool, env: &[(String, String)]) -> Result<Self> {
        let lib = install::fetch("dynamodb-local")?;
        let home = install::home("dynamodb-local")?;
        let data = home.path().join("data");
        let port = free_port()?;
        let mut libraries = OsString::from("-Djava.library.path=");
        libraries.push(&lib);
        // It starts in half the time with the first compiler alone, and never runs long enough for the second.
        let mut command: Vec<OsString> = [
            "java",
            "-Xmx512m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
        ]
        .map(OsString::from)
        .to_vec();
        command.push(libraries);
        command.extend(["-cp".into(), lib.join("*").into()]);
        command.push("com.amazonaws.services.dynamodbv2.local.main.ServerRunner".into());
        command.extend(["-sharedDb", "-disableTelemetry", "-port"].map(OsString::from));
        command.push(port.to_string().into());
        if durable {
            command.extend(["-dbPath".into(), data.into()]);
        } else {
            command.push("-inMemory".into());
        }
        let spec = Spec {
            name: "dynamodb-local".to_owned(),
            port,
            command,
            env: env.to_vec(),
            answers: |addr| Box::pin(raw::dynamodb_answers(addr)),
        };
        Ok(Self {
            server: Server::start(home, spec).await?,
        })
    }
}
