use std::{fs, path::Path};

use penstock_protocol::task::WrittenFile;

use super::*;

struct Sandbox {
    root: tempfile::TempDir,
    publisher: Publisher,
}

impl Sandbox {
    fn new() -> Self {
        let root = tempfile::tempdir().expect("a temporary folder");
        let publisher = Publisher::new(root.path());
        Self { root, publisher }
    }

    fn publication(&self, mode: SinkMode, files: &[(&str, &str)]) -> Publication {
        let url = |folder: &str| format!("file://{}/", self.root.path().join(folder).display());
        let written = files.iter().map(|(staged, place)| {
            self.write(&format!("table/.staging/{staged}"), "new");
            WrittenFile { staged_path: (*staged).into(), final_path: (*place).into(), rows: 2, bytes: 3 }
        });
        Publication {
            job: JobId(uuid::Uuid::from_u128(1)),
            statement: StatementIndex(0),
            files: written.collect(),
            sink: SinkTarget { target_url: url("table"), staging_url: url("table/.staging"), mode },
            then: None,
        }
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root.path().join(path);
        fs::create_dir_all(path.parent().expect("is in a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }

    fn table(&self) -> Vec<String> {
        let mut files = Vec::new();
        walk(&self.root.path().join("table"), "", &mut files);
        files.sort();
        files
    }
}

fn walk(folder: &Path, prefix: &str, files: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            walk(&entry.path(), &format!("{name}/"), files);
        } else {
            files.push(name);
        }
    }
}

#[tokio::test]
async fn append_adds_to_what_is_there_and_leaves_no_staging() {
    let sandbox = Sandbox::new();
    sandbox.write("table/old.csv", "old");
    let publication =
        sandbox.publication(SinkMode::Append, &[("0-0-0/a", "day=1/a.csv"), ("0-1-0/b", "b.csv")]);
    let outputs = sandbox.publisher.publish(publication).await.expect("is published");
    assert_eq!((outputs.files, outputs.rows, outputs.bytes), (2, 4, 6));
    assert_eq!(sandbox.table(), ["b.csv", "day=1/a.csv", "old.csv"]);
}

#[tokio::test]
async fn overwrite_replaces_visible_files_and_keeps_hidden_ones() {
    let sandbox = Sandbox::new();
    sandbox.write("table/day=1/old.csv", "old");
    sandbox.write("table/.keep", "hidden");
    let publication = sandbox.publication(SinkMode::Overwrite, &[("0-0-0/a", "day=2/a.csv")]);
    sandbox.publisher.publish(publication).await.expect("is published");
    assert_eq!(sandbox.table(), [".keep", "day=2/a.csv"]);
    assert!(!sandbox.root.path().join("table/day=1").exists());
}

#[tokio::test]
async fn create_refuses_a_target_with_files_and_changes_nothing() {
    let sandbox = Sandbox::new();
    sandbox.write("table/old.csv", "old");
    let publication = sandbox.publication(SinkMode::Create, &[("0-0-0/a", "a.csv")]);
    let refusal = sandbox.publisher.publish(publication).await;
    assert!(matches!(refusal, Err(PublishError::TargetNotEmpty { .. })));
    assert_eq!(sandbox.table(), [".staging/0-0-0/a", "old.csv"]);
}

#[tokio::test]
async fn a_path_that_leaves_its_folder_is_refused() {
    let sandbox = Sandbox::new();
    let publication = sandbox.publication(SinkMode::Append, &[("0-0-0/a", "../escaped.csv")]);
    let refusal = sandbox.publisher.publish(publication).await;
    assert!(matches!(refusal, Err(PublishError::Escapes { .. })));
}

#[tokio::test]
async fn a_missing_staged_file_is_found_before_anything_is_visible() {
    let sandbox = Sandbox::new();
    let mut publication =
        sandbox.publication(SinkMode::Append, &[("0-0-0/a", "a.csv"), ("0-1-0/b", "b.csv")]);
    fs::remove_file(sandbox.root.path().join("table/.staging/0-1-0/b")).expect("was staged");
    publication.files.swap(0, 1);
    let refusal = sandbox.publisher.publish(publication).await;
    assert!(matches!(refusal, Err(PublishError::Missing { .. })));
    assert_eq!(sandbox.table(), [".staging/0-0-0/a"]);
}

#[tokio::test]
async fn a_publication_that_fails_midway_is_undone() {
    let sandbox = Sandbox::new();
    sandbox.write("table/old.csv", "old");
    // A folder where the second file should go.
    sandbox.write("table/b.csv/.hidden/in-the-way", "");
    let publication = sandbox.publication(SinkMode::Overwrite, &[("0-0-0/a", "a.csv"), ("0-1-0/b", "b.csv")]);
    assert!(sandbox.publisher.publish(publication).await.is_err());
    let table = sandbox.table();
    assert!(table.contains(&"old.csv".to_owned()) && !table.contains(&"a.csv".to_owned()), "{table:?}");
    assert_eq!(sandbox.publisher.roll_forward().expect("reads the plans"), []);
}

#[tokio::test]
async fn a_publication_cut_short_at_any_step_is_finished_by_the_next_life() {
    for steps_done in 0..=2 {
        let sandbox = Sandbox::new();
        sandbox.write("table/old.csv", "old");
        let publication =
            sandbox.publication(SinkMode::Overwrite, &[("0-0-0/a", "a.csv"), ("0-1-0/b", "b.csv")]);
        publication.write(&sandbox.root.path().join("publications")).expect("the plan is on disk");
        for file in &publication.files[..steps_done] {
            let staged = sandbox.root.path().join("table/.staging").join(&file.staged_path);
            fs::rename(staged, sandbox.root.path().join("table").join(&file.final_path)).expect("a step");
        }
        let done = sandbox.publisher.roll_forward().expect("rolls forward");
        assert_eq!(done.len(), 1);
        assert_eq!(sandbox.table(), ["a.csv", "b.csv"], "after {steps_done} steps");
        sandbox.publisher.forget(publication.job, publication.statement).await;
        assert_eq!(sandbox.publisher.roll_forward().expect("reads the plans"), []);
    }
}

#[test]
fn sinks_on_other_stores_are_refused_by_url() {
    let sink = SinkTarget {
        target_url: "s3://bucket/table/".into(),
        staging_url: "s3://bucket/table/.staging/".into(),
        mode: SinkMode::Append,
    };
    let refusal = Publisher::accepts(&sink).expect_err("is not local");
    assert_eq!(refusal.to_string(), "sinks on `s3://bucket/table/` are not supported yet");
}

#[tokio::test]
async fn what_the_sinks_of_a_former_life_wrote_aside_is_removed() {
    let sandbox = Sandbox::new();
    sandbox.write("table/old.csv", "old");
    let publication = sandbox.publication(SinkMode::Append, &[("0-0-0/a", "a.csv")]);
    let (job, statement, sink) = (publication.job, publication.statement, publication.sink);
    sandbox.publisher.expect(job, statement, sink).await.expect("is remembered");
    let left_over = sandbox.publisher.left_over().expect("is readable");
    sandbox.publisher.discard_left_over(left_over.clone(), false).await.expect("discards");
    assert_eq!(sandbox.table(), ["old.csv"]);
    sandbox.write("table/.staging/0-0-1/late", "late");
    sandbox.publisher.discard_left_over(left_over, true).await.expect("discards");
    assert_eq!(sandbox.table(), ["old.csv"]);
    assert!(sandbox.publisher.left_over().expect("is readable").is_empty());
}

#[tokio::test]
async fn a_publication_that_is_still_unfinished_keeps_its_files() {
    let sandbox = Sandbox::new();
    let publication = sandbox.publication(SinkMode::Append, &[("0-0-0/a", "a.csv")]);
    publication.write(&sandbox.root.path().join("publications")).expect("the plan is on disk");
    let (job, statement, sink) = (publication.job, publication.statement, publication.sink);
    sandbox.publisher.expect(job, statement, sink).await.expect("is remembered");
    assert!(sandbox.publisher.left_over().expect("is readable").is_empty());
}
