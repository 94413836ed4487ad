//! A virtual machine that knows nothing of `HTTP_PROXY`: Debian's JDK goes out by the build's proxy.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;

use crate::site::{Ran, SLUGLINE, Site};

/// Asks by both of the JDK's clients, and by each in the clear and by TLS.
const FETCH: &str = r#"
import java.net.*;
import java.net.http.*;

public class Fetch {
    interface Asking { Object ask() throws Exception; }

    static void said(String what, Asking asking) {
        try {
            System.out.println(what + " " + asking.ask());
        } catch (Exception e) {
            System.out.println(what + " " + e);
        }
    }

    static String client(String url) throws Exception {
        var request = HttpRequest.newBuilder(URI.create(url)).build();
        return HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString()).body();
    }

    static String connection(String url) throws Exception {
        return new String(new URL(url).openStream().readAllBytes());
    }

    public static void main(String[] arguments) {
        said("client", () -> client("http://plain.example/client"));
        said("connection", () -> connection("http://plain.example/connection"));
        said("client", () -> client("https://first.example/"));
        said("connection", () -> connection("https://second.example/"));
        said("refused", () -> client("http://169.254.169.254/"));
    }
}
"#;

#[test]
fn a_jdk_s_clients_go_out_by_the_proxy() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let upstream = format!("http://{}", listener.local_addr().unwrap());
    let heard = Arc::new(Mutex::new(String::new()));
    let hear = heard.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let count = stream.read(&mut request).unwrap_or(0);
            hear.lock()
                .unwrap()
                .push_str(&String::from_utf8_lossy(&request[..count]));
            // Nobody is behind it: a tunnel ends at once.
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nbehind";
            let _ = stream.write_all(answer);
        }
    });
    let site = Site::without_server();
    let app = site.repository("app", "inline_shell");
    app.write("Fetch.java", FETCH);
    app.write("bin/compile", "#!/bin/sh\nexec java \"$1/Fetch.java\"\n");
    app.commit("Fetch");
    let mut command = site.command(SLUGLINE.as_ref());
    command
        .args(["build", app.dir.to_str().unwrap(), "--buildpack", "inline"])
        .args(["--json", "--output", site.path("x.tgz").to_str().unwrap()])
        .env("HTTP_PROXY", &upstream)
        .env("HTTPS_PROXY", &upstream);
    let built = Ran::new(command.output().unwrap()).success();
    let said = built.stderr;
    for line in ["client behind", "connection behind"] {
        assert!(said.contains(line), "{line} in {said}");
    }
    assert!(
        said.contains("Slugline's build proxy refuses this host"),
        "{said}"
    );
    let heard = heard.lock().unwrap().clone();
    for request in [
        "GET http://plain.example/client HTTP/1.1",
        "GET http://plain.example/connection HTTP/1.1",
        "CONNECT first.example:443 HTTP/1.1",
        "CONNECT second.example:443 HTTP/1.1",
    ] {
        assert!(heard.contains(request), "{request} in {heard}\n{said}");
    }
}
