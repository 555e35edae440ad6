//! Errors of a scan that say in which file and on which line.
//!
//! Readers know neither their file nor, within a byte range, the line they are on, and some panic on damaged bytes.
//! Wrapped around a format's reader when a task is bound; plans that travel do not hold it.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use arrow::{array::RecordBatch, error::ArrowError};
use datafusion::{
    common::tree_node::TreeNodeRecursion,
    datasource::{
        listing::PartitionedFile,
        physical_plan::{FileOpener, FileScanConfig, FileScanConfigBuilder, FileSource},
    },
    error::{DataFusionError, Result},
    execution::object_store::ObjectStoreUrl,
    physical_expr::{PhysicalExpr, projection::ProjectionExprs},
    physical_plan::{DisplayFormatType, metrics::ExecutionPlanMetricsSet},
};
use datafusion_datasource::{
    TableSchema,
    morsel::{Morsel, MorselPlan, MorselPlanner, Morselizer},
};
use futures::{FutureExt, StreamExt, stream::BoxStream};
use object_store::{ObjectStore, ObjectStoreExt};

use crate::{error::damaged, stores::shown};

/// The same scan, whose errors name the file.
pub fn with_file_names(config: FileScanConfig) -> FileScanConfig {
    let source = Arc::new(NamedSource {
        inner: Arc::clone(config.file_source()),
        url: config.object_store_url.clone(),
    });
    FileScanConfigBuilder::from(config).with_source(source).build()
}

#[derive(Clone)]
struct NamedSource {
    inner: Arc<dyn FileSource>,
    url: ObjectStoreUrl,
}

impl FileSource for NamedSource {
    fn create_file_opener(
        &self,
        store: Arc<dyn ObjectStore>,
        config: &FileScanConfig,
        partition: usize,
    ) -> Result<Arc<dyn FileOpener>> {
        self.inner.create_file_opener(store, config, partition)
    }

    fn create_morselizer(
        &self,
        store: Arc<dyn ObjectStore>,
        config: &FileScanConfig,
        partition: usize,
    ) -> Result<Box<dyn Morselizer>> {
        let inner = self.inner.create_morselizer(Arc::clone(&store), config, partition)?;
        Ok(Box::new(NamedMorselizer { inner, store, url: self.url.clone() }))
    }

    fn table_schema(&self) -> &TableSchema {
        self.inner.table_schema()
    }

    fn with_batch_size(&self, batch_size: usize) -> Arc<dyn FileSource> {
        Arc::new(Self { inner: self.inner.with_batch_size(batch_size), url: self.url.clone() })
    }

    fn filter(&self) -> Option<Arc<dyn PhysicalExpr>> {
        self.inner.filter()
    }

    fn projection(&self) -> Option<&ProjectionExprs> {
        self.inner.projection()
    }

    fn metrics(&self) -> &ExecutionPlanMetricsSet {
        self.inner.metrics()
    }

    fn file_type(&self) -> &str {
        self.inner.file_type()
    }

    fn fmt_extra(&self, kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt_extra(kind, f)
    }

    fn reorder_files(&self, files: Vec<PartitionedFile>) -> Vec<PartitionedFile> {
        self.inner.reorder_files(files)
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.inner.apply_expressions(f)
    }
}

#[derive(Debug)]
struct NamedMorselizer {
    inner: Box<dyn Morselizer>,
    store: Arc<dyn ObjectStore>,
    url: ObjectStoreUrl,
}

impl Morselizer for NamedMorselizer {
    fn plan_file(&self, file: PartitionedFile) -> Result<Box<dyn MorselPlanner>> {
        let named =
            Arc::new(NamedFile { file: file.clone(), store: Arc::clone(&self.store), url: self.url.clone() });
        let inner = caught(|| self.inner.plan_file(file)).map_err(|error| named.name(error))?;
        Ok(Box::new(NamedPlanner { inner, named }))
    }
}

#[derive(Debug)]
struct NamedPlanner {
    inner: Box<dyn MorselPlanner>,
    named: Arc<NamedFile>,
}

impl MorselPlanner for NamedPlanner {
    fn plan(self: Box<Self>) -> Result<Option<MorselPlan>> {
        let Self { inner, named } = *self;
        let Some(mut plan) = caught(|| inner.plan()).map_err(|error| named.name(error))? else {
            return Ok(None);
        };
        let planner = |inner, named: &Arc<NamedFile>| -> Box<dyn MorselPlanner> {
            Box::new(NamedPlanner { inner, named: Arc::clone(named) })
        };
        let morsels = plan
            .take_morsels()
            .into_iter()
            .map(|inner| -> Box<dyn Morsel> { Box::new(NamedMorsel { inner, named: Arc::clone(&named) }) });
        let ready = plan.take_ready_planners().into_iter().map(|inner| planner(inner, &named));
        let mut wrapped = MorselPlan::new().with_morsels(morsels.collect()).with_planners(ready.collect());
        if let Some(pending) = plan.take_pending_planner() {
            wrapped.set_pending_planner(async move {
                match AssertUnwindSafe(pending).catch_unwind().await.unwrap_or_else(|_| Err(damaged())) {
                    Ok(inner) => Ok(planner(inner, &named)),
                    Err(error) => Err(named.name_with_line(error).await),
                }
            });
        }
        Ok(Some(wrapped))
    }
}

#[derive(Debug)]
struct NamedMorsel {
    inner: Box<dyn Morsel>,
    named: Arc<NamedFile>,
}

impl Morsel for NamedMorsel {
    fn into_stream(self: Box<Self>) -> BoxStream<'static, Result<RecordBatch>> {
        let Self { inner, named } = *self;
        let named_errors = move |batch: std::thread::Result<Result<RecordBatch>>| {
            let named = Arc::clone(&named);
            async move {
                match batch.unwrap_or_else(|_| Err(damaged())) {
                    Ok(batch) => Ok(batch),
                    Err(error) => Err(named.name_with_line(error).await),
                }
            }
        };
        AssertUnwindSafe(inner.into_stream()).catch_unwind().then(named_errors).boxed()
    }
}

#[derive(Debug)]
struct NamedFile {
    file: PartitionedFile,
    store: Arc<dyn ObjectStore>,
    url: ObjectStoreUrl,
}

impl NamedFile {
    fn name(&self, error: DataFusionError) -> DataFusionError {
        if !is_about_file(&error) {
            return error;
        }
        error.context(format!("file `{}`", shown(&self.url, &self.file.object_meta.location)))
    }

    async fn name_with_line(&self, error: DataFusionError) -> DataFusionError {
        let located = match error {
            DataFusionError::ArrowError(arrow, backtrace) => {
                DataFusionError::ArrowError(Box::new(self.locate(*arrow).await), backtrace)
            }
            other => other,
        };
        self.name(located)
    }

    async fn locate(&self, error: ArrowError) -> ArrowError {
        match error {
            ArrowError::CsvError(text) => ArrowError::CsvError(self.with_line(text).await),
            ArrowError::ParseError(text) => ArrowError::ParseError(self.with_line(text).await),
            ArrowError::ExternalError(source) => match source.downcast::<ArrowError>() {
                Ok(arrow) => Box::pin(self.locate(*arrow)).await,
                Err(source) => ArrowError::ExternalError(source),
            },
            other => other,
        }
    }

    /// The reader counts from the start of its byte range: wrong fields from 1, wrong values from 0.
    async fn with_line(&self, text: String) -> String {
        let Some(found) = [(" for line ", 0), (" at line ", 1)].into_iter().find_map(|(mark, add)| {
            let start = text.find(mark)? + mark.len();
            let digits = text[start..].find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len() - start);
            let line: u64 = text[start..start + digits].parse().ok()?;
            Some((start, start + digits, line + add))
        }) else {
            return text;
        };
        let (start, end, line) = found;
        match self.lines_before().await {
            Ok(before) => format!("{}{}{}", &text[..start], before + line, &text[end..]),
            // The line within the range would be wrong; the file alone is right.
            Err(_) => text,
        }
    }

    /// Lines of the file before the first one of this range: a range starts after the first line end at or after the byte
    /// before it.
    async fn lines_before(&self) -> Result<u64> {
        let range_start = self.file.range.as_ref().map_or(0, |range| u64::try_from(range.start).unwrap_or(0));
        if range_start == 0 {
            return Ok(0);
        }
        let read = self.store.get_range(&self.file.object_meta.location, 0..range_start - 1).await?;
        let newlines = read.iter().filter(|byte| **byte == b'\n').count() as u64;
        Ok(newlines + 1)
    }
}

fn caught<T>(read: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| Err(damaged()))
}

/// Expressions are evaluated within scans too; where they fail says nothing about the file.
fn is_about_file(error: &DataFusionError) -> bool {
    match error {
        DataFusionError::ResourcesExhausted(_) => false,
        DataFusionError::ArrowError(arrow, _) => {
            !matches!(arrow.as_ref(), ArrowError::DivideByZero | ArrowError::ArithmeticOverflow(_))
        }
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => is_about_file(inner),
        DataFusionError::Shared(inner) => is_about_file(inner),
        _ => true,
    }
}
