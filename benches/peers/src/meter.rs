//! What a driver sends, counted at the wire.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use aws_sdk_dynamodb::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use mongodb::event::EventHandler;
use mongodb::event::command::CommandEvent;

/// Counts the requests of a driver's client, the driver's own retries included.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meter(Arc<AtomicU32>);

impl Meter {
    pub(crate) fn read(&self) -> f64 {
        self.0.load(Ordering::Relaxed).into()
    }

    fn sent(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn commands(&self) -> EventHandler<CommandEvent> {
        let meter = self.clone();
        EventHandler::callback(move |event| {
            if matches!(event, CommandEvent::Started(_)) {
                meter.sent();
            }
        })
    }
}

impl Intercept for Meter {
    fn name(&self) -> &'static str {
        "peers::Meter"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.sent();
        Ok(())
    }
}
