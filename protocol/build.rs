//! Compiles `proto/` without a system `protoc`.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let files = ["common", "executor", "shuffle"].map(|name| format!("proto/penstock/v1/{name}.proto"));
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rustc-env=PENSTOCK_BUILD={}", build_id());
    let descriptors = protox::compile(files, ["proto"])?;
    tonic_prost_build::configure().build_transport(false).bytes(".").compile_fds(descriptors)?;
    Ok(())
}

/// Names the sources, so that processes of two builds refuse each other. `PENSTOCK_BUILD` overrides it for packagers.
fn build_id() -> String {
    println!("cargo:rerun-if-env-changed=PENSTOCK_BUILD");
    std::env::var("PENSTOCK_BUILD").unwrap_or_else(|_| "dev".to_owned())
}
