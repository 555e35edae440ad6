//! The core as a whole: what happens in words, what the core wants in words.

mod epochs;
mod language;
mod scenarios;
mod walk;
