//! What this thread logs and counts while a test looks. Tests run on one thread each, and so do their workers.

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{Arc, Mutex, MutexGuard},
};

use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use tracing::{Event, Level, Subscriber, field::Visit, subscriber::DefaultGuard};
use tracing_subscriber::{Layer, Registry, layer::Context, layer::SubscriberExt};

pub struct Watch {
    lines: Lines,
    counters: Snapshotter,
    _logging: DefaultGuard,
    _counting: metrics::LocalRecorderGuard<'static>,
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<(Level, String)>>>);

impl Watch {
    pub fn start() -> Self {
        let lines = Lines::default();
        let logging = tracing::subscriber::set_default(Registry::default().with(lines.clone()));
        // Lives as long as the test's process: a few hundred bytes.
        let recorder: &'static DebuggingRecorder = Box::leak(Box::default());
        let counting = metrics::set_default_local_recorder(recorder);
        Self { lines, counters: recorder.snapshotter(), _logging: logging, _counting: counting }
    }

    pub fn warnings(&self) -> Vec<String> {
        let lines = self.lines.get();
        lines.iter().filter(|(level, _)| *level <= Level::WARN).map(|(_, line)| line.clone()).collect()
    }

    pub fn everything_logged(&self) -> String {
        self.lines.get().iter().map(|(_, line)| line.as_str()).collect::<Vec<_>>().join("\n")
    }

    /// How much a counter with the given value of its only label has grown since it was looked at last.
    pub fn counter(&self, name: &str, label: &str) -> u64 {
        self.sum(|key| key.name() == name && key.labels().any(|of| of.value() == label))
    }

    /// The same, whatever its labels.
    pub fn total(&self, name: &str) -> u64 {
        self.sum(|key| key.name() == name)
    }

    /// How much a gauge that is counted up and down has changed since anything was looked at last.
    pub fn gauge_change(&self, name: &str) -> f64 {
        let snapshot = self.counters.snapshot().into_vec();
        let matching = snapshot.into_iter().filter_map(|(key, _, _, value)| match value {
            DebugValue::Gauge(change) if key.key().name() == name => Some(change.0),
            _ => None,
        });
        matching.sum()
    }

    fn sum(&self, fits: impl Fn(&metrics::Key) -> bool) -> u64 {
        let snapshot = self.counters.snapshot().into_vec();
        let matching = snapshot.into_iter().filter_map(|(key, _, _, value)| match value {
            DebugValue::Counter(count) if fits(key.key()) => Some(count),
            _ => None,
        });
        matching.sum()
    }

    /// How much each counter has grown since anything was looked at last, by its name and the value of its only label.
    pub fn counters(&self) -> BTreeMap<(String, String), u64> {
        let snapshot = self.counters.snapshot().into_vec();
        let counters = snapshot.into_iter().filter_map(|(key, _, _, value)| match value {
            DebugValue::Counter(count) => {
                let label = key.key().labels().map(|label| label.value()).collect();
                Some(((key.key().name().to_owned(), label), count))
            }
            _ => None,
        });
        counters.collect()
    }
}

impl Lines {
    fn get(&self) -> MutexGuard<'_, Vec<(Level, String)>> {
        self.0.lock().unwrap()
    }
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.get().push((*event.metadata().level(), line.0));
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        write!(self.0, "{field}={value:?} ").unwrap();
    }
}
