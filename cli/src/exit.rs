//! How `penstock` leaves: stable exit codes, and the one line that says what went wrong.

use std::{error::Error, fmt, io};

use serde::Deserialize;

/// Exit codes. Stable: scripts and schedulers branch on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Ok = 0,
    /// A bug in Penstock.
    Internal = 1,
    /// Wrong flags, configuration or names; nothing ran.
    Usage = 2,
    /// The SQL is wrong.
    UserSql = 3,
    /// The data is wrong: a corrupt file, a value that does not fit.
    UserData = 4,
    /// Memory, disk, time or a quota ran out.
    Resources = 5,
    /// A server cannot be reached or died.
    Infrastructure = 6,
    /// The job was cancelled.
    Cancelled = 7,
    /// `wait --timeout` ended before the job.
    StillRunning = 8,
    /// Ctrl-C.
    Interrupted = 130,
    Terminated = 143,
}

pub const EXIT_CODES_HELP: &str = "\
Exit codes:
  0  success
  1  internal error (please report it)
  2  wrong flags, configuration or names
  3  the SQL is wrong
  4  the data is wrong
  5  memory, disk, time or a quota ran out
  6  a server cannot be reached or was lost
  7  the job was cancelled
  8  `wait --timeout` ended before the job
  130  interrupted with Ctrl-C";

/// A failure with its exit code. The message is what the user reads.
#[derive(Debug)]
pub struct Failed {
    pub exit: Exit,
    pub message: String,
    pub advice: Option<String>,
}

impl Failed {
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), advice: None }
    }

    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Failed {}

/// The class that the coordinator gives a failure, as it stands in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Class {
    UserSql,
    UserData,
    Resources,
    Infrastructure,
    Cancelled,
    Internal,
    #[serde(other)]
    Other,
}

impl Class {
    pub fn exit(self) -> Exit {
        match self {
            Self::UserSql => Exit::UserSql,
            Self::UserData => Exit::UserData,
            Self::Resources => Exit::Resources,
            Self::Infrastructure => Exit::Infrastructure,
            Self::Cancelled => Exit::Cancelled,
            Self::Internal | Self::Other => Exit::Internal,
        }
    }
}

/// Prints an error once, with its causes and advice, and gives its exit code.
pub fn report(error: &anyhow::Error) -> Exit {
    if is_broken_pipe(error) {
        return Exit::Ok;
    }
    let failed = error.chain().find_map(|cause| cause.downcast_ref::<Failed>());
    let mut causes: Vec<String> = Vec::new();
    for cause in error.chain().map(ToString::to_string) {
        // Many errors repeat their cause in their own text.
        if !causes.iter().any(|said| said.contains(&cause)) {
            causes.push(cause);
        }
    }
    eprintln!("error: {}", causes.join(": "));
    if let Some(advice) = failed.and_then(|failed| failed.advice.as_deref()) {
        eprintln!("  what to do: {advice}");
    }
    failed.map_or(Exit::Internal, |failed| failed.exit)
}

/// Whoever read our output has seen enough, as in `penstock run … | head`.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<io::Error>();
        io.is_some_and(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
    })
}
