//! A file format whose errors say which file cannot be read.
//!
//! DataFusion reads each file's statistics when it plans a scan. An error of that names no file, and some readers panic on
//! damaged bytes.

use std::{panic::AssertUnwindSafe, sync::Arc};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::{
    catalog::Session,
    common::Statistics,
    datasource::{
        file_format::{FileFormat, FileMeta, file_compression_type::FileCompressionType},
        physical_plan::{FileScanConfig, FileSource},
    },
    error::Result,
    execution::object_store::ObjectStoreUrl,
    physical_expr::LexOrdering,
    physical_plan::ExecutionPlan,
};
use datafusion_datasource::TableSchema;
use futures::FutureExt;
use object_store::{ObjectMeta, ObjectStore};

use crate::{error::damaged, stores::shown};

/// The same format for files of one store.
#[derive(Debug)]
pub struct NamedFormat {
    pub inner: Arc<dyn FileFormat>,
    pub store: ObjectStoreUrl,
}

impl NamedFormat {
    async fn named<T>(&self, file: &ObjectMeta, read: impl Future<Output = Result<T>>) -> Result<T> {
        let read = AssertUnwindSafe(read).catch_unwind().await.unwrap_or_else(|_| Err(damaged()));
        read.map_err(|error| error.context(format!("file `{}`", shown(&self.store, &file.location))))
    }
}

#[async_trait]
impl FileFormat for NamedFormat {
    fn get_ext(&self) -> String {
        self.inner.get_ext()
    }

    fn get_ext_with_compression(&self, compression: &FileCompressionType) -> Result<String> {
        self.inner.get_ext_with_compression(compression)
    }

    fn compression_type(&self) -> Option<FileCompressionType> {
        self.inner.compression_type()
    }

    async fn infer_schema(
        &self,
        state: &dyn Session,
        store: &Arc<dyn ObjectStore>,
        files: &[ObjectMeta],
    ) -> Result<SchemaRef> {
        self.inner.infer_schema(state, store, files).await
    }

    async fn infer_stats(
        &self,
        state: &dyn Session,
        store: &Arc<dyn ObjectStore>,
        schema: SchemaRef,
        file: &ObjectMeta,
    ) -> Result<Statistics> {
        self.named(file, self.inner.infer_stats(state, store, schema, file)).await
    }

    async fn infer_ordering(
        &self,
        state: &dyn Session,
        store: &Arc<dyn ObjectStore>,
        schema: SchemaRef,
        file: &ObjectMeta,
    ) -> Result<Option<LexOrdering>> {
        self.named(file, self.inner.infer_ordering(state, store, schema, file)).await
    }

    async fn infer_stats_and_ordering(
        &self,
        state: &dyn Session,
        store: &Arc<dyn ObjectStore>,
        schema: SchemaRef,
        file: &ObjectMeta,
    ) -> Result<FileMeta> {
        self.named(file, self.inner.infer_stats_and_ordering(state, store, schema, file)).await
    }

    async fn create_physical_plan(
        &self,
        state: &dyn Session,
        scan: FileScanConfig,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.inner.create_physical_plan(state, scan).await
    }

    fn file_source(&self, schema: TableSchema) -> Arc<dyn FileSource> {
        self.inner.file_source(schema)
    }
}
