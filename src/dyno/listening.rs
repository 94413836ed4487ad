//! Whether a port is listened on, as `/proc` tells it: the process is not disturbed by a connection.

use std::fs;
use std::path::Path;

/// The state of a listening socket. Source: proc_pid_net(5), and the kernel's tcp_states.h.
const LISTEN: &str = "0A";

/// Whether something in the network namespace of a process (its directory in `/proc`) can be reached
/// on 127.0.0.1 at this port.
pub(super) fn listens(process: &Path, port: u16) -> bool {
    ["tcp", "tcp6"].iter().any(|name| {
        let table = fs::read_to_string(process.join("net").join(name));
        table.is_ok_and(|table| table.lines().skip(1).any(|line| is_open(line, port)))
    })
}

/// A line is `sl local_address rem_address st …`; an address is hex digits and a port in hex.
fn is_open(line: &str, port: u16) -> bool {
    let mut fields = line.split_whitespace().skip(1);
    let (Some(local), _, Some(state)) = (fields.next(), fields.next(), fields.next()) else {
        return false;
    };
    let Some((address, at)) = local.split_once(':') else {
        return false;
    };
    let is_here = address.bytes().all(|digit| digit == b'0')
        || address.ends_with("0100007F")
            && (address.len() == 8 || address.starts_with("0000000000000000FFFF0000"));
    state == LISTEN && is_here && u16::from_str_radix(at, 16) == Ok(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_reached_counts() {
        let line = |address: &str, state: &str| {
            format!(
                "   0: {address}:1388 00000000:0000 {state} 00000000:00000000 00:00000000 00000000  1000 0 1 1"
            )
        };
        for (address, open) in [
            ("00000000", true),
            ("0100007F", true),
            ("00000000000000000000000000000000", true),
            ("0000000000000000FFFF00000100007F", true),
            // ::1 and another address of the machine.
            ("00000000000000000000000001000000", false),
            ("0200000A", false),
        ] {
            assert_eq!(is_open(&line(address, "0A"), 5000), open, "{address}");
        }
        assert!(!is_open(&line("00000000", "01"), 5000));
        assert!(!is_open(&line("00000000", "0A"), 5001));
        assert!(!is_open("", 5000));
    }

    #[test]
    fn a_socket_of_this_process_is_found() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        assert!(listens(Path::new("/proc/self"), port));
        drop(socket);
        assert!(!listens(Path::new("/proc/self"), port));
    }
}
