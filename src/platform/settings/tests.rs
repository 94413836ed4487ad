//! What settings can say, and what is refused.

use super::*;

fn machine() -> Machine {
    Machine {
        cores: NonZeroUsize::new(4).unwrap(),
        stack: "debian-12".into(),
    }
}

fn of_file(text: &str) -> Result<Settings, SettingsError> {
    Settings::read(&machine(), Some(text), [], [])
}

fn of_variable(name: &str, value: &str) -> Result<Settings, SettingsError> {
    Settings::read(&machine(), None, [(name.into(), value.into())], [])
}

/// An error and its sources, joined.
fn message(result: Result<Settings, SettingsError>) -> String {
    let error = result.unwrap_err();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

#[test]
fn an_empty_file_and_none_give_the_defaults() {
    let defaults = Settings::defaults(&machine());
    for text in ["", "\n# nothing yet\n", "build_env:\n", "---\n"] {
        assert_eq!(of_file(text).unwrap(), defaults, "{text:?}");
    }
    assert_eq!(Settings::read(&machine(), None, [], []).unwrap(), defaults);
    assert_eq!(defaults.listen.to_string(), "127.0.0.1:7007");
    assert_eq!(defaults.max_builds, 4);
}

const EVERY: &str = "\
allowed_signers: /etc/slugline/signers
gpg_home: /etc/slugline/gpg
signed_pushes: true
behind_proxy: true
bucket: s3://slugs/some/prefix/
build_env:
  HTTPS_PROXY: http://proxy.internal:3128
  RETRIES: 3
build_cpu_percent: 150
build_disk_bytes: 50000000
build_disk_files: 1000
build_file_bytes: 20000000
build_memory_bytes: 60000000
build_open_files: 1024
build_processes: 100
boot_timeout_seconds: 5
domain: Apps.example.com
dyno_cpu_percent: 50
dyno_memory_bytes: 70000000
dyno_network: 'off'
dyno_processes: 30
dyno_cycle_seconds: 3600
dyno_sizes:
  Performance-M: {memory_bytes: 90000000, processes: 40, cpu_percent: 200}
  tiny: {}
web_idle_seconds: 600
run_attach_seconds: 30
run_idle_seconds: 60
runtime_dir: /srv/runtimes
runtime_host: false
runtime_mirrors: [https://example.org/=file:///srv/mirror/]
runtime_offline: true
router_listen: 0.0.0.0:8080
stop_timeout_seconds: 6
build_timeout_seconds: 60
create_on_push: true
network: host
network_allow: 10.0.0.0/8, mirror.internal:443
network_only: ['*.example.com']
sandbox: none
sandbox_require: root
listen: '[::]:80'
log_format: json
max_builds: 2
public_url: https://slugs.example.com/
push_limit_bytes: 1000
slug_limit_bytes: 2000
slug_warning_bytes: 500
stack: ubuntu-24.04
stack_layer: /var/lib/debian.tar.gz
tls_cert: /etc/slugline/cert.pem
tls_key: /etc/slugline/key.pem
";

#[test]
fn every_setting_can_be_in_the_file() {
    let mut build_env = ConfigVars::default();
    build_env
        .set("HTTPS_PROXY", "http://proxy.internal:3128")
        .unwrap();
    build_env.set("RETRIES", "3").unwrap();
    let expected = Settings {
        bucket: Some("s3://slugs/some/prefix".parse().unwrap()),
        listen: "[::]:80".parse().unwrap(),
        behind_proxy: true,
        public_url: Some("https://slugs.example.com".parse().unwrap()),
        tls_cert: Some("/etc/slugline/cert.pem".into()),
        stack_layer: Some("/var/lib/debian.tar.gz".into()),
        tls_key: Some("/etc/slugline/key.pem".into()),
        router_listen: Some("0.0.0.0:8080".parse().unwrap()),
        router: RouterSettings::default(),
        domain: "apps.example.com".into(),
        boot_timeout: Duration::from_secs(5),
        stop_timeout: Duration::from_secs(6),
        dyno_limits: BuildLimits {
            memory_bytes: 70_000_000,
            processes: 30,
            cpu_percent: Some(50),
            ..BuildLimits::default()
        },
        dyno_network: Network::Off,
        dyno_sizes: vec![
            DynoSize {
                name: "performance-m".into(),
                memory_bytes: Some(90_000_000),
                processes: Some(40),
                cpu_percent: Some(200),
            },
            DynoSize {
                name: "tiny".into(),
                ..DynoSize::default()
            },
        ],
        dyno_cycle: Duration::from_secs(3600),
        web_idle: Some(Duration::from_secs(600)),
        run_idle: Duration::from_secs(60),
        run_attach: Duration::from_secs(30),
        max_builds: 2,
        create_on_push: true,
        log_format: LogFormat::Json,
        signed_pushes: true,
        allowed_signers: Some("/etc/slugline/signers".into()),
        gpg_home: Some("/etc/slugline/gpg".into()),
        build_timeout: Duration::from_secs(60),
        push_limit_bytes: 1000,
        slug_limit_bytes: 2000,
        slug_warning_bytes: 500,
        stack: "ubuntu-24.04".into(),
        build_env,
        build_limits: BuildLimits {
            memory_bytes: 60_000_000,
            processes: 100,
            cpu_percent: Some(150),
            open_files: 1024,
            disk_bytes: 50_000_000,
            file_bytes: Some(20_000_000),
            disk_files: 1000,
        },
        network: Network::Host,
        network_allow: ["10.0.0.0/8", "mirror.internal:443"]
            .map(|place| place.parse().unwrap())
            .to_vec(),
        network_only: vec!["*.example.com".parse().unwrap()],
        sandbox_require: Some(Level::Root),
        isolation: Isolation::Off,
        runtime_dir: Some("/srv/runtimes".into()),
        runtimes: Choice {
            offline: true,
            without_host: true,
            mirrors: vec!["https://example.org/=file:///srv/mirror/".parse().unwrap()],
        },
    };
    assert_eq!(of_file(EVERY).unwrap(), expected);
    for name in NAMES {
        let named = format!("{name}:");
        assert!(EVERY.contains(&named) || ROUTER.contains(&named), "{name}");
    }
}

#[test]
fn variables_go_over_the_file_and_arguments_over_both() {
    let variables = [
        ("SLUGLINE_MAX_BUILDS", "3"),
        ("SLUGLINE_STACK", "mine"),
        ("SLUGLINE_BUILD_ENV", r#"{"A": "1", "B": 2}"#),
        ("SLUGLINE_TOKEN", "secret"),
        ("SLUGLINE_DATA", "/data"),
        ("PATH", "/bin"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let file = "max_builds: 2\nlog_format: json\nstack: theirs\n";
    let arguments = [("max_builds", "5".to_owned())];
    let settings = Settings::read(&machine(), Some(file), variables, arguments).unwrap();
    assert_eq!(settings.max_builds, 5);
    assert_eq!(settings.stack, "mine");
    assert_eq!(settings.log_format, LogFormat::Json);
    assert_eq!(
        settings.build_env.iter().collect::<Vec<_>>(),
        [("A", "1"), ("B", "2")]
    );
}

#[test]
fn an_unknown_name_is_refused_with_the_nearest() {
    insta::assert_snapshot!(
        message(of_file("# mine\nlisten: 127.0.0.1:80\nmax_build: 2\n")),
        @"unknown option `max_build` in slugline.yml (line 3); did you mean `max_builds`?"
    );
    insta::assert_snapshot!(
        message(of_file("{slug-limit-bytes: 2}")),
        @"unknown option `slug-limit-bytes` in slugline.yml; did you mean `slug_limit_bytes`?"
    );
    insta::assert_snapshot!(
        message(of_file("database: postgres\n")),
        @"unknown option `database` in slugline.yml (line 1)"
    );
    insta::assert_snapshot!(
        message(of_variable("SLUGLINE_LISTN", "x")),
        @"unknown variable SLUGLINE_LISTN; did you mean SLUGLINE_LISTEN?"
    );
    let arguments = [("max_build", "2".to_owned())];
    insta::assert_snapshot!(
        message(Settings::read(&machine(), None, [], arguments)),
        @"unknown argument --max-build; did you mean --max-builds?"
    );
}

#[test]
fn a_wrong_value_is_refused_with_what_it_takes() {
    insta::assert_snapshot!(
        message(of_file("max_builds: 0\n")),
        @r#"option `max_builds` in slugline.yml (line 1) is "0"; it takes a whole number of builds from 1 to 1024"#
    );
    insta::assert_snapshot!(
        message(of_file("listen: 7007\n")),
        @r#"option `listen` in slugline.yml (line 1) is "7007"; it takes an address and a port, such as 127.0.0.1:7007"#
    );
    insta::assert_snapshot!(
        message(of_file("create_on_push: yes please\n")),
        @r#"option `create_on_push` in slugline.yml (line 1) is "yes please"; it takes true or false"#
    );
    insta::assert_snapshot!(
        message(of_variable("SLUGLINE_LOG_FORMAT", "xml")),
        @r#"variable SLUGLINE_LOG_FORMAT is "xml"; it takes human or json"#
    );
    insta::assert_snapshot!(
        message(of_file("stack: [a]\n")),
        @"option `stack` in slugline.yml (line 1) is a list; it takes 1 to 50 letters, digits, dots and dashes, such as debian-12"
    );
    insta::assert_snapshot!(
        message(of_file("build_timeout_seconds:\n")),
        @"option `build_timeout_seconds` in slugline.yml (line 1) is empty; it takes a whole number of seconds from 1 to 86400"
    );
    for text in [
        "push_limit_bytes: -1",
        "slug_limit_bytes: 1.5",
        "slug_warning_bytes: 1 GB",
        "max_builds: 1025",
        "stack: ../x",
        "public_url: example.com",
        "public_url: https://me:secret@example.com",
        "public_url: https://example.com/?x",
        "public_url: ftp://example.com",
    ] {
        let error = of_file(text).unwrap_err();
        assert!(matches!(error, SettingsError::Value { .. }), "{text}");
    }
}

#[test]
fn a_size_that_is_none() {
    insta::assert_snapshot!(
        message(of_file("dyno_sizes: {large: {memory: 1}}")),
        @"option `dyno_sizes` in slugline.yml (line 1) is a mapping; it takes sizes with memory_bytes, processes and cpu_percent, such as {performance-m: {memory_bytes: 2684354560, processes: 512}}"
    );
    for text in [
        "dyno_sizes: [large]",
        "dyno_sizes: {large: 5}",
        "dyno_sizes: {a b: {}}",
        "dyno_sizes: {large: {memory_bytes: 1}}",
        "dyno_sizes: {large: {cpu_percent: x}}",
    ] {
        let error = of_file(text).unwrap_err();
        assert!(matches!(error, SettingsError::Value { .. }), "{text}");
    }
    let of_text = of_variable("SLUGLINE_DYNO_SIZES", "{large: {processes: 99}}").unwrap();
    assert_eq!(of_text.dyno_sizes[0].processes, Some(99));
}

#[test]
fn a_build_env_that_is_refused_keeps_its_values_secret() {
    insta::assert_snapshot!(
        message(of_file("build_env:\n  A-B: hunter2\n")),
        @r#"option `build_env` in slugline.yml (line 1) is refused: the config var name "A-B" may hold only letters, digits and _, and must not start with a digit"#
    );
    insta::assert_snapshot!(
        message(of_variable("SLUGLINE_BUILD_ENV", "A=hunter2")),
        @r#"variable SLUGLINE_BUILD_ENV is another text; it takes a mapping of names to values, such as {"NAME": "value"}"#
    );
    insta::assert_snapshot!(
        message(of_file("build_env: {A: [hunter2]}")),
        @r#"option `build_env` in slugline.yml (line 1) is a mapping whose values are no texts; it takes a mapping of names to values, such as {"NAME": "value"}"#
    );
    let settings = of_file("build_env: {A: hunter2}").unwrap();
    assert!(!format!("{settings:?}").contains("hunter2"));
}

#[test]
fn a_file_that_is_no_mapping_is_refused() {
    insta::assert_snapshot!(
        message(of_file("- listen\n")),
        @"slugline.yml is no list of `option: value` lines"
    );
    let text = message(of_file("max_builds: 1\nmax_builds: 2\n"));
    assert!(text.contains("duplicate"), "{text}");
    let text = message(of_file("listen: 'x\n"));
    assert!(text.contains("line"), "{text}");
}

#[test]
fn the_stack_is_named_after_the_system() {
    for (text, stack) in [
        (
            "NAME=\"Debian\"\nVERSION_ID=\"12\"\nID=debian\n",
            "debian-12",
        ),
        ("ID=ubuntu\nVERSION_ID='24.04'\n", "ubuntu-24.04"),
        ("ID=arch\n", "arch"),
        ("VERSION_ID=1\n", "linux"),
        ("ID=\"../x\"\n", "linux"),
        ("", "linux"),
    ] {
        assert_eq!(stack_of_os_release(text), stack, "{text:?}");
    }
}

#[test]
fn numbers_are_for_this_machine_alone_and_tls_needs_both_halves() {
    insta::assert_snapshot!(
        message(of_file("metrics: 0.0.0.0:9090\n")),
        @"option `metrics` in slugline.yml (line 1) is 0.0.0.0:9090; it takes an address of this machine alone and a port, such as 127.0.0.1:9090"
    );
    for half in ["router_tls_listen: 0.0.0.0:443", "router_certificates: /x"] {
        let error = of_file(half).unwrap().check_exposure().unwrap_err();
        assert!(matches!(error, SettingsError::HalfOfRouterTls), "{half}");
    }
}

/// The router's settings.
const ROUTER: &str = "\
metrics: '[::1]:9090'
router_body_bytes: 1000
router_boot_seconds: 1
router_certificates: /etc/slugline/certificates
router_first_byte_seconds: 2
router_header_seconds: 3
router_silence_seconds: 4
router_tls_listen: 0.0.0.0:443
";

#[test]
fn the_router_s_settings_can_be_in_the_file() {
    let expected = RouterSettings {
        tls_listen: Some("0.0.0.0:443".parse().unwrap()),
        certificates: Some("/etc/slugline/certificates".into()),
        metrics: Some("[::1]:9090".parse().unwrap()),
        body_bytes: 1000,
        boot_time: Duration::from_secs(1),
        first_byte: Duration::from_secs(2),
        header_time: Duration::from_secs(3),
        silence: Duration::from_secs(4),
    };
    assert_eq!(of_file(ROUTER).unwrap().router, expected);
}
