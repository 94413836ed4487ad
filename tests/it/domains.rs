//! Custom domains: given, taken away, and never another's.

use serde_json::{Value, json};

use crate::dynos::deployed;
use crate::site::{Site, agent};

/// What a host's app answers by way of the router.
fn ask(site: &Site, host: &str) -> (u16, String) {
    let url = format!("http://127.0.0.1:{}/env/WHO", site.router_port());
    let mut answer = agent().get(url).header("Host", host).call().unwrap();
    let text = answer.body_mut().read_to_string().unwrap();
    (answer.status().as_u16(), text)
}

fn add(site: &Site, app: &str, hostname: &str) -> (u16, Value) {
    let body = json!({ "hostname": hostname, "sni_endpoint": null });
    site.api("POST", &format!("/apps/{app}/domains"), Some(body))
}

#[test]
fn domains_come_and_go_while_the_server_runs_and_stay_when_it_restarts() {
    let mut site = Site::new();
    for name in ["one", "two"] {
        let app = deployed(&site, name);
        app.slugline(&["config:set", &format!("WHO={name}")])
            .success();
    }
    crate::site::eventually("both", || {
        ["one", "two"]
            .iter()
            .all(|name| ask(&site, &format!("{name}.localhost")).1 == *name)
    });
    let run = |arguments: &[&str]| site.slugline(arguments);
    assert_eq!(ask(&site, "www.example.com").0, 404);
    let added = run(&["domains:add", "WWW.Example.com", "-a", "one"]).success();
    assert_eq!(
        added.stderr,
        "Adding WWW.Example.com to one... done\nPoint www.example.com at this server in DNS, by CNAME one.localhost or by its address.\n"
    );
    run(&["domains:add", "*.example.com", "-a", "two"]).success();
    run(&["domains", "add", "bücher.example", "-a", "one"]).success();
    let expected = [
        ("www.example.com", "one"),
        ("WWW.EXAMPLE.COM:80", "one"),
        ("www.example.com.", "one"),
        ("xn--bcher-kva.example", "one"),
        ("other.example.com", "two"),
        ("a.b.example.com", "two"),
    ];
    for (host, app) in expected {
        assert_eq!(ask(&site, host), (200, app.to_owned()), "{host}");
    }
    for host in [
        "example.com",
        "example",
        "www.example.com.evil.example",
        "xexample.com",
    ] {
        assert_eq!(ask(&site, host).0, 404, "{host}");
    }
    let shown = run(&["domains", "-a", "one"]).success().stdout;
    assert_eq!(
        shown,
        "=== one domains\n\none.localhost          heroku\nwww.example.com        custom  one.localhost\nxn--bcher-kva.example  custom  one.localhost\n"
    );

    // No name twice, and none of the platform's.
    let taken = run(&["domains:add", "www.example.com", "-a", "two"]).failure(2);
    assert!(
        taken
            .stderr
            .contains("The domain name www.example.com is taken."),
        "{}",
        taken.stderr
    );
    for own in [
        "localhost",
        "two.localhost",
        "*.localhost",
        "new.localhost",
        "a.one.localhost",
    ] {
        assert_eq!(add(&site, "one", own).0, 422, "{own}");
    }
    for bad in [
        "",
        "a b.com",
        "1.2.3.4",
        "*.com",
        "a.com/x",
        "a.com\r\nX: y",
        "[::1]",
    ] {
        let (status, body) = add(&site, "one", bad);
        assert_eq!(
            (status, &body["id"]),
            (422, &json!("invalid_params")),
            "{bad}: {body}"
        );
    }

    // Known to the next server as well.
    site.stop(nix::sys::signal::Signal::SIGKILL);
    site.start(&[]);
    crate::site::eventually("both again", || {
        expected
            .iter()
            .all(|(host, app)| ask(&site, host) == (200, (*app).to_owned()))
    });
    let run = |arguments: &[&str]| site.slugline(arguments);
    run(&["domains:remove", "Bücher.example", "-a", "two"]).failure(2);
    run(&["domains:remove", "Bücher.example", "-a", "one"]).success();
    assert_eq!(ask(&site, "xn--bcher-kva.example").0, 404);
    run(&["domains:remove", "www.example.com", "-a", "one"]).success();
    assert_eq!(ask(&site, "www.example.com").1, "two", "the wildcard's now");
    run(&["apps:destroy", "two", "--confirm", "two"]).success();
    assert_eq!(ask(&site, "www.example.com").0, 404);
    run(&["domains:add", "*.example.com", "-a", "one"]).success();
    assert_eq!(ask(&site, "www.example.com").1, "one");
}

#[test]
fn domains_have_the_api_s_form_and_belong_to_those_who_see_their_app() {
    let site = Site::new();
    for name in ["one", "two"] {
        site.slugline(&["apps", "create", name]).success();
    }
    let (status, added) = add(&site, "one", "www.example.com");
    assert_eq!(status, 201);
    let id = added["id"].as_str().unwrap();
    assert_eq!(added["kind"], "custom");
    assert_eq!(added["cname"], "one.localhost");
    assert_eq!(added["app"]["name"], "one");
    let (_, all) = site.api("GET", "/apps/one/domains", None);
    assert_eq!(all[0]["hostname"], "one.localhost");
    assert_eq!(all[0]["kind"], "heroku");
    assert_eq!(all[1], added);
    for name in [id, "www.example.com"] {
        assert_eq!(
            site.api("GET", &format!("/apps/one/domains/{name}"), None),
            (200, added.clone())
        );
        assert_eq!(
            site.api("GET", &format!("/apps/two/domains/{name}"), None)
                .0,
            404
        );
        assert_eq!(
            site.api("DELETE", &format!("/apps/two/domains/{name}"), None)
                .0,
            404
        );
    }
    assert_eq!(
        site.api("GET", "/apps/one/sni-endpoints", None),
        (200, json!([]))
    );
    let body = json!({ "hostname": "a.example.com", "sni_endpoint": "x" });
    assert_eq!(site.api("POST", "/apps/one/domains", Some(body)).0, 422);
    let body = json!({ "sni_endpoint": null });
    assert_eq!(site.api("POST", "/apps/one/domains", Some(body)).0, 422);

    // A token for one app alone takes nothing of another's, nor learns whose it is.
    let made = site
        .slugline(&["token", "create", "limited", "--app", "two"])
        .success();
    let token = made.stdout.trim().to_owned();
    let add_as = |hostname: &str| {
        let body = json!({ "hostname": hostname });
        site.api_as(&token, "POST", "/apps/two/domains", Some(body))
    };
    for taken in ["www.example.com", "*.example.com"] {
        let (status, body) = add_as(taken);
        assert_eq!(status, 422, "{taken}");
        assert!(!body.to_string().contains("one"), "{body}");
    }
    assert_eq!(add_as("www.example.org").0, 201);
    assert_eq!(site.api_as(&token, "GET", "/apps/one/domains", None).0, 404);
    assert_eq!(
        site.api("DELETE", &format!("/apps/one/domains/{id}"), None),
        (200, added)
    );
    assert_eq!(
        site.api("GET", "/apps/one/domains", None)
            .1
            .as_array()
            .unwrap()
            .len(),
        1
    );
}
