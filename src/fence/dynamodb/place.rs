//! Where a client's requests go.

use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;

use super::super::invalid;
use super::error::failed;
use crate::Result;
use crate::backend::READ_TIMEOUT;
use crate::backend::dynamodb::error::Effect;
use crate::backend::dynamodb::request::once;

/// An error unless both clients reach the same tables, as far as they can tell without a request.
pub(super) async fn same(locks: &Client, other: &Client) -> Result<()> {
    let region = |client: &Client| client.config().region().map(ToString::to_string);
    let (wanted, is) = (region(locks), region(other));
    if wanted != is {
        return Err(elsewhere(&format!("{is:?}"), &format!("{wanted:?}")));
    }
    let (wanted, is) = (endpoint(locks).await?, endpoint(other).await?);
    if wanted != is {
        return Err(elsewhere(&is, &wanted));
    }
    Ok(())
}

fn elsewhere(is: &str, wanted: &str) -> crate::Error {
    invalid(format!(
        "this client sends its requests to {is}, but the lock is at {wanted}: pass one that is configured like the lock's"
    ))
}

/// The SDK tells it to nobody before it has built a request. This one is not sent.
async fn endpoint(client: &Client) -> Result<String> {
    let probe = Probe::default();
    let ended = client
        .list_tables()
        .customize()
        .config_override(once(READ_TIMEOUT))
        .interceptor(probe.clone())
        .send()
        .await;
    let seen = probe
        .0
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    match (seen, ended) {
        (Some(endpoint), _) => Ok(endpoint),
        (None, Err(error)) => Err(failed(error, Effect::None)),
        (None, Ok(_)) => Err(invalid("the client sends no requests of the usual kind")),
    }
}

#[derive(Clone, Debug, Default)]
struct Probe(Arc<Mutex<Option<String>>>);

impl Intercept for Probe {
    fn name(&self) -> &'static str {
        "doclock::Probe"
    }

    fn read_before_signing(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> std::result::Result<(), BoxError> {
        let uri = context.request().uri().to_owned();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(uri);
        Err("it was only to be asked where it would go".into())
    }
}
