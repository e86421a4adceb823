//! Tells cargo that a new migration file means a new build.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
