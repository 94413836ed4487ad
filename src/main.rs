use slugline::*;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    if a[1] == sandbox::HELPER_COMMAND {
        sandbox::helper_main(std::path::Path::new(&a[2]));
    }
    let dir = tempfile::tempdir().unwrap();
    let machine = pipeline::Machine {
        sandbox: sandbox::Sandbox::new("/proc/self/exe"),
        stack: "debian-12".into(),
        env: {
            let mut e = config::ConfigVars::default();
            for n in ["SSL_CERT_FILE", "PIP_CERT", "NODE_EXTRA_CA_CERTS"] {
                e.set(n, "/etc/ssl/certs/ca-certificates.crt").unwrap();
            }
            e
        },
        limits: pipeline::Limits {
            time: std::time::Duration::from_secs(1500),
            slug_bytes: 1 << 30,
            slug_warning_bytes: 500 << 20,
            checkout: checkout::Limits::default(),
        },
    };
    let store = store::Store::open(&dir.path().join("store")).unwrap();
    let scratch = dir.path().join("s");
    std::fs::create_dir(&scratch).unwrap();
    let config = config::ConfigVars::default();
    let job = pipeline::Build {
        source: pipeline::Source::Directory(std::path::Path::new(&a[1])),
        version: None,
        buildpacks: a.get(2).map(|b| b.parse().unwrap()).into_iter().collect(),
        config: &config,
        cache: None,
        scratch: &scratch,
    };
    let mut o = std::io::stdout();
    let mut out = output::Output::new(&mut o);
    match pipeline::build(job, &machine, &store, &Default::default(), &mut out) {
        Ok(b) => println!(
            "{} {:?} {:?}",
            b.record.digest,
            b.timings,
            b.record.packages.len()
        ),
        Err(e) => {
            out.failure(&failure::explain(&e)).unwrap();
            println!("{e:#}")
        }
    }
}
