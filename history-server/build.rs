//! Lets a build without the web UI succeed: `make ui` fills `ui/dist`, cargo only embeds what is there.

use std::{fs, path::Path};

fn main() {
    let dist = Path::new("ui/dist");
    if let Err(error) = fs::create_dir_all(dist) {
        println!("cargo::warning=cannot create {}: {error}", dist.display());
    }
    println!("cargo::rerun-if-changed=ui/dist");
    println!("cargo::rerun-if-changed=build.rs");
}
