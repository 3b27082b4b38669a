//! Spans and events of this crate, by the names of their fields.

use std::collections::BTreeMap;
use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

/// A span or an event.
#[derive(Clone, Debug)]
pub struct Line {
    /// A span's name, an event's message.
    pub what: String,
    pub level: String,
    pub fields: BTreeMap<String, String>,
    /// The span that an event is in.
    pub within: Option<String>,
}

impl Line {
    /// The value of a field; empty if there is none.
    pub fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }
}

/// What was told on this thread while the guard lived.
#[derive(Clone, Default)]
pub struct Capture(Arc<Mutex<Vec<Line>>>);

impl Capture {
    pub fn listen(&self) -> DefaultGuard {
        let subscriber = tracing_subscriber::registry().with(self.clone());
        tracing::subscriber::set_default(subscriber)
    }

    /// All so far; spans once they are closed.
    pub fn lines(&self) -> Vec<Line> {
        self.0.lock().unwrap().clone()
    }

    /// The only one of this name.
    pub fn line(&self, what: &str) -> Line {
        let lines = self.lines();
        let mut found = lines.iter().filter(|line| line.what == what);
        let line = found
            .next()
            .unwrap_or_else(|| panic!("no `{what}` in {lines:#?}"));
        assert!(found.next().is_none(), "two of `{what}` in {lines:#?}");
        line.clone()
    }
}

#[derive(Default)]
struct Fields(BTreeMap<String, String>);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = String::new();
        write!(text, "{value:?}").unwrap();
        self.0.insert(field.name().to_owned(), text);
    }
}

fn is_ours(metadata: &Metadata<'_>) -> bool {
    metadata.target().split("::").next() == Some("doclock")
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Capture {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        context.span(id).unwrap().extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let span = context.span(id).unwrap();
        values.record(span.extensions_mut().get_mut::<Fields>().unwrap());
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if !is_ours(event.metadata()) {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let line = Line {
            what: fields.0.remove("message").unwrap_or_default(),
            level: event.metadata().level().to_string(),
            fields: fields.0,
            within: context.lookup_current().map(|span| span.name().to_owned()),
        };
        self.0.lock().unwrap().push(line);
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let span = context.span(&id).unwrap();
        if !is_ours(span.metadata()) {
            return;
        }
        let fields = span.extensions_mut().remove::<Fields>().unwrap();
        let line = Line {
            what: span.name().to_owned(),
            level: span.metadata().level().to_string(),
            fields: fields.0,
            within: span.parent().map(|parent| parent.name().to_owned()),
        };
        self.0.lock().unwrap().push(line);
    }
}
