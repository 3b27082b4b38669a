//! What a driver sends, counted at the wire, and what DynamoDB would charge for it.

use std::ops::{Div, Sub};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_sdk_dynamodb::config::interceptors::{
    AfterDeserializationInterceptorContextRef, BeforeSerializationInterceptorContextMut,
    BeforeTransmitInterceptorContextRef,
};
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use aws_sdk_dynamodb::operation::get_item::{GetItemInput, GetItemOutput};
use aws_sdk_dynamodb::operation::update_item::{UpdateItemInput, UpdateItemOutput};
use aws_sdk_dynamodb::types::{ConsumedCapacity, ReturnConsumedCapacity};
use mongodb::event::EventHandler;
use mongodb::event::command::CommandEvent;
use serde::{Deserialize, Serialize};

/// Requests and capacity units, of any number of operations.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Usage {
    pub(crate) requests: f64,
    /// Of those, that write or try to: no reads, and nothing of a change stream.
    pub(crate) writes: f64,
    pub(crate) write_units: f64,
    pub(crate) read_units: f64,
}

impl Usage {
    pub(crate) fn sum(usages: impl IntoIterator<Item = Self>) -> Self {
        usages.into_iter().fold(Self::default(), |sum, one| Self {
            requests: sum.requests + one.requests,
            writes: sum.writes + one.writes,
            write_units: sum.write_units + one.write_units,
            read_units: sum.read_units + one.read_units,
        })
    }
}

impl Sub for Usage {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            requests: self.requests - before.requests,
            writes: self.writes - before.writes,
            write_units: self.write_units - before.write_units,
            read_units: self.read_units - before.read_units,
        }
    }
}

impl Div<f64> for Usage {
    type Output = Self;

    fn div(self, operations: f64) -> Self {
        Self {
            requests: self.requests / operations,
            writes: self.writes / operations,
            write_units: self.write_units / operations,
            read_units: self.read_units / operations,
        }
    }
}

/// Counts the requests of a driver's client, the driver's own retries included.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meter(Arc<Mutex<Usage>>);

impl Meter {
    pub(crate) fn read(&self) -> Usage {
        *self.usage()
    }

    pub(crate) fn commands(&self) -> EventHandler<CommandEvent> {
        let meter = self.clone();
        EventHandler::callback(move |event| {
            if let CommandEvent::Started(started) = event
                && started.command_name != "endSessions"
            {
                let writes = ["findAndModify", "update"].contains(&&*started.command_name);
                meter.sent(writes);
            }
        })
    }

    fn sent(&self, writes: bool) {
        let mut usage = self.usage();
        usage.requests += 1.0;
        usage.writes += f64::from(u8::from(writes));
    }

    fn charged(&self, write_units: f64, read_units: f64) {
        let mut usage = self.usage();
        usage.write_units += write_units;
        usage.read_units += read_units;
    }

    fn usage(&self) -> MutexGuard<'_, Usage> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks for the consumed capacity, which doclock itself does not.
impl Intercept for Meter {
    fn name(&self) -> &'static str {
        "bench::Meter"
    }

    fn modify_before_serialization(
        &self,
        context: &mut BeforeSerializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let total = Some(ReturnConsumedCapacity::Total);
        if let Some(update) = context.input_mut().downcast_mut::<UpdateItemInput>() {
            update.return_consumed_capacity = total;
        } else if let Some(get) = context.input_mut().downcast_mut::<GetItemInput>() {
            get.return_consumed_capacity = total;
        }
        Ok(())
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

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        match context.output_or_error() {
            Ok(output) => {
                if let Some(update) = output.downcast_ref::<UpdateItemOutput>() {
                    self.charged(units(update.consumed_capacity()), 0.0);
                } else if let Some(get) = output.downcast_ref::<GetItemOutput>() {
                    self.charged(0.0, units(get.consumed_capacity()));
                }
            }
            // A write whose condition fails is charged as well, by the size of the item; its answer does not say so.
            Err(_) => self.charged(1.0, 0.0),
        }
        Ok(())
    }
}

fn units(capacity: Option<&ConsumedCapacity>) -> f64 {
    capacity
        .and_then(ConsumedCapacity::capacity_units)
        .unwrap_or_default()
}
