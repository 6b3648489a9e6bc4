//! Links the binary at a fixed address.
//!
//! A binary that can lie anywhere has its tables of addresses written anew in each process, and so in memory of each
//! process's own: a third of a megabyte for every agent of a fleet. At a fixed address these pages are the file's, and
//! all processes share them. Libraries, heap and stacks lie at random addresses as before.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|found| found == value);
    if is("CARGO_CFG_TARGET_OS", "linux") && is("CARGO_CFG_TARGET_ENV", "gnu") {
        println!("cargo:rustc-link-arg-bins=-no-pie");
    }
}
