//! The generated wire types: the only file that includes them.
#![allow(clippy::all, clippy::unwrap_used, missing_docs)]

tonic::include_proto!("penstock.v1");
