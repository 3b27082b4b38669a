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
pub(crate) struct Meter(Arc<[AtomicU32; 2]>);

impl Meter {
    /// Those that write or try to, and all.
    pub(crate) fn read(&self) -> [f64; 2] {
        self.0
            .each_ref()
            .map(|count| count.load(Ordering::Relaxed).into())
    }

    fn sent(&self, writes: bool) {
        let [written, sent] = &*self.0;
        written.fetch_add(writes.into(), Ordering::Relaxed);
        sent.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn commands(&self) -> EventHandler<CommandEvent> {
        const WRITES: [&str; 4] = ["insert", "update", "delete", "findAndModify"];
        let meter = self.clone();
        EventHandler::callback(move |event| {
            if let CommandEvent::Started(started) = event {
                meter.sent(WRITES.contains(&&*started.command_name));
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
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let target = context.request().headers().get("x-amz-target");
        let reads = target.is_some_and(|target| target.ends_with(".GetItem"));
        self.sent(!reads);
        Ok(())
    }
}
