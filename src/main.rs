//! The `slugline` binary: arguments to [`slugline::cli`], its outcome to the exit code.

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;

use nix::sys::signal::{SigHandler, Signal, signal};
use slugline::sandbox::{HELPER_COMMAND, helper_main};

fn main() -> ExitCode {
    hear_children();
    let mut args = std::env::args_os().skip(1);
    if args.next().as_deref() == Some(OsStr::new(HELPER_COMMAND)) {
        // Before anything else: the helper must have one thread only.
        let order = args.next().unwrap_or_default();
        helper_main(Path::new(&order));
    }
    slugline::cli::main()
}

/// Has the kernel keep the ends of children until they are waited for: where the starter ignores SIGCHLD,
/// which passes on to what it starts, there would be none. Source: wait(2), notes.
#[expect(unsafe_code)]
fn hear_children() {
    // SAFETY: no handler of ours is involved.
    let done = unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) };
    // Only a signal that there is not is refused.
    debug_assert!(done.is_ok());
}
