//! What is read through the process that holds it open, here this one itself.
#![allow(clippy::unwrap_used)]

use std::{io::Write, os::fd::AsRawFd};

use nix::{sys::stat::Mode, unistd::mkfifo};
use penstock_protocol::{
    frame::BatchHeader,
    ids::{AttemptNumber, BatchId, TaskIndex},
};

use super::*;
use crate::{fetch::share::Shares, options::ClientOptions};

fn batches(count: u32) -> Vec<u8> {
    let payload = [7; 1000];
    let batch = |batch| {
        let header = BatchHeader::of(TaskIndex(0), AttemptNumber(0), BatchId(batch), 1, &payload);
        [&header.encode()[..], &payload].concat()
    };
    (0..count).flat_map(batch).collect()
}

fn loan_of(file: &File, bytes: u64) -> Loan {
    let (found, number) = (file.metadata().unwrap(), u32::try_from(file.as_raw_fd()).unwrap());
    Loan { stream: 0, file: number, device: found.dev(), inode: found.ino(), offset: 0, bytes }
}

async fn open(loan: Loan) -> Result<LoanReader, LoanError> {
    let share = Arc::new(Shares::new(&ClientOptions::default())).take();
    let process = Some(ProcessId(std::process::id()));
    LoanReader::open(process, loan, share, Duration::from_secs(60)).await
}

async fn read(loan: Loan) -> Result<Vec<u8>, LoanError> {
    let (mut reader, mut read) = (open(loan).await?, Vec::new());
    while let Some(batches) = reader.next().await? {
        read.extend_from_slice(&batches);
    }
    Ok(read)
}

#[tokio::test]
async fn a_lent_file_is_read_to_the_end_of_the_loan() {
    let mut file = tempfile::tempfile().unwrap();
    let all = batches(3000);
    file.write_all(&all).unwrap();
    file.write_all(b"what is not lent").unwrap();
    assert!(read(loan_of(&file, all.len() as u64)).await.unwrap() == all);
}

#[tokio::test]
async fn an_error_names_the_file_and_what_happened_to_it() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let mut all = batches(1);
    all.extend([0xff; 1000]);
    file.write_all(&all).unwrap();
    let name = file.path().display().to_string();
    let loan = loan_of(file.as_file(), all.len() as u64);
    let cases = [
        (loan, format!("{name} is damaged at or behind offset 0")),
        (Loan { bytes: loan.bytes + 1, offset: loan.bytes, ..loan }, format!("reading {name}")),
    ];
    for (loan, expected) in cases {
        assert_eq!(read(loan).await.unwrap_err().to_string(), expected);
    }
}

// Invariant 23: the worker may have closed it, and its number may mean anything by now.
#[tokio::test]
async fn another_file_than_the_lent_one_is_not_read() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let all = batches(3);
    file.write_all(&all).unwrap();
    let loan = loan_of(file.as_file(), all.len() as u64);
    let other = read(Loan { inode: loan.inode + 1, ..loan }).await.unwrap_err();
    assert_eq!(other.to_string(), format!("{} is not what the worker lent", file.path().display()));
    assert!(read(loan).await.unwrap() == all);
}

#[tokio::test]
async fn a_pipe_is_no_lent_file() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    mkfifo(&pipe, Mode::S_IRWXU).unwrap();
    let pipe = OpenOptions::new().read(true).write(true).open(pipe).unwrap();
    assert!(matches!(open(loan_of(&pipe, 1)).await, Err(LoanError::OtherFile { .. })));
}

// What it is may change between a look at it and its opening.
#[test]
fn the_opening_of_a_pipe_waits_for_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    mkfifo(&pipe, Mode::S_IRWXU).unwrap();
    assert!(!open_at_once(&pipe).unwrap().metadata().unwrap().is_file());
}
