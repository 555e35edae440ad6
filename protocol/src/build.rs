//! Which build this process is.
//!
//! Hashing and plan encoding are stable within one build only, so coordinator and executors must be the same binary, and
//! all processes of a shuffle service. Clients that move bytes through it have to be of the same release alone.
//! The linker's build id tells binaries apart (`cli/build.rs` asks for it); where there is none, a hash of the
//! executable does. All roles are one binary, so a cluster of one build agrees by itself.

use std::{
    fmt::Write,
    fs::File,
    hash::{DefaultHasher, Hasher},
    io::{self, Read, Seek, SeekFrom},
    path::PathBuf,
    sync::OnceLock,
};

/// Version, the packager's name for the build if it was compiled with `PENSTOCK_BUILD`, and what tells this binary from
/// every other one. Found out once, at the first call.
pub fn build() -> &'static str {
    static BUILD: OnceLock<String> = OnceLock::new();
    BUILD.get_or_init(|| {
        let name = option_env!("PENSTOCK_BUILD").map(|name| format!("{name}.")).unwrap_or_default();
        format!("{}+{name}{}", env!("CARGO_PKG_VERSION"), executable_id())
    })
}

/// Two processes that must not talk to each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{peer} is build {theirs} and this {me} is build {}: run the same penstock binary everywhere, and restart what \
     still runs an older one",
    build()
)]
pub struct OtherBuild {
    pub peer: String,
    pub theirs: String,
    pub me: &'static str,
}

/// Refuses a peer of another build; `peer` and `me` name the two for people.
pub fn require_same(peer: &str, theirs: &str, me: &'static str) -> Result<(), OtherBuild> {
    if theirs == build() {
        return Ok(());
    }
    Err(OtherBuild { peer: peer.to_owned(), theirs: theirs.to_owned(), me })
}

/// A client of the shuffle service that speaks another release's frames.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{peer} is build {theirs} and this {me} is build {}: use the client library of the release that runs",
    build()
)]
pub struct OtherRelease {
    pub peer: String,
    pub theirs: String,
    pub me: &'static str,
}

/// Refuses a peer of another release. Programs that are not penstock may use its client library, and what travels
/// there is bytes: neither hashing nor plans have to agree.
pub fn require_same_release(peer: &str, theirs: &str, me: &'static str) -> Result<(), OtherRelease> {
    if release(theirs) == release(build()) {
        return Ok(());
    }
    Err(OtherRelease { peer: peer.to_owned(), theirs: theirs.to_owned(), me })
}

fn release(build: &str) -> &str {
    build.split_once('+').map_or(build, |(release, _)| release)
}

fn executable_id() -> String {
    // On Linux the file that runs, even if another one has its name by now.
    let path =
        if cfg!(target_os = "linux") { Ok(PathBuf::from("/proc/self/exe")) } else { std::env::current_exe() };
    let found = path.and_then(File::open).and_then(|mut file| match build_id(&mut file) {
        Some(id) => Ok(id),
        None => hash(&mut file),
    });
    // What cannot be told apart from others agrees with nobody but itself.
    found.unwrap_or_else(|_| format!("unknown-{}", std::process::id()))
}

fn hash(file: &mut File) -> io::Result<String> {
    file.seek(SeekFrom::Start(0))?;
    let (mut hasher, mut chunk) = (DefaultHasher::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(format!("{:016x}", hasher.finish())),
            read => hasher.write(&chunk[..read]),
        }
    }
}

/// Notes are small; more than this is no note.
const NOTES_BYTES_MAX: u64 = 64 << 10;
/// As much of the id as people can compare.
const ID_BYTES: usize = 8;

const NOTE_SEGMENT: u64 = 4;
const GNU_BUILD_ID: u64 = 3;

/// The GNU build id of a 64-bit little-endian ELF file.
fn build_id(file: &mut (impl Read + Seek)) -> Option<String> {
    let head = bytes(file, 0, 64)?;
    if !head.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let (table, entry_bytes, entries) = (number(&head, 32, 8)?, number(&head, 54, 2)?, number(&head, 56, 2)?);
    for index in 0..entries {
        let entry = bytes(file, table.checked_add(index * entry_bytes)?, 56)?;
        if number(&entry, 0, 4)? != NOTE_SEGMENT {
            continue;
        }
        let (offset, length, alignment) =
            (number(&entry, 8, 8)?, number(&entry, 32, 8)?, number(&entry, 48, 8)?);
        let notes = bytes(file, offset, length)?;
        if let Some(id) = id_in_notes(&notes, if alignment == 8 { 8 } else { 4 }) {
            return Some(id);
        }
    }
    None
}

fn id_in_notes(mut notes: &[u8], alignment: usize) -> Option<String> {
    loop {
        let (name_bytes, id_bytes) = (number(notes, 0, 4)? as usize, number(notes, 4, 4)? as usize);
        let is_build_id = number(notes, 8, 4)? == GNU_BUILD_ID;
        let name = notes.get(12..12usize.checked_add(name_bytes)?)?;
        let at = (12 + name_bytes).next_multiple_of(alignment);
        let id = notes.get(at..at.checked_add(id_bytes)?)?;
        if is_build_id && name == b"GNU\0" && id.len() >= ID_BYTES {
            return Some(hex(&id[..ID_BYTES]));
        }
        notes = notes.get((at + id_bytes).next_multiple_of(alignment)..)?;
    }
}

fn bytes(file: &mut (impl Read + Seek), offset: u64, length: u64) -> Option<Vec<u8>> {
    if length > NOTES_BYTES_MAX {
        return None;
    }
    let mut bytes = vec![0; length as usize];
    file.seek(SeekFrom::Start(offset)).ok()?;
    file.read_exact(&mut bytes).ok()?;
    Some(bytes)
}

fn number(bytes: &[u8], offset: usize, length: usize) -> Option<u64> {
    let bytes = bytes.get(offset..offset + length)?;
    Some(bytes.iter().rev().fold(0, |number, byte| (number << 8) | u64::from(*byte)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Cursor;

    use super::*;

    const ID: [u8; 20] = [0xab, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19];

    fn note(kind: u32, name: &[u8], content: &[u8]) -> Vec<u8> {
        let mut note = Vec::new();
        for number in [name.len() as u32, content.len() as u32, kind] {
            note.extend(number.to_le_bytes());
        }
        for part in [name, content] {
            note.extend(part);
            note.resize(note.len().next_multiple_of(4), 0);
        }
        note
    }

    /// A file with a loadable segment and one of notes.
    fn elf(notes: &[u8]) -> Vec<u8> {
        let mut head = vec![0; 64];
        head[..6].copy_from_slice(b"\x7fELF\x02\x01");
        head[32] = 64;
        head[54] = 56;
        head[56] = 2;
        let mut segments = vec![0; 112];
        segments[0] = 1;
        segments[56] = 4;
        segments[64] = 64 + 112;
        segments[88..96].copy_from_slice(&(notes.len() as u64).to_le_bytes());
        segments[104] = 4;
        [head, segments, notes.to_vec()].concat()
    }

    fn id_of(file: &[u8]) -> Option<String> {
        build_id(&mut Cursor::new(file))
    }

    #[test]
    fn the_linkers_build_id_is_found_among_other_notes() {
        let notes = [note(1, b"GNU\0", b"abi!"), note(3, b"other\0", &ID), note(3, b"GNU\0", &ID)].concat();
        assert_eq!(id_of(&elf(&notes)).as_deref(), Some("ab01020304050607"));
    }

    #[test]
    fn a_file_without_one_or_cut_anywhere_has_none() {
        assert_eq!(id_of(&elf(&note(1, b"GNU\0", b"abi!"))), None);
        assert_eq!(id_of(b"#!/bin/sh"), None);
        let whole = elf(&note(3, b"GNU\0", &ID));
        for cut in 0..whole.len() {
            assert_eq!(id_of(&whole[..cut]), None, "cut at {cut}");
        }
    }

    #[test]
    fn files_that_differ_in_one_byte_have_different_hashes() {
        let hash_of = |content: &[u8]| {
            let mut file = tempfile(content);
            hash(&mut file).unwrap()
        };
        assert_eq!(hash_of(b"one"), hash_of(b"one"));
        assert_ne!(hash_of(b"one"), hash_of(b"two"));
    }

    fn tempfile(content: &[u8]) -> File {
        use std::io::Write as _;
        let name = format!("penstock-build-{}-{}", std::process::id(), hex(content));
        let path = std::env::temp_dir().join(name);
        let mut file =
            File::options().create(true).truncate(true).read(true).write(true).open(&path).unwrap();
        file.write_all(content).unwrap();
        std::fs::remove_file(path).unwrap();
        file
    }

    #[test]
    fn another_build_is_refused_with_both_named() {
        assert_eq!(require_same("executor e1", build(), "coordinator"), Ok(()));
        let refused = require_same("executor e1", "0.1.0+other", "coordinator").unwrap_err().to_string();
        for part in
            ["executor e1 is build 0.1.0+other", "this coordinator is build", build(), "same penstock binary"]
        {
            assert!(refused.contains(part), "{part}: {refused}");
        }
    }

    #[test]
    fn other_programs_of_the_same_release_are_let_in() {
        let theirs = format!("{}+other", env!("CARGO_PKG_VERSION"));
        assert_eq!(require_same_release("the client", &theirs, "shuffle worker"), Ok(()));
        for theirs in ["0.0.0+other", "0.0.0", "", &build()[1..]] {
            let refused =
                require_same_release("the client", theirs, "shuffle worker").unwrap_err().to_string();
            assert!(refused.contains("the client library of the release"), "{refused}");
        }
    }
}
