//! A writer that remembers why it failed: encoders turn the cause into text, and a full disk is not a closed pipe.

use std::io::{self, Write};

use crate::exit::{Exit, Failed};

pub struct Watched<W> {
    into: W,
    failure: Option<io::Error>,
}

impl<W: Write> Watched<W> {
    pub fn new(into: W) -> Self {
        Self { into, failure: None }
    }

    pub fn into_inner(self) -> W {
        self.into
    }

    /// The result of writing, with this writer's own failure in place of what an encoder made of it.
    pub fn explain<T>(&mut self, written: anyhow::Result<T>) -> anyhow::Result<T> {
        let Some(failure) = self.failure.take() else { return written };
        let exit = match failure.kind() {
            io::ErrorKind::BrokenPipe => return Err(failure.into()),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Exit::Resources
            }
            _ => Exit::Infrastructure,
        };
        Err(Failed::new(exit, format!("the result cannot be written: {failure}")).into())
    }

    fn remember<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        if let Err(cause) = &result
            && cause.kind() != io::ErrorKind::Interrupted
            && self.failure.is_none()
        {
            let copy = cause.raw_os_error().map(io::Error::from_raw_os_error);
            self.failure = Some(copy.unwrap_or_else(|| io::Error::new(cause.kind(), cause.to_string())));
        }
        result
    }
}

impl<W: Write> Write for Watched<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.into.write(bytes);
        self.remember(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.into.flush();
        self.remember(flushed)
    }
}
