//! TPC-H data as Parquet files in the cache folder, made once for each scale.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::Context;
use arrow::{array::RecordBatch, error::ArrowError};
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    file::properties::WriterProperties,
};
use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator, PartSuppGenerator,
    RegionGenerator, SupplierGenerator,
};
use tpchgen_arrow::{
    CustomerArrow, LineItemArrow, NationArrow, OrderArrow, PartArrow, PartSuppArrow, RegionArrow,
    SupplierArrow,
};

use crate::{paths, progress::Progress};

/// Changes with everything that changes the files.
const LAYOUT: &str = "v1";
/// Small enough that even the demo's tables have several, which tasks share.
const ROW_GROUP_ROWS_MAX: usize = 100_000;
const BATCH_ROWS: usize = 8_192;
const TABLES: [&str; 8] =
    ["region", "nation", "supplier", "customer", "part", "partsupp", "orders", "lineitem"];

pub struct Table {
    pub name: &'static str,
    pub path: PathBuf,
}

impl Table {
    pub fn create_statement(&self) -> String {
        let location = self.path.display().to_string().replace('\'', "''");
        format!("CREATE EXTERNAL TABLE {} STORED AS PARQUET LOCATION '{location}'", self.name)
    }
}

/// The files of a scale; made first if they are not there yet.
pub async fn tables(scale: f64, progress: &Progress) -> anyhow::Result<Vec<Table>> {
    let parent = paths::cache()?.join("tpch");
    let folder = parent.join(format!("{scale}-{LAYOUT}"));
    if !folder.is_dir() {
        progress.message(format!("generating TPC-H data at scale {scale}"));
        fs::create_dir_all(&parent).with_context(|| format!("creating {}", parent.display()))?;
        let target = folder.clone();
        tokio::task::spawn_blocking(move || generate_all(scale, &parent, &target)).await??;
    }
    let table = |name| Table { name, path: folder.join(format!("{name}.parquet")) };
    Ok(TABLES.into_iter().map(table).collect())
}

/// All files or none: they appear under their name when the last one is complete.
fn generate_all(scale: f64, parent: &Path, target: &Path) -> anyhow::Result<()> {
    let aside = tempfile::Builder::new().prefix(".making-").tempdir_in(parent)?;
    for name in TABLES {
        let path = aside.path().join(format!("{name}.parquet"));
        write(&path, batches(name, scale)).with_context(|| format!("writing {}", path.display()))?;
    }
    match fs::rename(aside.path(), target) {
        Ok(()) => {
            let _moved = aside.keep();
            Ok(())
        }
        // Another process was faster: its files are the same.
        Err(_) if target.is_dir() => Ok(()),
        Err(cause) => Err(cause).with_context(|| format!("writing {}", target.display())),
    }
}

type Batches = Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>>>;

macro_rules! generator {
    ($arrow:ident, $rows:ident, $scale:expr) => {
        Box::new($arrow::new($rows::new($scale, 1, 1)).with_batch_size(BATCH_ROWS))
    };
}

fn batches(table: &str, scale: f64) -> Batches {
    match table {
        "region" => generator!(RegionArrow, RegionGenerator, scale),
        "nation" => generator!(NationArrow, NationGenerator, scale),
        "supplier" => generator!(SupplierArrow, SupplierGenerator, scale),
        "customer" => generator!(CustomerArrow, CustomerGenerator, scale),
        "part" => generator!(PartArrow, PartGenerator, scale),
        "partsupp" => generator!(PartSuppArrow, PartSuppGenerator, scale),
        "orders" => generator!(OrderArrow, OrderGenerator, scale),
        _ => generator!(LineItemArrow, LineItemGenerator, scale),
    }
}

fn write(path: &Path, batches: Batches) -> anyhow::Result<()> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS_MAX))
        .build();
    let mut batches = batches.peekable();
    let schema = match batches.peek() {
        Some(Ok(batch)) => batch.schema(),
        _ => anyhow::bail!("the generator gave no rows"),
    };
    let mut writer = ArrowWriter::try_new(File::create_new(path)?, schema, Some(properties))?;
    for batch in batches {
        writer.write(&batch?)?;
    }
    writer.close()?;
    Ok(())
}
