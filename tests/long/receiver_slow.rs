//! Clients that take their time: they lose their place, and the others do not wait for them.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::site::{Site, eventually};

#[test]
fn slow_senders_do_not_starve_the_others() {
    let site = Site::new();
    let address = site.url().trim_start_matches("http://").to_owned();
    let beginnings: [&[u8]; 4] = [
        b"",
        b"P",
        b"GET /apps HTTP/1.1\r\nHost: x\r\nX-Slow: ",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
    ];
    let mut slow = (0..200)
        .map(|number| {
            let mut connection = TcpStream::connect(&address).unwrap();
            connection.write_all(beginnings[number % 4]).unwrap();
            connection
                .set_read_timeout(Some(Duration::from_millis(1)))
                .unwrap();
            connection
        })
        .collect::<Vec<_>>();
    let app = site.app("hello", "nodejs_http");
    app.push().success();
    // A byte now and then is no request: after half a minute each of them has lost its place.
    eventually("all slow connections are closed", || {
        slow.retain_mut(|connection| {
            let _ = connection.write(b"x");
            let mut answer = [0; 1024];
            loop {
                match connection.read(&mut answer) {
                    Ok(0) => return false,
                    Ok(_) => {}
                    Err(error) => {
                        let waits = [std::io::ErrorKind::WouldBlock, std::io::ErrorKind::TimedOut];
                        return waits.contains(&error.kind());
                    }
                }
            }
        });
        slow.is_empty()
    });
    assert_eq!(site.api("GET", "/apps", None).0, 200);
}
