//! Tables over files: from a statement to a definition, and from a definition to something that can be read.
//!
//! A definition is made once and complete (absolute locations, schema, partition columns); opening a table lists its
//! files as they are now. Errors name the table and the file.

mod define;
mod list;
mod location;
mod named;
mod open;

pub(crate) use define::define;
pub(crate) use location::Location;
pub(crate) use open::{Files, file_format, open};
