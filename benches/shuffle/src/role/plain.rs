//! The yardsticks: what the kernel does with as few calls as there are blocks, and nothing else.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    path::Path,
    time::Instant,
};

use serde_json::json;

use super::{block_of, next, say};

/// Reads every connection to its end and closes it then.
pub fn sink(block: usize) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    say(&json!({ "addr": listener.local_addr()?.to_string() }))?;
    loop {
        read_to_end(listener.accept()?.0, block)?;
    }
}

pub fn source(addr: &str, block: usize, bytes: u64) -> anyhow::Result<()> {
    let content = block_of(block);
    say(&json!({}))?;
    while next()? {
        let started = Instant::now();
        let mut stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        for _ in 0..bytes / block as u64 {
            stream.write_all(&content)?;
        }
        stream.shutdown(Shutdown::Write)?;
        stream.read_to_end(&mut Vec::new())?;
        say(
            &json!({ "seconds": started.elapsed().as_secs_f64(), "bytes": bytes / block as u64 * block as u64 }),
        )?;
    }
    Ok(())
}

pub fn write_file(folder: &Path, block: usize, bytes: u64) -> anyhow::Result<()> {
    let content = block_of(block);
    let path = folder.join("plain");
    say(&json!({}))?;
    while next()? {
        let started = Instant::now();
        let mut file = File::create(&path)?;
        for _ in 0..bytes / block as u64 {
            file.write_all(&content)?;
        }
        let written = started.elapsed().as_secs_f64();
        file.sync_data()?;
        let seconds = started.elapsed().as_secs_f64();
        fs::remove_file(&path)?;
        say(
            &json!({ "seconds": seconds, "written": written, "bytes": bytes / block as u64 * block as u64 }),
        )?;
    }
    Ok(())
}

/// `io::copy` from a file to a socket is `sendfile` on Linux.
pub fn serve_file(folder: &Path, block: usize, bytes: u64) -> anyhow::Result<()> {
    let path = folder.join("served");
    let content = block_of(block);
    let mut file = File::create(&path)?;
    for _ in 0..bytes / block as u64 {
        file.write_all(&content)?;
    }
    let listener = TcpListener::bind("127.0.0.1:0")?;
    say(&json!({ "addr": listener.local_addr()?.to_string() }))?;
    loop {
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        io::copy(&mut File::open(&path)?, &mut stream)?;
    }
}

pub fn read(addr: &str, block: usize) -> anyhow::Result<()> {
    say(&json!({}))?;
    while next()? {
        let started = Instant::now();
        let bytes = read_to_end(TcpStream::connect(addr)?, block)?;
        say(&json!({ "seconds": started.elapsed().as_secs_f64(), "bytes": bytes }))?;
    }
    Ok(())
}

fn read_to_end(mut stream: TcpStream, block: usize) -> io::Result<u64> {
    let mut buffer = vec![0; block];
    let mut bytes = 0;
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(bytes),
            read => bytes += read as u64,
        }
    }
}
