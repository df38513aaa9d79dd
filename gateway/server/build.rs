//! A release build holds the built pages: it is built again when they are.

fn main() {
    println!("cargo:rerun-if-changed=../web/dist");
}
