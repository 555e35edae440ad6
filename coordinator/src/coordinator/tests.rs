//! The core as a whole: what happens in words, what the core wants in words.

mod language;
mod lineage;
mod losses;
mod scenarios;
mod walk;
