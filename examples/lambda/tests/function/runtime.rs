//! Lambda's runtime API, and a process of the function that asks it for work.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::routing::{get, post};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// No answer takes as long: a function that hangs ends its test.
const PATIENCE: Duration = Duration::from_mins(2);

/// What the function answered, or its error.
pub type Answered = std::result::Result<Value, Value>;

/// One process, with a runtime API of its own. Dropping it kills it.
pub struct Function {
    child: Child,
    pid: Pid,
    invocations: mpsc::UnboundedSender<Invocation>,
    api: JoinHandle<()>,
}

struct Invocation {
    request_id: String,
    deadline: SystemTime,
    event: String,
    answer: oneshot::Sender<Answered>,
}

/// An invocation that was begun.
pub struct Begun {
    pub deadline: SystemTime,
    answer: oneshot::Receiver<Answered>,
}

impl Function {
    pub async fn start(env: &[(&str, &str)]) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (invocations, inbox) = mpsc::unbounded_channel();
        let api = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route(
                "/2018-06-01/runtime/invocation/{id}/response",
                post(response),
            )
            .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
            .with_state(Arc::new(Api {
                inbox: tokio::sync::Mutex::new(inbox),
                answers: Mutex::default(),
            }));
        let child = Command::new(env!("CARGO_BIN_EXE_doclock-lambda"))
            .env("AWS_LAMBDA_RUNTIME_API", address.to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", "sell")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .envs(env.iter().copied())
            .kill_on_drop(true)
            .spawn()?;
        let pid = child.id().context("it ended at once")?;
        Ok(Self {
            child,
            pid: Pid::from_raw(pid.try_into()?),
            invocations,
            api: tokio::spawn(async move {
                axum::serve(listener, api).await.unwrap();
            }),
        })
    }

    /// Invokes it, with so much time.
    pub fn begin(&self, request_id: &str, event: &Value, time: Duration) -> Result<Begun> {
        let deadline = SystemTime::now() + time;
        let (answer, answered) = oneshot::channel();
        let invocation = Invocation {
            request_id: request_id.to_owned(),
            deadline,
            event: event.to_string(),
            answer,
        };
        if self.invocations.send(invocation).is_err() {
            bail!("the runtime API is gone");
        }
        Ok(Begun {
            deadline,
            answer: answered,
        })
    }

    /// What Lambda does after the answer, and what no program notices.
    pub fn freeze(&self) -> Result<()> {
        Ok(kill(self.pid, Signal::SIGSTOP)?)
    }

    pub fn thaw(&self) -> Result<()> {
        Ok(kill(self.pid, Signal::SIGCONT)?)
    }

    /// What Lambda does at the deadline. It is gone when this returns.
    pub async fn kill(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        self.api.abort();
    }
}

impl Begun {
    pub async fn answered(self) -> Result<Answered> {
        let answered = tokio::time::timeout(PATIENCE, self.answer).await;
        answered.context("no answer")?.context("its process ended")
    }
}

struct Api {
    inbox: tokio::sync::Mutex<mpsc::UnboundedReceiver<Invocation>>,
    answers: Mutex<HashMap<String, oneshot::Sender<Answered>>>,
}

async fn next(State(api): State<Arc<Api>>) -> (HeaderMap, String) {
    let Some(invocation) = api.inbox.lock().await.recv().await else {
        return std::future::pending().await;
    };
    let deadline = invocation.deadline.duration_since(UNIX_EPOCH).unwrap();
    let headers = [
        (
            "lambda-runtime-aws-request-id",
            invocation.request_id.clone(),
        ),
        (
            "lambda-runtime-deadline-ms",
            deadline.as_millis().to_string(),
        ),
        (
            "lambda-runtime-invoked-function-arn",
            "arn:aws:lambda:eu-west-1:123456789012:function:sell".to_owned(),
        ),
    ];
    let headers = headers.into_iter().map(|(name, value)| {
        let name = name.parse().unwrap();
        (name, HeaderValue::try_from(value).unwrap())
    });
    let mut answers = api.answers.lock().unwrap();
    answers.insert(invocation.request_id, invocation.answer);
    (headers.collect(), invocation.event)
}

async fn response(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    body: String,
) -> (StatusCode, &'static str) {
    api.take(&id, Ok(serde_json::from_str(&body).unwrap()))
}

async fn error(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    body: String,
) -> (StatusCode, &'static str) {
    api.take(&id, Err(serde_json::from_str(&body).unwrap()))
}

impl Api {
    fn take(&self, id: &str, answered: Answered) -> (StatusCode, &'static str) {
        let answer = self.answers.lock().unwrap().remove(id);
        if let Some(answer) = answer {
            let _ = answer.send(answered);
        }
        (StatusCode::ACCEPTED, r#"{"status":"OK"}"#)
    }
}
