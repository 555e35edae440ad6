//! The files of one task: one open file per hive folder, bounded in number and memory.

use std::{collections::HashMap, sync::Arc};

use arrow::array::RecordBatch;
use datafusion::{
    datasource::listing::ListingTableUrl,
    error::Result,
    execution::{
        TaskContext,
        memory_pool::{MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation},
    },
};
use object_store::{
    ObjectStore, ObjectStoreExt,
    path::{Path, PathPart},
};
use penstock_protocol::task::WrittenFile;

use super::{
    file_writer::{Encoding, FileWriter},
    hive::{Folder, HiveSplit},
    run::SinkRun,
    write_exec::WriteSpec,
};
use crate::catalog::FileFormat;

/// Files that are open at once; a row for one more folder closes the one that was not written to for longest.
const OPEN_FILES_MAX: usize = 64;
/// A row group is held in memory until it is whole, is copied once when it is written, and is read in one piece by whoever
/// reads the file: it gets one part in so many of the memory, within bounds.
const ROW_GROUP_PART: usize = 8;
const ROW_GROUP_BYTES_MIN: usize = 1 << 20;
const ROW_GROUP_BYTES_MAX: usize = 128 << 20;
/// Keeps staged files out of every listing that asks for an extension.
const STAGED_SUFFIX: &str = ".staged";

pub struct TaskWriter {
    spec: WriteSpec,
    split: HiveSplit,
    encoding: Encoding,
    run: Arc<SinkRun>,
    store: Arc<dyn ObjectStore>,
    /// The attempt's folder in the store.
    folder: Path,
    open: HashMap<Folder, OpenFile>,
    /// Counts batches, to know which file was used last.
    clock: u64,
    files: u32,
    rows: u64,
    rows_per_file_max: u64,
    row_group_bytes_max: usize,
    memory: MemoryReservation,
}

struct OpenFile {
    writer: FileWriter,
    staged_path: String,
    final_path: String,
    rows: u64,
    used_at: u64,
}

impl TaskWriter {
    pub fn new(
        spec: WriteSpec,
        split: HiveSplit,
        encoding: Encoding,
        run: Arc<SinkRun>,
        context: &Arc<TaskContext>,
    ) -> Result<Self> {
        let staging = ListingTableUrl::parse(&run.staging_url)?;
        let store = context.runtime_env().object_store(&staging)?;
        let own = PathPart::from(run.folder());
        let folder = staging.prefix().parts().chain([own]).collect();
        let memory = MemoryConsumer::new("WriteExec").register(context.memory_pool());
        let rows_per_file_max =
            context.session_config().options().execution.soft_max_rows_per_output_file.get();
        Ok(Self {
            spec,
            split,
            encoding,
            run,
            store,
            folder,
            open: HashMap::new(),
            clock: 0,
            files: 0,
            rows: 0,
            rows_per_file_max: rows_per_file_max as u64,
            row_group_bytes_max: row_group_bytes_max(context.memory_pool().as_ref()),
            memory,
        })
    }

    pub async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        for (folder, rows) in self.split.split(batch)? {
            self.write_to(folder, rows).await?;
        }
        self.limit_memory().await
    }

    /// Closes all files. A task without rows writes an empty file if it is the first: a target that was written has a
    /// file, and its columns can be read from it.
    pub async fn finish(mut self) -> Result<u64> {
        let is_first = self.run.attempt.task.index.0 == 0;
        if self.files == 0 && !self.split.is_partitioned() && (is_first || self.spec.single_file.is_some()) {
            self.open_file(Folder::new())?;
        }
        let folders: Vec<Folder> = self.open.keys().cloned().collect();
        for folder in folders {
            self.close(&folder).await?;
        }
        Ok(self.rows)
    }

    async fn write_to(&mut self, folder: Folder, rows: RecordBatch) -> Result<()> {
        if !self.open.contains_key(&folder) {
            if self.open.len() >= OPEN_FILES_MAX {
                self.close_idlest().await?;
            }
            self.open_file(folder.clone())?;
        }
        let count = rows.num_rows() as u64;
        self.clock += 1;
        self.rows += count;
        let clock = self.clock;
        let is_full = match self.open.get_mut(&folder) {
            Some(file) => {
                file.writer.write(rows).await?;
                if file.writer.row_group_bytes() >= self.row_group_bytes_max {
                    file.writer.flush().await?;
                }
                file.rows += count;
                file.used_at = clock;
                file.rows >= self.rows_per_file_max && self.spec.single_file.is_none()
            }
            None => false,
        };
        if is_full { self.close(&folder).await } else { Ok(()) }
    }

    fn open_file(&mut self, folder: Folder) -> Result<()> {
        let name = self.file_name();
        let below =
            |name: &str| folder.iter().map(String::as_str).chain([name]).collect::<Vec<_>>().join("/");
        let final_path = below(&name);
        let staged_name = format!("{name}{STAGED_SUFFIX}");
        let staged_path = format!("{}/{}", self.run.folder(), below(&staged_name));
        let path = Path::parse(format!("{}/{}", self.folder, below(&staged_name)))
            .map_err(object_store::Error::from)?;
        let writer = self.encoding.open(&self.store, &path, &self.split.written_schema)?;
        self.files += 1;
        let file = OpenFile { writer, staged_path, final_path, rows: 0, used_at: self.clock };
        self.open.insert(folder, file);
        Ok(())
    }

    /// Equal for all attempts of the task.
    fn file_name(&self) -> String {
        match &self.spec.single_file {
            Some(name) => name.clone(),
            None => {
                let task = self.run.attempt.task.index.0;
                let extension = self.extension();
                format!("{}-{task:05}-{:03}.{extension}", self.spec.file_prefix, self.files)
            }
        }
    }

    fn extension(&self) -> String {
        match (&self.encoding, self.spec.format) {
            (Encoding::Text { compression, .. }, format) if compression.is_compressed() => {
                use datafusion::common::GetExt;
                format!("{}{}", format.name(), compression.get_ext())
            }
            (_, FileFormat::Parquet | FileFormat::Csv | FileFormat::Json | FileFormat::Avro) => {
                self.spec.format.name().to_owned()
            }
        }
    }

    async fn close_idlest(&mut self) -> Result<()> {
        let idlest = self.open.iter().min_by_key(|(_, file)| file.used_at).map(|(folder, _)| folder.clone());
        match idlest {
            Some(folder) => self.close(&folder).await,
            None => Ok(()),
        }
    }

    async fn close(&mut self, folder: &Folder) -> Result<()> {
        let Some(file) = self.open.remove(folder) else { return Ok(()) };
        file.writer.finish().await?;
        let path = Path::parse(format!("{}/{}", parent(&self.folder), file.staged_path))
            .map_err(object_store::Error::from)?;
        let bytes = self.store.head(&path).await?.size;
        self.run.add(WrittenFile {
            staged_path: file.staged_path,
            final_path: file.final_path,
            rows: file.rows,
            bytes,
        });
        Ok(())
    }

    /// Files give back memory, then are closed, before the task fails for want of it.
    async fn limit_memory(&mut self) -> Result<()> {
        if self.memory.try_resize(self.memory_bytes()).is_ok() {
            return Ok(());
        }
        for file in self.open.values_mut() {
            file.writer.flush().await?;
        }
        while self.open.len() > 1 && self.memory.try_resize(self.memory_bytes()).is_err() {
            self.close_idlest().await?;
        }
        self.memory.try_resize(self.memory_bytes())
    }

    /// Of all files, and of the copy that the next flush makes.
    fn memory_bytes(&self) -> usize {
        let files: usize = self.open.values().map(|file| file.writer.memory_bytes()).sum();
        let copy = self.open.values().map(|file| file.writer.row_group_bytes()).max();
        files + copy.unwrap_or(0)
    }
}

fn row_group_bytes_max(pool: &dyn MemoryPool) -> usize {
    match pool.memory_limit() {
        MemoryLimit::Finite(bytes) => {
            (bytes / ROW_GROUP_PART).clamp(ROW_GROUP_BYTES_MIN, ROW_GROUP_BYTES_MAX)
        }
        MemoryLimit::Infinite | MemoryLimit::Unknown => ROW_GROUP_BYTES_MAX,
    }
}

/// The statement's staging folder in the store.
fn parent(folder: &Path) -> Path {
    let parts: Vec<PathPart<'_>> = folder.parts().collect();
    parts[..parts.len().saturating_sub(1)].iter().cloned().collect()
}
