//! Moving rows between stages: the operators at both ends of an exchange and the store between them.

pub mod store;
