//! The `slugline` binary: arguments to [`slugline::cli`], its outcome to the exit code.

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;

use slugline::sandbox::{HELPER_COMMAND, helper_main};

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    if args.next().as_deref() == Some(OsStr::new(HELPER_COMMAND)) {
        // Before anything else: the helper must have one thread only.
        let order = args.next().unwrap_or_default();
        helper_main(Path::new(&order));
    }
    slugline::cli::main()
}
